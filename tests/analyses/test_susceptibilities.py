"""Influence between samples and susceptibilities on linear regression, in closed form, and against devinterp.

Statistical tests use independent draws of the exact posterior with fixed seeds; entries are off by at most 5 standard
errors (by chance with probability 0.01% for the 105 different entries), and by one in the root mean square.
"""

import numpy as np
import pytest
import torch
from loss_moments import LossMoments
from pair_relations import influence_by_relation, relations
from susceptibilities import susceptibilities, susceptibility

from slt_grok.errors import SltGrokError
from slt_grok.llc import SGLD, estimate
from slt_grok.llc.subspaces import Subspace, Whole, everything
from slt_grok.models import build
from slt_grok.tasks import ModularTask
from slt_grok.trajectories import Trajectory
from tests.analyses.draws import SampleDraws, devinterp_tree, show
from tests.llc.regression import Regression

N, D, BETA, GAMMA = 14, 3, 0.5, 4.0
CHAINS, DRAWS = 20, 1500
SETTINGS = {"sampler": SGLD(1e-3), "n_beta": 20.0, "gamma": 10.0, "chains": 3, "draws": 40, "burn_in": 5}


def observed(data: Regression, free: torch.Tensor | None = None) -> LossMoments:
    losses = LossMoments(data.network(), data.x, data.y, covariance=True)
    show(losses, data.posterior(BETA, GAMMA, free=free), CHAINS, DRAWS, BETA * N, seed=0)
    return losses


def test_influence_is_the_closed_form_of_a_gaussian_posterior() -> None:
    """-Cov(l_i, l_j) = -(g_i^T S g_j + tr(H_i S H_j S) / 2)."""
    data = Regression(N, D, seed=0)
    covariance = observed(data).by_chain().pooled().covariance[0]
    right = data.loss_covariance(data.posterior(BETA, GAMMA)).numpy()
    spread = np.sqrt(right.diagonal())
    # (n - 1) Var of a covariance of normal numbers; losses have heavier tails, which the factor 3 allows for
    error = 3 * np.sqrt((np.outer(spread**2, spread**2) + right**2) / (CHAINS * DRAWS))
    off = (covariance - right) / error
    assert np.abs(off).max() < 5
    assert (off**2).mean() ** 0.5 < 1
    assert np.abs(right / error).max() > 20  # what is tested is far from 0
    deviation = np.sqrt(covariance.diagonal())
    assert np.abs(covariance / np.outer(deviation, deviation) - right / np.outer(spread, spread)).max() < 0.05


def test_a_first_order_copy_of_a_sample_moves_the_other_losses_as_the_influence_says() -> None:
    """d E l_j / d weight of l_i = BIF_ij, by closed-form posteriors with a weight more and a weight less."""
    data, h = Regression(N, D, seed=0), 1e-4
    right = -data.loss_covariance(data.posterior(BETA, GAMMA))
    a, force = BETA * data.x.T @ data.x + GAMMA * torch.eye(D, dtype=torch.float64), BETA * data.x.T @ data.y
    for i in range(N):
        expected = []
        for sign in (1, -1):
            covariance = torch.linalg.inv(a + sign * h * torch.outer(data.x[i], data.x[i]))
            mean = covariance @ (force + sign * h * data.y[i] * data.x[i] + GAMMA * data.best)
            residual = data.y - data.x @ mean
            expected.append((residual**2 + ((data.x @ covariance) * data.x).sum(1)) / 2)
        torch.testing.assert_close((expected[0] - expected[1]) / (2 * h), right[i], rtol=1e-5, atol=1e-8)


def test_susceptibility_is_the_closed_form_of_a_gaussian_posterior() -> None:
    """Component: the first coordinate alone; expectations of both posteriors in closed form."""
    data, free = Regression(N, D, seed=1), torch.tensor([0])
    whole, part = data.posterior(BETA, GAMMA), data.posterior(BETA, GAMMA, free=free)
    baseline = ((data.y - data.x @ data.best) ** 2 / 2).mean()
    covariance = data.loss_covariance(part)
    own = covariance.mean() - covariance.mean(1)  # -Cov(L, l_i - L)
    apart = {p: data.loss_means(p).mean() - data.loss_means(p) for p in (whole, part)}
    right = own + (data.loss_means(part).mean() - baseline) * (apart[part] - apart[whole])
    kept = np.ones((1, CHAINS), bool)
    moments = [observed(data, chosen).by_chain().pooled(kept) for chosen in (free, None)]
    chi, own_part = susceptibility(*moments, np.array([baseline.item()]))
    scale = right.abs().max().item()
    assert np.abs(own_part[0] - own.numpy()).max() < 0.05 * own.abs().max().item()
    assert np.abs(chi[0] - right.numpy()).max() < 0.05 * scale
    assert (right - own).abs().max() > 0.15 * scale  # the two definitions differ here
    assert abs(chi[0].mean()) < 1e-12  # over the training samples L is the mean


def modular() -> Trajectory:
    module = build("mlp", 7, d_embed=4, d_mlp=6)
    module.initialize(torch.Generator().manual_seed(0))
    return Trajectory.stack(module, {0: dict(module.named_parameters())}, ModularTask(7, train_fraction=0.6))


@pytest.fixture(scope="module")
def theirs():
    return pytest.importorskip("devinterp.slt.bif"), pytest.importorskip("devinterp.slt.susceptibilities")


def test_influence_is_devinterps_on_the_same_draws(theirs) -> None:
    trajectory = modular()
    data = trajectory.task.data("train")
    losses, draws = LossMoments(trajectory.network, *data, covariance=True), SampleDraws(trajectory.network, *data)
    result = estimate(trajectory, observers=[losses, draws], **SETTINGS)
    tree = devinterp_tree(result, {"train": draws})
    by_them = theirs[0].compute_bif(tree, compute_covariance=True, correlation_method="sequence", device="cpu")
    value = losses.pooled(result).covariance[0]
    np.testing.assert_allclose(by_them.influences.values, value, rtol=0, atol=1e-10 * np.abs(value).max())
    by_token = theirs[0].compute_bif(tree, compute_covariance=True, device="cpu").influences.values
    np.testing.assert_allclose(by_token[:, :, 0, 0], value, rtol=0, atol=1e-6 * np.abs(value).max())  # float32


def test_susceptibilities_are_devinterps_on_the_same_draws(theirs) -> None:
    trajectory = modular()
    task, shapes = trajectory.task, trajectory.network.shapes
    parts = {"embedding": Subspace(shapes, {"W_E": Whole()}), "unembedding": Subspace(shapes, {"W_U": Whole()})}
    trees = {}
    for name, subspace in {"full": everything(shapes), **parts}.items():
        draws = {split: SampleDraws(trajectory.network, *task.data(split)) for split in ("train", "all")}
        result = estimate(trajectory, subspace=subspace, observers=list(draws.values()), **SETTINGS)
        trees[name] = devinterp_tree(result, draws)
    by_them = theirs[1].compute_susceptibilities(trees, "train")
    found = susceptibilities(trajectory, parts, **SETTINGS).isel(step=0)
    value = found.susceptibility
    assert by_them["susceptibilities"].wr.values.tolist() == value.component.values.tolist()
    right = by_them["susceptibilities"].sus.values.T
    np.testing.assert_allclose(value, right, rtol=0, atol=1e-6 * np.abs(right).max())
    losses = trees["unembedding"].loss_all.values.reshape(-1, 49)  # the slope, as a regression of each pair's losses
    training = trees["unembedding"].loss_train.values.reshape(len(losses), -1).mean(1)
    slopes = [np.polyfit(training, one, 1)[0] for one in losses.T]
    np.testing.assert_allclose(found.loss_slope.sel(component="unembedding"), slopes, rtol=1e-6)


def test_susceptibilities_name_their_pairs() -> None:
    trajectory = modular()
    task = trajectory.task
    parts = {"embedding": Subspace(trajectory.network.shapes, {"W_E": Whole()})}
    found = susceptibilities(trajectory, parts, **SETTINGS)
    assert found.trained.values.nonzero()[0].tolist() == sorted(task.indices("train").tolist())
    np.testing.assert_array_equal((found.a + found.b) % 7, found.answer)
    trained = found.isel(sample=found.trained.values)
    np.testing.assert_allclose(trained.susceptibility.mean("sample"), 0, atol=1e-12)
    np.testing.assert_allclose(trained.loss_slope.mean("sample"), 1)


def test_relations_of_pairs_by_hand() -> None:
    pairs = torch.tensor([[1, 2], [2, 1], [0, 3], [1, 5], [5, 1], [4, 4]])
    answers = pairs.sum(1) % 7
    found = relations(pairs, answers)
    at = {name: {(i, j) for i, j in zip(*group.nonzero(), strict=True) if i < j} for name, group in found.items()}
    assert at["swapped"] == {(0, 1), (3, 4)}
    assert at["shared token"] == {(0, 3), (0, 4), (1, 3), (1, 4)}
    assert at["same answer"] == {(0, 2), (1, 2)}  # 1 + 2 = 0 + 3
    assert sum(group.sum() for group in found.values()) == 6 * 5
    for group in found.values():
        np.testing.assert_array_equal(group, group.T)


def test_influence_by_relation_is_the_mean_over_couples_and_chains() -> None:
    trajectory = modular()
    pairs, answers = trajectory.task.data("train")
    losses, draws = (
        LossMoments(trajectory.network, pairs, answers, covariance=True),
        SampleDraws(trajectory.network, pairs, answers),
    )
    result = estimate(trajectory, observers=[losses, draws], **SETTINGS)
    found = influence_by_relation(result, losses).isel(step=0)
    by_chain = [np.corrcoef(chain.T) for chain in draws.losses()[0]]
    for name, group in relations(pairs, answers).items():
        means = [correlation[group].mean() for correlation in by_chain]
        one = found.sel(relation=name)
        assert one.loss_correlation.item() == pytest.approx(np.mean(means), abs=1e-10)
        assert one.loss_correlation_se.item() == pytest.approx(np.std(means, ddof=1) / 3**0.5, abs=1e-10)
        assert one.couples.item() == group.sum() / 2


def test_bad_input_gets_a_sentence() -> None:
    trajectory = modular()
    with pytest.raises(SltGrokError, match="at least one subspace"):
        susceptibilities(trajectory, {}, **SETTINGS)
    losses = LossMoments(trajectory.network, *trajectory.task.data("train"))
    result = estimate(trajectory, observers=[losses], **SETTINGS)
    with pytest.raises(SltGrokError, match="covariance=True"):
        influence_by_relation(result, losses)
    with pytest.raises(SltGrokError, match="two tokens per sample"):
        relations(torch.randn(4, 3), torch.zeros(4))

"""Running moments against numpy's on the same draws: whatever the pieces, exactly."""

import loss_moments
import numpy as np
import pytest
import torch
from loss_moments import LossMoments, sample_losses
from torch import nn

from slt_grok.errors import SltGrokError
from slt_grok.llc import SGLD, chains, estimate
from slt_grok.models import build
from slt_grok.models.network import Network, cross_entropy
from slt_grok.tasks import ModularTask
from slt_grok.trajectories import Trajectory
from tests.analyses.draws import SampleDraws

P = 7
TASK = ModularTask(P, train_fraction=0.6)
SETTINGS = {
    "sampler": SGLD(1e-3),
    "n_beta": [5.0, 20.0],
    "gamma": 10.0,
    "chains": 3,
    "draws": 70,
    "burn_in": 5,
    "dtype": torch.float64,
}
PAIRS, ANSWERS = TASK.data("all")


@pytest.fixture(scope="module")
def trajectory() -> Trajectory:
    module = build("mlp", P, d_embed=4, d_mlp=6)
    states = {}
    for step in (0, 10):
        module.initialize(torch.Generator().manual_seed(step))
        states[step] = {k: v.detach().clone() for k, v in module.named_parameters()}
    return Trajectory.stack(module, states, TASK)


@pytest.fixture(scope="module")
def seen(trajectory: Trajectory) -> tuple[LossMoments, SampleDraws, np.ndarray]:
    """Moments and draws of the same chains, at every second draw; and the estimate's own losses of these draws."""
    trained = TASK.indices("train")
    running = LossMoments(trajectory.network, PAIRS, ANSWERS, trained=trained, every=2, covariance=True)
    draws = SampleDraws(trajectory.network, PAIRS, ANSWERS, every=2)
    result = estimate(trajectory, observers=[running, draws], **SETTINGS)
    return running, draws, result.loss_trace.values[:, :, 1::2]


def test_samples_have_the_losses_of_the_network_on_them_alone(trajectory: Trajectory) -> None:
    stack = trajectory.stacked(torch.float64)
    losses = sample_losses(trajectory.network, stack, PAIRS, ANSWERS)
    module = build("mlp", P, d_embed=4, d_mlp=6).double()
    for i in range(2):
        module.load_state_dict({k: v[i] for k, v in stack.items()})
        with torch.no_grad():
            right = nn.functional.cross_entropy(module(PAIRS), ANSWERS, reduction="none")
        torch.testing.assert_close(losses[i], right, rtol=1e-12, atol=0)
    mean = Network(module, loss=nn.functional.cross_entropy)  # a loss that gives the mean only
    torch.testing.assert_close(sample_losses(mean, stack, PAIRS, ANSWERS), losses, rtol=1e-12, atol=0)


def test_draws_are_those_of_the_coldest_chains(seen: tuple[LossMoments, SampleDraws, np.ndarray]) -> None:
    _, draws, trace = seen
    losses = draws.losses(2)
    assert losses.shape == (2, 3, 35, P * P)
    np.testing.assert_allclose(losses[..., TASK.indices("train")].mean(-1), trace, rtol=1e-12)


def test_moments_are_numpys(seen: tuple[LossMoments, SampleDraws, np.ndarray]) -> None:
    running, draws, _ = seen
    found, losses = running.by_chain(2), draws.losses(2)
    kept = np.array([[True, True, True], [True, False, True]])
    together = found.pooled(kept)
    for i, chosen in enumerate(([0, 1, 2], [0, 2])):
        flat = losses[i, chosen].reshape(-1, P * P)
        training = flat[:, TASK.indices("train")].mean(1)
        assert together.count[i] == len(flat)
        np.testing.assert_allclose(together.mean[i], flat.mean(0), rtol=1e-12)
        np.testing.assert_allclose(together.training_loss[i], training.mean(), rtol=1e-12)
        np.testing.assert_allclose(together.variance[i], flat.var(0, ddof=1), rtol=1e-10)
        covariance = np.cov(flat.T)
        np.testing.assert_allclose(together.covariance[i], covariance, rtol=0, atol=1e-12 * covariance.max())
        joint = ((flat - flat.mean(0)) * (training - training.mean())[:, None]).sum(0)
        np.testing.assert_allclose(together.training_scatter[i], joint, rtol=0, atol=1e-12 * np.abs(joint).max())
        np.testing.assert_allclose(together.log_mean_likelihood[i], np.log(np.exp(-flat).mean(0)), rtol=1e-12)
    one = losses[1, 1]
    np.testing.assert_allclose(found.variance[1, 1], one.var(0, ddof=1), rtol=1e-10)
    np.testing.assert_allclose(found.covariance[1, 1], np.cov(one.T), rtol=0, atol=1e-12 * np.cov(one.T).max())


def test_pieces_change_nothing(
    trajectory: Trajectory, seen: tuple[LossMoments, SampleDraws, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = seen[0].by_chain(2)
    monkeypatch.setattr(chains, "WORKING_MEMORY", 1)  # one chain at a time
    monkeypatch.setattr(loss_moments, "WORKING_MEMORY", 100_000)  # and a few of its samples
    monkeypatch.setattr(loss_moments, "BLOCK", 3)
    again = LossMoments(trajectory.network, PAIRS, ANSWERS, trained=TASK.indices("train"), every=2, covariance=True)
    estimate(trajectory, observers=[again], **SETTINGS)
    pieces = again.by_chain(2)
    np.testing.assert_allclose(pieces.mean, whole.mean, rtol=1e-10)
    np.testing.assert_allclose(pieces.covariance, whole.covariance, rtol=0, atol=1e-10 * whole.covariance.max())


def test_a_second_sampling_does_not_mix_with_the_first(trajectory: Trajectory) -> None:
    running = LossMoments(trajectory.network, *TASK.data("train"))
    estimate(trajectory, observers=[running], **{**SETTINGS, "seed": 1})
    result = estimate(trajectory, observers=[running], **SETTINGS)
    assert running.by_chain(2).count.tolist() == [[70] * 3] * 2
    np.testing.assert_allclose(running.by_chain(2).training_loss, result.loss_trace.mean("draw"), rtol=1e-12)


def test_of_a_network_without_a_healthy_chain_nothing_is_known(
    seen: tuple[LossMoments, SampleDraws, np.ndarray],
) -> None:
    together = seen[0].by_chain(2).pooled(np.array([[True] * 3, [False] * 3]))
    for values in (together.mean, together.variance, together.covariance, together.log_mean_likelihood):
        assert np.isfinite(values[0]).all()
        assert np.isnan(values[1]).all()


def test_bad_input_gets_a_sentence(trajectory: Trajectory) -> None:
    network = Network(build("mlp", P), TASK, cross_entropy)
    with pytest.raises(SltGrokError, match="as many targets as inputs, got 49 and 48"):
        LossMoments(network, PAIRS, ANSWERS[1:])
    with pytest.raises(SltGrokError, match="one index below the 49 samples"):
        SampleDraws(network, PAIRS, ANSWERS, trained=torch.tensor([49]))
    without = LossMoments(trajectory.network, PAIRS, ANSWERS)
    estimate(trajectory, observers=[without], **SETTINGS)
    with pytest.raises(SltGrokError, match="covariance=True"):
        _ = without.by_chain(2).covariance
    large = LossMoments(trajectory.network, PAIRS.repeat(200, 1), ANSWERS.repeat(200), covariance=True)
    with pytest.raises(SltGrokError, match="fewer samples"):
        estimate(trajectory, observers=[large], **SETTINGS)

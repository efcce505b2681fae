"""Our draws read by other tools: devinterp's `compute_llc`, and ArviZ's conventions."""

import numpy as np
import pytest
import torch
from arviz_stats.base.array import array_stats

from slt_grok.errors import SltGrokError
from slt_grok.llc import SGLD, UnderdampedLangevin, estimate
from slt_grok.llc.export import arviz_tree, devinterp_tree, sequences
from slt_grok.llc.sample_losses import SampleDraws
from slt_grok.models import build
from slt_grok.tasks import ModularTask
from slt_grok.trajectories import Trajectory

SETTINGS = {"sampler": SGLD(1e-3), "n_beta": 20.0, "gamma": 10.0, "chains": 3, "draws": 40, "burn_in": 15}


@pytest.fixture(scope="module")
def trajectory() -> Trajectory:
    module = build("transformer", 7, d_model=8, n_heads=2, d_mlp=16)
    states = {}
    for step in (0, 10):
        module.initialize(torch.Generator().manual_seed(step))
        states[step] = {k: v.detach().clone() for k, v in module.named_parameters()}
    return Trajectory.stack(module, states, ModularTask(7, train_fraction=0.6))


@pytest.fixture(scope="module")
def compute_llc():
    return pytest.importorskip("devinterp.slt.llc").compute_llc


@pytest.mark.parametrize("setting", ["every draw", "thinned", "underdamped on minibatches"])
def test_devinterps_llc_on_our_tree_is_ours(trajectory: Trajectory, compute_llc, setting: str) -> None:
    extra = {
        "every draw": {},
        "thinned": {"thinning": 3},
        "underdamped on minibatches": {"sampler": UnderdampedLangevin(0.02, 12.0), "batch_size": 8},
    }[setting]
    result = estimate(trajectory, **{**SETTINGS, **extra})
    for i in range(2):
        one = result.isel(step=i)
        theirs = compute_llc(devinterp_tree(one))
        assert theirs.llc_mean.item() == pytest.approx(one.llc.item(), rel=1e-9)
        assert theirs.llc_scalar.item() == pytest.approx(one.llc.item(), rel=1e-9)
        np.testing.assert_allclose(theirs.llc_per_chain, one.llc_chain, rtol=1e-9)


def test_a_chain_that_is_left_out_is_left_out_there(trajectory: Trajectory, compute_llc) -> None:
    draws = SampleDraws(trajectory.network, *trajectory.task.data("train"))
    result = estimate(trajectory.isel(step=[0]), observers=[draws], **SETTINGS)
    words = result.chain_health.astype(object)
    words[0, 1] = "diverged: for the test"
    marked = result.assign(chain_health=words)
    tree = devinterp_tree(marked, {"train": draws})
    kept = result.llc_chain.values[0, [0, 2]]
    assert compute_llc(tree).llc_mean.item() == pytest.approx(kept.mean(), rel=1e-9)
    np.testing.assert_array_equal(tree.loss_train.values[..., 0], draws.by_chain()[0][[0, 2]])
    with pytest.raises(SltGrokError, match="diverged: everywhere"):
        devinterp_tree(result.assign(chain_health=words.copy(data=np.full(words.shape, "diverged: everywhere"))))


def test_sequences_are_pair_and_answer_and_numbers_for_the_rest() -> None:
    task = ModularTask(7)
    pairs, answers = task.data("all")
    rows = sequences(pairs, answers)
    assert rows[9].tolist() == [1, 2, 3]  # 1 + 2 = 3
    assert rows.shape == (49, 3)
    assert sequences(torch.randn(4, 2), torch.randn(4)).tolist() == [[0, 0], [1, 1], [2, 2], [3, 3]]


def test_a_tree_is_of_one_network_and_its_names_are_identifiers(trajectory: Trajectory) -> None:
    draws = SampleDraws(trajectory.network, *trajectory.task.data("train"))
    result = estimate(trajectory, observers=[draws], **SETTINGS)
    with pytest.raises(SltGrokError, match="expected the estimate of one network, got 2"):
        devinterp_tree(result)
    with pytest.raises(SltGrokError, match="identifiers, got 'all pairs'"):
        devinterp_tree(result.isel(step=0), {"all pairs": draws})


def test_arviz_finds_chains_and_draws(trajectory: Trajectory) -> None:
    one = trajectory.isel(step=[0])
    draws = SampleDraws(trajectory.network, *trajectory.task.data("train"))
    result = estimate(one, observers=[draws], **SETTINGS)
    tree = arviz_tree(result, draws)
    assert set(tree.children) == {"posterior", "log_likelihood"}
    assert tree["posterior"].loss.dims == ("chain", "draw")
    assert np.asarray(array_stats.rhat(tree["posterior"].loss.values)).item() == pytest.approx(result.rhat.item())
    likelihood = tree["log_likelihood"]["loss"]
    assert likelihood.dims[:2] == ("chain", "draw")
    np.testing.assert_allclose(-likelihood.mean(likelihood.dims[2]), tree["posterior"].loss, rtol=1e-5)

"""Our SGLD against devinterp 2's on the MLP of devinterp's grokking notebook, at two of its checkpoints.

Same step size, n_beta, gamma, batch, burn-in and number of chains, the same full-train baseline in float64, and chains
on their own minibatches on both sides. Fails by chance with probability 0.6% (two comparisons at 3 joint standard
errors); our seed and devinterp's are fixed.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

import slt_grok
from slt_grok.config import load_config
from slt_grok.llc.samplers.devinterp import Devinterp
from slt_grok.models import build
from slt_grok.store import RunDirectory
from slt_grok.training import CheckpointSchedule, train
from slt_grok.trajectories import Trajectory

pytest.importorskip("devinterp.slt.sampling")

CONFIG = Path(__file__).parents[2] / "configs" / "devinterp_notebook.yaml"
STEPS = (2500, 25000)  # memorized; generalized
CHAINS = 20


@pytest.fixture(scope="module")
def trajectory(tmp_path_factory: pytest.TempPathFactory) -> Trajectory:
    config = load_config(CONFIG)
    assert config.training is not None
    network = config.network
    run = RunDirectory(tmp_path_factory.mktemp("notebook"))
    settings = config.training.model_copy(
        update={"checkpoints": CheckpointSchedule(steps=list(STEPS)), "evaluate_every": 5000}
    )
    curves = train(run, network, settings, [0])
    assert curves.train_accuracy.sel(step=STEPS[0]).item() > 0.99 > 0.1 > curves.test_accuracy.sel(step=STEPS[0]).item()
    assert curves.test_accuracy.sel(step=STEPS[1]).item() > 0.9
    states = {step: run.read_checkpoint(step, network.shapes) for step in STEPS}
    return Trajectory.stack(
        network.module, {step: {k: v[0] for k, v in state.items()} for step, state in states.items()}, network.task
    )


@pytest.mark.slow
def test_sgld_agrees_with_devinterp_at_two_checkpoints(trajectory: Trajectory) -> None:
    llc = load_config(CONFIG).llc
    assert llc is not None
    settings = {
        "n_beta": llc.n_beta, "gamma": llc.gamma, "chains": CHAINS, "draws": 200, "burn_in": 300, "batch_size": 128
    }  # fmt: skip
    ours = slt_grok.llc.estimate(trajectory, sampler=llc.sampler, **settings)
    theirs = slt_grok.llc.estimate(trajectory, sampler=Devinterp(llc.sampler.step_size), **settings)
    np.testing.assert_array_equal(ours.baseline_loss, theirs.baseline_loss)
    for i in range(len(STEPS)):
        values, means = [], []
        for result in (ours, theirs):
            chains = result.llc_chain.values[i]
            values.append((chains.mean(), chains.std(ddof=1) / CHAINS**0.5))
            means.append(result.virial.values[i])
        (here, error), (there, other) = values
        print(f"step {STEPS[i]}: slt_grok {here:.3f} +- {error:.3f}, devinterp {there:.3f} +- {other:.3f}")
        assert error < 0.03 * here
        assert other < 0.03 * there
        assert abs(here - there) < 3 * np.hypot(error, other)
        assert means[0] == pytest.approx(means[1], rel=0.05)
    with torch.no_grad():
        module = build("mlp", trajectory.task.tokens, combine="concatenation", activation="gelu", d_embed=12, d_mlp=48)
        pairs, labels = trajectory.task.data("train")
        for i in range(len(STEPS)):
            module.load_state_dict({k: v[i] for k, v in trajectory.parameters.items()})
            same = torch.nn.functional.cross_entropy(module(pairs).double(), labels).item()
            assert ours.baseline_loss.values[i] == pytest.approx(same, rel=1e-5)

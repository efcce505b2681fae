"""Our SGLD against devinterp 2's on the MLP of devinterp's grokking notebook, at two of its checkpoints.

Same step size, n_beta, gamma, batch, burn-in and number of chains, the same full-train baseline in float64, and chains
on their own minibatches on both sides. Fails by chance with probability 0.6% (two comparisons at 3 joint standard
errors); our seed and devinterp's are fixed.
"""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import slt_grok
from slt_grok.config import load_config
from slt_grok.llc import SGLD
from slt_grok.models import build
from slt_grok.models.network import Network
from slt_grok.store import RunDirectory
from slt_grok.tasks import ModularTask
from slt_grok.training import CheckpointSchedule, train
from slt_grok.trajectories import Trajectory

try:
    import torchvision  # noqa: F401  # pyright: ignore
except ImportError:
    pass
except RuntimeError:
    # built for a CUDA torch: operators that nobody calls here are missing, and transformers, which devinterp imports,
    # stumbles over their names
    for operator in ("nms", "qnms"):
        torch.library.define(f"torchvision::{operator}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

datasets = pytest.importorskip("datasets", reason="devinterp (the dev extra) cannot be imported")
sampling = pytest.importorskip("devinterp.slt.sampling", reason="devinterp (the dev extra) cannot be imported")

CONFIG = Path(__file__).parents[2] / "configs" / "devinterp_notebook.yaml"
STEPS = (2500, 25000)  # memorised; generalised
CHAINS = 20


@pytest.fixture(scope="module")
def trajectory(tmp_path_factory: pytest.TempPathFactory) -> Trajectory:
    config = load_config(CONFIG)
    assert config.training is not None
    task = ModularTask(**config.task.model_dump())
    network = Network(build(modulus=task.modulus, **config.model.model_dump()), task)
    run = RunDirectory(tmp_path_factory.mktemp("notebook"))
    settings = config.training.model_copy(
        update={"checkpoints": CheckpointSchedule(steps=list(STEPS)), "evaluate_every": 5000}
    )
    curves = train(run, network, settings, [0])
    assert curves.train_accuracy.sel(step=STEPS[0]).item() > 0.99 > 0.1 > curves.test_accuracy.sel(step=STEPS[0]).item()
    assert curves.test_accuracy.sel(step=STEPS[1]).item() > 0.9
    states = {step: run.read_checkpoint(step, network.shapes) for step in STEPS}
    return Trajectory.stack(
        network.module, {step: {k: v[0] for k, v in state.items()} for step, state in states.items()}, task
    )


def devinterp_losses(
    module: torch.nn.Module, pairs: Tensor, labels: Tensor, folder: Path, **settings: float
) -> np.ndarray:
    """Loss at every step of every chain, (chain, step), by devinterp's sampler."""

    def per_token_loss(model: torch.nn.Module, tokens: Tensor) -> Tensor:
        loss = torch.nn.functional.cross_entropy(model(tokens[:, :2]).double(), tokens[:, 2], reduction="none")
        return loss[:, None].expand(-1, 2)  # devinterp wants one loss a predicted token; its mean is the answer's

    data = datasets.Dataset.from_dict({"input_ids": torch.cat([pairs, labels[:, None]], 1).tolist()}).with_format(
        "torch"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tree = sampling.sample(
            module,
            data,
            {},
            lr=settings["step_size"],
            n_beta=settings["n_beta"],
            localization=settings["gamma"],
            num_chains=CHAINS,
            num_draws=int(settings["draws"]),
            num_burnin_steps=int(settings["burn_in"]),
            batch_size=int(settings["batch_size"]),
            num_init_loss_batches=1,
            match_sampling_input_ids_across_chains=False,
            loss_fn=per_token_loss,
            device="cpu",
            output_path=folder / "samples.zarr",
        )
    return tree.dataset.sampling_loss_micro.mean(["batch_sampling", "token_pos"]).values.astype(np.float64)


def test_sgld_agrees_with_devinterp_at_two_checkpoints(trajectory: Trajectory, tmp_path: Path) -> None:
    llc = load_config(CONFIG).llc
    assert llc is not None
    length = {"draws": 200, "burn_in": 300, "batch_size": 128}
    scale = {"n_beta": llc.n_beta, "gamma": llc.gamma}
    ours = slt_grok.llc.estimate(trajectory, sampler=SGLD(llc.step_size), chains=CHAINS, **scale, **length)
    pairs, labels = trajectory.task.data("train")
    for i, step in enumerate(STEPS):
        module = build("mlp", trajectory.task.modulus, combine="concatenation", activation="gelu", d_embed=12, d_mlp=48)
        module.load_state_dict({k: v[i] for k, v in trajectory.parameters.items()})
        losses = devinterp_losses(
            module, pairs, labels, tmp_path / str(step), step_size=llc.step_size, **scale, **length
        )
        baseline = ours.baseline_loss.values[i]
        with torch.no_grad():
            same = torch.nn.functional.cross_entropy(module.double()(pairs), labels).item()
        assert baseline == pytest.approx(same, rel=1e-12)
        theirs = llc.n_beta * (losses[:, length["burn_in"] :].mean(1) - baseline)
        mean, se = theirs.mean(), theirs.std(ddof=1) / CHAINS**0.5
        here = ours.isel(step=i)
        value, error = here.llc.item(), here.llc_se.item()
        print(f"step {step}: slt_grok {value:.3f} +- {error:.3f}, devinterp {mean:.3f} +- {se:.3f}")
        assert error < 0.03 * value
        assert se < 0.03 * mean
        assert abs(value - mean) < 3 * np.hypot(error, se)

"""The probes of a landscape that are made when asked for, from a run directory to its page."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import slt_grok
from slt_grok.config import load_config
from slt_grok.landscape.alignment import permute, random_permutations, unit_groups
from slt_grok.operators.curvature import CurvatureOperator
from slt_grok.operators.objective import Objective
from slt_grok.operators.spectrum import spectrum
from slt_grok.store import RunDirectory
from slt_grok.studies.run import Run, execute_run, measure_run
from tests.conftest import write_config


@pytest.fixture(scope="module")
def probed(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("probes") / "run"
    shutil.copytree(finished, path)
    measure_run(Run(path), only=["curvature", "connectivity", "shape", "seed_barriers", "random_planes"])
    return path


def test_curvature_of_every_split_and_of_every_parameter(probed: Path) -> None:
    found = slt_grok.load(probed)["curvature"].to_dataset()
    trajectory = slt_grok.trajectory(probed)
    assert found.group.values[0] == "total"
    assert set(found.group.values[1:]) == set(trajectory.network.shapes)
    last = found.isel(step=-1, seed=0)
    trace = last.curvature_trace.sel(logit_scale="own", split="train")
    for matrix in ("hessian", "gauss_newton"):  # the trace of the blocks is the trace of the whole
        whole, parts = trace.sel(matrix=matrix, group="total"), trace.sel(matrix=matrix).drop_sel(group="total").sum()
        errors = last.curvature_trace_se.sel(logit_scale="own", split="train", matrix=matrix)
        allowed = 4 * float(np.sqrt((errors**2).sum())) + 1e-6 * abs(float(whole))
        assert abs(float(whole - parts)) <= allowed
    assert np.isfinite(last.curvature_trace.sel(group="total")).all()  # every split
    assert np.isfinite(last.ritz_value.sel(group="total", split="train", logit_scale="own")).any()
    operator = CurvatureOperator(Objective.of(trajectory, trajectory.task.data("all")), len(trajectory) - 1)
    alone = spectrum(operator, 5, 6, 6, 1e-2, 0)
    largest = last.curvature_eigenvalue.sel(matrix="hessian", split="all", group="total", logit_scale="own")
    np.testing.assert_allclose(largest, alone.values[: largest.size], rtol=5e-3)


def test_barriers_between_all_checkpoints(probed: Path) -> None:
    trees = slt_grok.load(probed)
    found = trees["connectivity"].to_dataset().isel(seed=0)
    matrix = found.barrier_between.sel(split="train").values
    np.testing.assert_array_equal(matrix, matrix.T)
    assert (np.diag(matrix) == 0).all()
    assert "curve_loss" not in found  # no milestone before the last checkpoint
    assert "two seeds" in trees["seed_barriers"].attrs["unmeasurable"]


@pytest.fixture(scope="module")
def two_seeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds, the second one the first with its neurons in another order; the first checkpoint is a milestone."""
    folder = tmp_path_factory.mktemp("two_seeds")
    changes = (("seeds", [0, 1]), ("transitions", {"train_threshold": 0.01, "test_threshold": 0.99}))
    unwanted = (("llc", None), ("landscape", None), ("circuits", None))
    config = write_config(folder / "two.yaml", *changes, *unwanted)
    execute_run(load_config(config), folder / "run")
    asked = write_config(folder / "asked.yaml", *changes, *unwanted, ("connectivity", {"updates": 30, "rows": 16}))
    run = RunDirectory(folder / "run")
    shapes = slt_grok.trajectory(run.path).network.shapes
    groups = unit_groups(slt_grok.trajectory(run.path).network)
    for step in run.steps:
        state = run.read_checkpoint(step, shapes)
        first = {name: tensor[0] for name, tensor in state.items()}
        other = permute(first, groups, random_permutations(first, groups, seed=0))
        run.write_checkpoint(step, {name: torch.stack([tensor, other[name]]) for name, tensor in first.items()})
    measure_run(Run(run.path), only=["connectivity", "seed_barriers"], settings=load_config(asked))
    return run.path


def test_the_same_network_with_other_neurons_has_no_barrier_after_alignment(two_seeds: Path) -> None:
    found = slt_grok.load(two_seeds)["seed_barriers"].to_dataset().sel(seed=0, seed_other=1)
    assert float(found.barrier_between.isel(step=-1).sel(split="train")) > 1e-2  # on the test set all is guessing
    np.testing.assert_allclose(found.barrier_aligned, 0, atol=1e-6)


def test_line_and_curve_have_the_same_ends(two_seeds: Path) -> None:
    trees = slt_grok.load(two_seeds)
    found, training = trees["connectivity"].to_dataset(), trees["training"].to_dataset()
    at = found.isel(step=0)
    np.testing.assert_allclose(at.line_loss.isel(position=[0, -1]), at.curve_loss.isel(position=[0, -1]), rtol=1e-6)
    last = training.train_loss.isel(step=-1).sel(seed=0)
    np.testing.assert_allclose(at.line_loss.sel(split="train", position=1), last, rtol=1e-4)
    assert (at.curve_bend > 0).all()
    assert np.isnan(found.curve_loss.isel(step=slice(1, None))).all()  # a single milestone before the last checkpoint
    np.testing.assert_allclose(*at.line_barrier.transpose("seed", ...), atol=1e-6)  # of both seeds the same


def test_the_path_starts_its_plane_at_the_last_checkpoint(probed: Path) -> None:
    trees = slt_grok.load(probed)
    found = trees["shape"].to_dataset().isel(seed=0)
    assert torch.tensor(found.path.isel(step=-1).values).abs().max() < 1e-6
    plane = trees["random_planes"].to_dataset().isel(step=-1, seed=0).plane_loss.sel(split="train")
    middle = plane.sizes["x"] // 2
    own = trees["training"].to_dataset().train_loss.isel(step=-1, seed=0)
    assert float(plane[middle, middle]) == pytest.approx(float(own), rel=1e-4)

"""The probes of a landscape that are made when asked for, from a run directory to its page."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import slt_grok
from slt_grok.landscape.curvature import curvature
from slt_grok.landscape.objective import Objective
from slt_grok.studies.run import measure_run


@pytest.fixture(scope="module")
def probed(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("probes") / "run"
    shutil.copytree(finished, path)
    measure_run(path, only=["curvature", "connectivity", "shape"])
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
    alone = curvature(Objective.of(trajectory), len(trajectory) - 1, data=trajectory.task.data("all"))
    largest = last.curvature_eigenvalue.sel(matrix="hessian", split="all", group="total", logit_scale="own")
    np.testing.assert_allclose(largest, alone.values[: largest.size], rtol=5e-3)


def test_barriers_between_all_checkpoints_and_along_curves(probed: Path) -> None:
    found = slt_grok.load(probed)["connectivity"].to_dataset().isel(seed=0)
    matrix = found.barrier_between.sel(split="train").values
    np.testing.assert_array_equal(matrix, matrix.T)
    assert (np.diag(matrix) == 0).all()
    assert np.isfinite(found.curve_barrier.isel(step=-1)).all()
    assert float(found.curve_bend.isel(step=-1)) == 0  # from the last checkpoint to itself


def test_the_path_starts_its_plane_at_the_last_checkpoint(probed: Path) -> None:
    trees = slt_grok.load(probed)
    found = trees["shape"].to_dataset().isel(seed=0)
    assert torch.tensor(found.path.isel(step=-1).values).abs().max() < 1e-6
    plane = trees["shape@random"].to_dataset().isel(step=-1, seed=0).plane_loss.sel(split="train")
    middle = plane.sizes["x"] // 2
    own = trees["training"].to_dataset().train_loss.isel(step=-1, seed=0)
    assert float(plane[middle, middle]) == pytest.approx(float(own), rel=1e-4)


def test_the_page_shows_them(probed: Path) -> None:
    page = (probed / "report.html").read_text()
    names = ("landscape", "spectral_density", "barrier_matrix", "principal_plane", "random_plane")
    assert all((probed / "figures" / f"{name}.png").is_file() for name in names)
    assert "Loss landscape" in page

"""How the weights move, drawn beside the LLC."""

import numpy as np
import pytest
import torch
import xarray as xr

from slt_grok import models
from slt_grok.errors import SltGrokError
from slt_grok.landscape.dynamics import measure_dynamics
from slt_grok.plots.dynamics import dynamics
from slt_grok.plots.saving import save
from slt_grok.tasks import ModularTask
from slt_grok.trajectories import Trajectory

STEPS = (0, 10, 110)


@pytest.fixture(scope="module")
def measured() -> xr.Dataset:
    module = models.build("transformer", 5, d_model=8, n_heads=2, d_mlp=6)
    checkpoints = {}
    for step in STEPS:
        module.initialize(torch.Generator().manual_seed(step))
        checkpoints[step] = {k: v.detach().clone() for k, v in module.named_parameters()}
    return measure_dynamics(Trajectory.stack(module, checkpoints, ModularTask(5, train_fraction=0.6)), samples=8)


def test_every_measure_has_its_panel(measured, tmp_path):
    llc = xr.Dataset({"llc": ("step", [3.0, 2.0, 1.0]), "llc_se": ("step", [0.1] * 3)}, {"step": list(STEPS)})
    figure = dynamics(measured, llc)
    panels = {axes.get_ylabel().replace("\n", " "): axes for axes in figure.axes}
    assert len(panels) == 6
    assert np.asarray(panels["LLC"].lines[0].get_ydata()).tolist() == [3, 2, 1]
    updates = np.asarray(panels["Update norm (weight / step)"].lines[0].get_ydata())
    np.testing.assert_allclose(updates, measured.update_norm.sel(component="total")[1:] / [10, 100])
    cosines = np.asarray(panels["Cosine of gradient and step"].lines[0].get_ydata())
    np.testing.assert_array_equal(cosines, measured.gradient_step_cosine.sel(component="total"))
    matrices = measured.weight_matrix.values.tolist()
    assert "W_Q[0]" in matrices
    for label, name in (("Effective rank", "effective_rank"), ("Spectral norm", "spectral_norm")):
        for line, matrix in zip(panels[label].lines, matrices, strict=True):
            np.testing.assert_array_equal(np.asarray(line.get_ydata()), measured[name].sel(weight_matrix=matrix))
        colors = {line.get_color() for line in panels[label].lines}
        assert len(colors) == len({matrix.split("[")[0] for matrix in matrices})  # the heads of a kind share one
    assert [path.suffix for path in save(figure, tmp_path, "dynamics")] == [".svg", ".png"]


def test_without_llc_and_without_such_a_seed(measured):
    assert not dynamics(measured).axes[0].axison
    with pytest.raises(SltGrokError, match="among 0, got 3"):
        dynamics(measured, seed=3)

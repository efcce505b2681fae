"""The spectral density of the curvature, and sharpness over training."""

import numpy as np
import pytest
import torch
import xarray as xr

from slt_grok import landscape, models, plots
from slt_grok.errors import SltGrokError
from slt_grok.landscape.curvature import measure_curvature
from slt_grok.landscape.sharpness import measure_sharpness
from slt_grok.plots.sharpness import sharpness
from slt_grok.plots.spectral_density import spectral_density
from slt_grok.tasks import ModularTask
from slt_grok.trajectories import Trajectory


@pytest.fixture(scope="module")
def trajectory() -> Trajectory:
    module = models.build("quadratic", 5, width=8)
    checkpoints = {}
    for step in (0, 10, 100):
        module.initialize(torch.Generator().manual_seed(step))
        checkpoints[step] = {k: v.detach().clone() for k, v in module.named_parameters()}
    return Trajectory.stack(module, checkpoints, ModularTask(5, train_fraction=0.6))


@pytest.fixture(scope="module")
def curvature(trajectory) -> xr.Dataset:
    return measure_curvature(trajectory, hessian_steps=[0, 100], eigenvalues=3, repeats=3, steps=4)


def test_a_line_for_each_checkpoint_that_was_measured(curvature):
    figure = spectral_density(curvature)
    assert len(figure.axes) == 2
    for axes in figure.axes:
        lines = [line for line in axes.lines if str(line.get_label()).startswith("step")]
        assert [line.get_label() for line in lines] == ["step 0", "step 100"]
        for line in lines:
            eigenvalues, density = np.array(line.get_data(), dtype=float)
            assert (density >= 0).all()
            linear = getattr(axes.xaxis.get_transform(), "linthresh")  # noqa: B009
            places = np.arcsinh(eigenvalues / (2 * linear)) / np.log(10)
            assert np.trapezoid(density, places) == pytest.approx(1, rel=1e-3)


def test_what_is_not_there(curvature):
    with pytest.raises(SltGrokError, match="steps: expected some that were measured, got 10"):
        spectral_density(curvature, [10])
    with pytest.raises(SltGrokError, match="matrix: expected one of hessian, got fisher"):
        spectral_density(curvature, matrix="fisher")


def test_sharpness_over_training(trajectory):
    dataset = measure_sharpness(trajectory, radii=[0.1], sigmas=[0.01])
    figure = sharpness(dataset)
    labels = [line.get_label() for line in figure.axes[0].lines]
    assert r"worst, $\rho$ = 0.1" in labels
    assert r"mean, $\sigma$ = 0.01" in labels
    drawn = next(line for line in figure.axes[1].lines if str(line.get_label()).startswith("worst"))
    np.testing.assert_allclose(
        np.array(drawn.get_ydata(), dtype=float), dataset.sharpness.sel(mode="adaptive", split="train").squeeze()
    )
    with pytest.raises(SltGrokError, match="split: expected one of train, got test"):
        sharpness(dataset, split="test")


def test_every_probe_has_its_panel(trajectory):
    probed = landscape.measure(trajectory, eigenvalues=2)
    llc = xr.Dataset({"llc": ("step", [3.0, 2.0, 1.0]), "llc_se": ("step", [0.1] * 3)}, {"step": [0, 10, 100]})
    figure = plots.landscape(probed, llc)
    panels = {axes.get_ylabel().replace("\n", " "): axes for axes in figure.axes}
    assert panels["LLC"].lines[0].get_ydata().tolist() == [3, 2, 1]
    assert (
        panels["Weight norm"].lines[0].get_ydata().tolist() == probed.weight_norm.sel(component="total").values.tolist()
    )
    assert {line.get_label() for line in panels["Sharpness (nats)"].lines} == {"plain, ρ = 0.1", "adaptive, ρ = 0.1"}
    assert len(panels) == 8
    assert not plots.landscape(probed).axes[0].axison  # no LLC, no panel

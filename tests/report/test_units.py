"""Units and words of a loss that is no cross-entropy."""

from typing import Any

import pytest
import torch
import xarray as xr
from torch import Tensor, nn

from slt_grok import Trajectory
from slt_grok.llc import estimate
from slt_grok.measurement import Measurement, Result, Variable
from slt_grok.plots.lines import curve
from slt_grok.report import summary
from slt_grok.tasks.custom import CustomTask
from slt_grok.units import in_units_of_loss, with_units

VARIABLES = {
    "loss": Variable((), "loss", "L", of_loss=True),
    "trace": Variable((), "trace", "tr H", units="/ weight²", of_loss=True),
    "gradient_noise_scale": Variable((), "noise scale", "B", units="samples"),
    "log_volume": Variable((), "log-volume", "log V", units="nats"),
}


def squared(outputs: Tensor, targets: Tensor) -> Tensor:
    return ((outputs - targets) ** 2).mean()


class Units(Measurement):  # without a name in the class: not registered
    variables = VARIABLES

    def measure(self, trajectory, settings, context):
        return self.dataset(trajectory, {name: [1.0] for name in VARIABLES})


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (squared, ["loss", "trace (loss / weight²)", "gradient_noise_scale (samples)", "log_volume (nats)"]),
        (
            nn.CrossEntropyLoss(),
            ["loss (nats)", "trace (nats / weight²)", "gradient_noise_scale (samples)", "log_volume (nats)"],
        ),
    ],
)
def test_only_losses_have_the_units_of_the_loss(loss, words):
    measurement: Any = Units()
    measured = measurement.measure(Trajectory.of(nn.Linear(2, 2), loss=loss), None, None)
    Units.name = "units"
    for dataset in (measured, measurement.check(measured)):
        assert [with_units(name, dataset[name]) for name in VARIABLES] == words


def test_every_declared_loss_follows_the_loss():
    losses = {name for kind in Result.ordered() for name, v in kind.variables.items() if v.of_loss}
    assert {"train_loss", "baseline_loss", "loss_trace", "loss_barrier", "hessian_trace", "plane_loss"} <= losses
    named = [v for kind in Result.ordered() for v in kind.variables.values() if v.units.startswith("nats /")]
    assert not named


@pytest.mark.parametrize(
    ("units", "label"),
    [("1", "Hessian"), ("nats", "Hessian\n(nats)"), ("nats per squared unit", "Hessian\n(nats per squared\nunit)")],
)
def test_units_of_older_runs_fit_into_a_panel(units, label):
    assert with_units("Hessian", xr.DataArray(1.0, attrs={"units": units}), "\n") == label


def test_a_script_has_no_nats_for_another_loss():
    torch.manual_seed(0)
    options = {"loss": squared, "n_beta": 10.0, "gamma": 10.0, "chains": 2, "draws": 4, "max_seconds": None}
    result = estimate(nn.Linear(2, 1), (torch.randn(8, 2), torch.randn(8, 1)), **options)
    assert not [str(name) for name, values in result.items() if "nats" in values.attrs.get("units", "")]
    assert result.attrs["finite_minimizer"] == 1


def test_a_loss_of_the_users_is_never_in_nats():
    task = CustomTask(samples="/a.py:data@0", loss_function="/a.py:loss@0")
    assert task.loss_units == ""
    assert CustomTask(samples="/a.py:data@0").loss_units == "nats"
    dataset = xr.Dataset({"loss": (("step", "seed"), [[1.0]], VARIABLES["loss"].attrs)}, {"step": [1], "seed": [0]})
    assert curve("loss")(in_units_of_loss(dataset, task.loss_units)).axes[0].get_ylabel() == "Loss"
    assert curve("loss")(in_units_of_loss(dataset, "nats")).axes[0].get_ylabel() == "Loss (nats)"
    assert "units" not in dataset.loss.attrs


def test_caveats_follow_the_loss():
    squared = xr.Dataset({"llc": ("step", [1.0])}, attrs={"finite_minimizer": 1})
    entropy = squared.assign_attrs(finite_minimizer=0, melting_loss=1.0)
    words = [" ".join(summary.caveats({}, llc)) for llc in (squared, entropy)]
    for word in ("finite minimizer", "guessing"):
        assert [word in text for text in words] == [False, True]
    assert summary.caveats({}, None) == []

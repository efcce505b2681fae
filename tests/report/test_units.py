"""Units and words of a loss that is no cross-entropy."""

import xarray as xr

from slt_grok.measurement import in_units_of_loss, with_units
from slt_grok.plots.lines import curve
from slt_grok.report import summary
from slt_grok.tasks.custom import CustomTask


def test_a_loss_of_the_users_is_never_in_nats():
    task = CustomTask(samples="/a.py:data@0", loss_function="/a.py:loss@0")
    assert task.loss_units == ""
    assert CustomTask(samples="/a.py:data@0").loss_units == "nats"
    units = {"loss": "nats", "trace": "nats / weight²", "gradient_noise_scale": "samples"}
    dataset = xr.Dataset({name: (("step", "seed"), [[1.0]], {"units": unit}) for name, unit in units.items()})
    dataset = dataset.assign_coords(step=[1], seed=[0])
    found = in_units_of_loss(dataset, task.loss_units)
    labels = [with_units(name, found[name]) for name in units]
    assert labels == ["loss", "trace (loss / weight²)", "gradient_noise_scale (samples)"]
    assert curve("loss")(found).axes[0].get_ylabel() == "Loss"
    assert dataset.loss.attrs == {"units": "nats"}
    assert in_units_of_loss(dataset, "nats").trace.attrs == {"units": "nats / weight²"}


def test_caveats_follow_the_loss():
    squared = xr.Dataset({"llc": ("step", [1.0])})
    entropy = squared.assign_attrs(comment="no finite minimizer", melting_loss=1.0)
    words = [" ".join(summary.caveats({}, llc)) for llc in (squared, entropy)]
    for word in ("finite minimizer", "guessing"):
        assert [word in text for text in words] == [False, True]
    assert summary.caveats({}, None) == []

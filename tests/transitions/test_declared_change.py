"""A variable that is declared with a change takes part in the order of events."""

import numpy as np
import xarray as xr

from slt_grok import transitions
from slt_grok.measurement import Result, Variable
from slt_grok.plots import palette, style
from slt_grok.rules import LOSS, Change
from slt_grok.transitions.measures import measure_name, measures
from tests.transitions.test_measure import run


def test_a_new_variable_is_an_event_with_a_name_and_a_color():
    before = list(measures())

    class Distance(Result):
        name = "test_distance"
        variables = {"distance": Variable((), "distance to the end", "a norm", change=Change(LOSS, color="pink"))}

    try:
        data = run()
        llc = data["llc"]
        data["test_distance"] = (
            xr.ones_like(llc.llc).to_dataset(name="distance") * np.geomspace(8, 1, llc.sizes["step"])[:, None]
        )
        found = transitions.measure(data)
        assert list(measures()) == [*before, "distance"]
        assert found.measure.values[-1] == "distance"
        assert np.isfinite(found.transition_middle.sel(measure="distance")).all()
        assert measure_name("distance") == "distance to the end"
        assert style.appearance("distance") == (palette.PINK, "o")
    finally:
        del Result.registry[Distance.name]
    assert before[:5] == ["train_accuracy", "test_accuracy", "train_loss", "test_loss", "llc"]
    assert len(before) == 14

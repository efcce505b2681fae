"""Sentences about LLC estimates on the page."""

import pytest
import xarray as xr

from slt_grok.llc.measurement import melted_note, untrusted_note
from slt_grok.llc.tables import doubt_about


@pytest.mark.parametrize(("melted", "words"), [([0], "(step 0)"), ([0, 2], "(steps 0 to 2,000)")])
def test_the_steps_of_melted_estimates(melted, words):
    statuses = ["melted" if i in melted else "effective" for i in range(3)]
    values = {"llc_status": ("step", statuses), "baseline_loss": ("step", [0.0] * 3)}
    llc = xr.Dataset(values, {"step": [0, 1000, 2000]}, {"melting_loss": 2.0})
    (note,) = melted_note(llc)
    assert note.startswith(f"Melted at {len(melted)} of 3 checkpoints {words}: ")


def test_advice_only_where_no_estimate_is_trusted():
    for statuses, count in ((["not a minimum", "melted"], 1), (["not a minimum", "effective"], 0)):
        assert len(untrusted_note(xr.Dataset({"llc_status": ("step", statuses)}))) == count


@pytest.mark.parametrize(
    ("status", "descent", "text"),
    [
        ("effective", None, ""),
        ("approximate", 3.0, ""),
        (None, None, ""),
        ("not converged", None, "not converged"),
        ("not a minimum", float("nan"), "not a minimum"),  # a negative value, whose reason has no descent
        ("not a minimum", 31.5, "not a minimum, low by 31.5 to 63"),
    ],
)
def test_a_doubt_is_stated_with_the_size_of_the_bias(status, descent, text):
    assert doubt_about(status, descent) == text

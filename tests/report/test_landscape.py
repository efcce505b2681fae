"""Words and table of the landscape beside the LLC."""

import numpy as np
import xarray as xr

from slt_grok.report.landscape import sentences, tables

STEPS = np.array([1, 10, 100, 1000, 10000])


def datasets(seeds: int = 1) -> tuple[xr.Dataset, xr.Dataset]:
    """The trace falls before the LLC, its largest eigenvalue with it, and the norm goes up and down."""
    over = np.ones((1, seeds))
    llc = np.array([50.0, 40, 30, 20, 10])[:, None] * over
    coords = {"step": STEPS, "seed": np.arange(seeds)}
    landscape = xr.Dataset(
        {
            "weight_norm": (("step", "seed", "component"), (np.array([3.0, 5, 2, 5, 3])[:, None] * over)[..., None]),
            "hessian_trace": (("step", "seed"), np.array([100.0, 1, 0.9, 0.8, 0.7])[:, None] * over),
            "hessian_eigenvalue": (("step", "seed", "eigenvalue"), llc[..., None] / 10),
        },
        {**coords, "component": ["total"]},
    )
    return landscape, xr.Dataset({"llc": (("step", "seed"), llc)}, coords)


def test_what_moves_with_the_llc_and_before_it() -> None:
    (text,) = sentences(*datasets())
    assert "step not apart): largest Hessian eigenvalue;" in text  # the trace has the same ranks, but earlier
    assert "(below 0.4): weight norm." in text
    assert text.endswith("Half way, with intervals apart, before it: Hessian trace; after it: none.")
    assert text.startswith("From the LLC's peak at step 1 to the end")


def test_the_table_has_the_numbers() -> None:
    (table,) = tables(*datasets())
    rows = {row[0]: row for row in table.rows}
    assert rows["Hessian trace"][1:4] == ["100", "0.7", "down 99.3%"]
    assert rows["Hessian trace"][5] == "+1.00"
    assert rows["weight norm"][5] == "+0.00"
    assert rows["LLC"][1:3] == ["50", "10"]
    assert rows["LLC"][6] == "5"


def test_a_table_for_each_seed() -> None:
    assert len(tables(*datasets(2))) == 2
    assert [text.split(":")[0] for text in sentences(*datasets(2))] == ["Seed 0", "Seed 1"]


def test_too_few_checkpoints() -> None:
    landscape, llc = datasets()
    (text,) = sentences(landscape.isel(step=slice(-3, None)), llc.isel(step=slice(-3, None)))
    assert "too few checkpoints" in text

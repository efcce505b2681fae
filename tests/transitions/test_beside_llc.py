"""Landscape beside the LLC: on curves whose rank correlation and half-way step are known."""

import numpy as np
import pytest
import xarray as xr

from slt_grok.transitions.beside_llc import beside_llc, half_way

STEPS = np.array([0, 9, 99, 999, 9999])


def datasets(norm: np.ndarray, trace: np.ndarray) -> tuple[xr.Dataset, xr.Dataset]:
    landscape = xr.Dataset(
        {
            "weight_norm": (("step", "component"), norm[:, None]),
            "hessian_trace": ("step", trace),
        },
        {"step": STEPS, "component": ["total"]},
    )
    return landscape, xr.Dataset({"llc": ("step", [1.0, 16.0, 8.0, 4.0, 2.0])}, {"step": STEPS})


def test_rank_correlation_from_the_peak_on() -> None:
    """Before the peak both curves do the opposite of what they do after it."""
    found = beside_llc(*datasets(np.array([90.0, 9, 5, 4, 3]), np.array([-9.0, 1, 2, 3, 4])))
    assert found.attrs["peak_step"] == 9
    correlation = found.rank_correlation
    assert float(correlation.sel(measure="weight norm")) == pytest.approx(1)
    assert float(correlation.sel(measure="Hessian trace")) == pytest.approx(-1)
    assert found.checkpoints.values.tolist() == [4, 4, 4]
    assert found.at_peak.values.tolist() == [16, 9, 1]
    assert found.at_end.values.tolist() == [2, 3, 4]


def test_checkpoints_without_probes_are_left_out() -> None:
    trace = np.array([1.0, 8, np.nan, 4, 2])
    found = beside_llc(*datasets(np.ones(5), trace))
    assert int(found.checkpoints.sel(measure="Hessian trace")) == 3
    assert np.isnan(found.rank_correlation.sel(measure="Hessian trace"))
    assert np.isnan(found.rank_correlation.sel(measure="weight norm"))  # it does not change
    assert np.isnan(found.half_way_step.sel(measure="weight norm"))


def test_half_way_is_geometric_for_positive_curves() -> None:
    """1 to 1e-4 by one decade a decade of 1 + step: half way at 1e-2, 1 + step = 1e2."""
    assert half_way(STEPS, 10.0 ** -np.arange(5)) == pytest.approx(99)
    between = half_way(STEPS, np.array([1.0, 1, 1e-2, 1e-2, 1e-2]))  # 0.1 is half way in log between 10 and 100
    assert between == pytest.approx(10**1.5 - 1)


def test_half_way_is_arithmetic_for_curves_of_either_sign() -> None:
    assert half_way(STEPS, np.array([-2.0, -1, 0, 1, 2])) == pytest.approx(99)
    assert np.isnan(half_way(STEPS, np.array([1.0, 2, 3, 2, 1])))


def test_the_llc_is_half_way_from_its_peak_on() -> None:
    """16 to 2 by halves, each over a decade of 1 + step from 10 on: the middle is at 10^2.5."""
    found = beside_llc(*datasets(np.ones(5), np.ones(5)))
    assert float(found.half_way_step.sel(measure="LLC")) == pytest.approx(10**2.5 - 1)

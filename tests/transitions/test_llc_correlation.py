"""The landscape and the LLC: on curves whose rank correlation and halfway step are known."""

import numpy as np
import pytest
import xarray as xr

from slt_grok.transitions.llc_correlation import llc_correlation, midpoint

STEPS = np.array([0, 9, 99, 999, 9999])


def datasets(norm: np.ndarray, trace: np.ndarray) -> tuple[xr.Dataset, xr.Dataset]:
    landscape = xr.Dataset(
        {"weight_norm": (("step", "component"), norm[:, None]), "hessian_trace": ("step", trace)},
        {"step": STEPS, "component": ["total"]},
    )
    return landscape, xr.Dataset({"llc": ("step", [1.0, 16.0, 8.0, 4.0, 2.0])}, {"step": STEPS})


def test_rank_correlation_from_the_peak_on() -> None:
    """Before the peak both curves do the opposite of what they do after it."""
    found = llc_correlation(*datasets(np.array([90.0, 9, 5, 4, 3]), np.array([-9.0, 1, 2, 3, 4])))
    assert found.attrs["peak_step"] == 9
    correlation = found.rank_correlation
    assert float(correlation.sel(measure="weight norm")) == pytest.approx(1)
    assert float(correlation.sel(measure="Hessian trace")) == pytest.approx(-1)
    assert found.checkpoints.values.tolist() == [4, 4, 4]
    assert found.at_peak.values.tolist() == [16, 9, 1]
    assert found.at_end.values.tolist() == [2, 3, 4]


def test_checkpoints_without_probes_are_left_out() -> None:
    trace = np.array([1.0, 8, np.nan, 4, 2])
    found = llc_correlation(*datasets(np.ones(5), trace))
    assert int(found.checkpoints.sel(measure="Hessian trace")) == 3
    assert np.isnan(found.rank_correlation.sel(measure="Hessian trace"))
    assert np.isnan(found.rank_correlation.sel(measure="weight norm"))  # it does not change
    assert np.isnan(found.half_way_step.sel(measure="weight norm"))


def test_the_midpoint_is_geometric_for_positive_curves() -> None:
    """1 to 1e-4 by one decade a decade of 1 + step: halfway at 1e-2, 1 + step = 1e2."""
    assert midpoint(STEPS, 10.0 ** -np.arange(5)) == pytest.approx(99)
    between = midpoint(STEPS, np.array([1.0, 1, 1e-2, 1e-2, 1e-2]))  # 0.1 is halfway in log between 10 and 100
    assert between == pytest.approx(10**1.5 - 1)


def test_the_midpoint_is_arithmetic_for_curves_of_either_sign() -> None:
    assert midpoint(STEPS, np.array([-2.0, -1, 0, 1, 2])) == pytest.approx(99)
    assert np.isnan(midpoint(STEPS, np.array([1.0, 2, 3, 2, 1])))


def test_the_llc_is_halfway_from_its_peak_on() -> None:
    """16 to 2 by halves, each over a decade of 1 + step from 10 on: the middle is at 10^2.5."""
    found = llc_correlation(*datasets(np.ones(5), np.ones(5)))
    assert float(found.half_way_step.sel(measure="LLC")) == pytest.approx(10**2.5 - 1)


def test_without_errors_the_interval_is_that_of_the_checkpoints() -> None:
    found = llc_correlation(*datasets(np.array([90.0, 9, 5, 4, 3]), np.ones(5)))
    llc, norm = (found.sel(measure=name) for name in ("LLC", "weight norm"))
    assert (float(llc.half_way_low), float(llc.half_way_high)) == (99, 999)  # halfway at 10^2.5 - 1
    assert (float(norm.half_way_low), float(norm.half_way_high)) == (9, 99)  # sqrt(27) is between 9 and 5
    assert float(norm.rank_correlation_low) == float(norm.rank_correlation_high) == 1


def test_the_interval_carries_the_error() -> None:
    """A straight line with an error at its last place alone: halfway moves by half that error over the slope."""
    x = np.linspace(0, 5, 401)
    steps, line, error = np.expm1(x), 2.5 - x, np.where(x == 5, 0.4, 0)
    data = {"hessian_trace": ("step", line), "hessian_trace_se": ("step", error)}
    landscape = xr.Dataset(data, {"step": steps})
    found = llc_correlation(landscape, xr.Dataset({"llc": ("step", 10 - x)}, {"step": steps})).sel(
        measure="Hessian trace"
    )
    assert float(np.log1p(found.half_way_step)) == pytest.approx(2.5)
    for end, sign in ((found.half_way_low, -1), (found.half_way_high, 1)):
        assert float(np.log1p(end)) - 2.5 == pytest.approx(sign * 1.96 * 0.4 / 2, rel=0.25)  # of 400 draws
    assert float(found.rank_correlation) == pytest.approx(1)


def test_noise_as_large_as_the_change_leaves_no_rank_correlation() -> None:
    landscape, llc = datasets(np.ones(5), np.array([1.0, 2, 3, 4, 5]))
    landscape["hessian_trace_se"] = 50 + 0 * landscape.hessian_trace
    found = llc_correlation(landscape, llc).sel(measure="Hessian trace")
    assert float(found.rank_correlation) == pytest.approx(-1)
    assert float(found.rank_correlation_low) < -0.7
    assert float(found.rank_correlation_high) > 0.7

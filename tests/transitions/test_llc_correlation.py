"""The landscape and the LLC: on curves whose rank correlation and half-way step are known."""

import numpy as np
import pytest
import xarray as xr

from slt_grok import transitions
from slt_grok.transitions.llc_correlation import llc_correlation
from tests.transitions.test_measure import run

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


def test_both_scales_from_the_peak_on() -> None:
    """16, 8, 4, 2 at 10, 100, ... in 1 + step: 9 is seven eighths from 16 to 8, 2^2.5 between 8 and 4 in log."""
    llc = llc_correlation(*datasets(np.ones(5), np.ones(5))).sel(measure="LLC")
    assert float(llc.half_way_step) == pytest.approx(10 ** (1 + 7 / 8) - 1)
    assert (float(llc.half_way_low), float(llc.half_way_high)) == (9, 99)
    assert float(llc.half_way_step_log) == pytest.approx(10**2.5 - 1)
    assert (float(llc.half_way_low_log), float(llc.half_way_high_log)) == (99, 999)


def test_a_measure_without_a_rule_is_half_way_in_the_direction_of_its_change() -> None:
    """The gradient norm rises from 1 to 9 after the LLC's peak, linearly in log step: half way at the third place."""
    landscape, llc = datasets(np.ones(5), np.ones(5))
    landscape["gradient_norm"] = ("step", [5.0, 1, 11 / 3, 19 / 3, 9])
    found = llc_correlation(landscape, llc).sel(measure="gradient norm")
    assert float(found.half_way_step) == pytest.approx(10**2.5 - 1)
    assert float(found.rank_correlation) == pytest.approx(-1)


def test_half_way_is_the_middle_of_the_order_of_events() -> None:
    """The same step and interval, to the last digit, for the LLC with its errors and for the weight norm."""
    data = run((3,))
    events = transitions.measure(data).sel(seed=3)
    found = llc_correlation(data["landscape"].sel(seed=3), data["llc"].sel(seed=3), network=3)
    for name, measure in (("LLC", "llc"), ("weight norm", "weight_norm")):
        for part, suffix in (("step", ""), ("low", "_low"), ("high", "_high")):
            for scale in ("", "_log"):
                expected = float(events[f"transition_middle{scale}{suffix}"].sel(measure=measure))
                assert float(found[f"half_way_{part}{scale}"].sel(measure=name)) == expected


def test_melted_estimates_are_omitted() -> None:
    """The largest value is melted: the peak is the next one, and the correlation is that of the others."""
    landscape, llc = datasets(np.array([9.0, 8, 7, 6, 5]), np.ones(5))
    llc["llc_status"] = ("step", ["effective", "melted", "effective", "effective", "effective"])
    found = llc_correlation(landscape, llc)
    assert found.attrs["peak_step"] == 99
    assert found.checkpoints.sel(measure="LLC") == 3


def test_the_interval_carries_the_error() -> None:
    """A straight line with an error at its last place alone: half way moves by half that error over the slope."""
    x = np.linspace(0, 5, 401)
    steps, line, error = np.expm1(x), 2.5 - x, np.where(x == 5, 0.4, 0)
    data = {"hessian_trace": ("step", line), "hessian_trace_se": ("step", error)}
    landscape = xr.Dataset(data, {"step": steps})
    found = llc_correlation(landscape, xr.Dataset({"llc": ("step", 10 - x)}, {"step": steps})).sel(
        measure="Hessian trace"
    )
    assert float(np.log1p(found.half_way_step)) == pytest.approx(2.5)
    for end, sign in ((found.half_way_low, -1), (found.half_way_high, 1)):
        assert float(np.log1p(end)) - 2.5 == pytest.approx(sign * 1.96 * 0.4 / 2, rel=0.25)  # of 200 draws
    assert float(found.rank_correlation) == pytest.approx(1)


def test_noise_as_large_as_the_change_leaves_no_rank_correlation() -> None:
    landscape, llc = datasets(np.ones(5), np.array([1.0, 2, 3, 4, 5]))
    landscape["hessian_trace_se"] = 50 + 0 * landscape.hessian_trace
    found = llc_correlation(landscape, llc).sel(measure="Hessian trace")
    assert float(found.rank_correlation) == pytest.approx(-1)
    assert float(found.rank_correlation_low) < -0.7
    assert float(found.rank_correlation_high) > 0.7


def test_all_checkpoints_count_where_the_last_llc_is_the_largest() -> None:
    landscape, llc = datasets(np.array([1.0, 2, 3, 4, 5]), np.array([5.0, 4, 3, 2, 1]))
    found = llc_correlation(landscape, llc.assign(llc=("step", [1.0, 2, 3, 4, 5])))
    assert (found.attrs["peak_step"], found.attrs["from_step"]) == (9999, 0)
    assert found.at_peak.values.tolist() == [1, 1, 5]
    assert found.rank_correlation.values.tolist() == pytest.approx([1, 1, -1])


def test_few_checkpoints_have_values_and_no_rank_correlation() -> None:
    landscape, llc = (part.isel(step=slice(3)) for part in datasets(np.array([9.0, 4, 2, 1, 1]), np.ones(5)))
    found = llc_correlation(landscape, llc).sel(measure="weight norm")
    assert (float(found.at_peak), float(found.at_end)) == (4, 2)
    assert np.isnan(found.rank_correlation)

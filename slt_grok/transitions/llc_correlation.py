"""The landscape and the LLC: which measures move with the LLC from its peak to the end, and which reach halfway first.

Two numbers for each measure, from the checkpoint of the largest LLC on: Spearman's rank correlation with the LLC over
the common checkpoints, and the step at which the measure is halfway between its first value from there on (later than
the peak if it was not measured there) and its last one, on a logarithmic scale if it is always positive, with the step
interpolated in log(1 + step). Any two falling curves have a high rank correlation: it shows that they move together,
not why.

Each number has an interval. Curves with standard errors are redrawn with normal noise (of the logarithm if a curve is
positive), and the central 95% of the results is used; the interval of the halfway step also includes the adjacent
checkpoints, since the curve is unknown between checkpoints. If a curve has no error, the interval only reflects that of
the LLC (rank correlation) or the checkpoint spacing (halfway step). The peak is not redrawn.

A measure reaches halfway before or after the LLC if their intervals are disjoint. It moves with the LLC if the rank
correlation is at least 0.8 in magnitude and the intervals overlap, since two curves that fall at different times are
correlated as well; it does not if the correlation is below 0.4 in magnitude.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import xarray as xr
from scipy.stats import rankdata

from slt_grok.transitions.change import COVERAGE


class Measure(NamedTuple):
    """A landscape variable, and a function that reduces it or its standard error to one number per network."""

    variable: str
    one: Callable[[xr.DataArray], xr.DataArray] = lambda values: values


MEASURES: Mapping[str, Measure] = {
    "weight norm": Measure("weight_norm", lambda v: v.sel(component="total")),
    "mean effective rank of the matrices": Measure("effective_rank", lambda v: v.mean("weight_matrix")),
    "gradient norm": Measure("gradient_norm"),
    "gradient noise scale": Measure("gradient_noise_scale"),
    "norm of the update per step": Measure("update_norm", lambda v: v.sel(component="total") / v.step.diff("step")),
    "train barrier to the checkpoint before": Measure("loss_barrier", lambda v: v.sel(split="train")),
    "Hessian trace": Measure("hessian_trace"),
    "Gauss-Newton trace at unit logit scale": Measure("gauss_newton_trace_unit_scale"),
    "largest Hessian eigenvalue": Measure("hessian_eigenvalue", lambda v: v.isel(eigenvalue=0)),
    "effective dimension": Measure("effective_dimension", lambda v: v.isel(c=0)),
    "effective dimension at unit logit scale": Measure("effective_dimension_unit_scale", lambda v: v.isel(c=0)),
    "sharpness": Measure("sharpness", lambda v: v.sel(mode="plain").isel(radius=0)),
    "adaptive sharpness": Measure("sharpness", lambda v: v.sel(mode="adaptive").isel(radius=0)),
    "average-case sharpness": Measure("average_sharpness", lambda v: v.sel(mode="plain").isel(sigma=-1)),
    "lower bound of the basin's log-volume": Measure("radial_log_volume_bound", lambda v: v.isel(epsilon=0)),
}
FEWEST = 4  # checkpoints that a rank correlation needs
WITH, WITHOUT = 0.8, 0.4  # thresholds of the rank correlation: moves with the LLC, does not
DRAWS = 400
COLUMNS = (
    "at_peak", "at_end", "half_way_step", "half_way_low", "half_way_high",
    "rank_correlation", "rank_correlation_low", "rank_correlation_high",
)  # fmt: skip
Noisy = tuple[xr.DataArray, xr.DataArray | None]  # a curve and its standard errors


def llc_correlation(landscape: xr.Dataset, llc: xr.Dataset, seed: int = 0) -> xr.Dataset:
    """Rank correlation with the LLC and halfway step of each landscape measure, for one seed.

    Parameters
    ----------
    landscape, llc : xarray.Dataset
        Over `step`, for one seed; measures missing from the landscape are omitted. The standard errors of a variable
        NAME are in NAME_se.
    seed : int, optional
        Seed of the redrawn curves.

    Returns
    -------
    xarray.Dataset
        Over `measure`, the LLC first: `at_peak` and `at_end`, `half_way_step`, `half_way_low` and `half_way_high`,
        `rank_correlation` (from -1 to 1), `rank_correlation_low` and `rank_correlation_high`, with `checkpoints`; NaN
        if a measure has fewer than four checkpoints or does not change. Attribute `peak_step`.
    """
    value = llc.llc.dropna("step")
    peak = int(value.step[value.argmax("step")]) if len(value) else 0
    curves: dict[str, Noisy] = {"LLC": (value, llc.get("llc_se"))}
    for name, (variable, one) in MEASURES.items():
        try:
            error = one(landscape[f"{variable}_se"]) if f"{variable}_se" in landscape else None
            curves[name] = (one(landscape[variable]), error)
        except KeyError:  # written by another version or with other settings
            continue
    rows = [
        _row(curve, curves["LLC"], peak, np.random.default_rng([seed, index]))
        for index, curve in enumerate(curves.values())
    ]
    table = {name: ("measure", np.array([row[name] for row in rows])) for name in rows[0]}
    return xr.Dataset(table, {"measure": list(curves)}, {"peak_step": peak})


def order(found: xr.Dataset) -> dict[str, str]:
    """Classify each measure of `llc_correlation` as halfway `before` or `after` the LLC, or `not resolved`."""
    own, words = found.sel(measure="LLC"), {}
    for name in found.measure.values.tolist():
        row = found.sel(measure=name)
        if name == "LLC" or not np.isfinite(row.half_way_step):
            continue
        before, after = row.half_way_high < own.half_way_low, row.half_way_low > own.half_way_high
        words[name] = "before" if before else "after" if after else "not resolved"
    return words


def groups(found: xr.Dataset) -> dict[str, list[str]]:
    """Group measures of `llc_correlation`: moving with the LLC or not, and halfway before or after it."""
    measured = found.drop_sel(measure="LLC").dropna("measure", subset=["rank_correlation"]).sortby("half_way_step")
    placed, names, size = order(found), measured.measure.values, abs(measured.rank_correlation.values)
    return {
        "move_with_it": [name for name in names[size >= WITH].tolist() if placed.get(name) == "not resolved"],
        "do_not": names[size < WITHOUT].tolist(),
        "half_way_before_it": [name for name in names.tolist() if placed.get(name) == "before"],
        "half_way_after_it": [name for name in names.tolist() if placed.get(name) == "after"],
    }


def _row(measure: Noisy, of_llc: Noisy, peak: int, generator: np.random.Generator) -> dict[str, float]:
    """Compute the columns of `llc_correlation` for one measure."""
    (curve, error), (llc, llc_error) = measure, of_llc
    curve, llc = xr.align(curve.dropna("step"), llc, join="inner")
    curve, llc = (array.where(array.step >= peak, drop=True) for array in (curve, llc))
    steps, values = curve.step.values, curve.values
    found = dict.fromkeys(COLUMNS, np.nan) | {"checkpoints": len(steps)}
    if len(steps) < FEWEST:
        return found
    found |= {"at_peak": values[0], "at_end": values[-1]}
    if np.ptp(values) == 0:
        return found
    noise, llc_noise = (_at(one, steps) for one in (error, llc_error))
    drawn = _redrawn(values, noise, generator)
    place = half_way(steps, values)
    if np.isfinite(place):
        low, high = np.nanpercentile([half_way(steps, one) for one in drawn], COVERAGE)
        after = int(np.searchsorted(steps, place))
        low, high = min(low, steps[max(after - 1, 0)]), max(high, steps[after])
        found |= {"half_way_step": place, "half_way_low": low, "half_way_high": high}
    if np.ptp(llc.values) > 0:
        of_draws = _redrawn(llc.values, llc_noise, generator)
        found["rank_correlation"] = float(_rank_correlation(values, llc.values))
        low, high = np.nanpercentile(_rank_correlation(drawn, of_draws), COVERAGE)
        found["rank_correlation_low"] = min(low, found["rank_correlation"])  # added noise weakens a correlation
        found["rank_correlation_high"] = max(high, found["rank_correlation"])
    return found


def _at(error: xr.DataArray | None, steps: np.ndarray) -> np.ndarray:
    """Get the standard errors at these steps, 0 if there are none."""
    return np.zeros(len(steps)) if error is None else np.nan_to_num(error.sel(step=steps).values)


def _redrawn(values: np.ndarray, noise: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Redraw curves (draw, n) with normal noise, on the logarithm if all values are positive, to keep them positive."""
    normal = generator.standard_normal((DRAWS, len(values)))
    return values * np.exp(noise / values * normal) if (values > 0).all() else values + noise * normal


def _rank_correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation of each pair of rows (..., n)."""
    one, other = (ranks - ranks.mean(-1, keepdims=True) for ranks in (rankdata(v, axis=-1) for v in (first, second)))
    with np.errstate(invalid="ignore"):  # constant curves
        return (one * other).sum(-1) / np.sqrt((one**2).sum(-1) * (other**2).sum(-1))


def half_way(steps: np.ndarray, values: np.ndarray) -> float:
    """First step at which a curve is halfway from its first value to its last, both (n,); NaN if these are equal.

    Halfway is the geometric mean if all values are positive, otherwise the arithmetic one; between checkpoints the
    curve is linear in log(1 + step).
    """
    heights = np.log(values) if (values > 0).all() else values
    share = (heights - heights[0]) / (heights[-1] - heights[0]) if heights[-1] != heights[0] else heights * np.nan
    there = np.flatnonzero(share >= 0.5)
    if not len(there):
        return np.nan
    after = there[0]
    places = np.log1p(steps.astype(float))
    part = (0.5 - share[after - 1]) / (share[after] - share[after - 1])
    return float(np.expm1(places[after - 1] + part * (places[after] - places[after - 1])))

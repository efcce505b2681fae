"""The landscape beside the LLC: which measures move with it from its peak to the end, and which is half way first.

Two numbers for each measure, from the checkpoint of the largest LLC on: Spearman's rank correlation with the LLC over
the checkpoints that have both, and the step at which the measure is half way between its value at the peak and its
last one, on a logarithmic scale where it is positive throughout, the step interpolated in log(1 + step). A rank
correlation of two curves that both fall is high whatever joins them: it says that they move together, not why.
"""

from collections.abc import Callable, Mapping

import numpy as np
import xarray as xr
from scipy.stats import spearmanr

Curve = Callable[[xr.Dataset], xr.DataArray]

# measure -> one number for each network
CURVES: Mapping[str, Curve] = {
    "weight norm": lambda d: d.weight_norm.sel(component="total"),
    "mean effective rank of the matrices": lambda d: d.effective_rank.mean("weight_matrix"),
    "gradient norm": lambda d: d.gradient_norm,
    "gradient noise scale": lambda d: d.gradient_noise_scale,
    "norm of the update": lambda d: d.update_norm.sel(component="total"),
    "train barrier to the checkpoint before": lambda d: d.loss_barrier.sel(split="train"),
    "Hessian trace": lambda d: d.hessian_trace,
    "Hessian trace at unit logit scale": lambda d: d.hessian_trace_unit_scale,
    "largest Hessian eigenvalue": lambda d: d.hessian_eigenvalue.isel(eigenvalue=0),
    "largest Hessian eigenvalue at unit logit scale": lambda d: d.hessian_eigenvalue_unit_scale.isel(eigenvalue=0),
    "effective dimension": lambda d: d.effective_dimension.isel(c=0),
    "effective dimension at unit logit scale": lambda d: d.effective_dimension_unit_scale.isel(c=0),
    "sharpness": lambda d: d.sharpness.sel(mode="plain").isel(radius=0),
    "adaptive sharpness": lambda d: d.sharpness.sel(mode="adaptive").isel(radius=0),
    "average-case sharpness": lambda d: d.average_sharpness.sel(mode="plain").isel(sigma=-1),
    "lower bound of the basin's log-volume": lambda d: d.radial_log_volume_bound.isel(epsilon=0),
}
FEWEST = 4  # checkpoints that a rank correlation needs


def beside_llc(landscape: xr.Dataset, llc: xr.Dataset) -> xr.Dataset:
    """Rank correlation with the LLC and half-way step of each landscape measure, of one seed.

    Parameters
    ----------
    landscape, llc : over `step`, of one seed; measures that the landscape lacks are left out.

    Returns
    -------
    Over `measure`, the LLC first: `at_peak` and `at_end`, `half_way_step`, `rank_correlation` (from -1 to 1) over
    `checkpoints`; NaN where a measure has fewer than four of them, or does not change. Attribute `peak_step`.
    """
    value = llc.llc.dropna("step")
    peak = int(value.step[value.argmax("step")]) if len(value) else 0
    curves = {"LLC": value}
    for name, curve in CURVES.items():
        try:
            curves[name] = curve(landscape)
        except (AttributeError, KeyError):  # a measure of another version, or of other settings
            continue
    rows = [_row(curve, value, peak) for curve in curves.values()]
    columns = ("at_peak", "at_end", "half_way_step", "rank_correlation", "checkpoints")
    table = {name: ("measure", np.array(column)) for name, column in zip(columns, zip(*rows, strict=True), strict=True)}
    return xr.Dataset(table, {"measure": list(curves)}, {"peak_step": peak})


def _row(curve: xr.DataArray, llc: xr.DataArray, peak: int) -> tuple[float, float, float, float, int]:
    curve, llc = xr.align(curve.dropna("step"), llc, join="inner")
    curve, llc = (array.where(array.step >= peak, drop=True) for array in (curve, llc))
    count = curve.sizes["step"]
    if count < FEWEST:
        return np.nan, np.nan, np.nan, np.nan, count
    values = curve.values
    moves = np.ptp(values) > 0
    together = float(np.asarray(spearmanr(values, llc.values))[0]) if moves and np.ptp(llc.values) > 0 else np.nan
    return values[0], values[-1], half_way(curve.step.values, values) if moves else np.nan, together, count


def half_way(steps: np.ndarray, values: np.ndarray) -> float:
    """First step at which a curve is half way from its first value to its last, both (n,); NaN where these are equal.

    Half way is the geometric mean where all values are positive, else the arithmetic one; between checkpoints the curve
    is a straight line in log(1 + step).
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

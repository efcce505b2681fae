"""What follows from a map of the LLC over n_beta and gamma: its limits, and the range of the drop over training."""

import math
from typing import Any

import numpy as np
import xarray as xr

from slt_grok.format import number
from slt_grok.llc.diagnostics import QUANTILE, TRUSTED
from slt_grok.llc.drop import drop_of, half_ways

PLATEAU = math.log(1.05) / math.log(3)  # |d log LLC / d log gamma|: under 5% per factor 3, as along the temperatures
ENDS = ("open", "closed")


def trusted(maps: xr.Dataset) -> xr.Dataset:
    """Keep the well-sampled values, NaN elsewhere."""
    return maps[["llc", "llc_se"]].where(maps.llc_status.isin(TRUSTED) & (maps.llc > 0))


def slopes(maps: xr.Dataset) -> dict[str, Any]:
    """Compute d log LLC / d log gamma at either end of the gammas, at each n_beta, with its standard error.

    Parameters
    ----------
    maps : xarray.Dataset
        `llc`, `llc_se` and `llc_status` over (..., n_beta, gamma), with ascending gammas.

    Returns
    -------
    dict
        `slope`, `slope_se` and `slope_gamma` over (..., n_beta, end); NaN with fewer than two neighboring gammas that
        have well-sampled values.
    """
    good = trusted(maps).transpose(..., "gamma")
    x, value, se = np.log(maps.gamma.values), np.log(good.llc.values), (good.llc_se / good.llc).values
    pairs = np.diff(value) / np.diff(x), np.hypot(se[..., 1:], se[..., :-1]) / np.diff(x)
    middles = np.broadcast_to(np.exp((x[1:] + x[:-1]) / 2), pairs[0].shape)
    known = np.isfinite(pairs[0])
    first, last = known.argmax(-1), known.shape[-1] - 1 - known[..., ::-1].argmax(-1)
    at_ends = np.stack([first, last], -1)
    coords = {dim: good[dim] for dim in good.llc.dims[:-1]}
    arrays = [
        xr.DataArray(
            np.where(known.any(-1, keepdims=True), np.take_along_axis(values, at_ends, -1), np.nan),
            {**coords, "end": list(ENDS)},
            (*good.llc.dims[:-1], "end"),
        )
        for values in (*pairs, middles)
    ]
    return dict(zip(("slope", "slope_se", "slope_gamma"), arrays, strict=True))


def drops(maps: xr.Dataset) -> dict[str, xr.DataArray]:
    """Compute the factor of the drop and its half-way step at every setting, where both ends are well sampled.

    The factor is between the same two checkpoints at every setting: the one with the largest LLC at the configured
    setting, and the last one.

    Parameters
    ----------
    maps : xarray.Dataset
        `llc`, `llc_se` and `llc_status` over (step, seed, n_beta, gamma), with the configured n_beta and gamma in its
        attributes.
    """
    good = trusted(maps).transpose("step", "seed", "n_beta", "gamma")
    configured = good.llc.sel(n_beta=maps.n_beta[-1], gamma=maps.attrs["gamma"], drop=True)
    fall = drop_of(good.llc, good.llc_se, configured)
    between = np.isfinite(fall.factor) & (good.step >= fall.step)  # the same fall at every setting
    half = half_ways(good.llc.where(between), good.llc_se)
    return {"drop_factor": fall.factor, "drop_factor_se": fall.factor_se, "drop_from": fall.step, **half}


def limit_note(one: xr.Dataset, end: str) -> str:
    """State whether one seed's values tend to a limit at an end of the window, at the configured n_beta."""
    at = one.isel(n_beta=-1).sel(end=end)
    known = np.isfinite(at.slope)
    what = "opens" if end == "open" else "closes"
    if not known.any():
        return f"As the window {what}, no two neighboring gammas are well sampled"
    slope, se = at.slope.values[known], at.slope_se.values[known]
    flat = int((abs(slope) + QUANTILE * se < PLATEAU).sum())
    low, high = slope.min(), slope.max()
    text = f"As the window {what}, d log LLC / d log γ is {low:.2f} to {high:.2f} over the checkpoints"
    return f"{text}: the value tends to a limit at {flat} of {len(slope)} (a slope below {PLATEAU:.2f})"


def range_note(one: xr.Dataset) -> str:
    """State the range over gamma of one seed's drop, at the configured n_beta."""
    at = one.isel(n_beta=-1)
    if not np.isfinite(at.drop_factor).any():
        return "At no γ are both ends of the drop well sampled"
    factors, half = at.drop_factor.dropna("gamma"), at.half_way_step.dropna("gamma")
    text = (
        f"From step {int(one.drop_from):,} to {int(one.step[-1]):,} the LLC falls by a factor of "
        f"{number(factors.min().item())} to {number(factors.max().item())} over γ = "
        f"{number(factors.gamma[0].item())} to {number(factors.gamma[-1].item())}"
    )
    if half.size:
        text += f", half of it by step {half.min().item():,.0f} to {half.max().item():,.0f}"
    return text

"""The drop of the LLC over training, from the checkpoint with its largest value to the last one.

Curves that are compared (treatments of one network, settings, representatives of one function) drop between the same
two checkpoints, those of a reference. Estimates that do not count are NaN; which ones count is up to the caller. Half
way is the middle by `slt_grok.change`, with the random stream of the order of events.
"""

from typing import NamedTuple

import numpy as np
import xarray as xr

from slt_grok.change import find_change
from slt_grok.transitions.measures import event_stream, measures

HALF_WAY = ("half_way_step", "half_way_low", "half_way_high")


class CurveDrop(NamedTuple):
    """Drops of LLC curves between two checkpoints; NaN if an end is unknown.

    The peak and end of one seed are in `slt_grok.transitions.events.Drop`, whose ends are its own largest and last
    estimates: it omits unknown ones, here they stay NaN, since curves are compared between the same checkpoints.

    Parameters
    ----------
    step : DataArray
        Training step at which the drop starts, over the reference's dimensions without `step`.
    first, last : DataArray
        LLC at both ends, over the LLC's dimensions without `step`, as are the following.
    size, size_se : DataArray
        first - last, and its standard error.
    factor, factor_se : DataArray
        first / last, and its standard error to first order.
    """

    step: xr.DataArray
    first: xr.DataArray
    last: xr.DataArray
    size: xr.DataArray
    size_se: xr.DataArray
    factor: xr.DataArray
    factor_se: xr.DataArray


def drop_of(llc: xr.DataArray, se: xr.DataArray, reference: xr.DataArray | None = None) -> CurveDrop:
    """Compute the drop of LLC curves from the largest value of a reference to the last checkpoint.

    Parameters
    ----------
    llc, se : DataArray
        LLC and its standard error over `step` and other dimensions; NaN where the LLC does not count.
    reference : DataArray or None, optional
        The curve, over `step` and some of these dimensions, whose largest value is the start; each curve's own by
        default.

    Returns
    -------
    CurveDrop
        The drop, its factor and their errors.
    """
    start = (llc if reference is None else reference).fillna(-np.inf).argmax("step")
    se = se.where(llc.notnull())
    (first, first_se), (last, last_se) = ([each.isel(step=at, drop=True) for each in (llc, se)] for at in (start, -1))
    factor = first / last
    factor_se = abs(factor) * np.hypot(first_se / first, last_se / last)
    step = llc.step[start].drop_vars("step")
    return CurveDrop(step, first, last, first - last, (first_se**2 + last_se**2) ** 0.5, factor, factor_se)


def half_ways(llc: xr.DataArray, se: xr.DataArray) -> dict[str, xr.DataArray]:
    """Find the step half way through each curve's drop, with its interval.

    Parameters
    ----------
    llc, se : DataArray
        LLC and its standard error over `step`, `seed` and other dimensions; NaN where the LLC does not count.

    Returns
    -------
    dict
        `half_way_step`, `half_way_low` and `half_way_high` over the dimensions without `step`; NaN without a drop.
    """
    rule = measures()["llc"].change.rule

    def middle(values: np.ndarray, errors: np.ndarray, seed: int) -> np.ndarray:
        stream = event_stream("llc", 0, int(seed))
        return np.array(find_change(llc.step.values, values, rule, errors, seed=stream)["middle"])

    found = xr.apply_ufunc(
        middle, llc, se, llc.seed, input_core_dims=[["step"], ["step"], []], output_core_dims=[["end"]], vectorize=True
    )
    return {name: found.isel(end=i) for i, name in enumerate(HALF_WAY)}

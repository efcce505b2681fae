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
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from scipy.stats import rankdata

from slt_grok.format import MISSING, number, percent, step
from slt_grok.measurement import Data, Derived, Table, Variable
from slt_grok.transitions.change import COVERAGE
from slt_grok.transitions.measures import with_interval


class Measure(NamedTuple):
    """A landscape measure.

    Parameters
    ----------
    variable : str
        Name in the dataset.
    reduce : callable, optional
        Reduces the variable, or its standard error, to one number per network.
    """

    variable: str
    reduce: Callable[[xr.DataArray], xr.DataArray] = lambda values: values


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
DRAWS = 400
DIMS, RULE = ("measure",), "by the rules in the docstring of slt_grok.transitions.llc_correlation"
MIDPOINT = Variable(DIMS, "step halfway from the first value to the last", RULE, units="training steps")
VARIABLES = {
    "at_peak": Variable(DIMS, "first value from the LLC's peak on", "at the first checkpoint with a value"),
    "at_end": Variable(DIMS, "last value", "at the last checkpoint with a value"),
    "half_way_step": MIDPOINT,
    "half_way_low": MIDPOINT._replace(long_name=f"{MIDPOINT.long_name}, lower end of its interval"),
    "half_way_high": MIDPOINT._replace(long_name=f"{MIDPOINT.long_name}, upper end of its interval"),
    **with_interval("rank_correlation", Variable(DIMS, "rank correlation with the LLC", "Spearman's"), "interval"),
    "checkpoints": Variable(DIMS, "checkpoints from the LLC's peak on", "those with the measure and the LLC"),
}
Noisy = tuple[xr.DataArray, xr.DataArray | None]  # a curve and its standard errors


class LlcCorrelation(Derived):
    """The landscape compared with the LLC of each seed."""

    name = "llc_correlation"
    title = "The landscape and the LLC"
    position = 41  # after the landscape
    variables: ClassVar[Mapping[str, Variable]] = VARIABLES  # pyright: ignore[reportIncompatibleMethodOverride]

    def derive(self, data: Data, config: Any) -> xr.Dataset | None:
        """Compare all landscape measures of the seeds that have an LLC."""
        if not all(label in data and data[label].sizes for label in ("landscape", "llc")):
            return None
        landscape, llc = data["landscape"], data["llc"]
        seeds = [seed for seed in landscape.seed.values if seed in llc.seed]
        if not seeds:
            return None
        networks = [llc_correlation(landscape.sel(seed=seed), llc.sel(seed=seed)) for seed in seeds]
        joint = xr.concat(networks, pd.Index(seeds, name="seed"), combine_attrs="drop")
        return joint.assign_coords(peak_step=("seed", [network.peak_step for network in networks]))

    def tables(self, data: Data) -> Sequence[Table]:
        """Tabulate every measure and the LLC from its peak on, one table per seed."""
        dataset = data[self.name]
        return [_table(dataset.sel(seed=seed)) for seed in dataset.seed.values]


def _table(correlations: xr.Dataset) -> Table:
    """Tabulate one seed."""
    rows = []
    for name, row in correlations.to_dataframe().iterrows():
        change, half = "–", MISSING
        if row.at_peak > 0 and np.isfinite(row.at_end):
            fraction = row.at_end / row.at_peak
            change = f"down {percent(1 - fraction)}" if fraction < 1 else f"up {percent(fraction - 1)}"
        if np.isfinite(row.half_way_step):
            half = f"{step(row.half_way_step)} ({step(row.half_way_low)} to {step(row.half_way_high)})"
        rank = f"{row.rank_correlation:+.2f}" if np.isfinite(row.rank_correlation) and name != "LLC" else "–"
        checkpoints = str(int(row.checkpoints))
        rows.append([str(name), number(row.at_peak), number(row.at_end), change, half, rank, checkpoints])
    caption = (
        f"The landscape and the LLC of seed {correlations.seed.item()} from the LLC's peak at step "
        f"{step(correlations.peak_step.item())} to the end: first and last value, the step halfway between them with "
        "its interval, and Spearman's rank correlation with the LLC. Any two curves that fall over training are "
        "correlated."
    )
    return Table(caption, ["Measure", "First", "Last", "Change", "Halfway", "Rank correlation", "Checkpoints"], rows)


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
    for name, (variable, reduce) in MEASURES.items():
        try:
            error = reduce(landscape[f"{variable}_se"]) if f"{variable}_se" in landscape else None
            curves[name] = (reduce(landscape[variable]), error)
        except KeyError:  # written by another version or with other settings
            continue
    rows = [
        _row(curve, curves["LLC"], peak, np.random.default_rng([seed, index]))
        for index, curve in enumerate(curves.values())
    ]
    table = pd.DataFrame(rows, pd.Index(list(curves), name="measure"))
    return xr.Dataset.from_dataframe(table).assign_attrs(peak_step=peak)


def _row(measure: Noisy, reference: Noisy, peak: int, generator: np.random.Generator) -> dict[str, float]:
    """Compute the columns of `llc_correlation` for one measure."""
    (curve, error), (llc, llc_error) = measure, reference
    curve, llc = (array.sel(step=slice(peak, None)) for array in xr.align(curve.dropna("step"), llc, join="inner"))
    steps, values = curve.step.values, curve.values
    row = dict.fromkeys(VARIABLES, np.nan) | {"checkpoints": len(steps)}
    if len(steps) < FEWEST:
        return row
    row |= {"at_peak": values[0], "at_end": values[-1]}
    if np.ptp(values) == 0:
        return row
    redrawn = _redrawn(curve, error, generator)
    half = midpoint(steps, values)
    if np.isfinite(half):
        low, high = np.nanpercentile([midpoint(steps, drawn) for drawn in redrawn], COVERAGE)
        after = int(np.searchsorted(steps, half))
        low, high = min(low, steps[max(after - 1, 0)]), max(high, steps[after])
        row |= {"half_way_step": half, "half_way_low": low, "half_way_high": high}
    if np.ptp(llc.values) > 0:
        correlation = float(_rank_correlation(values, llc.values))
        drawn = _rank_correlation(redrawn, _redrawn(llc, llc_error, generator))
        low, high = np.nanpercentile(drawn, COVERAGE)
        # added noise weakens a correlation, so the interval is extended to include it
        row |= {"rank_correlation": correlation}
        row |= {"rank_correlation_low": min(low, correlation), "rank_correlation_high": max(high, correlation)}
    return row


def _redrawn(curve: xr.DataArray, error: xr.DataArray | None, generator: np.random.Generator) -> np.ndarray:
    """Redraw a curve (draw, n) with normal noise, on the logarithm if all values are positive, to keep them positive.

    Unknown standard errors count as 0.
    """
    values = curve.values
    noise = np.zeros(len(values)) if error is None else np.nan_to_num(error.sel(step=curve.step).values)
    normal = generator.standard_normal((DRAWS, len(values)))
    return values * np.exp(noise / values * normal) if (values > 0).all() else values + noise * normal


def _rank_correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation of each pair of rows (..., n)."""
    ranks = (rankdata(values, axis=-1) for values in (first, second))
    first, second = (each - each.mean(-1, keepdims=True) for each in ranks)
    with np.errstate(invalid="ignore"):  # constant curves
        return (first * second).sum(-1) / np.sqrt((first**2).sum(-1) * (second**2).sum(-1))


def midpoint(steps: np.ndarray, values: np.ndarray) -> float:
    """First step at which a curve is halfway from its first value to its last, both (n,); NaN if these are equal.

    Halfway is the geometric mean if all values are positive, otherwise the arithmetic one; between checkpoints the
    curve is linear in log(1 + step).
    """
    heights = np.log(values) if (values > 0).all() else values
    fraction = (heights - heights[0]) / (heights[-1] - heights[0] or np.nan)
    reached = np.flatnonzero(fraction >= 0.5)
    if not len(reached):
        return np.nan
    gap = slice(reached[0] - 1, reached[0] + 1)
    return float(np.expm1(np.interp(0.5, fraction[gap], np.log1p(steps[gap]))))

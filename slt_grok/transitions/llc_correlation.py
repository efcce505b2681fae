"""The landscape and the LLC: which measures move with the LLC from its peak to the end, and when each is half way.

Spearman's rank correlation of each measure with the LLC over their common checkpoints from the largest LLC on, or
over all if the last LLC is the largest. Any two
falling curves have a high rank correlation: it shows that they move together, not why. Its interval is the central 95%
over curves redrawn with normal noise (of the logarithm if a curve is positive); if a measure has no error, it only
reflects that of the LLC. The peak is not redrawn.

Half way is the middle of a measure's own change by the rules of `slt_grok.change`, the same number as in the order of
events. A measure that takes no part in that order counts as changed if it moves by at least 10%
from its extreme to its end, in the direction in which it moves from the LLC's peak on. LLC estimates that melted or
diverged are omitted.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple
from zlib import crc32

import numpy as np
import pandas as pd
import xarray as xr
from scipy.stats import rankdata

from slt_grok.change import COVERAGE, find_change
from slt_grok.format import number, percent, step, step_interval
from slt_grok.llc.tables import doubts_at
from slt_grok.llc.variables import of_the_network
from slt_grok.measurement import Data, Derived, Table, Variable
from slt_grok.rules import OTHER_SCALE, SCALE, SHRINKING, Scale
from slt_grok.transitions.measures import event_stream, measures, with_interval


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
DIMS, RULE = ("measure",), "by the rules in the docstring of slt_grok.change"
HALF_WAY = Variable(DIMS, "step half way through the change", RULE, units="training steps")
PARTS = ("step", "low", "high")
HALF_WAYS: Mapping[Scale, tuple[str, ...]] = {
    SCALE: tuple(f"half_way_{part}" for part in PARTS),
    OTHER_SCALE: tuple(f"half_way_{part}_{OTHER_SCALE}" for part in PARTS),
}  # names of step and interval on each scale
VARIABLES = {
    "at_peak": Variable(
        DIMS,
        "first value from the LLC's peak on",
        "at the first checkpoint with a value from the LLC's peak on (of all checkpoints if the LLC peaks last)",
    ),
    "at_end": Variable(DIMS, "last value", "at the last checkpoint with a value"),
    **{
        name: HALF_WAY._replace(long_name=f"{HALF_WAY.long_name}{end} on a {scale} scale")
        for scale, names in HALF_WAYS.items()
        for name, end in zip(names, ("", ", lower end of its interval", ", upper end of its interval"), strict=True)
    },
    **with_interval("rank_correlation", Variable(DIMS, "rank correlation with the LLC", "Spearman's"), "interval"),
    "checkpoints": Variable(
        DIMS, "checkpoints with a value from the LLC's peak on", "count (of all checkpoints if the LLC peaks last)"
    ),
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
        networks = [llc_correlation(landscape.sel(seed=s), llc.sel(seed=s), network=int(s)) for s in seeds]
        joint = xr.concat(networks, pd.Index(seeds, name="seed"), combine_attrs="drop")
        steps = ("peak_step", "from_step")
        return joint.assign_coords({name: ("seed", [network.attrs[name] for network in networks]) for name in steps})

    def tables(self, data: Data) -> Sequence[Table]:
        """Tabulate every measure and the LLC from its peak on, one table per seed."""
        dataset = data[self.name]
        return [_table(dataset.sel(seed=seed), data["llc"].sel(seed=seed)) for seed in dataset.seed.values]


def _table(correlations: xr.Dataset, llc: xr.Dataset) -> Table:
    """Tabulate one seed, with the status of the LLC at the peak if it is untrusted."""
    rows = []
    for name, row in correlations.to_dataframe().iterrows():
        change = "–"
        if row.at_peak > 0 and np.isfinite(row.at_end):
            fraction = row.at_end / row.at_peak
            change = f"down {percent(1 - fraction)}" if fraction < 1 else f"up {percent(fraction - 1)}"
        half = step_interval(row.half_way_step, row.half_way_low, row.half_way_high)
        rank = f"{row.rank_correlation:+.2f}" if np.isfinite(row.rank_correlation) and name != "LLC" else "–"
        numbers = [number(row.at_peak), number(row.at_end), change, half, step(row.half_way_step_log), rank]
        rows.append([str(name), *numbers, str(int(row.checkpoints))])
    peak_step, rises = correlations.peak_step.item(), correlations.from_step.item() < correlations.peak_step.item()
    where = f"from the LLC's peak at step {step(peak_step)} to the end"
    if rises:
        where = "over all checkpoints, since the last LLC is the largest"
    caption = (
        f"The landscape and the LLC of seed {correlations.seed.item()}, {where}: first and "
        "last value, and Spearman's rank correlation with the LLC. Any two curves that fall, or rise, over training "
        f"are correlated; fewer than {FEWEST} checkpoints have no rank correlation. Half way: the middle of the "
        "measure's own change, as in the order of events, with its interval."
    )
    peak = [peak_step] if np.isfinite(correlations.at_peak.sel(measure="LLC")) else []
    if doubt := doubts_at(llc, peak):
        caption += f" The LLC at its peak is untrusted ({doubt})."
    header = ["Measure", "First", "Last", "Change", "Half way (step)", "On a logarithmic scale", "Rank correlation"]
    return Table(caption, [*header, "Checkpoints"], rows)


def llc_correlation(landscape: xr.Dataset, llc: xr.Dataset, seed: int = 0, network: int = 0) -> xr.Dataset:
    """Rank correlation with the LLC and half-way step of each landscape measure, for one seed.

    Parameters
    ----------
    landscape, llc : xarray.Dataset
        Over `step`, for one seed; measures missing from the landscape are omitted. The standard errors of a variable
        NAME are in NAME_se.
    seed : int, optional
        Seed of the redrawn curves.
    network : int, optional
        The network's seed, which is part of the random streams.

    Returns
    -------
    xarray.Dataset
        Over `measure`, the LLC first: `at_peak` and `at_end`; `half_way_step`, `half_way_low` and `half_way_high`, and
        on a logarithmic scale `half_way_step_log`, `half_way_low_log`, `half_way_high_log`; `rank_correlation` (from -1
        to 1), `rank_correlation_low` and `rank_correlation_high`, with `checkpoints`. NaN if a measure does not change
        or, from the LLC's peak on, has fewer than four checkpoints. Attributes `peak_step` and `from_step`, the same
        step unless the last LLC is the largest, where all checkpoints count.
    """
    value = llc.llc.where(of_the_network(llc)).dropna("step")
    peak = int(value.step[value.argmax("step")]) if len(value) else 0
    start = int(value.step[0]) if len(value) and peak == value.step[-1] else peak
    curves: dict[str, Noisy] = {"LLC": (value, llc.get("llc_se"))}
    for name, (variable, reduce) in MEASURES.items():
        try:
            error = reduce(landscape[f"{variable}_se"]) if f"{variable}_se" in landscape else None
            curves[name] = (reduce(landscape[variable]), error)
        except KeyError:  # written by another version or with other settings
            continue
    rows = [
        _row(curve, curves["LLC"], start, np.random.default_rng([seed, index]))
        | _half_way(name, curve, start, (seed, network))
        for index, (name, curve) in enumerate(curves.items())
    ]
    table = pd.DataFrame(rows, pd.Index(list(curves), name="measure"))
    return xr.Dataset.from_dataframe(table).assign_attrs(peak_step=peak, from_step=start)


def _half_way(name: str, measure: Noisy, start: int, keys: tuple[int, int]) -> dict[str, float]:
    """Find the middle of a measure's change on both scales; NaN without a change."""
    curve, error = measure[0].dropna("step"), measure[1]
    variable = "llc" if name == "LLC" else MEASURES[name].variable
    if variable in measures():
        rule, stream = measures()[variable].change.rule, event_stream(variable, *keys)
    else:
        later = curve.sel(step=slice(start, None))
        rule = SHRINKING._replace(rises=len(later) > 0 and bool(later[-1] > later[0]))
        stream = np.random.SeedSequence([keys[0], crc32(name.encode()), keys[1]])
    noise = None if error is None else error.sel(step=curve.step).values
    found = {}
    for scale, names in HALF_WAYS.items():
        middle = find_change(curve.step.values, curve.values, rule, noise, seed=stream, scale=scale)["middle"]
        found |= dict(zip(names, middle, strict=True))
    return found


def _row(measure: Noisy, reference: Noisy, start: int, generator: np.random.Generator) -> dict[str, float]:
    """Compute the columns of `llc_correlation` from a step on for one measure."""
    (curve, error), (llc, llc_error) = measure, reference
    curve, llc = (array.sel(step=slice(start, None)) for array in xr.align(curve.dropna("step"), llc, join="inner"))
    values = curve.values
    row = dict.fromkeys(VARIABLES, np.nan) | {"checkpoints": len(values)}
    if not len(values):
        return row
    row |= {"at_peak": values[0], "at_end": values[-1]}
    if len(values) >= FEWEST and np.ptp(values) > 0 and np.ptp(llc.values) > 0:
        correlation = float(_rank_correlation(values, llc.values))
        redrawn = (_redrawn(*noisy, generator) for noisy in ((curve, error), (llc, llc_error)))
        low, high = np.nanpercentile(_rank_correlation(*redrawn), COVERAGE)
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

"""The landscape beside the LLC in words and as a table."""

import numpy as np
import xarray as xr

from slt_grok.plots.style import with_seed
from slt_grok.report.tables import Table
from slt_grok.report.words import MISSING, listing, number, percent, step
from slt_grok.transitions.llc_correlation import WITH, WITHOUT, groups, llc_correlation


def sentences(landscape: xr.Dataset, llc: xr.Dataset) -> list[str]:
    """Which measures move with the LLC after its peak, which do not, and which are half way before and after it."""
    found = []
    for seed, one in _of_seeds(landscape, llc):
        who = f"Seed {seed}: from" if seed is not None else "From"
        related = one.drop_sel(measure="LLC").dropna("measure", subset=["rank_correlation"])
        if not related.sizes["measure"]:
            found.append(f"{who} the LLC's peak on too few checkpoints have probes of the landscape to compare.")
            continue
        said = {name: listing(names) if names else "none" for name, names in groups(one).items()}
        found.append(
            f"{who} the LLC's peak at step {step(one.attrs['peak_step'])} to the end these move with it (rank "
            f"correlation at least {WITH:g} in size, intervals of the half-way step not apart): "
            f"{said['move_with_it']}; these do not (below {WITHOUT:g}): {said['do_not']}. The LLC is half way "
            f"down at step {_half_way(one.sel(measure='LLC'))}. Half way, with intervals apart, before it: "
            f"{said['half_way_before_it']}; after it: {said['half_way_after_it']}."
        )
    return found


def tables(landscape: xr.Dataset, llc: xr.Dataset) -> list[Table]:
    """Every measure beside the LLC, a table for each seed."""
    made = []
    for seed, one in _of_seeds(landscape, llc):
        rows = []
        for name in one.measure.values:
            row = one.sel(measure=name)
            start, end = float(row.at_peak), float(row.at_end)
            change = _change(start, end) if start > 0 and np.isfinite(end) else "–"
            rows.append(
                [
                    str(name),
                    number(start),
                    number(end),
                    change,
                    _half_way(row),
                    "–" if name == "LLC" else _signed(float(row.rank_correlation)),
                    str(int(row.checkpoints)),
                ]
            )
        of = f" of seed {seed}" if seed is not None else ""
        made.append(
            Table(
                f"The landscape beside the LLC{of}, from the LLC's peak at step {step(one.attrs['peak_step'])} to the "
                "end: values at the first of its checkpoints there and at the last, the step half way between them and "
                "its interval (of the checkpoints on both sides and, where there is one, of the standard error), and "
                "Spearman's rank correlation with the LLC. Two curves that fall over training are correlated whatever "
                "joins them.",
                ["Measure", "First", "Last", "Change", "Half way", "Rank correlation", "Checkpoints"],
                rows,
            )
        )
    return made


def _of_seeds(landscape: xr.Dataset, llc: xr.Dataset) -> list[tuple[int | None, xr.Dataset]]:
    landscape, llc = with_seed(landscape), with_seed(llc)
    seeds = [seed for seed in llc.seed.values.tolist() if seed in landscape.seed]
    return [
        (seed if len(seeds) > 1 else None, llc_correlation(landscape.sel(seed=seed), llc.sel(seed=seed)))
        for seed in seeds
    ]


def _change(start: float, end: float) -> str:
    return f"down {percent(1 - end / start)}" if end < start else f"up {percent(end / start - 1)}"


def _half_way(row: xr.Dataset) -> str:
    if not np.isfinite(row.half_way_step):
        return MISSING
    low, high = step(float(row.half_way_low)), step(float(row.half_way_high))
    return f"{step(float(row.half_way_step))} ({low} to {high})"


def _signed(value: float) -> str:
    return f"{value:+.2f}" if np.isfinite(value) else MISSING

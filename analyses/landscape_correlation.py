"""Which measures of the landscape move with the LLC, which do not, and which move first.

Usage: python analyses/landscape_correlation.py [--out FOLDER] RUN ...
A RUN is a directory with LLC and landscape measured. Writes landscape_correlation.json and its figure into results/.

From the LLC's peak to the end of each seed: Spearman's rank correlation of each measure with the LLC, and the step at
which it is half way between its value at the peak and its last one, with intervals; the rules are those of
`slt_grok.transitions.llc_correlation`. A measure is in a group of all runs where it is in that group in each.
"""

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from rich.console import Console
from rich.table import Table
from runs_below import below_runs, command_line, config_of, picture

from slt_grok.errors import SltGrokError
from slt_grok.plots.style import BLUE, GRAY, GREEN, VERMILION, WIDTH, panel_letters, step_axis, styled, with_seed
from slt_grok.store import RunDirectory
from slt_grok.store.files import write_json
from slt_grok.studies.provenance import environment
from slt_grok.transitions.llc_correlation import FEWEST, groups, llc_correlation, order

COLORS = {"before": VERMILION, "not resolved": GRAY, "after": GREEN}


def read(path: Path) -> dict[str, xr.Dataset]:
    """Return the measures of a run with its LLC, by the name of the run and, of several, the seed."""
    run = RunDirectory(path)
    name = config_of(run)["name"]
    missing = [label for label in ("llc", "landscape") if label not in run.labels]
    if missing:
        raise SltGrokError(f"{path}: expected a run with llc and landscape measured, {missing[0]} is missing")
    llc, landscape = (with_seed(run.read_measurement(label)) for label in ("llc", "landscape"))
    seeds = llc.seed.values.tolist()
    found = {
        name if len(seeds) == 1 else f"{name}, seed {seed}": llc_correlation(
            landscape.sel(seed=seed), llc.sel(seed=seed)
        )
        for seed in seeds
    }
    for which, one in found.items():
        if not np.isfinite(one.half_way_step.sel(measure="LLC")):
            raise SltGrokError(
                f"{path}: expected an LLC that changes over {FEWEST} checkpoints from its peak on ({which})"
            )
    return found


def in_every_run(runs: dict[str, xr.Dataset]) -> dict[str, list[str]]:
    """Return the measures that are in the same group in every run."""
    first, *others = (groups(found) for found in runs.values())
    return {what: [n for n in names if all(n in other[what] for other in others)] for what, names in first.items()}


def numbers(found: xr.Dataset) -> dict[str, Any]:
    """Return a run's groups and its table as plain data; None where a number is not known."""
    rows: dict[str, Any] = {}
    for name in found.measure.values.tolist():
        row = {str(key): float(value) for key, value in found.sel(measure=name).data_vars.items()}
        rows[name] = {key: value if np.isfinite(value) else None for key, value in row.items()}
    return {"peak_step": found.attrs["peak_step"], **groups(found), "measures": rows}


@styled
def draw(runs: dict[str, xr.Dataset]) -> Figure:
    """Half-way steps with their intervals, a panel for each run, and on its right the rank correlations."""
    names = list(dict.fromkeys(name for found in runs.values() for name in found.measure.values.tolist()))
    figure = Figure(figsize=(WIDTH, 1.2 + 0.2 * len(names)), layout="constrained")
    panels = list(figure.subplots(1, len(runs), sharey=True, squeeze=False)[0])
    for axes, (title, found) in zip(panels, runs.items(), strict=True):
        own, placed = found.sel(measure="LLC"), order(found)
        axes.axvspan(float(own.half_way_low), float(own.half_way_high), color=BLUE, alpha=0.15, lw=0)
        for name in found.measure.values.tolist():
            row, place = found.sel(measure=name), names.index(name)
            if not np.isfinite(row.half_way_step):
                continue
            color = COLORS[placed[name]] if name in placed else BLUE
            axes.plot([row.half_way_low, row.half_way_high], [place] * 2, color=color, lw=1.4)
            axes.plot(row.half_way_step, place, "o", ms=4, color=color)
            if name in placed and np.isfinite(row.rank_correlation):
                text = f"{float(row.rank_correlation):+.2f}".replace("-", "\N{MINUS SIGN}")
                axes.annotate(text, (1.01, place), xycoords=("axes fraction", "data"), fontsize=6.5, va="center")
        axes.annotate("rank\ncorr.", (1.01, 1.005), xycoords="axes fraction", fontsize=6.5)
        ends = found[["half_way_low", "half_way_high"]].to_array()
        step_axis(axes, np.array([max(float(ends.min()) / 1.3, 1), float(ends.max()) * 1.3]))
        axes.tick_params(axis="x", labelrotation=45)
        axes.set_xlabel("Half-way step (logarithmic)")
        axes.set_title(title, loc="left")
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_yticks(range(len(names)), names)
    panels[0].invert_yaxis()
    lines = [Line2D([], [], color=color, marker="o", ms=4, label=text) for text, color in COLORS.items()]
    legend = figure.legend(handles=lines, loc="outside lower center", ncols=len(lines), title="Half way beside the LLC")
    legend.get_title().set_fontsize(7)
    panel_letters(panels, offset=(-14, 9), room=False)
    return figure


def table(name: str, found: xr.Dataset) -> Table:
    """Return the measures of a run as a person reads them."""
    placed = order(found)
    shown = Table(title=f"{name}, from the LLC's peak at step {found.attrs['peak_step']:,}")
    for column in ("measure", "half way", "interval", "beside the LLC", "rank correlation", "interval", "checkpoints"):
        shown.add_column(column)
    for measure in found.measure.values.tolist():
        row = found.sel(measure=measure)
        shown.add_row(
            measure,
            f"{float(row.half_way_step):,.0f}",
            f"{float(row.half_way_low):,.0f} to {float(row.half_way_high):,.0f}",
            placed.get(measure, ""),
            f"{float(row.rank_correlation):+.2f}",
            f"{float(row.rank_correlation_low):+.2f} to {float(row.rank_correlation_high):+.2f}",
            str(int(row.checkpoints)),
        )
    return shown


def main(paths: list[Path], out: Path) -> None:
    """Read, compare, draw, write."""
    runs: dict[str, xr.Dataset] = {}
    for path in paths:
        found = read(path)
        if twice := runs.keys() & found.keys():
            raise SltGrokError(f"{path}: expected every run once, {', '.join(sorted(twice))} is there twice")
        runs |= found
    console = Console(width=150)
    for name, found in runs.items():
        console.print(table(name, found))
    together = in_every_run(runs)
    for where, found in {**{name: groups(found) for name, found in runs.items()}, "in every run": together}.items():
        for what, names in found.items():
            console.print(f"{where}, {what.replace('_', ' ')}: {', '.join(names) or 'none'}", highlight=False)
    content = {
        "command": " ".join(["python analyses/landscape_correlation.py", *map(below_runs, paths)]),
        "in_every_run": together,
        "runs": {name: numbers(found) for name, found in runs.items()},
        "environment": environment(),
    }
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "landscape_correlation.json", content)
    print(picture(draw(runs), out, "landscape_correlation"))


if __name__ == "__main__":
    command_line(main, __doc__)

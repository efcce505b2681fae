"""Which measures of the landscape move with the LLC, which do not, and which move first.

Usage: python analyses/landscape_correlation.py [--out FOLDER] RUN ...
A RUN is a directory with LLC and landscape measured. Writes landscape_correlation.json and its figure into results/.

Of each seed: Spearman's rank correlation of each measure with the LLC from the LLC's peak to the end, and the step at
which the measure is half way through its own change, as in the order of events, on a linear scale and also on a
logarithmic one, with intervals; the rules are those of `slt_grok.transitions.llc_correlation`. A measure is half way
before or after the LLC if their intervals on the linear scale are disjoint. It moves with the LLC if the rank
correlation is at least 0.8 in magnitude and the intervals overlap, since two curves that fall at different times are
correlated as well; it does not if the correlation is below 0.4 in magnitude. A measure is in a group of all runs if it
is in that group in each.
"""

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from rich.console import Console
from rich.table import Table
from runs_below import below_runs, command_line, config_of, llc_settings, picture, plain

from slt_grok.errors import SltGrokError
from slt_grok.plots.palette import BLUE, GRAY, GREEN, VERMILION
from slt_grok.plots.style import frame, panel_letters, step_axis, styled
from slt_grok.store import RunDirectory
from slt_grok.store.files import write_json
from slt_grok.studies.provenance import environment
from slt_grok.transitions.llc_correlation import FEWEST, llc_correlation
from slt_grok.transitions.measures import with_seed

COLORS = {"before": VERMILION, "not resolved": GRAY, "after": GREEN}
WITH, WITHOUT = 0.8, 0.4  # thresholds of the rank correlation: moves with the LLC, does not


def read(path: Path) -> dict[str, xr.Dataset]:
    """Return the measures of a run with its LLC, by the name of the run and, of several, the seed."""
    run = RunDirectory(path)
    name = config_of(run)["name"]
    missing = [label for label in ("llc", "landscape") if label not in run.labels]
    if missing:
        raise SltGrokError(f"{path}: expected a run with llc and landscape measured, {missing[0]} is missing")
    llc, landscape = (with_seed(run.read_measurement(label)) for label in ("llc", "landscape"))
    datasets = {}
    for seed in llc.seed.values.tolist():
        network = name if llc.sizes["seed"] == 1 else f"{name}, seed {seed}"
        datasets[network] = llc_correlation(landscape.sel(seed=seed), llc.sel(seed=seed))
        if not np.isfinite(datasets[network].half_way_step.sel(measure="LLC")):
            raise SltGrokError(
                f"{path}: expected an LLC that changes over {FEWEST} checkpoints from its peak on ({network})"
            )
    return datasets


def order(correlations: xr.Dataset) -> dict[str, str]:
    """Classify each measure of `llc_correlation` as halfway `before` or `after` the LLC, or `not resolved`."""
    llc = correlations.sel(measure="LLC")
    rows = correlations.drop_sel(measure="LLC").dropna("measure", subset=["half_way_step"])
    before, after = rows.half_way_high < llc.half_way_low, rows.half_way_low > llc.half_way_high
    words = np.where(before, "before", np.where(after, "after", "not resolved"))
    return dict(zip(rows.measure.values.tolist(), words.tolist(), strict=True))


def groups(correlations: xr.Dataset) -> dict[str, list[str]]:
    """Group measures of `llc_correlation`: moving with the LLC or not, and halfway before or after it."""
    measured = correlations.drop_sel(measure="LLC").dropna("measure", subset=["rank_correlation"])
    size = abs(measured.sortby("half_way_step").rank_correlation).to_series()
    placed = order(correlations)
    return {
        "move_with_it": [name for name in size.index[size >= WITH] if placed.get(name) == "not resolved"],
        "do_not": size.index[size < WITHOUT].tolist(),
        "half_way_before_it": [name for name in size.index if placed.get(name) == "before"],
        "half_way_after_it": [name for name in size.index if placed.get(name) == "after"],
    }


def in_every_run(runs: dict[str, xr.Dataset]) -> dict[str, list[str]]:
    """Return the measures that are in the same group in every run."""
    first, *others = map(groups, runs.values())
    return {group: [n for n in names if all(n in other[group] for other in others)] for group, names in first.items()}


def numbers(correlations: xr.Dataset) -> dict[str, Any]:
    """Return a run's groups and its table as plain data."""
    measures = correlations.to_dataframe().astype(float).to_dict("index")
    return {"peak_step": correlations.attrs["peak_step"], **groups(correlations), "measures": measures}


@styled
def draw(runs: dict[str, xr.Dataset]) -> Figure:
    """Half-way steps with their intervals, a panel for each run, and on its right the rank correlations."""
    names = list(dict.fromkeys(name for correlations in runs.values() for name in correlations.measure.values.tolist()))
    figure, (panels,) = frame(1.2 + 0.2 * len(names), 1, len(runs), sharey=True)
    for axes, (title, correlations) in zip(panels, runs.items(), strict=True):
        llc, placed = correlations.sel(measure="LLC"), order(correlations)
        axes.axvspan(float(llc.half_way_low), float(llc.half_way_high), color=BLUE, alpha=0.15, lw=0)
        for name, row in correlations.to_dataframe().dropna(subset="half_way_step").iterrows():
            place, color = names.index(str(name)), COLORS.get(placed.get(str(name), ""), BLUE)
            axes.plot([row.half_way_low, row.half_way_high], [place] * 2, color=color, lw=1.4)
            axes.plot(row.half_way_step, place, "o", ms=4, color=color)
            if name in placed and np.isfinite(row.rank_correlation):
                text = f"{row.rank_correlation:+.2f}".replace("-", "\N{MINUS SIGN}")
                axes.annotate(text, (1.01, place), xycoords=("axes fraction", "data"), fontsize=6.5, va="center")
        axes.annotate("rank\ncorr.", (1.01, 1.005), xycoords="axes fraction", fontsize=6.5)
        lowest, highest = float(correlations.half_way_low.min()), float(correlations.half_way_high.max())
        step_axis(axes, np.array([max(lowest / 1.3, 1), highest * 1.3]))
        axes.tick_params(axis="x", labelrotation=45)
        axes.set_xlabel("Half-way step (logarithmic)")
        axes.set_title(title, loc="left")
    panels[0].set_yticks(range(len(names)), names)
    panels[0].invert_yaxis()
    lines = [Line2D([], [], color=color, marker="o", ms=4, label=text) for text, color in COLORS.items()]
    title = "Half-way step compared with the LLC's"
    figure.legend(handles=lines, loc="outside lower center", ncols=len(lines), title=title, title_fontsize=7)
    panel_letters(panels.tolist(), offset=(-14, 9), room=False)
    return figure


def table(name: str, correlations: xr.Dataset) -> Table:
    """Tabulate the measures of a run."""
    placed = order(correlations)
    header = ("measure", "half way", "interval", "log scale", "order", "rank correlation", "interval", "checkpoints")
    shown = Table(*header, title=f"{name}, from the LLC's peak at step {correlations.attrs['peak_step']:,}")
    for measure, row in correlations.to_dataframe().iterrows():
        shown.add_row(
            str(measure),
            f"{row.half_way_step:,.0f}",
            f"{row.half_way_low:,.0f} to {row.half_way_high:,.0f}",
            f"{row.half_way_step_log:,.0f}",
            placed.get(str(measure), ""),
            f"{row.rank_correlation:+.2f}",
            f"{row.rank_correlation_low:+.2f} to {row.rank_correlation_high:+.2f}",
            str(int(row.checkpoints)),
        )
    return shown


def main(paths: list[Path], out: Path) -> None:
    """Read, compare, draw, write."""
    runs: dict[str, xr.Dataset] = {}
    for path in paths:
        networks = read(path)
        if repeated := runs.keys() & networks.keys():
            raise SltGrokError(f"{path}: expected every run once, {', '.join(sorted(repeated))} is there twice")
        runs |= networks
    console = Console(width=150)
    for name, correlations in runs.items():
        console.print(table(name, correlations))
    shared = in_every_run(runs)
    for where, grouped in {**{name: groups(run) for name, run in runs.items()}, "in every run": shared}.items():
        for group, names in grouped.items():
            console.print(f"{where}, {group.replace('_', ' ')}: {', '.join(names) or 'none'}", highlight=False)
    content = {
        "command": " ".join(["python analyses/landscape_correlation.py", *map(below_runs, paths)]),
        "llc_settings": llc_settings(paths),
        "in_every_run": shared,
        "runs": {name: numbers(correlations) for name, correlations in runs.items()},
        "environment": environment(),
    }
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "landscape_correlation.json", plain(content))
    print(picture(draw(runs), out, "landscape_correlation"))


if __name__ == "__main__":
    command_line(main, __doc__)

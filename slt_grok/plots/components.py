"""Refined LLCs over training, and the drop of the LLC attributed to matrices, heads and frequencies.

Estimator: Lau et al., 2308.12108; restrictions: Wang et al., 2410.02984, section 3; splittings:
`slt_grok.transitions.attribution`.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from slt_grok.errors import SltGrokError
from slt_grok.plots.lines import line_of_llc, setting
from slt_grok.plots.palette import BLUE, GRAY, GREEN, ORANGE, VERMILION
from slt_grok.plots.spectra import COLORS
from slt_grok.plots.style import finish, frame, legend_right, one_seed, panel_letters, styled

PER = 1000  # number of dimensions by which the last panel normalizes a component's LLC
DARK, OTHER = "0.15", "0.6"
LINE: dict[str, Any] = {"ms": 2.8, "alpha": 0.2, "lw": 1.1}
DATA = {"all weights": (BLUE, "train set"), "test pairs": (ORANGE, "test set"), "all pairs": (GRAY, "all pairs")}
CIRCUIT = {
    "circuit": (GREEN, "key frequencies"),
    "rest": (VERMILION, "other frequencies,\nconstant"),
    "null circuit": (OTHER, "equally many\nother frequencies"),
}


@styled
def refined_llc(refined: xr.Dataset, seed: int | None = None) -> Figure:
    """Draw refined LLCs of one seed, one panel per kind of restriction that was measured.

    By data: all weights on the train set, the test set and all pairs. By matrix: the largest in color, with their sum
    and the LLC of all weights. By head. By frequency: each key frequency, and in gray equally many random ones. Circuit
    and rest: LLC per 1,000 dimensions of all key frequencies, of everything else in the same tables, and of equally
    many random frequencies.

    Parameters
    ----------
    refined : xarray.Dataset
        The dataset of `slt_grok.llc.refined.measure` for checkpoints.
    """
    one = one_seed(refined, seed)
    one = one.isel(component=(one.llc_status != "").any("step").values)  # omit key frequencies of other seeds
    groups = set(one.group.values.tolist())
    draws = [draw for group, draw in PANELS.items() if group in groups]
    if not draws:
        raise SltGrokError(f"the refined LLC figure expected matrices, heads or frequencies, got {', '.join(groups)}")
    heights = [1.6 if draw is _by_matrix else 1.0 for draw in draws]  # room for eleven names
    figure, grid = frame(0.5 + 1.6 * sum(heights), len(draws), sharex=True, height_ratios=heights)
    for axes, draw in zip(grid[:, 0], draws, strict=True):
        draw(axes, one)
        axes.axhline(0, color="0.8", lw=0.6, zorder=0)
        legend_right(axes)
    grid[0, 0].set_title(setting(one), loc="right", fontsize=6.5, color="0.35")
    finish(figure, grid[:, 0].tolist(), one.step.values)
    return figure


def _of(one: xr.Dataset, group: str) -> list[xr.Dataset]:
    return [one.isel(component=i) for i in np.flatnonzero(one.group.values == group)]


def _by_data(axes: Axes, one: xr.Dataset) -> None:
    for name, (color, label) in DATA.items():
        if name in one.component:
            line_of_llc(axes, one.sel(component=name), color, label, **LINE)
    axes.set_ylabel("LLC,\nall weights")


def _by_matrix(axes: Axes, one: xr.Dataset) -> None:
    found = one.isel(component=one.group.values == "matrix")
    order = np.argsort(-found.llc.max("step").fillna(-np.inf).values, kind="stable")
    for whole in _of(one, "whole")[:1]:
        line_of_llc(axes, whole, DARK, "all weights", **LINE)
        axes.plot(one.step, found.llc.sum("component", skipna=False), ":", color=DARK, lw=1.2, label="sum of matrices")
    rest = ", ".join(found.component.values[order[len(COLORS) :]])
    for i, place in enumerate(order):
        matrix = found.isel(component=place)
        color, name = (COLORS[i], str(matrix.component.values)) if i < len(COLORS) else (OTHER, rest)
        line_of_llc(axes, matrix, color, name if i <= len(COLORS) else "", **LINE)
    axes.set_yscale("symlog", linthresh=1, linscale=0.5)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_ylabel("LLC, by matrix\n(logarithmic above 1)")


def _by_head(axes: Axes, one: xr.Dataset) -> None:
    _each(axes, _of(one, "head"))
    axes.set_ylabel("LLC,\nby head")


def _by_frequency(axes: Axes, one: xr.Dataset) -> None:
    null = _of(one, "null frequency")
    numbers = ", ".join(str(random.component.values).split()[-1] for random in null)
    for i, random in enumerate(null):
        line_of_llc(axes, random, OTHER, "" if i else f"not key: {numbers}", **LINE)
    _each(axes, _of(one, "frequency"))
    axes.set_ylabel("LLC, one\nfrequency")


def _each(axes: Axes, found: list[xr.Dataset]) -> None:
    for i, part in enumerate(found):
        line_of_llc(axes, part, COLORS[i % len(COLORS)], str(part.component.values), **LINE)


def _circuit_and_rest(axes: Axes, one: xr.Dataset) -> None:
    for group, (color, label) in CIRCUIT.items():
        for found in _of(one, group)[:1]:
            line_of_llc(axes, found, color, label, scale=PER / found.dimension, **LINE)
    axes.set_ylabel(f"LLC per {PER:,}\ndimensions")


PANELS: dict[str, Callable[[Axes, xr.Dataset], None]] = {
    "data": _by_data,
    "matrix": _by_matrix,
    "head": _by_head,
    "frequency": _by_frequency,
    "circuit": _circuit_and_rest,
}

SPLITTINGS = {
    "matrix": ("matrices", BLUE),
    "head": ("attention heads", ORANGE),
    "frequency": ("frequencies, in the tables over tokens and classes", GREEN),
}
KINDS = ("part", "remainder", "whole")


@styled
def attribution(split: xr.Dataset, seed: int | None = None) -> Figure:
    """Draw one panel per splitting, with bars for each part, the remainder (hatched) and the whole (dark).

    Bars are drops of the LLC with 95% intervals; the label of each is its percentage of the drop of all weights.

    Parameters
    ----------
    split : xarray.Dataset
        The dataset derived by `slt_grok.transitions.attribution`.

    Raises
    ------
    SltGrokError
        No drop is known.
    """
    one = split.sel(seed=split.seed.values[0] if seed is None else seed)
    if not np.isfinite(one["drop"]).any():
        raise SltGrokError("no drop of the LLC is known")
    one = one.isel(row=np.flatnonzero(np.isfinite(one["drop"]) | (one.kind == "remainder")))
    counts = {name: count for name in SPLITTINGS if (count := int((one.splitting == name).sum()))}
    height = 0.7 + 0.19 * sum(counts.values()) + 0.3 * len(counts)
    figure, grid = frame(height, len(counts), sharex=True, height_ratios=list(counts.values()))
    panels = grid[:, 0].tolist()
    for axes, name in zip(panels, counts, strict=True):
        title, color = SPLITTINGS[name]
        _bars(axes, one.isel(row=(one.splitting == name).values), color)
        axes.set_title(title, loc="left")
    panels[-1].set_xlabel(
        f"Drop of the LLC from step {int(one.drop_from):,} to step {int(one.drop_to):,}; % of that of all weights"
    )
    panels[0].set_title(setting(split), loc="right", fontsize=6.5, color="0.35")
    panel_letters(panels, offset=(-105, 7), room=False)
    return figure


def _bars(axes: Axes, rows: xr.Dataset, color: str) -> None:
    """Draw parts, the largest first, then the remainder and the whole."""
    order = np.lexsort(np.stack([-rows["drop"].fillna(0).values, [KINDS.index(kind) for kind in rows.kind.values]]))
    rows = rows.isel(row=order)
    looks: dict[str, dict[str, Any]] = {
        "part": {"color": color},
        "remainder": {"facecolor": "white", "edgecolor": color, "hatch": "////"},
        "whole": {"color": "0.35"},
    }
    for place, kind in enumerate(rows.kind.values):
        here = rows.isel(row=place)
        value = float(here["drop"])
        if not np.isfinite(value):
            axes.text(0, place, " unknown: a part or the whole was not measured", va="center", fontsize=6.5)
            continue
        axes.barh(place, value, height=0.72, lw=0.8, **looks[str(kind)])
        ends = [[value - float(here.drop_low)], [float(here.drop_high) - value]]
        axes.errorbar(value, place, xerr=ends, color="0.1", lw=0.9, capsize=1.5)
        if np.isfinite(here.share):
            share = 100 * float(here.share)
            text = f"{share:.1f}%" if abs(share) >= 1 else f"{share:.2g}%"
            at = {"textcoords": "offset points", "va": "center", "fontsize": 6.5, "color": "0.25"}
            axes.annotate(text, (max(float(here.drop_high), 0), place), (4, 0), **at)
    axes.set_yticks(range(rows.sizes["row"]), [str(name) for name in rows.component.values])
    axes.set_ylim(rows.sizes["row"] - 0.4, -0.6)
    axes.axvline(0, color="0.6", lw=0.7)
    axes.margins(x=0.12)

"""Refined LLCs over training, and the drop of the LLC attributed to matrices, heads and frequencies.

Estimator: Lau et al., 2308.12108; restrictions: Wang et al., 2410.02984, section 3; splittings:
`slt_grok.transitions.attribution`.
"""

from collections.abc import Callable
from itertools import cycle
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from slt_grok.errors import SltGrokError
from slt_grok.llc.diagnostics import EXCLUDED
from slt_grok.plots import style
from slt_grok.plots.lines import line_of_llc, note_setting
from slt_grok.plots.palette import BLUE, GRAY, GREEN, ORANGE, VERMILION
from slt_grok.plots.spectra import COLORS

PER = 1000  # number of dimensions by which the last panel normalizes a component's LLC
DARK, OTHER = "0.15", "0.6"
LINE: dict[str, Any] = {"ms": 2.8, "alpha": 0.2, "lw": 1.1}
DATA = {"all weights": (BLUE, "train set"), "test pairs": (ORANGE, "test set"), "all pairs": (GRAY, "all pairs")}
CIRCUIT = {
    "circuit": (GREEN, "key frequencies"),
    "rest": (VERMILION, "other frequencies,\nconstant"),
    "null circuit": (OTHER, "equally many\nother frequencies"),
}


@style.styled
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
    refined = style.select_seed(refined, seed)
    refined = refined.isel(component=(refined.llc_status != "").any("step").values)  # omit other seeds' key frequencies
    groups = set(refined.group.values.tolist())
    draws = [draw for group, draw in PANELS.items() if group in groups]
    if not draws:
        raise SltGrokError(f"the refined LLC figure expected matrices, heads or frequencies, got {', '.join(groups)}")
    heights = [1.6 if draw is _by_matrix else 1.0 for draw in draws]  # room for eleven names
    figure, panels = style.stack(0.5 + 1.6 * sum(heights), heights)
    for axes, draw in zip(panels, draws, strict=True):
        draw(axes, refined)
        axes.axhline(0, color="0.8", lw=0.6, zorder=0)
        style.legend_right(axes)
    note_setting(panels[0], refined)
    style.finish(figure, panels, refined.step.values)
    return figure


def _components(refined: xr.Dataset, group: str) -> list[xr.Dataset]:
    return [refined.isel(component=i) for i in np.flatnonzero(refined.group.values == group)]


def _by_data(axes: Axes, refined: xr.Dataset) -> None:
    for name, (color, label) in DATA.items():
        if name in refined.component:
            line_of_llc(axes, refined.sel(component=name), color, label, **LINE)
    axes.set_ylabel("LLC,\nall weights")


def _by_matrix(axes: Axes, refined: xr.Dataset) -> None:
    matrices = refined.isel(component=refined.group.values == "matrix")
    matrices = matrices.isel(component=np.argsort(-matrices.llc.max("step").fillna(-np.inf).values, kind="stable"))
    for whole in _components(refined, "whole"):
        total = matrices.llc.where(~matrices.llc_status.isin(EXCLUDED)).sum("component", skipna=False)
        line_of_llc(axes, whole, DARK, "all weights", **LINE)
        axes.plot(refined.step, total, ":", color=DARK, lw=1.2, label="sum of matrices")
    names = matrices.component.values.tolist()
    labels = [*names[: len(COLORS)], ", ".join(names[len(COLORS) :])]
    for i, name in enumerate(names):
        color, label = (COLORS[i], labels[i]) if i < len(COLORS) else (OTHER, labels[i] if i == len(COLORS) else "")
        line_of_llc(axes, matrices.sel(component=name), color, label, **LINE)
    style.symlog_axis(axes, 1, 0.5)
    axes.set_ylabel("LLC, by matrix\n(logarithmic above 1)")


def _by_head(axes: Axes, refined: xr.Dataset) -> None:
    _each(axes, _components(refined, "head"))
    axes.set_ylabel("LLC,\nby head")


def _by_frequency(axes: Axes, refined: xr.Dataset) -> None:
    random = _components(refined, "null frequency")
    numbers = ", ".join(str(frequency.component.values).split()[-1] for frequency in random)
    for i, frequency in enumerate(random):
        line_of_llc(axes, frequency, OTHER, "" if i else f"not key: {numbers}", **LINE)
    _each(axes, _components(refined, "frequency"))
    axes.set_ylabel("LLC, one\nfrequency")


def _each(axes: Axes, components: list[xr.Dataset]) -> None:
    for component, color in zip(components, cycle(COLORS), strict=False):
        line_of_llc(axes, component, color, str(component.component.values), **LINE)


def _circuit_and_rest(axes: Axes, refined: xr.Dataset) -> None:
    for group, (color, label) in CIRCUIT.items():
        for component in _components(refined, group):
            line_of_llc(axes, component, color, label, scale=PER / component.dimension, **LINE)
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


@style.styled
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
    split = split.sel(seed=split.seed.values[0] if seed is None else seed)
    known = np.isfinite(split["drop"])
    if not known.any():
        raise SltGrokError("no drop of the LLC is known")
    split = split.isel(row=(known | (split.kind == "remainder")).values)
    counts = {name: count for name in SPLITTINGS if (count := int((split.splitting == name).sum()))}
    figure, panels = style.stack(0.7 + 0.19 * sum(counts.values()) + 0.3 * len(counts), list(counts.values()))
    for axes, name in zip(panels, counts, strict=True):
        title, color = SPLITTINGS[name]
        _bars(axes, split.isel(row=(split.splitting == name).values), color)
        axes.set_title(title, loc="left")
    panels[-1].set_xlabel(
        f"Drop of the LLC from step {int(split.drop_from):,} to step {int(split.drop_to):,}; % of that of all weights"
    )
    note_setting(panels[0], split)
    style.panel_letters(panels, offset=(-105, 7), room=False)
    return figure


def _bars(axes: Axes, rows: xr.Dataset, color: str) -> None:
    """Draw parts, the largest first, then the remainder and the whole."""
    order = np.lexsort(np.stack([-rows["drop"].fillna(0).values, [KINDS.index(kind) for kind in rows.kind.values]]))
    rows = rows.isel(row=order)
    style.name_rows(axes, rows.component.values.tolist())
    looks: dict[str, dict[str, Any]] = {
        "part": {"color": color},
        "remainder": {"facecolor": "white", "edgecolor": color, "hatch": "////"},
        "whole": {"color": "0.35"},
    }
    for place, kind in enumerate(rows.kind.values.tolist()):
        value, low, high, share = (float(rows[name][place]) for name in ("drop", "drop_low", "drop_high", "share"))
        if not np.isfinite(value):
            axes.text(0, place, " unknown: a part or the whole was not measured", va="center", fontsize=6.5)
            continue
        axes.barh(place, value, height=0.72, lw=0.8, **looks[kind])
        axes.errorbar(value, place, xerr=[[value - low], [high - value]], color="0.1", lw=0.9, capsize=1.5)
        if np.isfinite(share):
            text = f"{100 * share:.1f}%" if abs(share) >= 0.01 else f"{100 * share:.2g}%"
            look: Any = {"textcoords": "offset points", "va": "center", "fontsize": 6.5, "color": "0.25"}
            axes.annotate(text, (max(high, 0), place), (4, 0), **look)
    axes.axvline(0, color="0.6", lw=0.7)
    axes.margins(x=0.12)

"""Refined LLCs along training: by data, by matrix, by head, by frequency, the circuit against the rest.

Estimator: Lau et al., 2308.12108; restrictions: Wang et al., 2410.02984. Bands are 95% intervals from llc_low to
llc_high; filled points have a trusted status, hollow ones another; what diverged is not drawn.
"""

from collections.abc import Callable

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from slt_grok.errors import SltGrokError
from slt_grok.plots.llc_curve import TRUSTED, settings
from slt_grok.plots.spectrum import COLORS
from slt_grok.plots.style import (
    BLUE,
    GRAY,
    GREEN,
    ORANGE,
    VERMILION,
    WIDTH,
    legend_right,
    one_seed,
    panel_letters,
    step_axis,
    styled,
)

PER = 1000  # dimensions to which a component's LLC is referred in the last panel
DARK = "0.15"
OTHER = "0.6"


@styled
def refined_llc(refined: xr.Dataset, seed: int | None = None) -> Figure:
    """Refined LLCs of one seed against the training step, a panel for each kind of restriction that was measured.

    By data: all weights on the train, the test and all pairs. By matrix: the largest in color, with their sum beside
    the LLC of all weights. By head. By frequency: each key frequency, and in gray as many random ones. The circuit
    against the rest: LLC per 1,000 dimensions of all key frequencies, of everything else in the same tables, and of as
    many random frequencies.

    Parameters
    ----------
    refined : xarray.Dataset
        What `slt_grok.llc.refined.measure` returns for checkpoints.
    seed : int or None, optional
        The first where none is named.

    Raises
    ------
    SltGrokError
        The dataset has no `step` dimension, no such seed, or none of these components.
    """
    one = one_seed(refined, seed)
    one = one.isel(component=(one.llc_status != "").any("step").values)  # another seed's key frequencies
    groups = set(one.group.values.tolist())
    panels = [draw for needed, draw in PANELS if groups & needed]
    if not panels:
        raise SltGrokError(f"the refined LLC figure expected matrices, heads or frequencies, got {', '.join(groups)}")
    heights = [1.6 if draw is by_matrix else 1.0 for draw in panels]  # eleven names need the room
    figure = Figure(figsize=(WIDTH, 0.5 + 1.6 * sum(heights)), layout="constrained")
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0].tolist()
    for place, draw in zip(axes, panels, strict=True):
        draw(place, one)
        place.axhline(0, color="0.8", lw=0.6, zorder=0)
        place.spines[["top", "right"]].set_visible(False)
        legend_right(place)
    step_axis(axes[-1], one.step.values)
    axes[0].set_title(settings(one), loc="right", fontsize=6.5, color="0.35")
    panel_letters(axes)
    figure.align_ylabels(axes)
    return figure


def by_data(axes: Axes, one: xr.Dataset) -> None:
    """All weights on train, test and all pairs."""
    for name, color, label in (
        ("all weights", BLUE, "train pairs"),
        ("test pairs", ORANGE, "test pairs"),
        ("all pairs", GRAY, "all pairs"),
    ):
        if name in one.component:
            line(axes, one.sel(component=name), color, label)
    axes.set_ylabel("LLC,\nall weights")


def by_matrix(axes: Axes, one: xr.Dataset) -> None:
    """Each parameter, the largest in color; their sum and the LLC of all weights."""
    found = one.isel(component=one.group.values == "matrix")
    order = found.component.values[np.argsort(-found.llc.max("step").fillna(-np.inf).values, kind="stable")]
    if "whole" in one.group:
        line(axes, one.isel(component=int(np.argmax(one.group.values == "whole"))), DARK, "all weights")
        axes.plot(one.step, found.llc.sum("component", skipna=False), ":", color=DARK, lw=1.2, label="sum of matrices")
    for name, color in zip(order, COLORS, strict=False):
        line(axes, found.sel(component=name), color, name)
    rest = order[len(COLORS) :]
    for name in rest:
        line(axes, found.sel(component=name), OTHER, ", ".join(rest) if name == rest[0] else None)
    axes.set_yscale("symlog", linthresh=1, linscale=0.5)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_ylabel("LLC, by matrix\n(logarithmic above 1)")


def by_head(axes: Axes, one: xr.Dataset) -> None:
    """Each attention head."""
    found = one.isel(component=one.group.values == "head")
    for i, name in enumerate(found.component.values):
        line(axes, found.sel(component=name), COLORS[i % len(COLORS)], name)
    axes.set_ylabel("LLC,\nby head")


def by_frequency(axes: Axes, one: xr.Dataset) -> None:
    """Each key frequency in color, random ones that are not key in gray."""
    null = one.isel(component=one.group.values == "null frequency")
    for i, name in enumerate(null.component.values):
        numbers = ", ".join(str(n).split()[-1] for n in null.component.values)
        line(axes, null.sel(component=name), OTHER, f"not key: {numbers}" if i == 0 else None)
    found = one.isel(component=one.group.values == "frequency")
    for i, name in enumerate(found.component.values):
        line(axes, found.sel(component=name), COLORS[i % len(COLORS)], name)
    axes.set_ylabel("LLC, one\nfrequency")


def circuit_and_rest(axes: Axes, one: xr.Dataset) -> None:
    """LLC per dimension of the key frequencies together, of the rest, of as many random frequencies."""
    for group, color, label in (
        ("circuit", GREEN, "key frequencies"),
        ("rest", VERMILION, "other frequencies,\nconstant"),
        ("null circuit", OTHER, "as many that\nare not key"),
    ):
        if group in one.group:
            found = one.isel(component=int(np.argmax(one.group.values == group)))
            line(axes, found, color, label, PER / found.dimension)
    axes.set_ylabel(f"LLC per {PER:,}\ndimensions")


PANELS: tuple[tuple[set[str], Callable[[Axes, xr.Dataset], None]], ...] = (
    ({"data"}, by_data),
    ({"matrix"}, by_matrix),
    ({"head"}, by_head),
    ({"frequency"}, by_frequency),
    ({"circuit"}, circuit_and_rest),
)


def line(axes: Axes, found: xr.Dataset, color: str, label: str | None, scale: float | xr.DataArray = 1.0) -> None:
    """One component over `step`: line, 95% band, points by status."""
    drawn = (found.llc_status != "diverged") & np.isfinite(found.llc)
    value = (scale * found.llc).where(drawn)
    axes.fill_between(
        found.step,
        (scale * found.llc_low).where(drawn),
        (scale * found.llc_high).where(drawn),
        color=color,
        alpha=0.2,
        lw=0,
    )
    axes.plot(found.step, value, color=color, lw=1.1, label=label)
    trusted = found.llc_status.isin(TRUSTED)
    for good, face in ((True, color), (False, "white")):
        axes.plot(found.step, value.where(trusted == good), "o", ms=2.8, mec=color, mfc=face, mew=0.8)

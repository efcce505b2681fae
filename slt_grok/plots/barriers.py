"""Barriers between all pairs: checkpoints as a heat map, seeds as curves over training.

Measured by `slt_grok.landscape.connectivity.barrier_matrix`; definition: Entezari et al. 2110.06296, definition 1.
"""

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter

from slt_grok.errors import SltGrokError
from slt_grok.plots.panels import undefined
from slt_grok.plots.spectrum import step_edges
from slt_grok.plots.style import BLUE, ORANGE, WIDTH, one_seed, panel_letters, step_axis, styled

LOWEST = 1e-3  # nats: what is below has the darkest color
ROWS = {"barrier_between": "straight line", "barrier_aligned": "units aligned"}


@styled
def barrier_matrix(measured: xr.Dataset, seed: int | None = None) -> Figure:
    """Barrier between every two checkpoints of one seed, train beside test; below it after alignment, where there is.

    Each cell reaches half way to its neighbors on the axes, which are logarithmic. Gray cells are not known: the loss
    on their line is not finite, or the split has no samples.

    Parameters
    ----------
    measured : xarray.Dataset
        `barrier_between` over (step, step_other, split), and `barrier_aligned` or not.

    Raises
    ------
    SltGrokError
        Not a matrix over checkpoints, or no such seed.
    """
    if "step_other" not in measured.dims:
        raise SltGrokError("barrier_matrix: expected barriers between checkpoints, with a dimension step_other")
    one = one_seed(measured, seed)
    names = [name for name in ROWS if name in one]
    steps, splits = one.step.values, one.split.values
    highest = max(float(one[name].max()) for name in names)
    figure = Figure(figsize=(WIDTH, 0.4 + 3.1 * len(names)), layout="constrained")
    panels = figure.subplots(len(names), len(splits), squeeze=False)
    norm = LogNorm(LOWEST, max(highest, 10 * LOWEST)) if np.isfinite(highest) else LogNorm(LOWEST, 1)
    colors = sns.color_palette("mako", as_cmap=True)
    for row, name in zip(panels, names, strict=True):
        for axes, split in zip(row, splits, strict=True):
            values = one[name].sel(split=split).transpose("step_other", "step").values
            axes.set_facecolor("0.85")
            edges = step_edges(steps)
            shown = np.ma.masked_invalid(np.maximum(values, LOWEST))
            axes.pcolormesh(edges, edges, shown, norm=norm, cmap=colors, rasterized=True)
            _both_axes(axes, steps)
            axes.set_title(f"{split}, {ROWS[name]}" if len(names) > 1 else str(split), loc="left")
            if np.isnan(values).all():
                undefined(axes, "no samples, or no finite loss")
    bar = figure.colorbar(
        ScalarMappable(norm, colors), ax=panels.ravel().tolist(), extend="min", aspect=30, pad=0.015, shrink=0.8
    )
    bar.set_label("Barrier (nats, logarithmic)")
    for axes in panels[:, 1:].ravel():
        axes.set_ylabel("")
    for axes in panels[:-1].ravel():
        axes.set_xlabel("")
    panel_letters(panels.ravel().tolist(), offset=(-14, 9), room=False)
    return figure


def _both_axes(axes: Axes, steps: np.ndarray) -> None:
    """Draw the step on both axes, see `step_axis`."""
    step_axis(axes, steps, narrow=True)
    axes.set_xlabel("Training step")
    ticks = list(axes.get_xticks())
    limits = axes.get_xlim()
    transform = axes.xaxis.get_transform()
    axes.set_yscale("function", functions=(transform.transform_non_affine, transform.inverted().transform_non_affine))
    for axis, bound in ((axes.xaxis, axes.set_xlim), (axes.yaxis, axes.set_ylim)):
        axis.set_major_locator(FixedLocator(ticks))
        axis.set_minor_locator(FixedLocator(list(axes.xaxis.get_minorticklocs())))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axis.set_minor_formatter(NullFormatter())
        bound(max(limits[0], 0), steps.max())
    axes.set_ylabel("Training step of the other")


@styled
def seed_barriers(measured: xr.Dataset) -> Figure:
    """Barriers between seeds at each step, train beside test: each pair thin, their median thick, aligned ones dashed.

    Parameters
    ----------
    measured : xarray.Dataset
        `barrier_between` over (step, seed, seed_other, split), and `barrier_aligned` or not.

    Raises
    ------
    SltGrokError
        Not barriers between seeds over training, or a single seed.
    """
    if "seed_other" not in measured.dims or "step" not in measured.dims:
        raise SltGrokError("seed_barriers: expected barriers between seeds, with dimensions step and seed_other")
    first, second = np.triu_indices(measured.sizes["seed"], 1)
    if not len(first):
        raise SltGrokError("seed_barriers: expected at least two seeds, got one")
    figure = Figure(figsize=(WIDTH, 2.7), layout="constrained")
    panels = figure.subplots(1, measured.sizes["split"], sharey=True, squeeze=False)[0]
    styles = {"barrier_between": (BLUE, "-", "o"), "barrier_aligned": (ORANGE, "--", "s")}
    names = [name for name in styles if name in measured]
    for axes, split in zip(panels, measured.split.values, strict=True):
        for name in names:
            color, line, marker = styles[name]
            values = measured[name].sel(split=split).transpose("step", "seed", "seed_other").values[:, first, second]
            if len(first) > 1:
                axes.plot(measured.step, values, color=color, ls=line, lw=0.6, alpha=0.5)
            axes.plot(measured.step, np.median(values, 1), color=color, ls=line, marker=marker, ms=3)
        step_axis(axes, measured.step.values)
        axes.set_xlabel("Training step")
        axes.set_title(str(split), loc="left")
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("Barrier between seeds\n(nats)")
    panels[0].set_ylim(bottom=0)
    lines = [
        Line2D([], [], color=c, ls=ls, marker=m, ms=3, label=ROWS[n]) for n, (c, ls, m) in styles.items() if n in names
    ]
    figure.legend(handles=lines, loc="outside upper center", ncols=2)
    panel_letters(panels.tolist(), offset=(-14, 9), room=False)
    return figure

"""Slices of the loss: along random directions, in a random plane, and in the plane of the path's principal components.

Measured by `slt_grok.landscape.slices` and `slt_grok.landscape.principal_plane`, after Li et al. 1712.09913, sections 4
and 7. Losses are drawn as their logarithm; where a loss is not finite the plane is gray, and one of 0 has the lowest
color.
"""

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

from slt_grok.errors import SltGrokError
from slt_grok.plots.panels import undefined
from slt_grok.plots.style import WIDTH, few_decades, legend_right, one_seed, panel_letters, styled

LEVELS = 24  # of color
SHOWN = 5  # checkpoints in one figure of lines, evenly spaced
LABELS = 4  # steps that are named along a path


@styled
def random_lines(measured: xr.Dataset, seed: int | None = None) -> Figure:
    """Loss along random directions, train beside test: the median over directions, and their range as a band.

    Parameters
    ----------
    measured : xarray.Dataset
        `slice_loss` over (step, direction, x, split); of many checkpoints five are drawn.

    Raises
    ------
    SltGrokError
        No `step` dimension, or no such seed.
    """
    one = one_seed(measured, seed)
    rows = np.unique(np.linspace(0, one.sizes["step"] - 1, SHOWN).round().astype(int))
    colors = sns.color_palette("viridis", len(rows) + 1).as_hex()[:-1]
    figure = Figure(figsize=(WIDTH, 2.7), layout="constrained")
    panels = figure.subplots(1, one.sizes["split"], sharey=True, squeeze=False)[0]
    for axes, split in zip(panels, one.split.values, strict=True):
        for row, color in zip(rows, colors, strict=True):
            at = one.slice_loss.isel(step=row).sel(split=split).transpose("direction", "x")
            at = at.where(np.isfinite(at) & (at > 0))
            if at.isnull().all():
                continue
            middle = at.median("direction", skipna=True)
            axes.fill_between(at.x, at.min("direction"), at.max("direction"), color=color, alpha=0.2, lw=0)
            axes.plot(at.x, middle, color=color, label=f"step {int(one.step[row]):,}")
        axes.set_yscale("log")
        if not axes.lines:
            undefined(axes, "no samples, or no finite loss")
        axes.set_xlabel("Place $x$ (norms of the filters)")
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.set_title(str(split), loc="left")
        axes.spines[["top", "right"]].set_visible(False)
    few_decades(panels[0])
    panels[0].set_ylabel("Loss (nats)")
    legend_right(panels[-1] if panels[-1].lines else panels[0])
    panel_letters(panels.tolist(), offset=(-26, 9), room=False)
    return figure


@styled
def random_plane(measured: xr.Dataset, step: int | None = None, seed: int | None = None) -> Figure:
    """Loss in a random plane through one checkpoint, the cross, train beside test on one scale of colors.

    Parameters
    ----------
    measured : xarray.Dataset
        `plane_loss` over (step, x, y, split).
    step : int or None, optional
        The last where left out.

    Raises
    ------
    SltGrokError
        No `step` dimension, no such step or seed.
    """
    one = one_seed(measured, seed)
    steps = one.step.values
    if step is not None and step not in steps:
        raise SltGrokError(f"expected a step among {', '.join(map(str, steps))}, got {step}")
    at = one.sel(step=steps[-1] if step is None else step)
    figure, panels, _, _ = _side_by_side(at.plane_loss, at.x.values, at.y.values)
    figure.set_size_inches(WIDTH, 3.6)  # of square panels the titles would be cut
    for axes in panels:
        axes.plot(0, 0, "+", color="black", ms=9, mew=2.4)
        axes.plot(0, 0, "+", color="white", ms=8, mew=1.0)
        axes.set_aspect("equal")
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.set_xlabel("Place $x$ (norms of the filters)")
    panels[0].set_ylabel("Place $y$ (norms of the filters)")
    return figure


@styled
def principal_plane(measured: xr.Dataset, seed: int | None = None) -> Figure:
    """Loss in the plane of the path's first two principal components with the path on it, train beside test.

    A point has the color of the checkpoint's own loss: where it differs from what is around it, the checkpoint is far
    from the plane. The axes say what share of the variance a component explains, and what that of a random walk does.

    Parameters
    ----------
    measured : xarray.Dataset
        From `slt_grok.landscape.principal_plane`.

    Raises
    ------
    SltGrokError
        No `step` dimension, or no such seed.
    """
    one = one_seed(measured, seed)
    figure, panels, norm, colors = _side_by_side(one.principal_plane_loss, one.plane_x.values, one.plane_y.values)
    x, y = one.path.transpose("component", "step").values
    named = np.unique(np.linspace(0, len(x) - 1, LABELS).round().astype(int))
    for axes, split in zip(panels, one.split.values, strict=True):
        axes.plot(x, y, color="black", lw=2.0, zorder=3)
        axes.plot(x, y, color="white", lw=1.0, zorder=3)
        own = np.clip(one.path_loss.sel(split=split).values, norm.vmin, norm.vmax)
        if np.isfinite(own).any():
            axes.scatter(x, y, c=own, norm=norm, cmap=colors, s=16, edgecolors="white", linewidths=0.7, zorder=4)
        for i in named:
            axes.annotate(
                f"{int(one.step[i]):,}",
                (x[i], y[i]),
                xytext=(5, 5),
                textcoords="offset points",
                fontsize=6.5,
                color="black",
                zorder=5,
                bbox={"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.8},
            )
    share, walk = 100 * one.explained_share.values, 100 * one.explained_share_random_walk.values
    place = [f"Component {i + 1}\n({share[i]:.0f}% of variance; random walk {walk[i]:.0f}%)" for i in (0, 1)]
    for axes in panels:
        axes.set_xlabel(place[0])
    panels[0].set_ylabel(place[1])
    return figure


def _side_by_side(losses: xr.DataArray, x: np.ndarray, y: np.ndarray) -> tuple[Figure, list[Axes], LogNorm, Colormap]:
    """Contours of the logarithm of losses (x, y, split), one panel a split, all on one scale of colors."""
    figure = Figure(figsize=(WIDTH, 3.3), layout="constrained")
    panels = list(figure.subplots(1, losses.sizes["split"], sharey=True, squeeze=False)[0])
    values = losses.transpose("split", "y", "x").values
    drawn = values[np.isfinite(values) & (values > 0)]
    low, high = (drawn.min(), drawn.max()) if len(drawn) else (0.1, 1.0)
    norm = LogNorm(low / 1.01, high * 1.01)
    levels = np.geomspace(low / 1.01, high * 1.01, LEVELS)
    colors = sns.color_palette("rocket", as_cmap=True)
    for axes, split, grid in zip(panels, losses.split.values, values, strict=True):
        axes.set_facecolor("0.85")
        axes.set_title(str(split), loc="left")
        if not np.isfinite(grid).any():
            undefined(axes, "no samples, or no finite loss")
            continue
        shown = np.ma.masked_invalid(np.where(np.isfinite(grid), np.maximum(grid, low), np.nan))
        heights, places = np.ma.log(shown), np.log(levels)  # between points the contours are lines in the logarithm
        axes.contourf(x, y, heights, levels=places, cmap=colors, vmin=places[0], vmax=places[-1])
        axes.contour(x, y, heights, levels=places[::2], colors="white", linewidths=0.3, linestyles="-", alpha=0.6)
    bar = figure.colorbar(ScalarMappable(norm, colors), ax=panels, aspect=30, pad=0.015)
    bar.set_label("Loss (nats, logarithmic)")
    bar.ax.yaxis.set_major_locator(LogLocator(numticks=8))
    if high / low < 30:
        bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    panel_letters(panels, offset=(-14, 9), room=False)
    return figure, panels, norm, colors

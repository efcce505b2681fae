"""Slices of the loss: in a random plane, and in the principal plane of the path.

After Li et al. 1712.09913, sections 4 and 7. Losses are drawn on a logarithmic scale; nonfinite losses are gray, and
zero losses have the lowest color.
"""

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator

from slt_grok.plots.style import WIDTH, frame, one_network, one_seed, panel_letters, styled, undefined

LEVELS = 24  # number of color levels
LABELS = 4  # number of steps labeled along a path


@styled
def random_plane(measured: xr.Dataset, seed: int | None = None, step: int | None = None) -> Figure:
    """Draw the loss in a random plane through one checkpoint, marked by a cross, for each split.

    Parameters
    ----------
    measured : xarray.Dataset
        `plane_loss` over (step, x, y, split).
    """
    at = one_network(measured, seed, step)
    figure, panels, _, _ = _side_by_side(at.plane_loss, at.x.values, at.y.values)
    figure.set_size_inches(WIDTH, 3.6)  # square panels would clip the titles
    for axes in panels:
        axes.plot(0, 0, "+", color="black", ms=9, mew=2.4)
        axes.plot(0, 0, "+", color="white", ms=8, mew=1.0)
        axes.set_aspect("equal")
        axes.locator_params(nbins=5)
        axes.set_xlabel("Position $x$ (filter norms)")
    panels[0].set_ylabel("Position $y$ (filter norms)")
    return figure


@styled
def principal_plane(measured: xr.Dataset, seed: int | None = None) -> Figure:
    """Draw the loss in the plane of the path's first two principal components with the path on it, for each split.

    Points have the color of the checkpoint's own loss: if it differs from the surroundings, the checkpoint is far from
    the plane. The axis labels give the fraction of variance of a component, and that of a random walk.

    Parameters
    ----------
    measured : xarray.Dataset
        The measurement `shape`.
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
            box = {"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.8}
            at = {"textcoords": "offset points", "fontsize": 6.5, "color": "black", "zorder": 5, "bbox": box}
            axes.annotate(f"{int(one.step[i]):,}", (x[i], y[i]), (5, 5), **at)
    share, walk = 100 * one.explained_share.values, 100 * one.explained_share_random_walk.values
    place = [f"Component {i + 1}\n({share[i]:.0f}% of variance; random walk {walk[i]:.0f}%)" for i in (0, 1)]
    for axes in panels:
        axes.set_xlabel(place[0])
    panels[0].set_ylabel(place[1])
    return figure


def _side_by_side(losses: xr.DataArray, x: np.ndarray, y: np.ndarray) -> tuple[Figure, list[Axes], LogNorm, Colormap]:
    """Draw contours of the log of losses (x, y, split), one panel per split, on a common color scale."""
    figure, ((*panels,),) = frame(3.3, 1, losses.sizes["split"], sharey=True)
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
        heights, places = np.ma.log(shown), np.log(levels)  # contours interpolate the logarithm linearly
        axes.contourf(x, y, heights, levels=places, cmap=colors, vmin=places[0], vmax=places[-1])
        axes.contour(x, y, heights, levels=places[::2], colors="white", linewidths=0.3, linestyles="-", alpha=0.6)
    bar = figure.colorbar(ScalarMappable(norm, colors), ax=panels, aspect=30, pad=0.015)
    bar.set_label("Loss (nats, logarithmic)")
    bar.ax.yaxis.set_major_locator(LogLocator(numticks=8))
    if high / low < 30:
        bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    panel_letters(panels, offset=(-14, 9), room=False)
    return figure, panels, norm, colors

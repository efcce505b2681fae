"""Slices of the loss: in a random plane, and in the principal plane of the path.

After Li et al. 1712.09913, sections 4 and 7. Losses are drawn on a logarithmic scale; nonfinite losses are gray, and
zero losses have the lowest color.
"""

from typing import Any

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from slt_grok.measurement import evenly_spaced
from slt_grok.plots.style import WIDTH, empty_panel, frame, panel_letters, select_network, select_seed, styled

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
    network = select_network(measured, seed, step)
    figure, panels, _ = _side_by_side(network.plane_loss.transpose("split", "y", "x"))
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
    shape = select_seed(measured, seed)
    losses = shape.principal_plane_loss.assign_coords(x=shape.plane_x, y=shape.plane_y).transpose("split", "y", "x")
    figure, panels, colors = _side_by_side(losses)
    x, y = shape.path.transpose("component", "step").values
    label: Any = {"textcoords": "offset points", "fontsize": 6.5, "color": "black", "zorder": 5}
    label["bbox"] = {"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.8}
    for axes, split in zip(panels, shape.split.values, strict=True):
        axes.plot(x, y, color="black", lw=2.0, zorder=3)
        axes.plot(x, y, color="white", lw=1.0, zorder=3)
        loss = shape.path_loss.sel(split=split).clip(colors.norm.vmin, colors.norm.vmax)
        if loss.notnull().any():
            look = {"norm": colors.norm, "cmap": colors.cmap, "edgecolors": "white", "linewidths": 0.7}
            axes.scatter(x, y, c=loss, s=16, zorder=4, **look)
        for i in evenly_spaced(shape.step.values, LABELS):
            axes.annotate(f"{int(shape.step[i]):,}", (x[i], y[i]), (5, 5), **label)
    labels = [
        f"Component {i + 1}\n({100 * share:.0f}% of variance; random walk {100 * walk:.0f}%)"
        for i, (share, walk) in enumerate(
            zip(shape.explained_share.values, shape.explained_share_random_walk.values, strict=False)
        )
    ]
    for axes in panels:
        axes.set_xlabel(labels[0])
    panels[0].set_ylabel(labels[1])
    return figure


def _side_by_side(losses: xr.DataArray) -> tuple[Figure, list[Axes], ScalarMappable]:
    """Draw contours of the log of losses (split, y, x), one panel per split, on a common color scale."""
    figure, ((*panels,),) = frame(3.3, 1, losses.sizes["split"], sharey=True)
    positive = losses.values[np.isfinite(losses.values) & (losses.values > 0)]
    low, high = (positive.min(), positive.max()) if len(positive) else (0.1, 1.0)
    colors = ScalarMappable(LogNorm(low / 1.01, high * 1.01), sns.color_palette("rocket", as_cmap=True))
    levels = np.log(np.geomspace(low / 1.01, high * 1.01, LEVELS))  # contours interpolate the logarithm linearly
    for axes, loss in zip(panels, losses, strict=True):
        axes.set_facecolor("0.85")
        axes.set_title(str(loss.split.values), loc="left")
        if not np.isfinite(loss).any():
            empty_panel(axes, "no samples, or no finite loss")
            continue
        heights = np.ma.log(np.ma.masked_invalid(np.where(np.isfinite(loss), np.maximum(loss, low), np.nan)))
        surface = losses.x.values, losses.y.values, heights
        axes.contourf(*surface, levels=levels, cmap=colors.cmap, vmin=levels[0], vmax=levels[-1])
        axes.contour(*surface, levels=levels[::2], colors="white", linewidths=0.3, linestyles="-", alpha=0.6)
    bar = figure.colorbar(colors, ax=panels, aspect=30, pad=0.015, label="Loss (nats, logarithmic)")
    bar.ax.yaxis.set_major_locator(LogLocator(numticks=8))
    if high / low < 30:
        bar.ax.yaxis.set_major_formatter("{x:.3g}")
    panel_letters(panels, offset=(-14, 9), room=False)
    return figure, panels, colors

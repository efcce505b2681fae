"""Loss in planes and along paths between networks.

Planes: random, and the principal plane of the path, after Li et al. 1712.09913, sections 4 and 7. Barriers: Entezari
et al. 2110.06296, definition 1; curves: Garipov et al. 1802.10026. Losses are drawn on a logarithmic scale; nonfinite
losses are gray, and zero losses have the lowest color.
"""

from typing import Any

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter

from slt_grok.errors import SltGrokError
from slt_grok.measurement import evenly_spaced
from slt_grok.plots import style
from slt_grok.plots.lines import over_seeds
from slt_grok.plots.logarithmic import LogNumbers, LogTicks, logarithmic
from slt_grok.plots.palette import BLUE, GREEN, ORANGE, PURPLE
from slt_grok.plots.spectra import step_edges
from slt_grok.units import with_units

LEVELS = 24  # number of color levels
LABELS = 4  # number of steps labeled along a path


@style.styled
def random_plane(measured: xr.Dataset, seed: int | None = None) -> Figure:
    """Draw the loss in a random plane through the last checkpoint, marked by a cross, for each split.

    Parameters
    ----------
    measured : xarray.Dataset
        `plane_loss` over (step, x, y, split).
    """
    network = style.select_seed(measured, seed).isel(step=-1)
    figure, panels, _ = _side_by_side(network.plane_loss.transpose("split", "y", "x"))
    figure.set_size_inches(style.WIDTH, 3.6)  # square panels would clip the titles
    for axes in panels:
        axes.plot(0, 0, "+", color="black", ms=9, mew=2.4)
        axes.plot(0, 0, "+", color="white", ms=8, mew=1.0)
        axes.set_aspect("equal")
        axes.locator_params(nbins=5)
        axes.set_xlabel("Position $x$ (filter norms)")
    panels[0].set_ylabel("Position $y$ (filter norms)")
    return figure


@style.styled
def principal_plane(measured: xr.Dataset, seed: int | None = None) -> Figure:
    """Draw the loss in the plane of the path's first two principal components with the path on it, for each split.

    Points have the color of the checkpoint's own loss: if it differs from the surroundings, the checkpoint is far from
    the plane. The axis labels give the fraction of variance of a component, and that of a random walk.

    Parameters
    ----------
    measured : xarray.Dataset
        The measurement `shape`.
    """
    shape = style.select_seed(measured, seed)
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
    figure, ((*panels,),) = style.frame(3.3, 1, losses.sizes["split"], sharey=True)
    positive = losses.values[np.isfinite(losses.values) & (losses.values > 0)]
    low, high = (positive.min(), positive.max()) if len(positive) else (0.1, 1.0)
    colors = ScalarMappable(LogNorm(low / 1.01, high * 1.01), sns.color_palette("rocket", as_cmap=True))
    levels = np.log(np.geomspace(low / 1.01, high * 1.01, LEVELS))  # contours interpolate the logarithm linearly
    for axes, loss in zip(panels, losses, strict=True):
        axes.set_facecolor("0.85")
        axes.set_title(str(loss.split.values), loc="left")
        if not np.isfinite(loss).any():
            style.empty_panel(axes, "no samples, or no finite loss")
            continue
        heights = np.ma.log(np.ma.masked_invalid(np.where(np.isfinite(loss), np.maximum(loss, low), np.nan)))
        surface = losses.x.values, losses.y.values, heights
        axes.contourf(*surface, levels=levels, cmap=colors.cmap, vmin=levels[0], vmax=levels[-1])
        axes.contour(*surface, levels=levels[::2], colors="white", linewidths=0.3, linestyles="-", alpha=0.6)
    bar = figure.colorbar(colors, ax=panels, aspect=30, pad=0.015, label=with_units("Loss, logarithmic", losses))
    bar.set_ticks(LogTicks(), format=LogNumbers())
    style.panel_letters(panels, offset=(-14, 9), room=False)
    return figure, panels, colors


LOWEST = 1e-3  # of the loss: smaller barriers have the darkest color
BARRIERS = {  # name, color, line, marker
    "barrier_between": ("straight line", BLUE, "-", "o"),
    "barrier_aligned": ("units aligned", ORANGE, "--", "s"),
}
STARTS = (BLUE, ORANGE, GREEN, PURPLE)  # one per checkpoint from which paths start
PATHS = {"line_loss": ("straight line", "--"), "curve_loss": ("trained curve", "-")}


@style.styled
def barrier_matrix(measured: xr.Dataset, seed: int | None = None) -> Figure:
    """Draw the barrier between all pairs of checkpoints of one seed, for each split, and after alignment if measured.

    Each cell extends halfway to its neighbors on the logarithmic axes. Gray cells are unknown: the loss on their line
    is not finite, or the split has no samples.

    Parameters
    ----------
    measured : xarray.Dataset
        `barrier_between` over (step, step_other, split), and optionally `barrier_aligned`.
    """
    barriers = style.select_seed(measured, seed)
    names = [name for name in BARRIERS if name in barriers]
    steps, splits = barriers.step.values, barriers.split.values
    highest = max(float(barriers[name].max()) for name in names)
    colors = ScalarMappable(LogNorm(LOWEST, max(highest, 10 * LOWEST) if np.isfinite(highest) else 1), "mako")
    figure, panels = style.frame(0.4 + 3.1 * len(names), len(names), len(splits))
    edges = step_edges(steps)
    for row, name in zip(panels, names, strict=True):
        for axes, split in zip(row, splits, strict=True):
            values = barriers[name].sel(split=split).transpose("step_other", "step").values
            shown = np.ma.masked_invalid(np.maximum(values, LOWEST))
            axes.set_facecolor("0.85")
            axes.pcolormesh(edges, edges, shown, norm=colors.norm, cmap=colors.cmap, rasterized=True)
            _both_axes(axes, steps)
            axes.set_title(f"{split}, {BARRIERS[name][0]}" if len(names) > 1 else str(split), loc="left")
            if np.isnan(values).all():
                style.empty_panel(axes, "no samples, or no finite loss")
    place = {"ax": panels, "extend": "min", "aspect": 30, "pad": 0.015, "shrink": 0.8}
    figure.colorbar(colors, label=with_units("Barrier, logarithmic", barriers[names[0]]), **place)
    for axes in panels[:, 0]:
        axes.set_ylabel("Training step of the other network")
    for axes in panels[-1]:
        axes.set_xlabel("Training step")
    style.panel_letters(panels.flat, offset=(-14, 9), room=False)
    return figure


def _both_axes(axes: Axes, steps: np.ndarray) -> None:
    """Use the training step on both axes; see `step_axis`."""
    style.step_axis(axes, steps, narrow=True)
    axes.set_xlabel("")
    limits, transform = (max(axes.get_xlim()[0], 0), steps.max()), axes.xaxis.get_transform()
    axes.set_yscale("function", functions=(transform.transform_non_affine, transform.inverted().transform_non_affine))
    axes.yaxis.set_major_locator(axes.xaxis.get_major_locator())
    axes.yaxis.set_minor_locator(axes.xaxis.get_minor_locator())
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set(xlim=limits, ylim=limits)


@style.styled
def seed_barriers(measured: xr.Dataset) -> Figure:
    """Draw the barriers between seeds at each step, for each split: pairs as thin lines, their median as a thick one.

    Parameters
    ----------
    measured : xarray.Dataset
        `barrier_between` over (step, seed, seed_other, split), and optionally `barrier_aligned`.
    """
    first, second = np.triu_indices(measured.sizes["seed"], 1)
    if not len(first):
        raise SltGrokError("seed_barriers: expected at least two seeds, got one")
    figure, ((*panels,),) = style.frame(2.7, 1, measured.sizes["split"], sharey=True)
    for axes, split in zip(panels, measured.split.values, strict=True):
        for name in [name for name in BARRIERS if name in measured]:
            label, color, line, marker = BARRIERS[name]
            pairs = measured[name].sel(split=split).transpose("step", "seed", "seed_other").values[:, first, second]
            barriers = xr.DataArray(pairs, {"step": measured.step}, ("step", "seed"))
            over_seeds(axes, barriers, color, label, ls=line, marker=marker, ms=3)
        style.step_axis(axes, measured.step.values)
        axes.set_xlabel("Training step")
        axes.set_title(str(split), loc="left")
    panels[0].set_ylabel(with_units("Barrier between seeds", measured.barrier_between, "\n"))
    panels[0].set_ylim(bottom=0)
    style.shared_legend(figure, panels[:1])
    style.panel_letters(panels, offset=(-14, 9), room=False)
    return figure


@style.styled
def mode_connectivity(measured: xr.Dataset, seed: int | None = None) -> Figure:
    """Draw the loss from some checkpoints to the last one, on the straight line and on the trained curve.

    Parameters
    ----------
    measured : xarray.Dataset
        `line_loss` and `curve_loss` over (step, split, position), NaN at checkpoints from which no path starts.

    Raises
    ------
    SltGrokError
        No path starts at any checkpoint.
    """
    losses = style.select_seed(measured, seed)
    starts = losses.step.values[np.isfinite(losses.curve_loss).any(["split", "position"]).values].tolist()
    if not starts:
        raise SltGrokError("no checkpoint has a curve to the last checkpoint")
    figure, ((*panels,),) = style.frame(2.9, 1, losses.sizes["split"], sharey=True)
    for axes, split in zip(panels, losses.split.values, strict=True):
        for start, color in zip(starts, STARTS, strict=False):
            for name, (_, line) in PATHS.items():
                path = losses[name].sel(split=split, step=start)
                axes.plot(path.position, path.where(path > 0), color=color, ls=line, marker="o", ms=2)
        logarithmic(axes.yaxis)
        if not any(np.isfinite(line.get_ydata()).any() for line in axes.lines):
            style.empty_panel(axes, "no samples, or no finite loss")
        axes.set_title(str(split), loc="left")
        axes.set(xlabel="Position $t$", xlim=(0, 1))
    panels[0].set_ylabel(with_units("Loss", losses.line_loss))
    last = int(losses.step[-1])
    lines = [Line2D([], [], color=c, label=f"step {s:,} to {last:,}") for s, c in zip(starts, STARTS, strict=False)]
    lines += [Line2D([], [], color="0.3", ls=line, label=name) for name, line in PATHS.values()]
    figure.legend(handles=lines, loc="outside upper center", ncols=len(lines))
    style.panel_letters(panels, offset=(-14, 9), room=False)
    return figure

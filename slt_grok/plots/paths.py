"""Loss along paths between networks: barriers on straight lines, and losses on lines and trained Bezier curves.

Barrier: Entezari et al. 2110.06296, definition 1; curves: Garipov et al. 1802.10026.
"""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter

from slt_grok.errors import SltGrokError
from slt_grok.plots.palette import BLUE, GREEN, ORANGE, PURPLE
from slt_grok.plots.spectra import step_edges
from slt_grok.plots.style import (
    empty_panel,
    few_decades,
    frame,
    panel_letters,
    select_seed,
    shared_legend,
    step_axis,
    styled,
)

LOWEST = 1e-3  # nats: smaller barriers have the darkest color
BARRIERS = {  # name, color, line, marker
    "barrier_between": ("straight line", BLUE, "-", "o"),
    "barrier_aligned": ("units aligned", ORANGE, "--", "s"),
}
COLORS = (BLUE, ORANGE, GREEN, PURPLE)  # one per checkpoint from which paths start
PATHS = {"line_loss": ("straight line", "--"), "curve_loss": ("trained curve", "-")}


@styled
def barrier_matrix(measured: xr.Dataset, seed: int | None = None) -> Figure:
    """Draw the barrier between all pairs of checkpoints of one seed, for each split, and after alignment if measured.

    Each cell extends halfway to its neighbors on the logarithmic axes. Gray cells are unknown: the loss on their line
    is not finite, or the split has no samples.

    Parameters
    ----------
    measured : xarray.Dataset
        `barrier_between` over (step, step_other, split), and optionally `barrier_aligned`.
    """
    barriers = select_seed(measured, seed)
    names = [name for name in BARRIERS if name in barriers]
    steps, splits = barriers.step.values, barriers.split.values
    highest = max(float(barriers[name].max()) for name in names)
    colors = ScalarMappable(LogNorm(LOWEST, max(highest, 10 * LOWEST) if np.isfinite(highest) else 1), "mako")
    figure, panels = frame(0.4 + 3.1 * len(names), len(names), len(splits))
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
                empty_panel(axes, "no samples, or no finite loss")
    place = {"ax": panels, "extend": "min", "aspect": 30, "pad": 0.015, "shrink": 0.8}
    figure.colorbar(colors, label="Barrier (nats, logarithmic)", **place)
    for axes in panels[:, 0]:
        axes.set_ylabel("Training step of the other network")
    for axes in panels[-1]:
        axes.set_xlabel("Training step")
    panel_letters(panels.flat, offset=(-14, 9), room=False)
    return figure


def _both_axes(axes: Axes, steps: np.ndarray) -> None:
    """Use the training step on both axes; see `step_axis`."""
    step_axis(axes, steps, narrow=True)
    axes.set_xlabel("")
    limits, transform = (max(axes.get_xlim()[0], 0), steps.max()), axes.xaxis.get_transform()
    axes.set_yscale("function", functions=(transform.transform_non_affine, transform.inverted().transform_non_affine))
    axes.yaxis.set_major_locator(axes.xaxis.get_major_locator())
    axes.yaxis.set_minor_locator(axes.xaxis.get_minor_locator())
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set(xlim=limits, ylim=limits)


@styled
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
    figure, ((*panels,),) = frame(2.7, 1, measured.sizes["split"], sharey=True)
    for axes, split in zip(panels, measured.split.values, strict=True):
        for name in [name for name in BARRIERS if name in measured]:
            label, color, line, marker = BARRIERS[name]
            pairs = measured[name].sel(split=split).transpose("step", "seed", "seed_other").values[:, first, second]
            if len(first) > 1:
                axes.plot(measured.step, pairs, color=color, ls=line, lw=0.6, alpha=0.5)
            axes.plot(measured.step, np.median(pairs, 1), color=color, ls=line, marker=marker, ms=3, label=label)
        step_axis(axes, measured.step.values)
        axes.set_xlabel("Training step")
        axes.set_title(str(split), loc="left")
    panels[0].set_ylabel("Barrier between seeds\n(nats)")
    panels[0].set_ylim(bottom=0)
    shared_legend(figure, panels[:1])
    panel_letters(panels, offset=(-14, 9), room=False)
    return figure


@styled
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
    losses = select_seed(measured, seed)
    starts = losses.step.values[np.isfinite(losses.curve_loss).any(["split", "position"]).values].tolist()
    if not starts:
        raise SltGrokError("no checkpoint has a curve to the last checkpoint")
    figure, ((*panels,),) = frame(2.9, 1, losses.sizes["split"], sharey=True)
    for axes, split in zip(panels, losses.split.values, strict=True):
        for start, color in zip(starts, COLORS, strict=False):
            for name, (_, style) in PATHS.items():
                path = losses[name].sel(split=split, step=start)
                axes.plot(path.position, path.where(path > 0), color=color, ls=style, marker="o", ms=2)
        axes.set_yscale("log")
        if not any(np.isfinite(line.get_ydata()).any() for line in axes.lines):
            empty_panel(axes, "no samples, or no finite loss")
        axes.set_title(str(split), loc="left")
        axes.set(xlabel="Position $t$", xlim=(0, 1))
    few_decades(panels[0])
    panels[0].set_ylabel("Loss (nats)")
    last = int(losses.step[-1])
    lines = [Line2D([], [], color=c, label=f"step {s:,} to {last:,}") for s, c in zip(starts, COLORS, strict=False)]
    lines += [Line2D([], [], color="0.3", ls=style, label=name) for name, style in PATHS.values()]
    figure.legend(handles=lines, loc="outside upper center", ncols=len(lines))
    panel_letters(panels, offset=(-14, 9), room=False)
    return figure

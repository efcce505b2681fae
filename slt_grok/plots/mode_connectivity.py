"""Loss along the straight line and along a trained Bezier curve between checkpoints.

Measured by `slt_grok.landscape.connectivity.barrier` and `slt_grok.landscape.bezier` (Garipov et al. 1802.10026).
"""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from slt_grok.errors import SltGrokError
from slt_grok.plots.panels import undefined
from slt_grok.plots.style import BLUE, GREEN, ORANGE, PURPLE, WIDTH, few_decades, one_seed, panel_letters, styled

COLORS = (BLUE, ORANGE, GREEN, PURPLE)  # of the checkpoints that the lines start from
PATHS = {"line_loss": ("straight line", "--"), "curve_loss": ("trained curve", "-")}


@styled
def mode_connectivity(measured: xr.Dataset, seed: int | None = None) -> Figure:
    """Train and test loss from some checkpoints to the last one, on the straight line and on the trained curve.

    Parameters
    ----------
    measured : xarray.Dataset
        `line_loss` and `curve_loss` over (step, split, position), NaN at checkpoints from which none starts.

    Raises
    ------
    SltGrokError
        No such seed, no checkpoint from which a curve starts, or more than four.
    """
    one = one_seed(measured, seed)
    last = int(one.step[-1])
    starts = one.step.values[np.isfinite(one.curve_loss).any(["split", "position"]).values]
    if not 1 <= len(starts) <= len(COLORS):
        raise SltGrokError(f"mode_connectivity: expected curves from 1 to {len(COLORS)} checkpoints, got {len(starts)}")
    figure = Figure(figsize=(WIDTH, 2.9), layout="constrained")
    panels: list[Axes] = list(figure.subplots(1, one.sizes["split"], sharey=True, squeeze=False)[0])
    for axes, split in zip(panels, one.split.values, strict=True):
        for start, color in zip(starts, COLORS, strict=False):
            for name, (_, style) in PATHS.items():
                losses = one[name].sel(split=split, step=start)
                axes.plot(one.position, losses.where(losses > 0), color=color, ls=style, marker="o", ms=2)
        axes.set_yscale("log")
        if not any(np.isfinite(line.get_ydata()).any() for line in axes.lines):
            undefined(axes, "no samples, or no finite loss")
        axes.set_title(str(split), loc="left")
        axes.set_xlabel("Position $t$")
        axes.set_xlim(0, 1)
        axes.spines[["top", "right"]].set_visible(False)
    few_decades(panels[0])
    panels[0].set_ylabel("Loss (nats)")
    lines = [
        Line2D([], [], color=c, label=f"step {s:,} to {last:,}") for s, c in zip(starts.tolist(), COLORS, strict=False)
    ]
    lines += [Line2D([], [], color="0.3", ls=style, label=name) for name, style in PATHS.values()]
    figure.legend(handles=lines, loc="outside upper center", ncols=len(lines))
    panel_letters(panels, offset=(-14, 9), room=False)
    return figure

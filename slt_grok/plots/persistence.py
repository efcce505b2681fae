"""Persistence diagrams of the clusters of neurons (`slt_grok.circuits.topology`; 2512.25060)."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from slt_grok.plots.panels import undefined
from slt_grok.plots.phase_alignment import one_network
from slt_grok.plots.style import BLUE, GREEN, ORANGE, WIDTH, styled

SITES = {
    "neurons_pre": "pre-activations",
    "neurons_post": "post-activations",
    "neurons_post_read": "post-activations, as read",
    "logits": "logits",
}
DEGREES = ((BLUE, "o"), (ORANGE, "s"), (GREEN, "^"))  # color and marker of degrees 0, 1 and 2
TOP, NEVER = 2.2, 2.1  # of the axes, and where a bar that never dies is drawn


@styled
def persistence_diagrams(topology: xr.Dataset, seed: int | None = None, step: int | None = None) -> Figure:
    """Birth and death of the bars, a row for each cluster and a column for each site.

    Bars above the dotted line are longer than the threshold and count; the Betti numbers stand in each panel. The
    bar that never dies is drawn at the upper edge.

    Parameters
    ----------
    topology : xarray.Dataset
        Of `slt_grok.circuits.topology.measure`, over `step`.
    seed, step : int or None, optional
        Which network; the first seed and the last step where left out.

    Raises
    ------
    SltGrokError
        The dataset has no `step` dimension, no such seed or no such step.
    """
    one = one_network(topology, seed, step).dropna("frequency", how="all", subset=["landmark_radius"])
    rows = max(one.sizes["frequency"], 1)
    figure = Figure(figsize=(WIDTH, 0.6 + 1.6 * rows), layout="constrained")
    panels = figure.subplots(rows, len(SITES), sharex=True, sharey=True, squeeze=False)
    if not one.sizes["frequency"]:
        for axes in panels.flat:
            undefined(axes, "no cluster of neurons")
        return figure
    for k, row in zip(one.frequency.values, panels, strict=True):
        for site, axes in zip(SITES, row, strict=True):
            diagram(axes, one.sel(frequency=k, site=site), topology.attrs["threshold"])
        row[0].set_ylabel(f"$k$ = {k}")
    for site, axes in zip(SITES.values(), panels[0], strict=True):
        axes.set_title(site)
    figure.supxlabel("Birth (root-mean-square distance of the cloud from its center)", fontsize=8)
    figure.supylabel("Death (same unit)", fontsize=8)
    marks = [Line2D([], [], color=color, marker=marker, ls="", ms=4) for color, marker in DEGREES]
    figure.legend(marks, [f"$H_{degree}$" for degree in range(3)], loc="outside right upper")
    return figure


def diagram(axes: Axes, cloud: xr.Dataset, threshold: float) -> None:
    """One persistence diagram with the line of the threshold and the Betti numbers."""
    axes.plot([0, TOP], [0, TOP], color="0.6", lw=0.7, zorder=0)
    axes.plot([0, TOP], [threshold, TOP + threshold], ":", color="0.4", lw=0.8, zorder=0)
    for degree, (color, marker) in enumerate(DEGREES):
        birth, death = cloud.persistence.sel(degree=degree).values.T
        death = np.where(np.isinf(death), NEVER, death)
        axes.plot(birth, death, marker, color=color, ms=3.2, mew=0, alpha=0.8, clip_on=False)
    numbers = cloud.betti.values
    text = "no cloud" if np.isnan(numbers).any() else f"({', '.join(f'{number:.0f}' for number in numbers)})"
    axes.text(0.97, 0.06, text, transform=axes.transAxes, ha="right")
    axes.set(xlim=(0, TOP), ylim=(0, TOP), xticks=[0, 1, 2], yticks=[0, 1, 2])
    axes.set_box_aspect(1)
    axes.spines[["top", "right"]].set_visible(False)

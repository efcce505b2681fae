"""Clusters of neurons: the phases of each cluster, and the persistence diagrams of their point clouds (2512.25060).

Neurons on the diagonal of the phase alignment distribution have equal phases for both tokens, and their cluster is a
disc; neurons with independent phases fill the grid, and their cluster is a torus.
"""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from slt_grok.plots.palette import BLUE, GREEN, ORANGE, VERMILION
from slt_grok.plots.style import WIDTH, empty_figure, frame, panel_letters, select_network, styled

SITES = {
    "neurons_pre": "pre-activations",
    "neurons_post": "post-activations",
    "neurons_post_read": "post-activations, as read",
    "logits": "logits",
}
DEGREES = ((BLUE, "o"), (ORANGE, "s"), (GREEN, "^"))  # color and marker of degrees 0, 1 and 2
TOP, NEVER = 2.2, 2.1  # upper limit of the axes, and position of a bar that never dies


@styled
def phase_alignment(circuits: xr.Dataset, seed: int | None = None, step: int | None = None) -> Figure:
    """Draw (k a, k b) at the pair that maximizes each neuron, and the distribution of the torus distance.

    Parameters
    ----------
    circuits : xarray.Dataset
        The measurement `circuits`, with the number of tokens in the attribute `classes`.
    """
    network = select_network(circuits, seed, step)
    if not network.neuron_alignment_left.notnull().any():
        return empty_figure("no cluster of neurons")
    figure, ((left, right),) = frame(2.7, 1, 2, width=0.8 * WIDTH)
    left.set_box_aspect(1)
    _phases(left, network)
    _distances(right, network)
    panel_letters([left, right], offset=(-34, 6))
    return figure


def _phases(axes: Axes, network: xr.Dataset) -> None:
    """Draw each neuron of a cluster as a point of Z_p^2, and the diagonal of equal phases (for addition)."""
    p = int(network.attrs["classes"])
    left, right = (network[f"neuron_alignment_{side}"].values.ravel() for side in ("left", "right"))
    axes.plot([0, p - 1], [0, p - 1], color="0.7", lw=0.8, zorder=0)
    axes.scatter(left, right, s=9, color=BLUE, alpha=0.35, lw=0)
    ticks = range(0, p, 10 if p < 70 else 20)
    axes.set(xlim=(-1, p), ylim=(-1, p), xticks=ticks, yticks=ticks, aspect="equal")
    axes.set(xlabel=r"$k\,a$ mod $p$ (tokens)", ylabel=r"$k\,b$ mod $p$ (tokens)")


def _distances(axes: Axes, network: xr.Dataset) -> None:
    """Draw the torus distance over the neurons against that of independent uniform phases, with both means."""
    p = int(network.attrs["classes"])
    in_cluster = network.neuron_alignment_left.notnull() & network.neuron_torus_distance.notnull()
    distances = network.neuron_torus_distance.values[in_cluster.values]
    distance = np.arange((p + 1) // 2)
    share = np.array([np.mean(distances == value) for value in distance])
    uniform = np.where(distance == 0, 1, 2) / p
    axes.bar(
        distance, 100 * share, width=0.8, color=BLUE, label=f"{len(distances)} neurons, mean {distances.mean():.2f}"
    )
    label = f"uniform phases, mean {(p**2 - 1) / (4 * p):.2f}"
    axes.step(distance, 100 * uniform, where="mid", color=VERMILION, lw=1.2, label=label)
    axes.set(xlabel="Torus distance (tokens)", ylabel="Fraction of neurons (%)", xlim=(-0.8, distance[-1] + 0.8))
    axes.legend(loc="upper right")


@styled
def persistence_diagrams(topology: xr.Dataset, seed: int | None = None, step: int | None = None) -> Figure:
    """Draw birth and death of the bars, one row per cluster and one column per site.

    Bars above the dotted line exceed the threshold and count; each panel shows the Betti numbers. The bar that
    never dies is drawn at the upper edge.

    Parameters
    ----------
    topology : xarray.Dataset
        The measurement `topology`.
    """
    clouds = select_network(topology, seed, step).dropna("frequency", how="all", subset=["landmark_radius"])
    rows = clouds.sizes["frequency"]
    if not rows:
        return empty_figure("no cluster of neurons")
    figure, panels = frame(0.6 + 1.6 * rows, rows, len(SITES), sharex=True, sharey=True)
    for k, row in zip(clouds.frequency.values, panels, strict=True):
        for site, axes in zip(SITES, row, strict=True):
            _diagram(axes, clouds.sel(frequency=k, site=site), topology.attrs["threshold"])
        row[0].set_ylabel(f"$k$ = {k}")
    for site, axes in zip(SITES.values(), panels[0], strict=True):
        axes.set_title(site)
    figure.supxlabel("Birth (root-mean-square distance of the cloud from its center)")
    figure.supylabel("Death (same unit)")
    marks = [Line2D([], [], color=color, marker=marker, ls="", ms=4) for color, marker in DEGREES]
    figure.legend(marks, [f"$H_{degree}$" for degree in range(3)], loc="outside right upper")
    return figure


def _diagram(axes: Axes, cloud: xr.Dataset, threshold: float) -> None:
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

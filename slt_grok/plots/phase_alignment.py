"""The phase alignment distribution of 2512.25060: where on its frequency's grid each neuron is largest.

Neurons on the diagonal have equal phases for both tokens, and their cluster is a disc; independent phases fill the
grid, and the cluster is a torus.
"""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from slt_grok.errors import SltGrokError
from slt_grok.plots.panels import undefined
from slt_grok.plots.style import BLUE, VERMILION, WIDTH, one_seed, panel_letters, styled


@styled
def phase_alignment(circuits: xr.Dataset, seed: int | None = None, step: int | None = None) -> Figure:
    """Left the law on Z_p^2 of (k a, k b) at the pair where a neuron is largest; right the torus distance.

    Parameters
    ----------
    circuits : xarray.Dataset
        Of `slt_grok.circuits.measure`, over `step`.
    seed, step : int or None, optional
        Which network; the first seed and the last step where left out.

    Raises
    ------
    SltGrokError
        The dataset has no `step` dimension, no such seed or no such step.
    """
    one = one_network(circuits, seed, step)
    figure = Figure(figsize=(0.8 * WIDTH, 2.7), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.set_box_aspect(1)
    if not one.neuron_alignment_left.notnull().any():
        for axes in (left, right):
            undefined(axes, "no cluster of neurons")
        return figure
    law(left, one)
    distances(right, one)
    panel_letters([left, right], offset=(-34, 6))
    return figure


def one_network(dataset: xr.Dataset, seed: int | None, step: int | None) -> xr.Dataset:
    """One network of a dataset along training.

    Raises
    ------
    SltGrokError
        There is no `step` dimension, no such seed or no such step.
    """
    one = one_seed(dataset, seed)
    steps = one.step.values.tolist()
    if step is not None and step not in steps:
        raise SltGrokError(f"expected a step among {', '.join(map(str, steps))}, got {step}")
    return one.sel(step=steps[-1] if step is None else step)


def law(axes: Axes, data: xr.Dataset) -> None:
    """Every neuron of a cluster as a point of Z_p^2, the diagonal of equal phases (for addition) as a line."""
    p = modulus(data)
    left, right = (data[f"neuron_alignment_{side}"].values.ravel() for side in ("left", "right"))
    axes.plot([0, p - 1], [0, p - 1], color="0.7", lw=0.8, zorder=0)
    axes.scatter(left, right, s=9, color=BLUE, alpha=0.35, lw=0)
    ticks = range(0, p, 10 if p < 70 else 20)
    axes.set(xlim=(-1, p), ylim=(-1, p), xticks=ticks, yticks=ticks, aspect="equal")
    axes.set(xlabel=r"$k\,a$ mod $p$ (tokens)", ylabel=r"$k\,b$ mod $p$ (tokens)")


def distances(axes: Axes, data: xr.Dataset) -> None:
    """Law of the torus distance over the neurons, beside that of independent uniform phases, with both means."""
    p = modulus(data)
    of_clusters = data.neuron_torus_distance.where(data.neuron_alignment_left.notnull()).values.ravel()
    found = of_clusters[np.isfinite(of_clusters)]
    distance = np.arange((p + 1) // 2)
    share = np.array([np.mean(found == d) for d in distance])
    uniform = np.where(distance == 0, 1, 2) / p
    axes.bar(distance, 100 * share, width=0.8, color=BLUE, label=f"{len(found)} neurons, mean {found.mean():.2f}")
    label = f"uniform phases, mean {(p**2 - 1) / (4 * p):.2f}"
    axes.step(distance, 100 * uniform, where="mid", color=VERMILION, lw=1.2, label=label)
    axes.set(xlabel="Torus distance (tokens)", ylabel="Share of neurons (%)", xlim=(-0.8, distance[-1] + 0.8))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper right")


def modulus(data: xr.Dataset) -> int:
    """p, from the frequencies 1..(p-1)/2."""
    return 2 * data.sizes["frequency"] + 1

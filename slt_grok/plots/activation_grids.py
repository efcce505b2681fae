"""Neuron activation grids: what neurons of each key frequency do on all pairs of tokens.

After Nanda et al. 2301.05217, section 4.2.
"""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from slt_grok.plots.panels import undefined
from slt_grok.plots.phase_alignment import one_network
from slt_grok.plots.style import WIDTH, styled

# Placed by hand, in dots of a saved figure with a whole number of them a cell: fine waves beat with anything else.
DOTS = 150  # an inch
LARGEST = 1.7 * DOTS  # a panel
LEFT, RIGHT, BOTTOM, TOP, BESIDE, BETWEEN = 85, 110, 70, 66, 20, 86


@styled
def activation_grids(maps: xr.Dataset, seed: int | None = None, step: int | None = None) -> Figure:
    """Activations of a few neurons over all (a, b), a row for each frequency of the circuit.

    Of each frequency's neurons from the left the one of the largest, the middle and the least share of variance (FVE)
    at the frequency. Each grid is in units of its own largest absolute activation.

    Parameters
    ----------
    maps : xarray.Dataset
        Of `slt_grok.circuits.maps.measure`, over `step`.
    seed, step : int or None, optional
        Which network; the first seed and the last step where left out.

    Raises
    ------
    SltGrokError
        The dataset has no `step` dimension, no such seed or no such step.
    """
    one = one_network(maps, seed, step)
    frequencies = [] if "example_neuron" not in one else [int(k) for k in np.unique(one.example_frequency) if k]
    if not frequencies:
        figure = Figure(figsize=(WIDTH, 0.8), layout="constrained")
        undefined(figure.subplots(), "no neuron at a frequency of the circuit at the last step")
        return figure
    rows = [np.flatnonzero(one.example_frequency == k) for k in frequencies]
    figure, panels, bar = placed(one.sizes["a"], len(rows), max(map(len, rows)))
    low = min(0.0, *(scaled(one.isel(example=i)).min() for row in rows for i in row))
    for examples, row in zip(rows, panels, strict=True):
        for i, axes in zip(examples, row, strict=False):
            grid(axes, one.isel(example=i), low)
            axes.tick_params(labelleft=axes is row[0])
        for axes in row[len(examples) :]:
            axes.set_axis_off()
        row[0].set_ylabel("$a$ (token)")
    for axes in panels[-1]:
        axes.set_xlabel("$b$ (token)")
    figure.colorbar(ScalarMappable(Normalize(low, 1), "mako"), cax=bar).set_label("Activation / its largest")
    return figure


def placed(modulus: int, rows: int, columns: int) -> tuple[Figure, list[list[Axes]], Axes]:
    """Return a figure of p x p panels whose cells are whole dots, and the axes of its color bar."""
    side = modulus * max(1, int(LARGEST // modulus))
    width = LEFT + columns * side + (columns - 1) * BESIDE + RIGHT
    height = BOTTOM + rows * side + (rows - 1) * BETWEEN + TOP
    figure = Figure(figsize=(width / DOTS, height / DOTS))

    def axes(left: float, bottom: float, wide: float, high: float) -> Axes:
        return figure.add_axes((left / width, bottom / height, wide / width, high / height))

    panels = [
        [
            axes(LEFT + column * (side + BESIDE), BOTTOM + (rows - 1 - row) * (side + BETWEEN), side, side)
            for column in range(columns)
        ]
        for row in range(rows)
    ]
    bar = axes(width - RIGHT + BESIDE, height - TOP - side, BESIDE, side)
    return figure, panels, bar


def scaled(neuron: xr.Dataset) -> np.ndarray:
    """Activations (a, b) in units of the largest absolute one; zeros where the neuron is silent."""
    values = neuron.example_activation.transpose("a", "b").values
    largest = np.abs(values).max()
    return values / largest if largest > 0 else values


def grid(axes: Axes, neuron: xr.Dataset, low: float) -> None:
    """One neuron's heat map from `low` to 1, titled by neuron, frequency and FVE."""
    values = scaled(neuron)
    p = len(values)
    axes.imshow(values, cmap="mako", vmin=low, vmax=1, interpolation="nearest", origin="lower")
    ticks = range(0, p, 20 if p < 70 else 50)
    axes.set(xticks=ticks, yticks=ticks)
    k, fve = int(neuron.example_frequency), float(neuron.example_fve)
    axes.set_title(f"neuron {int(neuron.example_neuron)}\n$k$ = {k}, FVE {fve:.2f}")

"""Tokens in the planes of the embedding, and activations of neurons on all pairs of tokens.

After Nanda et al. 2301.05217, sections 4.1 and 4.2, and Zhong et al. 2306.17844, figure 1.
"""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from slt_grok.plots import style

MOST_CIRCLES = 5  # columns of circuit frequencies; the control comes last
ORDER = "twilight"  # cyclic, with order encoded in lightness, so that hue is redundant

# Grids are placed by hand, so that each cell is a whole number of dots in a saved figure, to avoid moire patterns.
DOTS = 150  # per inch
LARGEST = 1.7 * DOTS  # per panel
LEFT, RIGHT, BOTTOM, TOP, GAP, ROW_GAP = 85, 110, 70, 66, 20, 86


@style.styled
def embedding_circles(maps: xr.Dataset, seed: int | None = None) -> Figure:
    """Draw the tokens in the planes of the circuit's frequencies, one column each, and one row per step.

    Tokens are connected in the order of k t mod p, which is also their color: for a circle, the line is its edge and
    the colors go around once. The last column is a control, the frequency outside the circuit with the median fraction
    of norm at the last step. All panels of a row share one scale.

    Parameters
    ----------
    maps : xarray.Dataset
        The measurement `circuit_maps`; with more than five frequencies in the circuit, those with the largest fraction
        of norm at the last step are drawn.
    """
    maps = style.select_seed(maps, seed)
    keys, control = _columns(maps.isel(step=-1))
    if not keys:
        return style.empty_figure("no frequency in the circuit at the last step")
    columns, rows = [*keys, *control], maps.sizes["step"]
    size = min(style.WIDTH / (len(columns) + 0.7), 1.75)
    figure, panels = style.frame((size + 0.4) * rows + 0.5, rows, len(columns), width=size * (len(columns) + 0.7))
    for step, row in zip(maps.step.values, panels, strict=True):
        planes = maps.sel(step=step, frequency=columns)
        limit = 1.08 * float(np.abs(planes.embedding_plane).max())
        for k, axes in zip(columns, row, strict=True):
            circle(axes, planes.sel(frequency=k))
            axes.set(xlim=(-limit, limit), ylim=(-limit, limit))
            axes.locator_params(nbins=3, steps=[1, 2, 4, 5, 10])
            axes.tick_params(labelleft=axes is row[0])
        row[0].set_ylabel(f"Step {int(step):,}\nalong $\\sin$")
    for k, axes in zip(columns, panels[0], strict=True):
        axes.set_title(f"$k$ = {k}{', control' if k in control else ''}\n{axes.get_title()}")
    figure.supxlabel(r"Centered row of the embedding along $\cos$ (units of $W_E$)")
    colors = ScalarMappable(Normalize(0, maps.sizes["token"]), ORDER)
    figure.colorbar(colors, ax=panels, shrink=min(1, 1.6 / rows), pad=0.01, label=r"$k\,t$ mod $p$ of token $t$")
    return figure


def _columns(maps: xr.Dataset) -> tuple[list[int], list[int]]:
    """Select the circuit's frequencies with the largest fraction of norm, ascending, and the control, if any."""
    share = maps.embedding_plane_share.dropna("frequency")  # frequencies that have a plane
    share = share.sortby(-share)
    in_circuit = maps.circuit_frequency.sel(frequency=share.frequency).values.astype(bool)
    keys, others = (share.frequency.values[chosen].tolist() for chosen in (in_circuit, ~in_circuit))
    return sorted(keys[:MOST_CIRCLES]), others[len(others) // 2 :][:1]


def circle(axes: Axes, plane: xr.Dataset) -> None:
    """Draw the tokens in the plane of one frequency, with its fraction of norm and of variance at the frequency."""
    p = plane.sizes["token"]
    turns = int(plane.frequency) * np.arange(p) % p
    x, y = plane.embedding_plane.transpose("part", "token").values[:, np.argsort(turns)]
    axes.plot([*x, x[0]], [*y, y[0]], color="0.75", lw=0.6, zorder=1)
    axes.scatter(x, y, c=np.arange(p), cmap=ORDER, vmin=0, vmax=p, s=11, edgecolors="0.35", linewidths=0.35, zorder=2)
    axes.set_aspect("equal")
    share, fve = float(plane.embedding_plane_share), float(plane.embedding_plane_fve)
    axes.set_title(f"{100 * share:.2g}% of norm\nFVE {fve:.3f}")


@style.styled
def activation_grids(maps: xr.Dataset, seed: int | None = None) -> Figure:
    """Draw activations of a few neurons of the last step over all (a, b), one row per frequency of the circuit.

    From the left: the neurons of each frequency with the largest, the median and the smallest fraction of variance
    (FVE) at the frequency. Each grid is normalized by its largest absolute activation.

    Parameters
    ----------
    maps : xarray.Dataset
        The measurement `circuit_maps`.
    """
    network = style.select_seed(maps, seed).isel(step=-1)
    examples = [] if "example_neuron" not in network else [network.isel(example=i) for i in range(len(network.example))]
    frequencies = sorted({int(neuron.example_frequency) for neuron in examples} - {0})
    if not frequencies:
        return style.empty_figure("no neuron at a frequency of the circuit at the last step")
    rows = [[neuron for neuron in examples if neuron.example_frequency == k] for k in frequencies]
    figure, panels, bar = _placed(network.sizes["a"], len(rows), max(map(len, rows)))
    low = min(0.0, *(_scaled(neuron).min() for neurons in rows for neuron in neurons))
    for neurons, row in zip(rows, panels, strict=True):
        for neuron, axes in zip(neurons, row, strict=False):
            _grid(axes, neuron, low)
            axes.tick_params(labelleft=axes is row[0])
        for axes in row[len(neurons) :]:
            axes.set_axis_off()
        row[0].set_ylabel("$a$ (token)")
    for axes in panels[-1]:
        axes.set_xlabel("$b$ (token)")
    figure.colorbar(ScalarMappable(Normalize(low, 1), "mako"), cax=bar, label="Activation / maximum")
    return figure


def _placed(cells: int, rows: int, columns: int) -> tuple[Figure, list[list[Axes]], Axes]:
    """Create a figure of square panels whose cells are whole dots, and the axes of its color bar."""
    side = cells * max(1, int(LARGEST // cells))
    width = LEFT + columns * side + (columns - 1) * GAP + RIGHT
    height = BOTTOM + rows * side + (rows - 1) * ROW_GAP + TOP
    figure = Figure(figsize=(width / DOTS, height / DOTS))

    def axes(left: float, bottom: float, wide: float, high: float) -> Axes:
        return figure.add_axes((left / width, bottom / height, wide / width, high / height))

    lefts = [LEFT + column * (side + GAP) for column in range(columns)]
    bottoms = [BOTTOM + (rows - 1 - row) * (side + ROW_GAP) for row in range(rows)]
    panels = [[axes(left, bottom, side, side) for left in lefts] for bottom in bottoms]
    return figure, panels, axes(width - RIGHT + GAP, height - TOP - side, GAP, side)


def _scaled(neuron: xr.Dataset) -> np.ndarray:
    """Normalize activations (a, b) by the largest absolute one; zeros if the neuron is silent."""
    values = neuron.example_activation.transpose("a", "b").values
    return values / (np.abs(values).max() or 1)


def _grid(axes: Axes, neuron: xr.Dataset, low: float) -> None:
    values = _scaled(neuron)
    axes.imshow(values, cmap="mako", vmin=low, vmax=1, interpolation="nearest", origin="lower")
    ticks = range(0, len(values), 20 if len(values) < 70 else 50)
    axes.set(xticks=ticks, yticks=ticks)
    k, fve = int(neuron.example_frequency), float(neuron.example_fve)
    axes.set_title(f"neuron {int(neuron.example_neuron)}\n$k$ = {k}, FVE {fve:.2f}")

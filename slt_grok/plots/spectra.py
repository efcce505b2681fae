"""Fourier spectra: of embedding and neuron-logit map over training with the neuron clusters, and of the logits.

After Nanda et al. (2301.05217), section 4: a neuron belongs to the frequency that explains more than 85% of its
variance; logits that are sums of cos w_k(a + b - c) only have components at products of waves of the same frequency,
which are blocks on the diagonal.
"""

from collections.abc import Sequence
from itertools import cycle
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullFormatter

from slt_grok.plots import style
from slt_grok.plots.palette import BLUE, BROWN, GRAY, GREEN, ORANGE, PINK, PURPLE, VERMILION, YELLOW

COLORS = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, BROWN, PINK, YELLOW)
TABLES = {"embedding_spectrum": "W_E", "neuron_logit_map_spectrum": "W_L"}
DECADES = 4  # decades of the logits' color scale, below the largest component


@style.styled
def spectrum(circuits: xr.Dataset, seed: int | None = None) -> Figure:
    """Draw heat maps of the spectra of embedding and neuron-logit map, and the neuron cluster sizes, of one seed.

    Frequency against step; each checkpoint's column extends halfway to its neighbors on the axis. Numbers at the
    right edge name the key frequencies of the last checkpoint (neuron rule), in the colors of their lines below; other
    frequencies are gray. The colors range from a twentieth of the uniform fraction to 100%. Spectra that were not
    measured are omitted.
    """
    circuits = style.select_seed(circuits, seed)
    frequency = circuits.frequency.values
    lowest = 100 / len(frequency) / 20
    norm = LogNorm(lowest, 100)
    tables = [name for name in TABLES if name in circuits]
    figure, panels = style.stack(2.0 + 2.3 * len(tables), [1.5] * len(tables) + [1])
    keys = frequency[circuits.key_frequency.isel(step=-1).values.astype(bool)].tolist()
    colors = dict(zip(keys, cycle(COLORS), strict=False))
    columns, rows = step_edges(circuits.step.values), np.r_[frequency - 0.5, frequency[-1] + 0.5]
    for axes, name in zip(panels, tables, strict=False):
        percent = 100 * circuits[name].transpose("frequency", "step").clip(min=lowest / 100)  # zero has no logarithm
        axes.pcolormesh(columns, rows, percent, norm=norm, cmap="mako", rasterized=True)
        axes.set_ylabel(f"Frequency $k$ of ${TABLES[name]}$")
        _name_keys(axes, colors, len(frequency))
    place = {"shrink": 0.4, "anchor": (0, 1.0), "pad": 0.015, "aspect": 18}
    bar = figure.colorbar(ScalarMappable(norm, "mako"), ax=panels, label="Fraction of squared norm (%)", **place)
    bar.ax.yaxis.set_major_formatter("{x:g}")
    _clusters(panels[-1], circuits.neuron_cluster_size, colors)
    style.finish(figure, panels, circuits.step.values)
    return figure


def _name_keys(axes: Axes, colors: dict[int, str], frequencies: int) -> None:
    """Label the key frequencies at the right edge, each in its color."""
    edge = axes.get_yaxis_transform()
    look: Any = {"xycoords": edge, "textcoords": edge, "va": "center", "fontsize": 7, "annotation_clip": False}
    line = {"arrowstyle": "-", "lw": 1.0, "shrinkA": 1, "shrinkB": 0}
    for (k, color), place in zip(colors.items(), spread(list(colors), 0.055 * frequencies), strict=True):
        axes.annotate(str(k), (1.004, k), (1.035, place), color=color, arrowprops=line | {"color": color}, **look)


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Place labels of ascending positions at least `gap` apart, centering each run of close ones on its mean."""
    runs: list[list[float]] = []
    for place in places:
        runs.append([place])
        while len(runs) > 1 and _heights(runs[-2], gap)[-1] + gap > _heights(runs[-1], gap)[0]:
            runs[-2:] = [runs[-2] + runs[-1]]
    return [height for run in runs for height in _heights(run, gap)]


def _heights(run: list[float], gap: float) -> list[float]:
    middle = sum(run) / len(run)
    return [middle + gap * (i - (len(run) - 1) / 2) for i in range(len(run))]


def _clusters(axes: Axes, size: xr.DataArray, colors: dict[int, str]) -> None:
    """Draw the number of neurons in each frequency's cluster, key frequencies in color."""
    axes.set_ylabel("Neurons in cluster")
    populated = size.frequency.values[(size > 0).any("step").values].tolist()
    if not populated:
        style.empty_panel(axes, "no neuron with more than 85% of its variance at one frequency, at any checkpoint")
    for k in populated:
        look = {"color": colors[k], "lw": 1.4, "zorder": 3} if k in colors else {"color": GRAY, "lw": 0.6}
        axes.plot(size.step, size.sel(frequency=k), marker="o", ms=2.2, **look)


def step_edges(steps: np.ndarray) -> np.ndarray:
    """Compute the edges of columns that extend halfway to the neighboring checkpoints on the step axis."""
    if len(steps) == 1:
        return np.array([steps[0] * 0.9, steps[0] * 1.1 + 1])
    bound = style.compressed_below(steps)
    forward, inverse = (np.log, np.exp) if bound is None else style.step_scale(bound)  # as in `style.step_axis`
    place = forward(steps.astype(float))
    middle = (place[1:] + place[:-1]) / 2
    first = 0 if steps[0] == 0 else 2 * place[0] - middle[0]
    return inverse(np.r_[first, middle, place[-1]])


@style.styled
def logit_spectrum(maps: xr.Dataset, seed: int | None = None) -> Figure:
    """Draw a heat map of the norm over the classes of each Fourier component of the logits at the last step.

    Rows are the waves of a, columns those of b: the constant, then the waves of each frequency. The ticks name the
    circuit's frequencies; the title gives the fraction of the squared norm, without the constant component, that is in
    their blocks, and the fraction of components that these blocks contain.

    Parameters
    ----------
    maps : xarray.Dataset
        The measurement `circuit_maps`.
    """
    network = style.select_seed(maps, seed).isel(step=-1)
    norm = network.logit_fourier_norm.transpose("component_a", "component_b").values.astype(float)
    blocks = _blocks(network)
    keys = [k for k in network.frequency.values[network.circuit_frequency.values.astype(bool)].tolist() if k in blocks]
    figure, ((axes,),) = style.frame(0.62 * style.WIDTH, width=0.72 * style.WIDTH)
    lowest = norm.max() / 10**DECADES
    image = axes.imshow(np.maximum(norm, lowest), norm=LogNorm(lowest, norm.max()), cmap="mako")
    label = "Norm over the classes of the logits' component (logits)"
    figure.colorbar(image, ax=axes, shrink=0.85, pad=0.02, extend="min", label=label)
    _name_waves(axes, {k: float(np.mean(blocks[k])) for k in keys}, len(norm), len(network.frequency))
    axes.set_title(f"Step {int(network.step):,}" + (f"\n{_in_blocks(norm, blocks, keys)}" if keys else ""), loc="left")
    return figure


def _blocks(maps: xr.Dataset) -> dict[int, list[int]]:
    """List the positions of each frequency's components, parsed from their names; 0 stands for the constant."""
    blocks: dict[int, list[int]] = {}
    for place, name in enumerate(maps.component_a.values.tolist()):
        _, _, frequency = name.partition(" ")
        blocks.setdefault(int(frequency or 0), []).append(place)
    return blocks


def _in_blocks(norm: np.ndarray, blocks: dict[int, list[int]], keys: list[int]) -> str:
    power = np.square(norm)
    power[0, 0] = 0
    share = sum(power[np.ix_(blocks[k], blocks[k])].sum() for k in keys) / power.sum()
    chance = sum(len(blocks[k]) ** 2 for k in keys) / (power.size - 1)
    return f"{100 * share:.3g}% of the squared norm in the circuit's blocks,\n{100 * chance:.2g}% of the components"


def _name_waves(axes: Axes, keys: dict[int, float], components: int, frequencies: int) -> None:
    """Put ticks at the constant and at the circuit's frequencies, keeping their labels apart."""
    places = [0, *keys.values()]
    for axis, token in ((axes.yaxis, "a"), (axes.xaxis, "b")):
        axis.set_major_locator(FixedLocator(places))
        axis.set_major_formatter(NullFormatter())
        axis.set_label_text(rf"Component of ${token}$: 1, $\cos k$, $\sin k$, $k$ = 1 to {frequencies}")
        axis.labelpad = 18
    line = {"arrowstyle": "-", "lw": 0.5, "shrinkA": 0, "shrinkB": 3}
    options = {"textcoords": "data", "annotation_clip": False, "fontsize": 7, "arrowprops": line}
    end, out = components - 0.5, 0.035 * components
    names, left, below = ["1", *map(str, keys)], spread(places, out), spread(places, 0.05 * components)
    for i, name in enumerate(names):
        axes.annotate(name, (-0.5, places[i]), (-out, left[i]), ha="right", va="center", **options)
        axes.annotate(name, (places[i], end), (below[i], end + out), ha="center", va="top", **options)

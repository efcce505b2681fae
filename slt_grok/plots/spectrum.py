"""The Fourier spectra of embedding and neuron-logit map over training, and the clusters of neurons by frequency.

Spectra and key frequencies after Nanda et al. (2301.05217), section 4; a neuron belongs to the frequency that explains
more than 85% of its variance.
"""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from slt_grok.plots.panels import undefined
from slt_grok.plots.style import (
    BLUE,
    BROWN,
    GRAY,
    GREEN,
    ORANGE,
    PINK,
    PURPLE,
    VERMILION,
    WIDTH,
    YELLOW,
    linear_below,
    one_seed,
    panel_letters,
    step_axis,
    styled,
)

COLORS = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, BROWN, PINK, YELLOW)


TABLES = {"embedding_spectrum": "W_E", "neuron_logit_map_spectrum": "W_L"}


@styled
def spectrum(circuits: xr.Dataset, seed: int | None = None) -> Figure:
    """Heat maps of the spectra of embedding and neuron-logit map, above the neuron cluster sizes of one seed.

    Frequency against step; each checkpoint's column reaches half way to its neighbors on the axis. Numbers at the
    right edge name the key frequencies of the last checkpoint (neuron rule), in the colors of their lines below; other
    frequencies are gray. The colors run from a twentieth of the uniform share 1/((p-1)/2) to 100%, the same for every
    run of one p. A spectrum that the dataset does not have is left out.

    Raises
    ------
    SltGrokError
        The dataset has no `step` dimension, or no such seed.
    """
    one = one_seed(circuits, seed)
    steps, frequency = one.step.values, one.frequency.values
    lowest = 100 / len(frequency) / 20
    tables = {name: table for name, table in TABLES.items() if name in one}
    figure = Figure(figsize=(WIDTH, 2.0 + 2.3 * len(tables)), layout="constrained")
    *maps, lower = figure.subplots(len(tables) + 1, 1, sharex=True, height_ratios=[*[1.5] * len(tables), 1])
    keys = frequency[one.key_frequency.isel(step=-1).values.astype(bool)]
    colors = {int(k): COLORS[i % len(COLORS)] for i, k in enumerate(keys)}
    for axes, (name, table) in zip(maps, tables.items(), strict=True):
        heat_map(axes, one[name], lowest)
        axes.set_ylabel(f"Frequency $k$ of ${table}$")
        name_keys(axes, colors, len(frequency))
    shades = ScalarMappable(LogNorm(lowest, 100), "mako")
    bar = figure.colorbar(shades, ax=[*maps, lower], shrink=0.4, anchor=(0, 1.0), pad=0.015, aspect=18)
    bar.set_label("Share of squared norm (%)")
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    clusters(lower, one, colors)
    step_axis(lower, steps)
    lower.spines[["top", "right"]].set_visible(False)
    panel_letters([*maps, lower])
    figure.align_ylabels([*maps, lower])
    return figure


def heat_map(axes: Axes, share: xr.DataArray, lowest: float) -> None:
    """One spectrum over training, in per cent from `lowest` on."""
    frequency = share.frequency.values
    axes.pcolormesh(
        step_edges(share.step.values),
        np.r_[frequency - 0.5, frequency[-1] + 0.5],
        np.maximum(100 * share.transpose("frequency", "step").values, lowest),  # 0 has no color of its own
        norm=LogNorm(lowest, 100),
        cmap="mako",
        rasterized=True,
    )


def name_keys(axes: Axes, colors: dict[int, str], frequencies: int) -> None:
    """Draw the key frequencies at the right edge, each in its color."""
    for (k, color), place in zip(colors.items(), spread(list(colors), 0.055 * frequencies), strict=True):
        axes.annotate(
            str(k),
            (1.004, k),
            xytext=(1.035, place),
            xycoords=axes.get_yaxis_transform(),
            textcoords=axes.get_yaxis_transform(),
            color=color,
            va="center",
            fontsize=7,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": color, "lw": 1.0, "shrinkA": 1, "shrinkB": 0},
        )


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Heights for labels of ascending places, at least `gap` apart: each run of close ones centered on its places."""
    runs: list[list[float]] = []
    for place in places:
        runs.append([place])
        while len(runs) > 1 and _heights(runs[-2], gap)[-1] + gap > _heights(runs[-1], gap)[0]:
            runs[-2:] = [runs[-2] + runs[-1]]
    return [height for run in runs for height in _heights(run, gap)]


def _heights(run: list[float], gap: float) -> list[float]:
    middle = sum(run) / len(run)
    return [middle + gap * (i - (len(run) - 1) / 2) for i in range(len(run))]


def clusters(axes: Axes, one: xr.Dataset, colors: dict[int, str]) -> None:
    """Draw the number of neurons in each frequency's cluster, key frequencies in color."""
    size = one.neuron_cluster_size
    if not (size > 0).any():
        undefined(axes, "no neuron with more than 85% of its variance at one frequency, at any checkpoint")
    else:
        for k in one.frequency.values:
            if (size.sel(frequency=k) > 0).any():
                style = (
                    {"color": colors[int(k)], "lw": 1.4, "zorder": 3}
                    if int(k) in colors
                    else {"color": GRAY, "lw": 0.6}
                )
                axes.plot(one.step, size.sel(frequency=k), marker="o", ms=2.2, **style)
    axes.set_ylabel("Neurons in cluster")


def step_edges(steps: np.ndarray) -> np.ndarray:
    """Edges of the columns: half way between checkpoints as the axis shows them."""
    if len(steps) == 1:
        return np.array([steps[0] * 0.9, steps[0] * 1.1 + 1])
    bound = linear_below(steps) or 1e-9
    place = np.where(steps > bound, 0.3 + np.log10(np.maximum(steps, bound) / bound), 0.3 * steps / bound)
    middle = (place[1:] + place[:-1]) / 2
    edges = np.r_[max(place[0] - (middle[0] - place[0]), 0 if steps[0] == 0 else -np.inf), middle, place[-1]]
    return np.where(edges > 0.3, bound * 10 ** (edges - 0.3), edges * bound / 0.3)

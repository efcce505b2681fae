"""The mechanism: the clock and pizza plane, and the effects of interventions in the circuit's planes.

The plane follows Zhong et al. 2306.17844, section 5, whose one-layer networks of attention rate 0 to 1 range from pizza
(symmetric gradients, logits that depend on a - b) to clock; the interventions follow Nanda et al. 2301.05217, sections
4.4 and 5.1, with the tests and controls of `slt_grok.circuits.causal`.
"""

from collections.abc import Mapping
from itertools import cycle

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from slt_grok.plots.lines import QUANTILE
from slt_grok.plots.palette import BLUE, BROWN, GRAY, GREEN, ORANGE, PURPLE, VERMILION
from slt_grok.plots.style import (
    empty_figure,
    frame,
    legend_right,
    name_rows,
    panel_letters,
    select_seed,
    step_axis,
    styled,
    with_seed,
)

# The boundaries of 2306.17844 between clock and pizza
GRADIENT_SYMMETRICITY = 0.98
DISTANCE_IRRELEVANCE = 0.6
RUNS = ((VERMILION, "o"), ("k", "s"), (PURPLE, "^"), (GREEN, "D"), (BROWN, "v"))  # color, marker; cycled

CIRCUIT = (BLUE, "o", 5.5)  # color, marker, size
CONTROLS = {  # distinct markers, so that color is redundant; and the name in the legend
    "all other frequencies": (ORANGE, "s", 4.5, "all others"),
    "random frequencies": (GRAY, "x", 4.5, "random, equally many"),
    "random frequencies of equal norm": (BROWN, "+", 6, "random, equal norm"),
    "untrained network": (PURPLE, "v", 4.5, "untrained"),
    "memorizing network": (VERMILION, "^", 4.5, "memorizing"),
}
MOVED = ("planes of another token", "planes rotated", "planes and accompanying rotated")


@styled
def clock_pizza_plane(runs: Mapping[str, xr.Dataset], published: xr.Dataset | None = None) -> Figure:
    """Draw each network's checkpoints as a path from a hollow first to a full last point, with 95% intervals.

    Parameters
    ----------
    runs : mapping
        The measurement `circuits` of each run by name; each seed is a path. Checkpoints at which one of the two
        measures is undefined are omitted.
    published : xarray.Dataset or None, optional
        Published runs with circular embeddings, drawn underneath in the color of their attention rate.
    """
    figure, ((axes,),) = frame(4.4 if published is not None else 3.6, width=5.8)
    axes.axvline(DISTANCE_IRRELEVANCE, color="0.6", lw=0.8, ls="--", zorder=0)
    axes.axhline(GRADIENT_SYMMETRICITY, color="0.6", lw=0.8, ls="--", zorder=0)
    if published is not None:
        place = published.distance_irrelevance_top_wrong, published.gradient_symmetricity
        look = {"cmap": "cividis", "vmin": 0, "vmax": 1, "s": 9, "lw": 0, "alpha": 0.6, "zorder": 1}
        cloud = axes.scatter(*place, c=published.attention_rate, **look)
        name = "Attention rate of the published runs"
        figure.colorbar(cloud, ax=axes, location="bottom", shrink=0.6, aspect=30, label=name)
    styles = cycle(RUNS)
    for name, run in runs.items():
        seeds = with_seed(run)
        for seed in seeds.seed.values.tolist():
            label = f"{name}, seed {seed}" if seeds.sizes["seed"] > 1 else name
            _path(axes, seeds.sel(seed=seed), label, *next(styles))
    axes.set(xlabel="Distance irrelevance (largest wrong logit)", ylabel="Gradient symmetricity")
    low = min(axes.get_ylim()[0], 0.15)
    axes.set(xlim=(0, 1.03), ylim=(low, 1.04))
    corner = {"fontsize": 8, "color": "0.35", "style": "italic"}
    axes.text(0.015, GRADIENT_SYMMETRICITY - 0.015, "pizza", va="top", **corner)
    axes.text(1.02, low + 0.02, "clock", ha="right", **corner)
    legend_right(axes)
    return figure


def _path(axes: Axes, run: xr.Dataset, label: str, color: str, marker: str) -> None:
    """Draw one network over training."""
    names = ["distance_irrelevance_top_wrong", "gradient_symmetricity", "gradient_symmetricity_se"]
    run = run[names].dropna("step", subset=names[:2])
    if not run.sizes["step"]:
        return
    x, y, error = (run[name].values for name in names)
    axes.errorbar(x, y, QUANTILE * error, color=color, lw=0.9, elinewidth=0.6, marker=".", ms=2.5, alpha=0.7, zorder=3)
    axes.plot(x[:1], y[:1], marker, ms=5, color=color, mfc="white", mew=1, zorder=4)
    label = f"{label}\n(step {run.step.values[0]:,} to {run.step.values[-1]:,})"
    axes.plot(x[-1:], y[-1:], marker, ms=6.5, color=color, mec="white", mew=0.8, zorder=5, label=label)


@styled
def causal(measured: xr.Dataset, seed: int | None = None) -> Figure:
    """Draw one row per test at the last step, and the effect of rotations over training below.

    Above: train loss after / before, and fraction of predictions moved. Below: the effect of rotating the planes of
    the circuit (with and without its doubled frequencies) and of rotating all others.

    Parameters
    ----------
    measured : xarray.Dataset
        The measurement `causal`.
    """
    networks = select_seed(measured, seed)
    last = networks.isel(step=-1)
    if not last.circuit_frequency.any():
        return empty_figure("no frequency in the circuit at the last step, so there is nothing to intervene on")
    moved = last.test.isin(MOVED).values
    several = networks.sizes["step"] > 1
    heights = [(~moved).sum(), moved.sum() + 1, *([7.5] if several else [])]
    figure, grid = frame(5.6 if several else 3.4, len(heights), height_ratios=heights)
    panels = grid[:, 0].tolist()
    _rows(panels[0], last.isel(test=~moved))
    panels[0].set(xscale="log", xlabel="Train loss after / before (logarithmic)")
    panels[0].axvline(1, color="0.75", lw=0.7, zorder=0)
    panels[0].set_title(f"Step {int(last.step):,}", loc="left")
    _rows(panels[1], last.isel(test=moved))
    panels[1].set(xlim=(-0.04, 1.04), xlabel="Fraction of predictions moved")
    legend_right(panels[0])
    if several:
        _over_training(panels[2], networks)
    panel_letters(panels, offset=(-140, 8), room=False)
    return figure


def _rows(axes: Axes, tests: xr.Dataset) -> None:
    """Draw one row per test: the markers of the circuit and of the controls."""
    name_rows(axes, tests.test.values.tolist())
    rows = np.arange(tests.sizes["test"])
    color, marker, size = CIRCUIT
    axes.plot(tests.effect, rows, marker, ms=size, color=color, label="circuit", zorder=3)
    for control, (color, marker, size, name) in CONTROLS.items():
        values = tests.control_effect.sel(control=control)
        if np.isfinite(values).any():
            axes.plot(values, rows, marker, ms=size, color=color, mfc="none", mew=1.1, label=name)
    axes.grid(axis="y", color="0.92", lw=0.7)
    axes.set_axisbelow(True)


def _over_training(axes: Axes, networks: xr.Dataset) -> None:
    """Draw predictions moved over training when all planes of the circuit are rotated, and when all others are."""
    others = "all other frequencies"
    for values, (color, marker, *_), name in (
        (networks.effect, CIRCUIT, "circuit"),
        (networks.control_effect.sel(control=others), CONTROLS[others], "all others"),
    ):
        for test, line, added in zip(MOVED[1:], ("--", "-"), ("", " (2k too)"), strict=True):
            axes.plot(networks.step, values.sel(test=test), line, marker=marker, ms=3, color=color, label=name + added)
    step_axis(axes, networks.step.values)
    axes.set(ylim=(-0.04, 1.04), ylabel="Fraction of predictions\nmoved by rotation")
    legend_right(axes, handlelength=3.2)  # long enough to show dashes

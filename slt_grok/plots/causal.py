"""The causal table as dots: what each intervention does to the circuit, beside its controls.

Tests and controls of `slt_grok.circuits.causal`; after Nanda et al. 2301.05217, sections 4.4 and 5.1.
"""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from slt_grok.errors import SltGrokError
from slt_grok.plots.panels import undefined
from slt_grok.plots.style import (
    BLUE,
    BROWN,
    GRAY,
    ORANGE,
    PURPLE,
    VERMILION,
    WIDTH,
    legend_right,
    one_seed,
    panel_letters,
    step_axis,
    styled,
)

CIRCUIT = (BLUE, "o", 5.5)  # color, marker, size
CONTROLS = {  # one marker each, so that color is not needed; and the name in the legend
    "all other frequencies": (ORANGE, "s", 4.5, "all others"),
    "random frequencies": (GRAY, "x", 4.5, "random, as many"),
    "random frequencies of equal norm": (BROWN, "+", 6, "random, equal norm"),
    "untrained network": (PURPLE, "v", 4.5, "untrained"),
    "memorizing network": (VERMILION, "^", 4.5, "memorizing"),
}
MOVED = ("planes of another token", "planes rotated", "planes and accompanying rotated")


@styled
def causal(measured: xr.Dataset, step: int | None = None, seed: int | None = None) -> Figure:
    """Draw the tests at one step, and below what rotation moves over training.

    Above, a row for each test: train loss after / before, and share of answers moved. Below, what rotation moves over
    training, in the planes of the circuit (its doubled frequencies too) and in all others.

    Parameters
    ----------
    measured : xarray.Dataset
        From `slt_grok.circuits.causal`, over `step`.
    step : int or None, optional
        The last where left out.

    Raises
    ------
    SltGrokError
        No `step` dimension, no such step or seed.
    """
    along = one_seed(measured, seed)
    steps = along.step.values
    if step is not None and step not in steps:
        raise SltGrokError(f"expected a step among {', '.join(map(str, steps))}, got {step}")
    one = along.sel(step=steps[-1] if step is None else step)
    if not one.circuit_frequency.any():
        figure = Figure(figsize=(WIDTH, 0.8), layout="constrained")
        undefined(figure.subplots(), "no frequency in the circuit at the last step: there is nothing to intervene on")
        return figure
    moved = one.test.isin(MOVED).values
    several = len(steps) > 1
    figure = Figure(figsize=(WIDTH, 5.6 if several else 3.4), layout="constrained")
    heights = [(~moved).sum(), moved.sum() + 1, *([7.5] if several else [])]
    panels = figure.subplots(len(heights), 1, height_ratios=heights)
    _rows(panels[0], one.isel(test=~moved))
    panels[0].set_xscale("log")
    panels[0].axvline(1, color="0.75", lw=0.7, zorder=0)
    panels[0].set_xlabel("Train loss after / before (logarithmic)")
    panels[0].set_title(f"Step {int(one.step):,}", loc="left")
    _rows(panels[1], one.isel(test=moved))
    panels[1].set_xlim(-0.04, 1.04)
    panels[1].set_xlabel("Share of answers moved")
    legend_right(panels[0])
    if several:
        _along(panels[2], along)
    panel_letters(panels.tolist(), offset=(-140, 8), room=False)
    return figure


def _rows(axes: Axes, one: xr.Dataset) -> None:
    """Draw a row for each test, the circuit's dot and those of the controls."""
    rows = np.arange(one.sizes["test"])
    color, marker, size = CIRCUIT
    axes.plot(one.effect, rows, marker, ms=size, color=color, label="circuit", zorder=3)
    for control, (color, marker, size, name) in CONTROLS.items():
        values = one.control_effect.sel(control=control)
        if np.isfinite(values).any():
            axes.plot(values, rows, marker, ms=size, color=color, mfc="none", mew=1.1, label=name)
    axes.set_yticks(rows, one.test.values.tolist())
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(axis="y", color="0.92", lw=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _along(axes: Axes, along: xr.Dataset) -> None:
    """Answers moved over training when all planes of the circuit are rotated, and when all others are."""
    others = along.control_effect.sel(control="all other frequencies")
    for values, (color, marker), name in (
        (along.effect, CIRCUIT[:2], "circuit"),
        (others, CONTROLS["all other frequencies"][:2], "all others"),
    ):
        for test, line, added in zip(MOVED[1:], ("--", "-"), ("", " (2k too)"), strict=True):
            axes.plot(along.step, values.sel(test=test), line, marker=marker, ms=3, color=color, label=name + added)
    step_axis(axes, along.step.values)
    axes.set_ylim(-0.04, 1.04)
    axes.set_ylabel("Share of answers\nmoved by rotation")
    axes.spines[["top", "right"]].set_visible(False)
    legend_right(axes, handlelength=3.2)  # long enough for dashes

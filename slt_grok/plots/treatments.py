"""The LLC under treatments of the weight scale, and a run with an intervention in training against a baseline run.

Estimator: Lau et al. 2308.12108, definition 3; excluded loss: Nanda et al. 2301.05217, section 5.1, for the key
frequencies of each run.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from slt_grok.plots.lines import line_of_llc, note_setting, over_seeds
from slt_grok.plots.palette import BLUE, GREEN, ORANGE
from slt_grok.plots.style import (
    empty_panel,
    few_decades,
    finish,
    frame,
    legend_right,
    narrow_ticks,
    over_training,
    percent_axis,
    select_seed,
    shared_legend,
    stack,
    styled,
    symlog_axis,
    with_seed,
)

TREATMENTS = {  # color, marker, name
    "fixed_gamma": (BLUE, "o", r"fixed $\gamma$"),
    "relative_gamma": (ORANGE, "s", r"$\gamma = d/(\rho |w^*|^2)$"),
    "rescaled_weights": (GREEN, "D", r"rescaled weights, fixed $\gamma$"),
}
STYLES: tuple[dict[str, Any], dict[str, Any]] = (
    {"color": ORANGE, "ls": "--", "lw": 1.2},
    {"color": BLUE, "ls": "-", "lw": 1.4},
)  # baseline, intervened


@styled
def confound(measured: xr.Dataset, seed: int | None = None) -> Figure:
    """Draw the LLC with 95% bands, one color per treatment, and below it the loss at w*, as trained and rescaled."""
    measured = select_seed(measured, seed)
    figure, panels = stack(3.8, [1.8, 1])
    upper, lower = panels
    for treatment, (color, marker, name) in TREATMENTS.items():
        line_of_llc(upper, measured.sel(treatment=treatment), color, name, marker, ms=3.6)
    upper.axhline(0, color="0.7", lw=0.7, zorder=0)
    upper.set_ylabel("LLC")
    for treatment, name in (("fixed_gamma", "as trained"), ("rescaled_weights", "rescaled weights")):
        color, marker, _ = TREATMENTS[treatment]
        loss = measured.baseline_loss.sel(treatment=treatment)
        lower.plot(measured.step, loss, color=color, marker=marker, ms=3, label=name)
    lower.set(yscale="log", ylabel="Loss at $w^*$\n(nats)")
    for axes in panels:
        legend_right(axes)
    finish(figure, panels, measured.step.values)
    return figure


@styled
def baseline_comparison(
    baseline: Mapping[str, xr.Dataset],
    intervened: Mapping[str, xr.Dataset],
    names: tuple[str, str],
    changes: Sequence[int] = (),
) -> Figure:
    """Draw four panels over training, the baseline run dashed and the intervened one solid.

    Several seeds are thin lines with a thick median.

    Parameters
    ----------
    baseline, intervened : mapping
        `training`, `llc`, `circuits` and `landscape` of both runs, as far as available.
    names : tuple of str
        Names of both runs, in this order.
    changes : sequence of int, optional
        Steps at which training was changed, drawn as vertical lines.
    """
    runs = [{label: with_seed(run[label]) for label in PANELS if label in run} for run in (baseline, intervened)]
    figure, grid = frame(4.6, 2, 2, sharex=True)
    for axes, (label, (draw, name)) in zip(grid.flat, PANELS.items(), strict=True):
        drawn = [
            draw(axes, run[label], {**style, "label": name_of_run})
            for run, name_of_run, style in zip(runs, names, STYLES, strict=True)
            if label in run
        ]
        if not any(drawn):
            empty_panel(axes, f"{name.split(chr(10))[0]}: not measured or undefined")
        elif axes.get_yscale() == "log":
            low, high = axes.get_ylim()
            (few_decades if high / low > 100 else narrow_ticks)(axes)
        axes.set_ylabel(name)
        for step in changes:
            axes.axvline(step, color="0.5", lw=0.8, ls=":")
    steps = np.unique(np.concatenate([data.step.values for run in runs for data in run.values()]))
    over_training(figure, list(grid.flat), steps)
    shared_legend(figure, grid.flat, ncols=2)
    if "llc" in runs[1]:
        note_setting(grid[0, 1], runs[1]["llc"])
    return figure


def _accuracy(axes: Axes, training: xr.Dataset, style: dict[str, Any]) -> bool:
    percent_axis(axes)
    return over_seeds(axes, 100 * training.test_accuracy, **style) is not None


def _llc(axes: Axes, llc: xr.Dataset, style: dict[str, Any]) -> bool:
    symlog_axis(axes)
    for seed in llc.seed:
        line_of_llc(axes, llc.sel(seed=seed), style["color"], ls="", ms=2.6, alpha=0.2)
    return over_seeds(axes, llc.llc.where(llc.llc_status != "diverged"), **style) is not None


def _excluded(axes: Axes, circuits: xr.Dataset, style: dict[str, Any]) -> bool:
    if "excluded_loss" not in circuits:
        return False
    excluded = circuits.excluded_loss.sel(split="train").where(circuits.circuit_frequency.any("frequency"))
    return over_seeds(axes, excluded, positive=True, **style) is not None


def _norm(axes: Axes, landscape: xr.Dataset, style: dict[str, Any]) -> bool:
    return over_seeds(axes, landscape.weight_norm.sel(component="total"), **style) is not None


PANELS: dict[str, tuple[Callable[[Axes, xr.Dataset, dict[str, Any]], bool], str]] = {
    "training": (_accuracy, "Test accuracy\n(%)"),
    "llc": (_llc, "LLC"),
    "circuits": (_excluded, "Excluded loss, train\n(nats)"),
    "landscape": (_norm, "Weight norm"),
}

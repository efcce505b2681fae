"""The LLC under treatments of the weight scale, and runs and networks with interventions.

Estimator: Lau et al. 2308.12108, definition 3; excluded loss: Nanda et al. 2301.05217, section 5.1, for the key
frequencies of each run; variants of the measurement `interventions`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from slt_grok.errors import SltGrokError
from slt_grok.format import first_line
from slt_grok.llc.diagnostics import EXCLUDED
from slt_grok.plots import style
from slt_grok.plots.lines import (
    fit_llc,
    interval,
    line_of_llc,
    note_setting,
    over_seeds,
    points_by_status,
    setting,
    status_handles,
)
from slt_grok.plots.logarithmic import logarithmic
from slt_grok.plots.palette import BLUE, GREEN, ORANGE, PURPLE
from slt_grok.units import with_units

TREATMENTS = {  # color, marker, name
    "fixed_gamma": (BLUE, "o", r"fixed $\gamma$"),
    "relative_gamma": (ORANGE, "s", r"$\gamma = d/(\rho |w^*|^2)$"),
    "rescaled_weights": (GREEN, "D", r"rescaled weights, fixed $\gamma$"),
}
STYLES: tuple[dict[str, Any], dict[str, Any]] = (
    {"color": ORANGE, "ls": "--", "lw": 1.2},
    {"color": BLUE, "ls": "-", "lw": 1.4},
)  # baseline, intervened


@style.styled
def confound(measured: xr.Dataset, seed: int | None = None) -> Figure:
    """Draw the LLC with 95% bands, one color per treatment, and below it the loss at w*, as trained and rescaled."""
    measured = style.select_seed(measured, seed)
    figure, panels = style.stack(3.8, [1.8, 1])
    upper, lower = panels
    for treatment, (color, marker, name) in TREATMENTS.items():
        line_of_llc(upper, measured.sel(treatment=treatment), color, name, marker, ms=3.6)
    upper.axhline(0, color="0.7", lw=0.7, zorder=0)
    upper.set_ylabel("LLC")
    for treatment, name in (("fixed_gamma", "as trained"), ("rescaled_weights", "rescaled weights")):
        color, marker, _ = TREATMENTS[treatment]
        loss = measured.baseline_loss.sel(treatment=treatment)
        lower.plot(measured.step, loss, color=color, marker=marker, ms=3, label=name)
    fit_llc(upper, [(measured.step, measured.sel(treatment=name), look[0]) for name, look in TREATMENTS.items()])
    logarithmic(lower.yaxis)
    lower.set_ylabel(with_units("Loss at $w^*$", measured.baseline_loss, "\n"))
    for axes in panels:
        style.legend_right(axes)
    style.finish(figure, panels, measured.step.values)
    return figure


@style.styled
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
    runs = [{label: style.with_seed(run[label]) for label in PANELS if label in run} for run in (baseline, intervened)]
    figure, grid = style.frame(4.6, 2, 2, sharex=True)
    for axes, (label, (draw, name, variable)) in zip(grid.flat, PANELS.items(), strict=True):
        drawn = [
            draw(axes, run[label], {**look, "label": name_of_run})
            for run, name_of_run, look in zip(runs, names, STYLES, strict=True)
            if label in run
        ]
        if not any(drawn):
            style.empty_panel(axes, f"{first_line(name)}: not measured or undefined")
        measured = next((run[label][variable] for run in runs if variable in run.get(label, ())), None)
        axes.set_ylabel(name if measured is None else with_units(name, measured, "\n"))
        for step in changes:
            axes.axvline(step, color="0.5", lw=0.8, ls=":")
    steps = np.unique(np.concatenate([data.step.values for run in runs for data in run.values()]))
    style.over_training(figure, list(grid.flat), steps)
    style.shared_legend(figure, grid.flat, ncols=2)
    if "llc" in runs[1]:
        note_setting(grid[0, 1], runs[1]["llc"])
    return figure


def _accuracy(axes: Axes, training: xr.Dataset, look: dict[str, Any]) -> bool:
    style.percent_axis(axes)
    return over_seeds(axes, 100 * training.test_accuracy, **look) is not None


def _llc(axes: Axes, llc: xr.Dataset, look: dict[str, Any]) -> bool:
    style.symlog_axis(axes)
    for seed in llc.seed:
        line_of_llc(axes, llc.sel(seed=seed), look["color"], ls="", ms=2.6, alpha=0.2)
    return over_seeds(axes, llc.llc.where(~llc.llc_status.isin(EXCLUDED)), **look) is not None


def _excluded(axes: Axes, circuits: xr.Dataset, look: dict[str, Any]) -> bool:
    if "excluded_loss" not in circuits:
        return False
    excluded = circuits.excluded_loss.sel(split="train").where(circuits.circuit_frequency.any("frequency"))
    return over_seeds(axes, excluded, positive=True, **look) is not None


def _norm(axes: Axes, landscape: xr.Dataset, look: dict[str, Any]) -> bool:
    return over_seeds(axes, landscape.weight_norm.sel(component="total"), **look) is not None


PANELS: dict[str, tuple[Callable[[Axes, xr.Dataset, dict[str, Any]], bool], str, str]] = {
    "training": (_accuracy, "Test accuracy\n(%)", "test_accuracy"),
    "llc": (_llc, "LLC", "llc"),
    "circuits": (_excluded, "Excluded loss, train", "excluded_loss"),
    "landscape": (_norm, "Weight norm", "weight_norm"),
}  # how to draw a dataset, the label of its axis, and the variable with the units


PLAIN = "0.15"
ACTS = {  # act -> title
    "kept": "circuit kept alone",
    "removed": "circuit removed",
    "from the end": "part from the\nlast checkpoint",
    "from memorization": "part from the\nmemorizing one",
}
SITES = {  # color and marker of the modified site
    "tables": (BLUE, "o"),
    "neurons": (ORANGE, "s"),
    "tables and neurons": (GREEN, "D"),
    "embedding": (BLUE, "o"),
    "attention": (PURPLE, "v"),
    "MLP": (ORANGE, "s"),
    "unembedding": (GREEN, "D"),
}
LINES = {"circuit": "-", "": "-", "random planes": ":"}  # all others are dashed


@style.styled
def interventions(measured: xr.Dataset, seed: int | None = None) -> Figure:
    """Draw one column per kind of intervention: the LLC with 95% intervals, then train loss and test accuracy.

    Solid: the circuit, or a part from another checkpoint; dashed and dotted: random controls, averaged over draws. The
    dark line is the trained network. Hollow points have the untrusted status in the legend; melted ones are off the
    lines.

    Parameters
    ----------
    measured : xarray.Dataset
        The measurement `interventions`.

    Raises
    ------
    SltGrokError
        The dataset only contains unmodified networks.
    """
    networks = style.select_seed(measured, seed)
    acts = [act for act in ACTS if np.isfinite(networks.llc.isel(variant=(networks.act == act).values)).any()]
    if not acts:
        raise SltGrokError("the figure of interventions expected some variants, found only networks as trained")
    figure, panels = style.frame(5.4, 3, len(acts), sharex=True, sharey="row", height_ratios=[1.6, 1, 1])
    for column, act in zip(panels.T, acts, strict=True):
        column[0].set_title(ACTS[act])
        _intervention(column, networks.isel(variant=(networks.act == "as trained").values), PLAIN, ".", "-")
        variants = networks.isel(variant=(networks.act == act).values)
        for site, control in dict.fromkeys(
            zip(variants.site.values.tolist(), variants.control.values.tolist(), strict=True)
        ):
            draws = variants.isel(variant=((variants.site == site) & (variants.control == control)).values)
            _intervention(column, draws, *SITES[site], LINES.get(control, "--"))
    _label(panels, networks)
    handles = [Line2D([], [], color=PLAIN, marker=".", label="as trained")]
    for site, (color, marker) in SITES.items():
        if (networks.site == site).any():
            handles.append(Line2D([], [], color=color, marker=marker, ms=3.5, label=site))
    handles += status_handles(networks.llc, networks.llc_status)
    if (networks.control == "circuit").any():
        handles.append(Line2D([], [], color="0.4", ls="--", label="random frequencies, neurons"))
        handles.append(Line2D([], [], color="0.4", ls=":", label="random planes"))
    figure.legend(handles=handles, loc="outside lower center", ncols=5)
    figure.suptitle(setting(measured), x=0.995, ha="right", fontsize=6.5, color="0.35")
    return figure


def _intervention(column: np.ndarray, draws: xr.Dataset, color: str, marker: str, line: str) -> None:
    """Draw LLC, loss and accuracy of an intervention: the mean over its draws, and every draw in the first panel."""
    used = ~draws.llc_status.isin(EXCLUDED)
    value, low, high = (values.where(used) for values in (draws.llc, *interval(draws)))
    column[0].plot(draws.step, value.mean("variant"), line, color=color, lw=1.1)
    for i in range(draws.sizes["variant"]):
        bars = np.abs([(value - low)[:, i], (high - value)[:, i]])
        column[0].errorbar(draws.step, value[:, i], bars, fmt="none", ecolor=color, elinewidth=0.7, alpha=0.6)
        points_by_status(column[0], draws.step, draws.llc[:, i], draws.llc_status[:, i], color, marker, 3)
    style = {"color": color, "lw": 1.1, "ls": line, "marker": marker, "ms": 2.6 if line == "-" else 0}
    column[1].plot(draws.step, draws.loss.sel(split="train").mean("variant"), **style)
    column[2].plot(draws.step, 100 * draws.accuracy.sel(split="test").mean("variant"), **style)


def _label(panels: np.ndarray, networks: xr.Dataset) -> None:
    steps = networks.step.values
    for axes in panels.flat:
        axes.set_xscale("log")
        axes.set_xticks(steps, [f"{step:,}" for step in steps], rotation=45)
        axes.minorticks_off()
    for axes in panels[0]:
        style.symlog_axis(axes)
        axes.axhline(0, color="0.8", lw=0.6, zorder=0)
    for axes in panels[1]:
        logarithmic(axes.yaxis)
    for axes in panels[2]:
        style.percent_axis(axes)
        axes.set_xlabel("Training step\n(logarithmic)")
    rows = ("LLC", with_units("Train loss", networks.loss, "\n"), "Test accuracy\n(%)")
    for axes, label in zip(panels[:, 0], rows, strict=True):
        axes.set_ylabel(label)
    style.panel_letters(panels[:, 0].tolist())

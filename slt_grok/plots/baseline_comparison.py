"""A run with an intervention in its training beside the plain one: accuracy, LLC, excluded loss, weight norm.

Excluded loss: Nanda et al. 2301.05217, section 5.1; LLC: Lau et al. 2308.12108, each run with its own key frequencies.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from slt_grok.errors import SltGrokError
from slt_grok.plots.llc_curve import TRUSTED, interval, settings
from slt_grok.plots.panels import undefined
from slt_grok.plots.style import (
    BLUE,
    ORANGE,
    WIDTH,
    few_decades,
    over_seeds,
    panel_letters,
    positive_over_seeds,
    step_axis,
    styled,
    with_seed,
)

Style = dict[str, Any]
Datasets = Mapping[str, xr.Dataset]
STYLES: tuple[Style, Style] = (
    {"color": ORANGE, "ls": "--", "lw": 1.2},
    {"color": BLUE, "ls": "-", "lw": 1.4},
)  # plain, intervened
LINEAR = 10  # the LLC's axis is linear up to here, since it can be negative


@styled
def baseline_comparison(
    plain: Datasets, intervened: Datasets, names: tuple[str, str], changes: Sequence[int] = ()
) -> Figure:
    """Four panels over training, the plain run broken and the intervened one solid.

    Of several seeds each has a thin line and their median a thick one. The LLC has 95% bands; hollow points have a
    status other than effective or converged. A panel that a run has no measurement for shows the other alone.

    Parameters
    ----------
    plain, intervened : Datasets
        `training`, `llc`, `circuits` and `landscape` of both, as far as there are any.
    names : tuple[str, str]
        Of both runs, in this order.
    changes : Sequence[int], optional
        Steps at which something was changed in training, as vertical lines.

    Raises
    ------
    SltGrokError
        Neither run has any of these measurements.
    """
    runs = [{label: with_seed(data) for label, data in run.items()} for run in (plain, intervened)]
    steps = [data.step.values for run in runs for label, data in run.items() if label in {one for one, *_ in PANELS}]
    if not steps:
        raise SltGrokError("the figure of two runs expected training, llc, circuits or landscape, it got none of them")
    figure = Figure(figsize=(WIDTH, 4.6), layout="constrained")
    panels = figure.subplots(2, 2, sharex=True)
    for axes, (label, draw, name) in zip(panels.flat, PANELS, strict=True):
        drawn = [
            draw(axes, run[label], own, style)
            for run, own, style in zip(runs, names, STYLES, strict=True)
            if label in run
        ]
        if not any(drawn):
            undefined(axes, f"{name.split(chr(10))[0]}: not measured, or not defined")
        elif axes.get_yscale() == "log":
            _decades(axes)
        axes.set_ylabel(name)
        for step in changes:
            axes.axvline(step, color="0.5", lw=0.8, ls=":")
        axes.spines[["top", "right"]].set_visible(False)
    for axes in panels.flat:
        step_axis(axes, np.unique(np.concatenate(steps)))
        axes.tick_params(axis="x", labelrotation=45)
        axes.set_xlabel("")
    figure.supxlabel("Training step (logarithmic, linear near 0)", fontsize=8)
    handles = {text: line for axes in panels.flat for line, text in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=2)
    if "llc" in runs[1]:
        panels[0, 1].set_title(settings(runs[1]["llc"]), loc="right", fontsize=6.5, color="0.35")
    panel_letters(panels.ravel().tolist(), offset=(-40, 4))
    return figure


def _decades(axes: Axes) -> None:
    """Labels on a logarithmic axis that may be less than two decades long."""
    low, high = axes.get_ylim()
    if high / low > 100:
        few_decades(axes)
        return
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _accuracy(axes: Axes, training: xr.Dataset, name: str, style: Style) -> bool:
    axes.set_ylim(-4, 104)
    axes.set_yticks([0, 50, 100])
    return over_seeds(axes, 100 * training.test_accuracy, label=name, **style) is not None


def _llc(axes: Axes, llc: xr.Dataset, name: str, style: Style) -> bool:
    seen = (llc.llc_status != "diverged") & np.isfinite(llc.llc)
    low, high = (end.where(seen) for end in interval(llc))
    color = str(style["color"])
    trusted = llc.llc_status.isin(TRUSTED)
    axes.set_yscale("symlog", linthresh=LINEAR, linscale=0.6)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    for seed in llc.seed:
        axes.fill_between(llc.step, low.sel(seed=seed), high.sel(seed=seed), color=color, alpha=0.2, lw=0)
        for good, face in ((True, color), (False, "white")):
            shown = llc.llc.where(seen & (trusted == good)).sel(seed=seed)
            axes.plot(llc.step, shown, "o", ms=2.6, mec=color, mfc=face, mew=0.8)
    return over_seeds(axes, llc.llc.where(seen), label=name, **style) is not None


def _excluded(axes: Axes, circuits: xr.Dataset, name: str, style: Style) -> bool:
    found = circuits.excluded_loss.sel(split="train").where(circuits.circuit_frequency.any("frequency"))
    return positive_over_seeds(axes, found, label=name, **style) is not None


def _norm(axes: Axes, landscape: xr.Dataset, name: str, style: Style) -> bool:
    values = landscape.weight_norm.sel(component="total")
    return over_seeds(axes, values, label=name, **style) is not None


PANELS: tuple[tuple[str, Callable[[Axes, xr.Dataset, str, Style], bool], str], ...] = (
    ("training", _accuracy, "Test accuracy\n(%)"),
    ("llc", _llc, "LLC"),
    ("circuits", _excluded, "Excluded loss, train\n(nats)"),
    ("landscape", _norm, "Weight norm"),
)

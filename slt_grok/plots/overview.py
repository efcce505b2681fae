"""The aligned phase-transition figure: all measures over training, stacked on a common step axis.

Progress measures and phases (memorization, circuit formation, cleanup) after Nanda et al. (2301.05217), LLC after Lau
et al. (2308.12108). Colors have the same meaning in all panels: train blue, test orange, circuit green, memorizer
vermilion.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from slt_grok.errors import SltGrokError
from slt_grok.plots import style
from slt_grok.plots.lines import QUANTILE, over_seeds
from slt_grok.plots.llc import draw_llc
from slt_grok.plots.palette import BLUE, BROWN, GRAY, GREEN, ORANGE, PURPLE, SKY, VERMILION
from slt_grok.transitions.events import CIRCUIT_LOSSES, PHASES, has_circuit
from slt_grok.transitions.measures import measure_name
from slt_grok.units import with_units

PHASE_COLORS = {name.replace("_", " "): color for name, color in zip(PHASES, (GRAY, SKY, PURPLE), strict=True)}
DOTS = {"marker": "o", "ms": 2.4}
POSITIVE = {**DOTS, "positive": True}
SHARES = ("neuron_share", "gini_embedding", "gini_neuron_logit_map")


def _losses(axes: Axes, training: xr.Dataset) -> None:
    over_seeds(axes, training.train_loss, BLUE, "train", positive=True)
    over_seeds(axes, training.test_loss, ORANGE, "test", positive=True)


def _accuracies(axes: Axes, training: xr.Dataset) -> None:
    over_seeds(axes, 100 * training.train_accuracy, BLUE, "train")
    over_seeds(axes, 100 * training.test_accuracy, ORANGE, "test")
    style.percent_axis(axes)


def _circuit_losses(axes: Axes, circuits: xr.Dataset) -> None:
    """Draw restricted loss (train, test), excluded loss (train) and the loss of guessing on a logarithmic axis."""
    defined = circuits.circuit_frequency.any("frequency")  # without a frequency both losses are meaningless
    restricted, excluded = circuits.restricted_loss_sum.where(defined), circuits.excluded_loss.where(defined)
    drawn = [
        over_seeds(axes, restricted.sel(split="test"), GREEN, "restricted, test", **POSITIVE),
        over_seeds(axes, restricted.sel(split="train"), GREEN, "restricted, train", ls="--", lw=1.0, positive=True),
        over_seeds(axes, excluded.sel(split="train"), VERMILION, "excluded, train", **POSITIVE),
    ]
    if not any(drawn):
        style.empty_panel(axes, "no key frequency at the last checkpoint: restricted and excluded loss are undefined")
    elif classes := circuits.attrs.get("classes"):
        axes.axhline(np.log(classes), color=GRAY, lw=0.8, ls=":", label=f"guessing, log {classes}")


def _circuit_measures(axes: Axes, circuits: xr.Dataset) -> None:
    """Draw the fraction of neurons that respond to one frequency, and the Gini coefficients, all in [0, 1]."""
    for name in SHARES:
        if name in circuits:
            over_seeds(axes, circuits[name], style.appearance(name)[0], _name(name), **DOTS)
    axes.set(ylim=(-0.04, 1.04), yticks=[0, 0.5, 1])


def _weight_norm(axes: Axes, landscape: xr.Dataset) -> None:
    over_seeds(axes, landscape.weight_norm.sel(component="total"), SKY, "all weights", **DOTS)


def _curvature(axes: Axes, landscape: xr.Dataset) -> None:
    """Draw Hessian trace with its 95% band, largest eigenvalue and gradient norm on a logarithmic axis."""
    over_seeds(axes, landscape.gradient_norm, GRAY, "gradient norm", **POSITIVE)
    if "hessian_trace" in landscape:
        trace, reach = landscape.hessian_trace, QUANTILE * landscape.hessian_trace_se
        for seed in landscape.seed:
            low, high = ((trace + side * reach).sel(seed=seed).dropna("step") for side in (-1, 1))
            axes.fill_between(low.step, low.where(low > 0), high.where(low > 0), color=PURPLE, alpha=0.2, lw=0)
        over_seeds(axes, trace, PURPLE, "Hessian trace", **POSITIVE)
        over_seeds(axes, landscape.hessian_eigenvalue.isel(eigenvalue=0), BROWN, "top eigenvalue", **POSITIVE)


def _barrier(axes: Axes, landscape: xr.Dataset) -> None:
    """Draw the loss barrier on the straight line from the previous checkpoint on a logarithmic axis."""
    drawn = [
        over_seeds(axes, landscape.loss_barrier.sel(split=split), color, split, **POSITIVE)
        for split, color in (("train", BLUE), ("test", ORANGE))
        if split in landscape.split
    ]
    if not any(drawn):
        style.empty_panel(axes, "no barrier above 0 between successive checkpoints")


class Panel(NamedTuple):
    """A panel of the figure.

    Parameters
    ----------
    dataset : str
        Label of the dataset.
    draw : callable
        Draws the dataset on axes.
    label : str
        Label of the vertical axis.
    height : float
        Height in inches.
    variables : tuple of str
        A dataset without a value of any of these has no such panel.
    """

    dataset: str
    draw: Callable[[Axes, xr.Dataset], None]
    label: str
    height: float
    variables: tuple[str, ...]

    def is_drawn(self, measured: Mapping[str, xr.Dataset]) -> bool:
        """Check whether a dataset has a value to draw."""
        dataset = measured.get(self.dataset, xr.Dataset())
        return any(name in dataset and dataset[name].notnull().any() for name in self.variables)

    def labeled(self, dataset: xr.Dataset) -> str:
        """Add the units of the variables to the label if they have the same."""
        known = [dataset[name] for name in self.variables if name in dataset]
        return with_units(self.label, known[0], "\n") if len({v.attrs.get("units") for v in known}) == 1 else self.label


PANELS = (
    Panel("training", _losses, "Loss", 1.05, ("train_loss", "test_loss")),
    Panel("training", _accuracies, "Accuracy\n(%)", 0.8, ("train_accuracy", "test_accuracy")),
    Panel("llc", draw_llc, "LLC", 1.4, ("llc",)),
    Panel("circuits", _circuit_losses, "Loss", 1.05, CIRCUIT_LOSSES),
    Panel("circuits", _circuit_measures, "Share,\nGini", 0.8, SHARES),
    Panel("landscape", _weight_norm, "Weight\nnorm", 0.7, ("weight_norm",)),
    Panel("landscape", _curvature, "Gradient,\nHessian", 1.0, ("gradient_norm", "hessian_trace")),
    Panel("landscape", _barrier, "Barrier", 0.8, ("loss_barrier",)),
)


@style.styled
def phase_transition(
    training: xr.Dataset | None = None,
    llc: xr.Dataset | None = None,
    circuits: xr.Dataset | None = None,
    landscape: xr.Dataset | None = None,
    transitions: xr.Dataset | None = None,
) -> Figure:
    """Losses, accuracies, LLC, circuit measures and landscape against the training step, with phases and transitions.

    Several seeds are thin lines with a thick median (the LLC: one line and band each); phases and transitions are then
    medians, with bars from the lowest to the highest end of the seeds' intervals.

    Parameters
    ----------
    training, llc, circuits, landscape : xarray.Dataset or None, optional
        The measurements; panels whose variables are missing are omitted.
    transitions : xarray.Dataset or None, optional
        Phases are shaded if `phase_step` is finite; every transition has a vertical line at its middle with its
        interval as a horizontal bar, in the panel of its measure and by name in a last panel.

    Raises
    ------
    SltGrokError
        There is nothing to draw.
    """
    given = {"training": training, "llc": llc, "circuits": circuits, "landscape": landscape}
    measured = {name: style.with_seed(dataset) for name, dataset in given.items() if dataset is not None}
    shown = [panel for panel in PANELS if panel.is_drawn(measured)]
    if not shown:
        raise SltGrokError("the phase-transition figure expected at least one of training, llc, circuits, landscape")
    events = middles(transitions) if transitions is not None else []
    heights = [panel.height for panel in shown] + ([max(0.2 + 0.13 * len(events), 0.8)] if events else [])
    height = sum(heights) + 0.1 * len(heights) + 0.75
    figure, grid = style.stack(height, heights)
    figure.set_layout_engine("constrained", h_pad=0.045, hspace=0.0, rect=(0, 0, 1, 1 - 0.08 / height))  # for a letter
    for axes, panel in zip(grid, shown, strict=False):
        panel.draw(axes, measured[panel.dataset])
        axes.set_ylabel(panel.labeled(measured[panel.dataset]))
        style.legend_right(axes)
        mark(axes, [event for event in events if event.measure in panel.variables])
    if events:
        draw_events(grid[-1], events)
    if transitions is not None:
        shade(figure, grid, transitions)
    style.step_axis(grid[-1], shared_steps(measured))
    style.panel_letters(grid, room=False)
    figure.align_ylabels(grid)
    return figure


def shared_steps(measured: dict[str, xr.Dataset]) -> np.ndarray:
    """Select the steps that set the axis.

    Those of the checkpoints if there are any, since training is recorded more densely.
    """
    checkpoints = [dataset.step.values for name, dataset in measured.items() if name != "training"]
    last = max(dataset.step.values.max() for dataset in measured.values())
    return np.unique(np.r_[np.concatenate(checkpoints or [measured["training"].step.values]), last])


def middles(transitions: xr.Dataset) -> list[Any]:
    """List (measure, middle, low, high) of every detected transition in order.

    Over seeds, the median with the widest interval.
    """
    seeds = transitions if "seed" in transitions.dims else transitions.expand_dims("seed", axis=-1)
    middle = seeds.transition_middle
    low, high = (seeds[f"transition_middle_{end}"].fillna(middle).where(middle.notnull()) for end in ("low", "high"))
    columns = {"middle": middle.median("seed"), "low": low.min("seed"), "high": high.max("seed")}
    events = xr.Dataset(columns).dropna("measure").sortby("middle").to_dataframe().reset_index()
    return list(events[["measure", *columns]].itertuples(index=False))


def mark(axes: Axes, events: list[Any]) -> None:
    """Draw a vertical line at each transition, with its interval as a bar near the upper edge."""
    for i, event in enumerate(events):
        color, height, edge = style.appearance(event.measure)[0], 0.97 - 0.07 * i, axes.get_xaxis_transform()
        axes.axvline(event.middle, color=color, lw=0.8, ls=(0, (4, 2)), alpha=0.8, zorder=1)
        look = {"color": color, "lw": 2.2, "alpha": 0.8, "solid_capstyle": "butt", "zorder": 1}
        axes.plot([event.low, event.high], [height, height], transform=edge, **look)


def _name(measure: str) -> str:
    """Get the readable name of a measure, with matrices as formulas."""
    return re.sub(r"W_(.)", r"$W_\1$", measure_name(measure))


def draw_events(axes: Axes, events: list[Any]) -> None:
    """Draw every transition by name, in order: a point at its middle and its interval."""
    for row, event in enumerate(events):
        color, _ = style.appearance(event.measure)
        axes.plot([event.low, event.high], [row, row], color=color, lw=2.2, alpha=0.55, solid_capstyle="butt")
        axes.plot(event.middle, row, "|", ms=7, mew=1.6, color=color)
        name, edge = _name(event.measure), axes.get_yaxis_transform()
        axes.annotate(name, (1.015, row), xycoords=edge, va="center", fontsize=7, color=color, annotation_clip=False)
    axes.set_ylim(len(events) - 0.4, -0.6)
    axes.set(yticks=[], ylabel="Transition")


def phase_spans(transitions: xr.Dataset) -> list[tuple[str, str, float, float]]:
    """List name, color, first and last step of each phase with known ends; medians over seeds.

    `phase_step` holds the end of memorization, of circuit formation and of cleanup; memorization starts at 0. The last
    two are phases of a circuit, and only shown where one was measured.
    """
    if "phase_step" not in transitions:
        return []
    steps = transitions.phase_step
    ends = (steps.median("seed", skipna=True) if "seed" in steps.dims else steps).values
    starts = np.r_[0.0, ends[:-1]]
    return [
        (name, color, start, end)
        for (name, color), start, end in zip(PHASE_COLORS.items(), starts, ends, strict=False)
        if np.isfinite(start) and np.isfinite(end) and (name == PHASES[0] or has_circuit(transitions))
    ]


def shade(figure: Figure, grid: list[Axes], transitions: xr.Dataset) -> None:
    """Shade the phases over all panels and name them above the first."""
    spans = phase_spans(transitions)
    for axes in grid:
        for _, color, start, end in spans:
            axes.axvspan(start, end, color=color, alpha=0.14, lw=0, zorder=0)
    if spans:
        handles = [Patch(color=color, alpha=0.3, lw=0, label=name) for name, color, _, _ in spans]
        figure.legend(handles=handles, loc="outside upper center", ncols=len(spans))

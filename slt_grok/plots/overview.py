"""The aligned phase-transition figure: all measures over training, stacked on a common step axis.

Phases after Nanda et al., "Progress measures for grokking via mechanistic interpretability" (2301.05217), section 5:
memorization, circuit formation, cleanup.
"""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from slt_grok.errors import SltGrokError
from slt_grok.plots import panels
from slt_grok.plots.llc import draw_llc
from slt_grok.plots.palette import BLUE, BROWN, GRAY, GREEN, ORANGE, PURPLE, SKY, VERMILION
from slt_grok.plots.style import legend_right, measure_name, panel_letters, stack, step_axis, styled, with_seed

PHASES = (("memorization", GRAY), ("circuit formation", SKY), ("cleanup", PURPLE))


class Panel(NamedTuple):
    """A panel: its dataset, required variables, drawing function, label, height in inches, and measures to mark."""

    dataset: str
    needs: tuple[str, ...]
    draw: Callable[[Axes, xr.Dataset], None]
    label: str
    height: float
    measures: dict[str, str] = {}  # start of a measure's name -> color


ACCURACY = {"train_accuracy": BLUE, "test_accuracy": ORANGE}
LOSSES = {"restricted_loss": GREEN, "excluded_loss": VERMILION}
SHARES = {"neuron_share": PURPLE, "gini_embedding": BROWN, "gini_neuron_logit_map": GRAY}
PANELS = (
    Panel("training", ("train_loss",), panels.losses, "Loss (nats)", 1.05, {"train_loss": BLUE, "test_loss": ORANGE}),
    Panel("training", ("train_accuracy",), panels.accuracies, "Accuracy\n(%)", 0.8, ACCURACY),
    Panel("llc", ("llc", "llc_se"), draw_llc, "LLC", 1.4, {"llc": BLUE}),
    Panel("circuits", ("restricted_loss_sum", "excluded_loss"), panels.circuit_losses, "Loss (nats)", 1.05, LOSSES),
    Panel("circuits", tuple(SHARES), panels.circuit_measures, "Share,\nGini", 0.8, SHARES),
    Panel("landscape", ("weight_norm",), panels.weight_norm, "Weight\nnorm", 0.7, {"weight_norm": BLUE}),
    Panel("landscape", ("gradient_norm",), panels.curvature, "Gradient,\nHessian", 1.0, {"hessian_trace": PURPLE}),
    Panel("landscape", ("loss_barrier",), panels.barrier, "Barrier\n(nats)", 0.8),
)


@styled
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
    measured = {name: with_seed(dataset) for name, dataset in given.items() if dataset is not None}
    shown = [p for p in PANELS if p.dataset in measured and all(name in measured[p.dataset] for name in p.needs)]
    if not shown:
        raise SltGrokError("the phase-transition figure expected at least one of training, llc, circuits, landscape")
    events = middles(transitions) if transitions is not None else []
    heights = [panel.height for panel in shown] + ([max(0.2 + 0.13 * len(events), 0.5)] if events else [])
    figure, grid = stack(sum(heights) + 0.1 * len(heights) + 0.75, heights)
    figure.set_layout_engine("constrained", h_pad=0.045, hspace=0.0)
    for axes, panel in zip(grid, shown, strict=False):
        panel.draw(axes, measured[panel.dataset])
        axes.set_ylabel(panel.label)
        legend_right(axes)
        mark(axes, events, panel.measures)
    if events:
        draw_events(grid[-1], events)
    if transitions is not None:
        shade(figure, grid, transitions)
    step_axis(grid[-1], shared_steps(measured))
    panel_letters(grid, room=False)
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


def color_of(measure: str) -> str:
    """Get the color of a measure, which is the same in its panel and among the events."""
    colors = {start: color for panel in PANELS for start, color in panel.measures.items()}
    return next((color for start, color in colors.items() if measure.startswith(start)), GRAY)


def mark(axes: Axes, events: list[Any], measures: dict[str, str]) -> None:
    """Draw a vertical line at each transition of the measures, with its interval as a bar near the upper edge."""
    for i, event in enumerate(event for event in events if event.measure.startswith(tuple(measures))):
        color, height, edge = color_of(event.measure), 0.97 - 0.07 * i, axes.get_xaxis_transform()
        axes.axvline(event.middle, color=color, lw=0.8, ls=(0, (4, 2)), alpha=0.8, zorder=1)
        look = {"color": color, "lw": 2.2, "alpha": 0.8, "solid_capstyle": "butt", "zorder": 1}
        axes.plot([event.low, event.high], [height, height], transform=edge, **look)


def draw_events(axes: Axes, events: list[Any]) -> None:
    """Draw every transition by name, in order: a point at its middle and its interval."""
    for row, event in enumerate(events):
        color = color_of(event.measure)
        axes.plot([event.low, event.high], [row, row], color=color, lw=2.2, alpha=0.55, solid_capstyle="butt")
        axes.plot(event.middle, row, "|", ms=7, mew=1.6, color=color)
        name, edge = re.sub(r"W_(.)", r"$W_\1$", measure_name(event.measure)), axes.get_yaxis_transform()
        axes.annotate(name, (1.015, row), xycoords=edge, va="center", fontsize=7, color=color, annotation_clip=False)
    axes.set_ylim(len(events) - 0.4, -0.6)
    axes.set(yticks=[], ylabel="Transition")


def phase_spans(transitions: xr.Dataset) -> list[tuple[str, str, float, float]]:
    """List name, color, first and last step of each phase with known ends; medians over seeds.

    `phase_step` holds the end of memorization, of circuit formation and of cleanup; memorization starts at 0.
    """
    if "phase_step" not in transitions:
        return []
    steps = transitions.phase_step
    ends = (steps.median("seed", skipna=True) if "seed" in steps.dims else steps).values
    starts = np.r_[0.0, ends[:-1]]
    return [
        (name, color, start, end)
        for (name, color), start, end in zip(PHASES, starts, ends, strict=False)
        if np.isfinite(start) and np.isfinite(end)
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

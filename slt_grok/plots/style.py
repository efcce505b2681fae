"""The common style of all figures: sizes, fonts, the step axis, legends; colors are in `slt_grok.plots.palette`.

Figures use matplotlib's object interface under `styled`, so that pyplot's global state is not touched.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib
import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter

from slt_grok.errors import SltGrokError
from slt_grok.plots.palette import BLUE, BROWN, GRAY, GREEN, ORANGE, PINK, PURPLE, SKY, VERMILION, YELLOW  # noqa: F401

MEASURES = {
    "llc": "LLC",
    "restricted_loss_sum": "restricted loss",
    "gini_embedding": "Gini of W_E",
    "gini_neuron_logit_map": "Gini of W_L",
    "hessian_trace": "Hessian trace",
    "unmirrored_test_accuracy": "unmirrored test accuracy",
}
WIDTH = 7.2  # inches: the text width of a two-column page

STYLE: Any = {
    **sns.plotting_context("paper"),
    **sns.axes_style("ticks"),
    "font.family": "DejaVu Sans",  # comes with matplotlib, so a figure looks the same everywhere
    "mathtext.fontset": "dejavusans",
    **dict.fromkeys(("font.size", "axes.labelsize", "axes.titlesize"), 8),
    **dict.fromkeys(("xtick.labelsize", "ytick.labelsize", "legend.fontsize"), 7),
    **dict.fromkeys(("axes.linewidth", "xtick.major.width", "ytick.major.width"), 0.7),
    **dict.fromkeys(("xtick.minor.width", "ytick.minor.width"), 0.5),
    **dict.fromkeys(("xtick.major.size", "ytick.major.size"), 3),
    **dict.fromkeys(("xtick.minor.size", "ytick.minor.size"), 1.8),
    **dict.fromkeys(("legend.frameon", "axes.spines.top", "axes.spines.right"), False),
    "legend.borderaxespad": 0.0,
    "legend.handlelength": 1.8,
    "lines.linewidth": 1.4,
    "svg.hashsalt": "slt_grok",  # identifiers inside an SVG do not change from run to run
    "svg.fonttype": "path",
    "figure.dpi": 150,
}


def measure_name(measure: str) -> str:
    """Get the readable name of a measure."""
    return MEASURES.get(measure, measure.replace("_", " "))


def styled(make: Callable[..., Figure]) -> Callable[..., Figure]:
    """Decorate a function that makes a figure to run under `STYLE`, without changing the caller's settings."""

    @functools.wraps(make)
    def wrapper(*args: Any, **options: Any) -> Figure:
        with matplotlib.rc_context(STYLE):
            return make(*args, **options)

    return wrapper


def frame(height: float, rows: int = 1, columns: int = 1, width: float = WIDTH, **options: Any) -> tuple[Figure, Any]:
    """Create a figure of the given size in inches and its panels, an array (rows, columns)."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def nothing(reason: str) -> Figure:
    """Create a short figure that says why there is nothing to draw."""
    figure, panels = frame(0.8)
    undefined(panels[0, 0], reason)
    return figure


def undefined(axes: Axes, reason: str) -> None:
    """State in an empty panel why it is empty."""
    axes.text(0.5, 0.5, reason, transform=axes.transAxes, ha="center", va="center", fontsize=7, color="0.35")
    axes.set_yscale("linear")
    axes.set_yticks([])


# -- selecting networks --------------------------------------------------------------------------------------


def with_seed(dataset: xr.Dataset) -> xr.Dataset:
    """Ensure a `seed` dimension after `step`.

    Raises
    ------
    SltGrokError
        There is no `step` dimension to draw along.
    """
    if "step" not in dataset.dims:
        raise SltGrokError(f"a figure over training expected a dimension step, got {', '.join(map(str, dataset.dims))}")
    return dataset if "seed" in dataset.dims else dataset.expand_dims(seed=[0], axis=1)


def one_seed(dataset: xr.Dataset, seed: int | None) -> xr.Dataset:
    """Select one seed of a dataset, by default the first.

    Raises
    ------
    SltGrokError
        There is no such seed.
    """
    dataset = with_seed(dataset)
    return dataset.sel(seed=_chosen(dataset.seed.values.tolist(), seed, "seed", 0))


def one_network(dataset: xr.Dataset, seed: int | None, step: int | None) -> xr.Dataset:
    """Select one network of a dataset over training, by default the last of the first seed.

    Raises
    ------
    SltGrokError
        There is no such seed or step.
    """
    one = one_seed(dataset, seed)
    return one.sel(step=_chosen(one.step.values.tolist(), step, "step", -1))


def _chosen(values: list[int], value: int | None, name: str, default: int) -> int:
    if value is not None and value not in values:
        raise SltGrokError(f"expected a {name} among {', '.join(map(str, values))}, got {value}")
    return values[default] if value is None else value


# -- the step axis --------------------------------------------------------------------------------------------


def linear_below(steps: Sequence[int] | np.ndarray) -> int | None:
    """Compute the step above which the axis is logarithmic; None if no step is 0 and it is logarithmic everywhere.

    The smallest positive step, at least a 200th of the last one, rounded down to 1, 2 or 5 times a power of 10.
    """
    steps = np.asarray(steps)
    positive = steps[steps > 0]
    if len(positive) == len(steps):
        return None
    if len(positive) == 0:
        return 1
    bound = max(positive.min(), positive.max() / 200, 1)
    power = 10 ** int(np.floor(np.log10(bound)))
    return int(max(m * power for m in (1, 2, 5) if m * power <= bound))


def step_axis(axes: Axes, steps: Sequence[int] | np.ndarray, narrow: bool = False) -> None:
    """Make the x axis the training step: logarithmic, with step 0 at the left edge and labeled 0.

    Between 0 and `linear_below(steps)` the axis is linear and short (a third of a decade), as stated in its label. In a
    `narrow` panel only powers of ten have labels.
    """
    steps = np.asarray(steps)
    last = max(steps.max(), 1)
    bound = linear_below(steps)
    if bound is None:
        axes.set_xscale("log")
        first, label = steps.min(), "Training step (logarithmic)"
        axes.set_xlim(first / 1.04, last * 1.04 if last > first else last * 1.2)
    else:
        axes.set_xscale("symlog", linthresh=bound, linscale=0.3)
        first, label = bound, f"Training step (logarithmic above {bound:,}, linear from 0 to it)"
        axes.set_xlim(-0.12 * bound, last * 1.06)
    decades = np.log10(last / first) if last > first else 0
    parts = (1, 2, 5) if decades <= 3.2 and not narrow else (1,)
    powers = 10.0 ** np.arange(0, 13)
    major = [m * q for q in powers for m in parts if first <= m * q <= last * 1.001]
    axes.xaxis.set_major_locator(FixedLocator(([] if bound is None else [0]) + major))
    axes.xaxis.set_minor_locator(FixedLocator([m * q for q in powers for m in range(2, 10) if first < m * q < last]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(label)


def over_training(figure: Figure, panels: Sequence[Axes], steps: np.ndarray, rotation: float = 45) -> None:
    """Give the panels of a grid step axes with a common label below, and letters."""
    for axes in panels:
        step_axis(axes, steps)
        axes.set_xlabel("")
        axes.tick_params(axis="x", labelrotation=rotation)
    figure.supxlabel("Training step (logarithmic, linear near 0)", fontsize=8)
    panel_letters(panels)


def finish(figure: Figure, panels: Sequence[Axes], steps: np.ndarray) -> None:
    """Give stacked panels their step axis and letters."""
    step_axis(panels[-1], steps)
    panel_letters(panels)
    figure.align_ylabels(list(panels))


def narrow_ticks(axes: Axes) -> None:
    """Label values on a logarithmic y axis that may span less than two decades."""
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def few_decades(axes: Axes) -> None:
    """Label at most five powers of ten on a logarithmic y axis; make it linear if nothing positive is drawn."""
    if not np.isfinite(axes.dataLim.minposy):
        axes.set_yscale("linear")
        return
    axes.yaxis.set_major_locator(LogLocator(numticks=5))
    axes.yaxis.set_minor_locator(LogLocator(subs=(1.0,), numticks=40))
    axes.yaxis.set_minor_formatter(NullFormatter())


def legend_right(axes: Axes, **options: Any) -> None:
    """Draw the legend to the right of the axes, outside the data; omit it if nothing has a label."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        axes.legend(handles, labels, loc="upper left", bbox_to_anchor=(1.015, 1.0), **options)


def panel_letters(panels: Sequence[Axes], offset: tuple[float, float] = (-46, 0), room: bool = True) -> None:
    """Put bold letters `offset` points from the upper left corner of each panel; `room` reserves layout space."""
    look: Any = {"xycoords": "axes fraction", "textcoords": "offset points", "fontweight": "bold", "fontsize": 9}
    for letter, axes in zip("abcdefghijklmnopqrstuvwxyz", panels, strict=False):
        text = axes.annotate(letter, (0, 1), offset, va="center", ha="left", annotation_clip=False, **look)
        text.set_in_layout(room)

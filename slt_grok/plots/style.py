"""The common style of all figures: sizes, fonts, the step axis, legends; colors are in `slt_grok.plots.palette`.

Figures use matplotlib's object interface under `styled`, so that pyplot's global state is not touched.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import matplotlib
import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullFormatter

from slt_grok.errors import SltGrokError
from slt_grok.plots import palette
from slt_grok.plots.palette import GRAY
from slt_grok.transitions.measures import measures, with_seed

SHORT = 0.3  # decades that the steps from 0 to the bound take on a step axis
WIDTH = 7.2  # inches: the text width of a two-column page

STYLE: Any = {
    **sns.plotting_context("paper"),
    **sns.axes_style("ticks"),
    "font.family": "DejaVu Sans",  # comes with matplotlib, so a figure looks the same everywhere
    "mathtext.fontset": "dejavusans",
    **dict.fromkeys(("font.size", "axes.labelsize", "axes.titlesize", "figure.labelsize"), 8),
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


def appearance(measure: str) -> tuple[str, str]:
    """Get color and marker of a measure; a gray circle if its change is not declared."""
    known = measures().get(measure)
    return (
        (vars(palette).get(known.change.color.upper(), known.change.color), known.change.marker)
        if known
        else (GRAY, "o")
    )


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


def stack(height: float, heights: Sequence[float]) -> tuple[Figure, list[Axes]]:
    """Create a figure of stacked panels of the given relative heights on a common x axis."""
    figure, grid = frame(height, len(heights), sharex=True, height_ratios=heights)
    return figure, grid[:, 0].tolist()


def empty_figure(reason: str) -> Figure:
    """Create a short figure that says why there is nothing to draw."""
    figure, panels = frame(0.8)
    empty_panel(panels[0, 0], reason)
    return figure


def empty_panel(axes: Axes, reason: str) -> None:
    """State in an empty panel why it is empty."""
    axes.text(0.5, 0.5, reason, transform=axes.transAxes, ha="center", va="center", fontsize=7, color="0.35")
    axes.set(yscale="linear", yticks=[])


# -- selecting a seed ----------------------------------------------------------------------------------------


def select_seed(dataset: xr.Dataset, seed: int | None) -> xr.Dataset:
    """Select one seed of a dataset, by default the first.

    Raises
    ------
    SltGrokError
        There is no such seed.
    """
    dataset = with_seed(dataset)
    seeds = dataset.seed.values.tolist()
    if seed is not None and seed not in seeds:
        raise SltGrokError(f"expected a seed among {', '.join(map(str, seeds))}, got {seed}")
    return dataset.sel(seed=seeds[0] if seed is None else seed)


# -- axes -----------------------------------------------------------------------------------------------------


def compressed_below(steps: Sequence[int] | np.ndarray) -> int | None:
    """Compute the step below which the axis is compressed; None if no step is 0 and it is logarithmic everywhere.

    The smallest positive step, or a 200th of the last one, rounded down to 1, 2 or 5 times a power of 10, if that is
    larger.
    """
    steps = np.asarray(steps)
    if steps.min() > 0:
        return None
    least, first = max(steps.max() / 200, 1), int(min(steps[steps > 0], default=1))
    if first >= least:
        return first
    power = 10 ** int(np.floor(np.log10(least)))
    return max(m * power for m in (1, 2, 5) if m * power <= least)


def step_scale(bound: int) -> tuple[Callable[[Any], np.ndarray], Callable[[Any], np.ndarray]]:
    """Build the scale of steps from 0 on, and its inverse: log(1 + step) up to a bound, and log(step) from there.

    Half-way steps are interpolated in log(1 + step), see `slt_grok.change`, and so lie on the lines.

    Parameters
    ----------
    bound : int
        Step below which the axis is compressed, above 0; see `compressed_below`.

    Returns
    -------
    tuple of callable
        Steps -> positions in decades, with 0 at step 0 and `SHORT` at the bound, and its inverse; both are odd.
    """
    rate = SHORT / np.log1p(bound)

    def forward(steps: Any) -> np.ndarray:
        size = np.abs(np.asarray(steps, dtype=float))
        place = np.where(size <= bound, rate * np.log1p(size), SHORT + np.log10(np.maximum(size, bound) / bound))
        return np.sign(steps) * place

    def inverse(places: Any) -> np.ndarray:
        size = np.minimum(np.abs(np.asarray(places, dtype=float)), 300)
        return np.sign(places) * np.where(
            size <= SHORT, np.expm1(np.minimum(size, SHORT) / rate), bound * 10 ** (size - SHORT)
        )

    return forward, inverse


def step_axis(axes: Axes, steps: Sequence[int] | np.ndarray, narrow: bool = False) -> None:
    """Make the x axis the training step: logarithmic, with step 0 at the left edge and labeled 0.

    Below `compressed_below(steps)` the axis is log(1 + step) and short (a third of a decade), as stated in its label.
    In a `narrow` panel only powers of ten have labels.
    """
    last, bound = max(np.max(steps), 1), compressed_below(steps)
    first = bound or np.min(steps)
    if bound is None:
        axes.set_xscale("log")
        axes.set_xlim(first / 1.04, last * 1.04 if last > first else last * 1.2)
    else:
        forward, inverse = step_scale(bound)
        axes.set_xscale("function", functions=(forward, inverse))
        axes.set_xlim(float(inverse(-0.04)), last * 1.06)
    powers = 10.0 ** np.arange(0, 13)
    parts = (1,) if narrow or last / first > 10**3.2 else (1, 2, 5)
    major = [m * power for power in powers for m in parts if first <= m * power <= last * 1.001]
    minor = [m * power for power in powers for m in range(2, 10) if first < m * power < last]
    if len(major) < 2:  # too short a range for round numbers
        major = sorted({float(first), float(last)})
    axes.xaxis.set_major_locator(FixedLocator(([] if bound is None else [0]) + major))
    axes.xaxis.set_minor_locator(FixedLocator(minor))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(f"Training step (logarithmic{f', compressed below {bound:,}' if bound else ''})")


def over_training(figure: Figure, panels: Sequence[Axes], steps: np.ndarray, rotation: float = 45) -> None:
    """Give the panels of a grid step axes with a common label below, and letters."""
    for axes in panels:
        step_axis(axes, steps)
        axes.tick_params(axis="x", labelrotation=rotation)
    figure.supxlabel(panels[0].get_xlabel())
    for axes in panels:
        axes.set_xlabel("")
    panel_letters(panels)


def finish(figure: Figure, panels: Sequence[Axes], steps: np.ndarray) -> None:
    """Give stacked panels their step axis and letters."""
    step_axis(panels[-1], steps)
    panel_letters(panels)
    figure.align_ylabels(list(panels))


def symlog_axis(axes: Axes, linear: float = 10, linscale: float = 0.6) -> None:
    """Make the y axis linear up to `linear` and logarithmic beyond, for the LLC, which can be negative."""
    axes.set_yscale("symlog", linthresh=linear, linscale=linscale)
    axes.yaxis.set_major_formatter("{x:g}")


def percent_axis(axes: Axes) -> None:
    """Make the y axis a percentage from 0 to 100."""
    axes.set(ylim=(-4, 104), yticks=[0, 50, 100])


def name_rows(axes: Axes, names: Sequence[str]) -> None:
    """Make the y axis one named row per integer, the first at the top."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)


# -- legends and letters --------------------------------------------------------------------------------------


def legend_right(axes: Axes, handles: Sequence[Artist] | None = None, **options: Any) -> None:
    """Draw the legend to the right of the axes, outside the data; omit it if nothing has a label."""
    handles = axes.get_legend_handles_labels()[0] if handles is None else handles
    if handles:
        axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.015, 1.0), **options)


def shared_legend(figure: Figure, panels: Iterable[Axes], **options: Any) -> None:
    """Draw one legend for all panels, above them by default, with each label once."""
    handles = {text: line for axes in panels for line, text in zip(*axes.get_legend_handles_labels(), strict=True)}
    options = {"loc": "outside upper center", "ncols": len(handles)} | options
    figure.legend(handles.values(), handles.keys(), **options)


def panel_letters(panels: Sequence[Axes], offset: tuple[float, float] = (-46, 0), room: bool = True) -> None:
    """Put bold letters `offset` points from the upper left corner of each panel; `room` reserves layout space."""
    look: Any = {"xycoords": "axes fraction", "textcoords": "offset points", "fontweight": "bold", "fontsize": 9}
    for letter, axes in zip("abcdefghijklmnopqrstuvwxyz", panels, strict=False):
        text = axes.annotate(letter, (0, 1), offset, va="center", ha="left", annotation_clip=False, **look)
        text.set_in_layout(room)

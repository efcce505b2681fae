"""One look for every figure: sizes, colors, the step axis, lines over seeds.

Colors are seaborn's "colorblind" palette, after Okabe and Ito, "Color universal design" (2008). Figures are made with
the object interface of matplotlib under `styled`, so no global state of pyplot is read or changed.
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
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter

from slt_grok.errors import SltGrokError

BLUE, ORANGE, GREEN, VERMILION, PURPLE, BROWN, PINK, GRAY, YELLOW, SKY = sns.color_palette("colorblind", 10).as_hex()
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
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "legend.borderaxespad": 0.0,
    "legend.handlelength": 1.8,
    "lines.linewidth": 1.4,
    "axes.linewidth": 0.7,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.minor.width": 0.5,
    "ytick.minor.width": 0.5,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "xtick.minor.size": 1.8,
    "ytick.minor.size": 1.8,
    "svg.hashsalt": "slt_grok",  # identifiers inside an SVG do not change from run to run
    "svg.fonttype": "path",
    "figure.dpi": 150,
}


def measure_name(measure: str) -> str:
    """Return the name of a measure as a person writes it."""
    return MEASURES.get(measure, measure.replace("_", " "))


def styled(make: Callable[..., Figure]) -> Callable[..., Figure]:
    """Run a function that makes a figure under `STYLE`, without touching the caller's settings."""

    @functools.wraps(make)
    def wrapper(*args: Any, **options: Any) -> Figure:
        with matplotlib.rc_context(STYLE):
            return make(*args, **options)

    return wrapper


def with_seed(dataset: xr.Dataset) -> xr.Dataset:
    """Return the dataset with a `seed` dimension after `step`, whether it had one or not.

    Raises
    ------
    SltGrokError
        There is no `step` dimension to draw along.
    """
    if "step" not in dataset.dims:
        raise SltGrokError(
            f"a figure along training expected a dimension step, got {', '.join(map(str, dataset.dims))}"
        )
    return dataset if "seed" in dataset.dims else dataset.expand_dims(seed=[0], axis=1)


def one_seed(dataset: xr.Dataset, seed: int | None) -> xr.Dataset:
    """One seed of a dataset, the first where none is named.

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


# -- the step axis --------------------------------------------------------------------------------------------


def linear_below(steps: Sequence[int] | np.ndarray) -> int | None:
    """Return the step above which the axis is logarithmic; None where no step is 0 and it is so everywhere.

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
    """Make the x axis of `axes` the training step: logarithmic, with step 0 at the left edge and labeled 0.

    Between 0 and `linear_below(steps)` the axis is linear and short (a third of a decade), and its label says so. In a
    `narrow` panel powers of ten alone have labels.
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


# -- values ---------------------------------------------------------------------------------------------------


def over_seeds(axes: Axes, values: xr.DataArray, color: str, label: str, **line: Any) -> Line2D | None:
    """Return a line over `step`: of one seed as it is; of several, each thin and their median thick.

    Missing steps are bridged. Returns the line for the legend, or None where nothing is finite.
    """
    return _lines(axes, values.transpose("step", "seed").dropna("step", how="all"), color, label, **line)


def _lines(axes: Axes, data: xr.DataArray, color: str, label: str, **line: Any) -> Line2D | None:
    if not np.isfinite(data).any():
        return None
    if data.sizes["seed"] > 1:
        for column in data.values.T:
            axes.plot(data.step, column, color=color, **{**line, "lw": 0.6, "alpha": 0.5, "marker": ""})
    return axes.plot(data.step, data.median("seed", skipna=True), color=color, label=label, **line)[0]


def positive_over_seeds(axes: Axes, values: xr.DataArray, color: str, label: str, **line: Any) -> Line2D | None:
    """`over_seeds` on a logarithmic axis; values <= 0, which have no place there, as triangles at its edge."""
    axes.set_yscale("log")
    data = values.transpose("step", "seed").dropna("step", how="all")
    median = data.median("seed", skipna=True)
    below = median.step.values[(median <= 0).values]
    axes.plot(
        below,
        np.full(len(below), 0.04),
        "v",
        ms=3,
        mfc="none",
        mec=color,
        mew=0.8,
        transform=axes.get_xaxis_transform(),
    )
    return _lines(axes, data.where(data > 0), color, label, **line)  # broken where it is not positive


def few_decades(axes: Axes) -> None:
    """At most some five labeled powers of ten on a logarithmic y axis; linear where nothing positive is drawn."""
    if not np.isfinite(axes.dataLim.minposy):
        axes.set_yscale("linear")
        return
    axes.yaxis.set_major_locator(LogLocator(numticks=5))
    axes.yaxis.set_minor_locator(LogLocator(subs=(1.0,), numticks=40))
    axes.yaxis.set_minor_formatter(NullFormatter())


def legend_right(axes: Axes, **options: Any) -> None:
    """Draw the legend to the right of the axes, outside the data; none where nothing has a label."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        axes.legend(handles, labels, loc="upper left", bbox_to_anchor=(1.015, 1.0), **options)


def panel_letters(panels: Sequence[Axes], offset: tuple[float, float] = (-46, 0), room: bool = True) -> None:
    """Bold letters at `offset` points from the upper left corner of each panel; the layout makes `room` or does not."""
    for letter, axes in zip("abcdefghijklmnopqrstuvwxyz", panels, strict=False):
        text = axes.annotate(
            letter,
            (0, 1),
            xytext=offset,
            xycoords="axes fraction",
            textcoords="offset points",
            fontweight="bold",
            fontsize=9,
            va="center",
            ha="left",
            annotation_clip=False,
        )
        text.set_in_layout(room)

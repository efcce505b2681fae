"""Parts that the figures of this folder share."""

from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from rule import mean, over_seeds


class Look(NamedTuple):
    """Color, marker and line of one series, which tell it from others in gray too."""

    color: str
    marker: str = "o"
    line: str = "-"


def against_size(axes: Axes, groups: dict[float, np.ndarray], look: Look, label: str) -> None:
    """Each seed, the mean over seeds at each size, and its 95% interval (Student's, from three seeds on) as a band."""
    for size, values in groups.items():
        axes.plot([size] * len(values), values, look.marker, color=look.color, ms=3, mfc="none", mew=0.8)
    sizes, effects = list(groups), [over_seeds(mean, values) for values in groups.values()]
    ends = np.array([[e.low, e.high] if np.isfinite(e.high) else [np.nan] * 2 for e in effects]).reshape(-1, 2)
    axes.fill_between(sizes, ends[:, 0], ends[:, 1], color=look.color, alpha=0.2, lw=0)
    axes.plot(sizes, [e.value for e in effects], look.line, color=look.color, label=label)


def plain_numbers(axis: Axis) -> None:
    """Ticks of a logarithmic axis at 1, 2 and 5 times powers of ten, written out."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axis.set_minor_formatter(NullFormatter())

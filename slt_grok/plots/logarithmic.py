"""Logarithmic axes: only where something positive is drawn, with labels whatever the range."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axis import Axis
from matplotlib.ticker import Formatter, Locator, LogLocator, MaxNLocator, NullFormatter

FEWEST, MOST = 3, 5  # number of labels
PLAIN = (1e-2, 1e4)  # range of values that are written without a power of ten


def logarithmic(*scaled: Axis) -> None:
    """Make axes logarithmic, except those on which nothing positive is drawn.

    Parameters
    ----------
    *scaled : matplotlib.axis.Axis
        The `xaxis` or `yaxis` of panels on which everything is already drawn.
    """
    for axis in scaled:
        if np.isfinite(axis.get_minpos()):
            (axis.axes.set_xscale if axis is axis.axes.xaxis else axis.axes.set_yscale)("log")
            axis.set_major_locator(LogTicks())
            axis.set_major_formatter(LogNumbers())
            axis.set_minor_locator(LogLocator(subs=(1.0,), numticks=40))
            axis.set_minor_formatter(NullFormatter())


class LogTicks(Locator):
    """Ticks at powers of ten, at these times 1 and 3, or 1, 2 and 5, or at round numbers: the first with enough."""

    def __call__(self) -> Sequence[float]:
        """Locate the ticks in the current view."""
        assert self.axis is not None
        return self.tick_values(*self.axis.get_view_interval())

    def tick_values(self, vmin: float, vmax: float) -> Sequence[float]:
        """Locate the ticks between two values."""
        low, high = sorted((vmin, vmax))
        if not 0 < low < high < np.inf:
            return []
        powers = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
        for parts in ((1,), (1, 3), (1, 2, 5)):
            ticks = _between(np.outer(powers, parts).ravel(), low, high)
            if len(ticks) >= FEWEST:
                return ticks[:: -(-len(ticks) // MOST)].tolist()
        round_numbers = MaxNLocator(MOST - 1, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
        return _between(np.array(round_numbers), low, high).tolist()


class LogNumbers(Formatter):
    """Plain numbers, or powers of ten if a tick is very small or large."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        """Format one value."""
        return self.format_ticks([x])[0]

    def format_ticks(self, values: Sequence[float]) -> list[str]:
        """Format all ticks alike."""
        return list(map(_plain if all(PLAIN[0] <= value < PLAIN[1] for value in values) else _scientific, values))


def _between(ticks: np.ndarray, low: float, high: float) -> np.ndarray:
    return ticks[(ticks >= low * (1 - 1e-9)) & (ticks <= high * (1 + 1e-9))]


def _plain(value: float) -> str:
    return f"{value:,g}"


def _scientific(value: float) -> str:
    mantissa, power = f"{value:.3e}".split("e")
    factor = "" if float(mantissa) == 1 else rf"{float(mantissa):g} \times "
    return f"${factor}10^{{{int(power)}}}$"

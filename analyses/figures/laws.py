"""A quantity against the size p of the task on two logarithmic axes, with the laws that were fitted to it."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

from slt_grok.plots.logarithmic import logarithmic
from slt_grok.plots.palette import BLUE, BROWN, GRAY, GREEN, ORANGE, PURPLE, SKY, VERMILION
from slt_grok.plots.style import frame, panel_letters, styled

LOOKS = {  # law -> color, dashes
    "constant": (GRAY, (0, (1, 1))),
    "proportional": (ORANGE, "-"),
    "quadratic": (PURPLE, (0, (6, 2))),
    "affine": (GREEN, (0, (4, 1, 1, 1))),
    "logarithmic": (BROWN, (0, (2, 2))),
    "power": (VERMILION, "--"),
    "saturating": (SKY, (0, (4, 1, 1, 1, 1, 1))),
    "floor": (GREEN, (0, (4, 1, 1, 1))),
}
SHOWN = 4.0  # laws whose AICc is within this of the smallest


@styled
def finite_size(quantities: Sequence[xr.Dataset], names: Sequence[str]) -> Figure:
    """Draw a panel for each quantity: seeds as points, laws within 4 of the smallest AICc, the best with its 95% band.

    Parameters
    ----------
    quantities : sequence of xarray.Dataset
        From `slt_grok.transitions.finite_size`.
    names : sequence of str
        Of the quantities with their units, for the axes.
    """
    columns = min(len(quantities), 2)
    rows = -(-len(quantities) // columns)
    figure, grid = frame(0.3 + 2.7 * rows, rows, columns)
    for axes, laws, name in zip(grid.flat, quantities, names, strict=False):
        _panel(axes, laws, name)
    for axes in grid.ravel()[len(quantities) :]:
        axes.set_visible(False)
    panel_letters(grid.ravel()[: len(quantities)].tolist())
    return figure


def _panel(axes: Axes, laws: xr.Dataset, quantity: str) -> None:
    (size,) = laws.mean_log.dims
    axes.set(xscale="log", yscale="log", xlabel=f"{str(size).capitalize()} p", ylabel=quantity)
    behind = laws.aicc - laws.aicc.min()
    best = str(laws.law.values[int(behind.values.argmin())]) if np.isfinite(behind).any() else ""
    for name in laws.law.values[(behind <= SHOWN).values]:
        (color, dashes), law = LOOKS[name], laws.sel(law=name)
        label = f"{_words(law)}, {float(behind.sel(law=name)):+.1f}"
        if name == best:
            axes.fill_between(laws.between, law.fitted_low, law.fitted_high, color=color, alpha=0.22, lw=0)
        axes.plot(laws.between, law.fitted, color=color, ls=dashes, label=label)
    axes.plot(laws[size], laws.measured.transpose(size, "row"), "o", ms=2.6, mfc="none", mec="0.35", mew=0.7)
    axes.plot(laws[size], np.exp(laws.mean_log), "D", ms=4.2, color=BLUE, label="geometric mean over seeds")
    axes.xaxis.set_major_locator(FixedLocator(laws[size].values.tolist()))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(ScalarFormatter())
    logarithmic(axes.yaxis)
    verdict, law = laws.attrs["verdict"], laws.attrs.get("law", "")
    title = f"{law}: {verdict}" if law else verdict
    where = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.02)}
    axes.legend(title=f"{title}; law, AICc above the smallest", title_fontsize=7, **where)


def _words(law: xr.Dataset) -> str:
    """Return a law with its exponent if it has one."""
    text = str(law.formula.values).replace("p^2", "$p^2$")
    exponent = law.sel(parameter="exponent") if "exponent" in law.parameter else None
    if exponent is None or not np.isfinite(exponent.parameter_value):
        return text
    value, low, high = (float(exponent[f"parameter_{end}"]) for end in ("value", "low", "high"))
    text = text.replace("p^exponent", "$p^x$").replace("p^-exponent", "$p^{-x}$")
    return f"{text}, x = {value:.2f} ({low:.2f} to {high:.2f})"

"""A quantity against the modulus p on two logarithmic axes, with the laws that were fitted to it."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, NullFormatter, NullLocator, ScalarFormatter

from slt_grok.errors import SltGrokError
from slt_grok.plots.style import BLUE, BROWN, GRAY, GREEN, ORANGE, PURPLE, SKY, VERMILION, WIDTH, panel_letters, styled

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
def finite_size(found: Sequence[xr.Dataset], names: Sequence[str]) -> Figure:
    """Draw a panel for each quantity: seeds as points, laws within 4 of the smallest AICc, the best with its 95% band.

    Parameters
    ----------
    found : Sequence[xarray.Dataset]
        From `slt_grok.transitions.finite_size`, at least one.
    names : Sequence[str]
        Of the quantities with their units, for the axes.

    Raises
    ------
    SltGrokError
        No quantity, or not as many names.
    """
    if not found or len(found) != len(names):
        raise SltGrokError(f"finite size: expected a name for each of at least one quantity, got {len(names)}")
    columns = min(len(found), 2)
    rows = -(-len(found) // columns)
    figure = Figure(figsize=(WIDTH, 0.3 + 2.7 * rows), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for axes, one, name in zip(panels, found, names, strict=False):
        _panel(axes, one, name)
    for axes in panels[len(found) :]:
        axes.set_visible(False)
    panel_letters(panels[: len(found)])
    return figure


def _panel(axes: Axes, one: xr.Dataset, name: str) -> None:
    axes.set(xscale="log", yscale="log", xlabel="Modulus p", ylabel=name)
    p, behind = one.modulus.values, one.aicc - one.aicc.min()
    best = str(one.law.values[int(behind.values.argmin())]) if np.isfinite(behind).any() else ""
    for law in one.law.values[(behind <= SHOWN).values]:
        color, dashes = LOOKS[law]
        at = one.sel(law=law)
        if law == best:
            axes.fill_between(one.between, at.fitted_low, at.fitted_high, color=color, alpha=0.22, lw=0)
        axes.plot(
            one.between, at.fitted, color=color, ls=dashes, label=f"{_words(at)}, {float(behind.sel(law=law)):+.1f}"
        )
    for row in one.measured.transpose("row", "modulus").values:
        axes.plot(p, row, "o", ms=2.6, mfc="none", mec="0.35", mew=0.7)
    axes.plot(p, np.exp(one.mean_log), "D", ms=4.2, color=BLUE, label="geometric mean over seeds")
    axes.xaxis.set_major_locator(FixedLocator(p.tolist()))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.spines[["top", "right"]].set_visible(False)
    legend = axes.legend(
        title=f"{_verdict(one)}; law, AICc above the smallest", loc="lower center", bbox_to_anchor=(0.5, 1.02)
    )
    legend.get_title().set_fontsize(7)


def _words(at: xr.Dataset) -> str:
    """Return a law with its exponent where it has one."""
    text = str(at.formula.values).replace("p^2", "$p^2$")
    exponent = at.sel(parameter="exponent") if "exponent" in at.parameter else None
    if exponent is None or not np.isfinite(exponent.parameter_value):
        return text
    value, low, high = (float(exponent[f"parameter_{end}"]) for end in ("value", "low", "high"))
    text = text.replace("p^exponent", "$p^x$").replace("p^-exponent", "$p^{-x}$")
    return f"{text}, x = {value:.2f} ({low:.2f} to {high:.2f})"


def _verdict(one: xr.Dataset) -> str:
    word, law = one.attrs["verdict"], one.attrs.get("law", "")
    return f"{law}: {word}" if law else word

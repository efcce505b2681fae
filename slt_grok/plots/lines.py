"""Lines over training: seeds and their median, 95% bands, points by status."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from slt_grok.llc.diagnostics import EXCLUDED, QUANTILE, TRUSTED, LLCStatus
from slt_grok.plots.logarithmic import logarithmic
from slt_grok.plots.palette import BLUE
from slt_grok.plots.style import empty_panel, frame, step_axis, styled
from slt_grok.transitions.measures import with_seed
from slt_grok.units import with_units

HOLLOW: Mapping[str, str] = {
    LLCStatus.LIKELY_LOW: "^",
    LLCStatus.NOT_CONVERGED: "s",
    LLCStatus.NOT_A_MINIMUM: "D",
    LLCStatus.MELTED: "X",
}
"""Markers of untrusted statuses, drawn hollow; a circle for any other."""


def interval(llc: xr.Dataset) -> tuple[xr.DataArray, xr.DataArray]:
    """Get the ends of the 95% interval: llc_low and llc_high, or llc +- 1.96 llc_se if the dataset lacks them."""
    if "llc_low" in llc and "llc_high" in llc:
        return llc.llc_low, llc.llc_high
    return llc.llc - QUANTILE * llc.llc_se, llc.llc + QUANTILE * llc.llc_se


def setting(llc: xr.Dataset) -> str:
    """Format sampler, n beta and gamma in one line, as far as the dataset states them."""
    formats = {"sampler": "{}", "n_beta": r"$n\beta$ = {:g}", "gamma": r"$\gamma$ = {:g}"}
    return ", ".join(text.format(llc.attrs[key]) for key, text in formats.items() if key in llc.attrs)


def note_setting(axes: Axes, llc: xr.Dataset) -> None:
    """State the setting of the estimates above the right end of a panel."""
    axes.set_title(setting(llc), loc="right", fontsize=6.5, color="0.35")


def line_of_llc(
    axes: Axes, llc: xr.Dataset, color: str, label: str = "", marker: str = "o", scale: Any = 1.0, **look: Any
) -> None:
    """Draw the LLC of one seed: a line with its 95% band, and points by status.

    Melted estimates are hollow points off the line; diverged ones are omitted.

    Parameters
    ----------
    look : object
        Style of the line, with the marker size `ms` and the opacity of the band `alpha`.
    """
    used = ~llc.llc_status.isin(EXCLUDED)
    value, low, high = ((scale * values).where(used) for values in (llc.llc, *interval(llc)))
    size, alpha = look.pop("ms", 3), look.pop("alpha", 0.25)
    axes.fill_between(llc.step, low, high, color=color, alpha=alpha, lw=0)
    axes.plot(llc.step, value, color=color, label=label or None, **look)
    points_by_status(axes, llc.step, scale * llc.llc, llc.llc_status, color, marker, size)


def llc_limits(estimates: Sequence[xr.Dataset], log: bool = False) -> tuple[float, float] | None:
    """Compute the ends of an axis of the LLC from its trusted estimates.

    Others extend the axis by at most twice the range, or twice the size, of the trusted ones on each side. Without a
    trusted estimate, those that are not excluded set it, else all.

    Parameters
    ----------
    estimates : sequence of xarray.Dataset
        Estimates with `llc`, `llc_se` and `llc_status`, of any dimensions.
    log : bool, optional
        Whether the axis is logarithmic; nonpositive estimates are then ignored.

    Returns
    -------
    tuple of float or None
        Both ends; None if no estimate can be drawn.
    """
    parts = [(llc.llc, *interval(llc), llc.llc_status) for llc in estimates]
    value, low, high = (np.concatenate([np.ravel(part[i]) for part in parts]).astype(float) for i in range(3))
    status = np.concatenate([np.ravel(part[3]) for part in parts])
    shown = np.isfinite(value) & (status != LLCStatus.DIVERGED) & ((value > 0) | (not log))
    included = shown & ~np.isin(status, EXCLUDED)
    kept = next((choice for choice in (shown & np.isin(status, TRUSTED), included, shown) if choice.any()), None)
    if kept is None:
        return None
    low = np.maximum(low, value / 10) if log else low
    scale, inverse = (np.log, np.exp) if log else (np.asarray, np.asarray)
    bottom, top = scale([np.fmin(value, low)[kept].min(), np.fmax(value, high)[kept].max()])
    room = 2 * max(top - bottom, np.log(2) if log else max(abs(bottom), abs(top)))
    others = scale(value[included])
    others = others[(others >= bottom - room) & (others <= top + room)]
    bottom, top = min([bottom, *others]), max([top, *others])
    margin = 0.06 * (top - bottom) or 0.5 * room
    return float(inverse(bottom - margin)), float(inverse(top + margin))


def mark_beyond(axes: Axes, x: Any, llc: xr.Dataset, color: str) -> None:
    """Mark the untrusted estimates outside the axis range by hollow points on the panel's edge."""
    low, high = axes.get_ylim()
    drawn = llc.llc.where(llc.llc > 0) if axes.get_yscale() == "log" else llc.llc
    for name in untrusted(drawn, llc.llc_status):
        for edge, beyond in enumerate((drawn < low, drawn > high)):
            place = xr.where(beyond & (llc.llc_status == name), edge, np.nan)
            if place.notnull().any():
                axes.plot(x, place, transform=axes.get_xaxis_transform(), clip_on=False, **hollow(name, color, 3))


def fit_llc(axes: Axes, drawn: Sequence[tuple[Any, xr.Dataset, str]]) -> None:
    """Let trusted estimates set the axis of the LLC, and mark others that lie outside on its edge.

    Parameters
    ----------
    axes : Axes
        A panel on which the estimates are already drawn.
    drawn : sequence of tuple
        Positions, estimates with `llc`, `llc_se` and `llc_status`, and color.
    """
    ends = llc_limits([llc for _, llc, _ in drawn], axes.get_yscale() == "log")
    if ends is None:
        empty_panel(axes, "no estimate can be drawn")
        return
    axes.set_ylim(*ends)
    for x, llc, color in drawn:
        mark_beyond(axes, x, llc, color)


def curve(variable: str) -> Callable[..., Figure]:
    """Build a function that draws one variable of a dataset against the training step.

    The simplest figure for a new measurement: `Drawing("name", curve("variable"), "Caption.")`.
    """

    @styled
    def draw(dataset: xr.Dataset, seed: int | None = None) -> Figure:
        values = with_seed(dataset)[variable]
        figure, ((axes,),) = frame(2.4, width=4.5)
        over_seeds(axes, values if seed is None else values.sel(seed=[seed]), BLUE, "", marker="o", ms=3)
        name = values.attrs.get("long_name", variable)
        axes.set_ylabel(with_units(name[:1].upper() + name[1:], values))
        step_axis(axes, values.step.values)
        return figure

    return draw


def points_by_status(
    axes: Axes, x: Any, y: xr.DataArray, status: xr.DataArray, color: str, marker: str = "o", size: float = 3
) -> None:
    """Draw trusted estimates filled, and those of every other status hollow with its own marker, named in the legend.

    Diverged estimates have no value and are not drawn.
    """
    filled = y.where(status.isin(TRUSTED))
    axes.plot(x, filled, marker, ms=size, mec=color, mfc=color, mew=0.25 * size, zorder=3)
    for name in untrusted(y, status):
        known = name_of(name) in axes.get_legend_handles_labels()[1]
        label = None if known else name_of(name)
        axes.plot(x, y.where(status == name), label=label, **hollow(name, color, size))


def untrusted(y: xr.DataArray, status: xr.DataArray) -> list[str]:
    """List the statuses to draw hollow: neither trusted nor diverged, with a finite value."""
    shown = y.notnull() & ~status.isin(TRUSTED) & (status != LLCStatus.DIVERGED)
    return np.unique(status.values[shown.values].astype(str)).tolist()


def status_handles(y: xr.DataArray, status: xr.DataArray, size: float = 3) -> list[Line2D]:
    """List the legend handles of the hollow points that `points_by_status` draws in any color."""
    return [Line2D([], [], label=name_of(name), **hollow(name, "0.35", size)) for name in untrusted(y, status)]


def name_of(status: str) -> str:
    """Name a status in a legend, with the consequence of being excluded."""
    return f"{status}, in no summary" if status in EXCLUDED else status


def hollow(status: str, color: str, size: float) -> dict[str, Any]:
    """Look of the points of an untrusted status."""
    marker = HOLLOW.get(status, "o")
    return {"ls": "", "marker": marker, "ms": 1.3 * size, "mec": color, "mfc": "white", "mew": 0.25 * size, "zorder": 3}


def points(axes: Axes, x: Any, y: Any, filled: Any, color: str, marker: str = "o", size: float = 3) -> None:
    """Draw points, some of them filled and the others hollow."""
    for face, shown in ((color, filled), ("white", ~filled)):
        axes.plot(x, np.where(shown, y, np.nan), marker, ms=size, mec=color, mfc=face, mew=0.25 * size, zorder=3)


def over_seeds(
    axes: Axes, values: xr.DataArray, color: str, label: str, positive: bool = False, **line: Any
) -> Line2D | None:
    """Draw one seed as a line over `step`, several as thin lines with a thick median, bridging missing steps.

    Parameters
    ----------
    positive : bool, optional
        Make the axis logarithmic, break the line at nonpositive values and mark these by triangles at the lower edge.

    Returns
    -------
    Line2D or None
        The line for the legend, None if nothing is finite.
    """
    data = values.transpose("step", "seed").dropna("step", how="all")
    if positive:
        below = data.step.values[(data.median("seed", skipna=True) <= 0).values]
        edge = axes.get_xaxis_transform()
        axes.plot(below, np.full(len(below), 0.04), "v", ms=3, mfc="none", mec=color, mew=0.8, transform=edge)
        data = data.where(data > 0)
    median = None
    if np.isfinite(data).any():
        if data.sizes["seed"] > 1:
            axes.plot(data.step, data, color=color, **{**line, "lw": 0.6, "alpha": 0.5, "marker": ""})
        (median,) = axes.plot(data.step, data.median("seed", skipna=True), color=color, label=label, **line)
    if positive:
        logarithmic(axes.yaxis)
    return median


def curves(axes: Axes, label: str, drawn: Mapping[str, tuple[Any, ...]], decades: bool = False) -> None:
    """Draw lines over `step` with 95% bands if there are errors, and a legend if there are several lines.

    What has no value is omitted; a panel without any line says so.

    Parameters
    ----------
    drawn : mapping
        Name -> (values, standard error or None, color).
    decades : bool, optional
        Whether the vertical axis is logarithmic; nonpositive values are then omitted.
    """
    for name, (values, error, color) in drawn.items():
        values = (values.where(values > 0) if decades else values).dropna("step")
        if not values.size:
            continue
        axes.plot(values.step, values, "o-", ms=2.6, lw=1.1, color=color, label=name)
        if error is not None:
            reach = QUANTILE * error.sel(step=values.step)
            low = np.maximum(values - reach, values / 1e3) if decades else values - reach
            axes.fill_between(values.step, low, values + reach, color=color, alpha=0.2, lw=0)
    if decades:
        logarithmic(axes.yaxis)
    axes.set_ylabel(label)
    if not axes.lines:
        empty_panel(axes, "not measured for this network and loss")
    if len(axes.get_legend_handles_labels()[0]) > 1:
        axes.legend(loc="best")

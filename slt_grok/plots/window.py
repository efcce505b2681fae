"""The LLC over its window: the map over n_beta and gamma at several checkpoints, and the drop that it implies."""

from typing import Any

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from slt_grok.llc.diagnostics import QUANTILE, TRUSTED, LLCStatus
from slt_grok.plots import style
from slt_grok.plots.lines import llc_limits, mark_beyond, points_by_status, status_handles
from slt_grok.plots.logarithmic import logarithmic
from slt_grok.plots.palette import BLUE, GRAY, GREEN, ORANGE


@style.styled
def llc_window(measured: xr.Dataset, seed: int | None = None) -> Figure:
    """Draw the map, one panel per n_beta, and below it the LLC against the radius, the drop and its half-way step.

    Parameters
    ----------
    measured : xarray.Dataset
        The measurement `window`.
    """
    measured = style.select_seed(measured, seed).transpose("step", "n_beta", "gamma", ...)
    colors = sns.color_palette("viridis", measured.sizes["step"] + 1).as_hex()[:-1]
    figure, grid = style.frame(4.9, 2, measured.sizes["n_beta"])
    for axes, n_beta in zip(grid[0], measured.n_beta.values, strict=True):
        axes.sharey(grid[0, 0])
        for step, color in zip(measured.step.values, colors, strict=True):
            _line(axes, measured.sel(step=step, n_beta=n_beta), measured.gamma.values, color)
        axes.axvline(measured.attrs["gamma"], color=GRAY, lw=0.8, ls=(0, (4, 2)), zorder=0)
        axes.set(xlabel=r"Localization $\gamma$", title=f"$n\\beta$ = {n_beta:,.4g}")
    radius, factor, half = grid[1, :3]
    radius.sharey(grid[0, 0])
    for step, color in zip(measured.step.values, colors, strict=True):
        here = measured.sel(step=step).isel(n_beta=-1)
        _line(radius, here, here.radius.values, color)
    radius.set_xlabel(r"Radius $\sqrt{d/\gamma}\,/\,|w^*|$" + f"\n($n\\beta$ = {measured.n_beta.values[-1]:,.4g})")
    ends = llc_limits([measured], log=True)
    for axes, i in zip((*grid[0], radius), (*range(measured.sizes["n_beta"]), -1), strict=True):
        logarithmic(axes.xaxis, axes.yaxis)
        if ends is None:
            style.empty_panel(axes, "no estimate can be drawn")
            continue
        axes.set_ylim(*ends)
        for j, color in enumerate(colors):
            at = measured.isel(step=j, n_beta=i)
            mark_beyond(axes, at.radius if axes is radius else at.gamma, at, color)
    for axes in (grid[0, 0], radius):
        axes.set_ylabel("LLC")
    _drop(factor, half, measured)
    handles = [
        Line2D([], [], color=color, marker="o", ms=3, label=f"step {step:,}")
        for step, color, drawn in zip(measured.step.values.tolist(), colors, _drawn(measured), strict=True)
        if drawn
    ]
    handles.append(Line2D([], [], color="0.4", ls=":", label="noise alone"))
    handles += status_handles(measured.llc.where(measured.llc > 0), measured.llc_status)
    figure.legend(handles=handles, loc="outside upper center", ncols=4)
    style.panel_letters(list(grid.flat), offset=(-30, 9), room=False)
    return figure


def _drawn(measured: xr.Dataset) -> list[bool]:
    """Check for each checkpoint whether any of its values is drawn."""
    shown = (measured.llc > 0) & (measured.llc_status != LLCStatus.DIVERGED)
    return shown.any(["n_beta", "gamma"]).values.tolist()


def _line(axes: Axes, here: xr.Dataset, x: np.ndarray, color: str) -> None:
    """Draw LLC and null of one checkpoint at one n_beta; nonpositive and diverged values are omitted."""
    drawn = ((here.llc > 0) & (here.llc_status != LLCStatus.DIVERGED)).values
    value, error = np.where(drawn, here.llc, np.nan), QUANTILE * here.llc_se.values
    good = here.llc_status.isin(TRUSTED).values
    axes.plot(x, here.window_noise.where(here.window_noise > 0), ls=":", lw=0.9, color=color)
    axes.plot(x, np.where(good, value, np.nan), lw=1.0, color=color)
    low = np.minimum(error, value - value / 1e3)  # the axis is logarithmic
    axes.errorbar(x, np.where(good, value, np.nan), [low, error], ls="", lw=0.8, color=color)
    points_by_status(axes, x, here.llc.where(drawn), here.llc_status, color)


def _drop(factor: Axes, half: Axes, measured: xr.Dataset) -> None:
    """Draw the factor of the drop and its half-way step against gamma, one color per n_beta."""
    looks: Any = zip((ORANGE, GREEN, BLUE), ("v", "s", "o"), (0.94, 1.0, 1.06), strict=True)
    for n_beta, (color, marker, shift) in zip(measured.n_beta.values, looks, strict=True):
        at, x = measured.sel(n_beta=n_beta).isel(step=0), shift * measured.gamma.values
        label = f"$n\\beta$ = {n_beta:,.4g}"
        error = QUANTILE * at.drop_factor_se
        factor.errorbar(x, at.drop_factor, error, color=color, marker=marker, ms=3, lw=1, label=label)
        bars = [at.half_way_step - at.half_way_low, at.half_way_high - at.half_way_step]
        half.errorbar(x, at.half_way_step, np.nan_to_num(bars), color=color, marker=marker, ms=3, lw=1)
    for axes in (factor, half):
        axes.axvline(measured.attrs["gamma"], color=GRAY, lw=0.8, ls=(0, (4, 2)), zorder=0)
        logarithmic(axes.xaxis, axes.yaxis)
        axes.set(xlabel=r"Localization $\gamma$", xlim=_padded(measured.gamma.values))
    start, end = int(measured.drop_from.values.flat[0]), int(measured.step.values[-1])
    factor.set_ylabel(f"LLC at step {start:,}\n/ LLC at step {end:,}")
    half.set_ylabel("Step half way\nthrough the drop")
    for axes, measures in ((factor, measured.drop_factor), (half, measured.half_way_step)):
        if not np.isfinite(measures).any():
            style.empty_panel(axes, "no drop of the LLC")
    factor.legend(loc="best")


def _padded(gammas: np.ndarray) -> tuple[float, float]:
    return gammas[0] / 1.3, gammas[-1] * 1.3

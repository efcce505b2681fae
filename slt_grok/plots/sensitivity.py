"""How the LLC moves with step, temperature and localization around a calibration's choice.

A value that holds over a range of settings belongs to the network (estimator: Lau et al. 2308.12108, definition 3).
"""

from collections.abc import Sequence

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from slt_grok.plots.llc_curve import QUANTILE, TRUSTED
from slt_grok.plots.style import VERMILION, WIDTH, one_seed, panel_letters, styled

MARKERS = ("o", "s", "D", "^", "v")


@styled
def llc_by_step(calibration: xr.Dataset) -> Figure:
    """LLC against the step, a line for each n_beta, a panel for each checkpoint; the choice has a ring.

    Parameters
    ----------
    calibration : xarray.Dataset
        `llc_by_step` and its `_se` and `_status` over (step, seed, step_size, n_beta), with the choice in the
        attributes `step_size` and `n_beta`.

    Raises
    ------
    SltGrokError
        The dataset has no `step` dimension.
    """
    one = one_seed(calibration, None)
    n_betas = one.n_beta.values
    colors = sns.color_palette("viridis", len(n_betas) + 1).as_hex()[:-1]
    figure = Figure(figsize=(WIDTH, 2.9), layout="constrained")
    panels = list(np.atleast_1d(figure.subplots(1, one.sizes["step"], squeeze=False)[0]))
    chosen = calibration.attrs["step_size"], calibration.attrs["n_beta"]
    for axes, step in zip(panels, one.step.values, strict=True):
        for n_beta, color, marker in zip(n_betas, colors, MARKERS, strict=False):
            at = one.sel(step=step, n_beta=n_beta)
            value, error = at.llc_by_step.values, at.llc_by_step_se.values
            status = at.llc_by_step_status.values.astype(str)
            ring = chosen[0] if np.isclose(n_beta, chosen[1]) else None
            draw(axes, one.step_size.values, value, error, status, color, marker, ring)
        finish(axes, one.step_size.values, f"Step {int(step):,}")
        axes.set_xlabel("Step size $h$")
    panels[0].set_ylabel("LLC")
    lines = [
        Line2D([], [], color=color, marker=marker, ms=4, label=f"$n\\beta$ = {n_beta:.3g}")
        for n_beta, color, marker in zip(n_betas, colors, MARKERS, strict=False)
    ]
    figure.legend(handles=[*lines, *legend()], loc="outside upper center", ncols=len(lines))
    panel_letters(panels, offset=(-26, 9), room=False)
    return figure


@styled
def llc_by_gamma(calibration: xr.Dataset) -> Figure:
    """LLC against the localization, a line for each checkpoint; the choice has a ring.

    Parameters
    ----------
    calibration : xarray.Dataset
        `llc_by_gamma` and its `_se` and `_status` over (step, seed, gamma), with the choice in the attribute `gamma`.

    Raises
    ------
    SltGrokError
        The dataset has no `step` dimension.
    """
    one = one_seed(calibration, None)
    colors = sns.color_palette("viridis", one.sizes["step"] + 1).as_hex()[:-1]
    figure = Figure(figsize=(WIDTH, 2.7), layout="constrained")
    axes = figure.add_subplot()
    lines = []
    for step, color, marker in zip(one.step.values, colors, MARKERS, strict=False):
        at = one.sel(step=step)
        value, error = at.llc_by_gamma.values, at.llc_by_gamma_se.values
        status = at.llc_by_gamma_status.values.astype(str)
        draw(axes, one.gamma.values, value, error, status, color, marker, calibration.attrs["gamma"])
        lines.append(Line2D([], [], color=color, marker=marker, ms=4, label=f"step {int(step):,}"))
    finish(axes, one.gamma.values, "")
    axes.set_yscale("symlog", linthresh=1)
    axes.set_ylim(bottom=min(0.0, 1.2 * float(one.llc_by_gamma.min())))
    axes.set_xlabel(r"Localization $\gamma$")
    axes.set_ylabel("LLC")
    axes.legend(handles=[*lines, *legend()], loc="upper left", bbox_to_anchor=(1.015, 1.0))
    return figure


def draw(
    axes: Axes,
    x: np.ndarray,
    value: np.ndarray,
    error: np.ndarray,
    status: np.ndarray,
    color: str,
    marker: str,
    chosen: float | None,
) -> None:
    """Draw a line with 95% error bars: filled points are trusted, hollow ones not, crosses at the edge are diverged."""
    trusted, seen = np.isin(status, TRUSTED), np.isfinite(value) & (status != "diverged")
    axes.plot(x[seen], value[seen], color=color, lw=0.9)
    axes.errorbar(x[seen], value[seen], QUANTILE * error[seen], color=color, ls="", lw=0.9, capsize=1.5)
    for good, face in ((True, color), (False, "white")):
        at = seen & (trusted == good)
        axes.plot(x[at], value[at], marker, ms=4, mec=color, mfc=face, mew=0.9)
    if len(lost := x[~seen]):
        edge = axes.get_xaxis_transform()
        axes.plot(lost, np.full(len(lost), 0.97), "x", ms=4.5, color=VERMILION, transform=edge, clip_on=False)
    if chosen is not None:
        at = seen & np.isclose(x, chosen)
        axes.plot(x[at], value[at], "o", ms=10, mec="black", mfc="none", mew=1.0)


def finish(axes: Axes, x: Sequence[float] | np.ndarray, title: str) -> None:
    """Draw a logarithmic axis that has a tick at every value there is."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(list(x)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}" if value >= 1000 else f"{value:.3g}")
    axes.set_title(title, fontsize=7)
    axes.spines[["top", "right"]].set_visible(False)


def legend() -> list[Line2D]:
    """Return what the marks mean."""
    return [
        Line2D([], [], ls="", marker="o", ms=4, mec="0.35", mfc="white", label="not trusted"),
        Line2D([], [], ls="", marker="x", ms=4.5, color=VERMILION, label="diverged"),
        Line2D([], [], ls="", marker="o", ms=8, mec="black", mfc="none", label="the choice"),
    ]

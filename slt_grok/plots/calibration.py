"""Sensitivity of the LLC to step size, temperature and localization around the chosen settings.

A value that is stable over a range of settings is a property of the network (estimator: Lau et al. 2308.12108,
definition 3).
"""

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from slt_grok.plots.lines import QUANTILE, TRUSTED, points
from slt_grok.plots.palette import VERMILION
from slt_grok.plots.style import frame, legend_right, panel_letters, select_seed, styled

MARKERS = ("o", "s", "D", "^", "v")
MARKS = (
    {"ms": 4, "marker": "o", "mec": "0.35", "mfc": "white", "label": "not trusted"},
    {"ms": 4.5, "marker": "x", "color": VERMILION, "label": "diverged"},
    {"ms": 8, "marker": "o", "mec": "black", "mfc": "none", "label": "chosen"},
)


@styled
def llc_by_step(calibration: xr.Dataset) -> Figure:
    """Draw the LLC against the step size, one line per n_beta and one panel per checkpoint.

    Parameters
    ----------
    calibration : xarray.Dataset
        `llc_by_step` and its `_se` and `_status` over (step, seed, step_size, n_beta), with the choice in the
        attributes `step_size` and `n_beta`.
    """
    calibration = select_seed(calibration, None)
    colors = sns.color_palette("viridis", calibration.sizes["n_beta"] + 1).as_hex()[:-1]
    figure, ((*panels,),) = frame(2.9, 1, calibration.sizes["step"])
    lines = []
    for n_beta, color, marker in zip(calibration.n_beta.values, colors, MARKERS, strict=False):
        ring = calibration.attrs["step_size"] if np.isclose(n_beta, calibration.attrs["n_beta"]) else None
        for axes, step in zip(panels, calibration.step.values, strict=True):
            _line(axes, calibration.sel(step=step, n_beta=n_beta), "llc_by_step", "step_size", color, marker, ring)
            axes.set_title(f"Step {int(step):,}", fontsize=7)
            axes.set_xlabel("Step size $h$")
        lines.append(Line2D([], [], color=color, marker=marker, ms=4, label=f"$n\\beta$ = {n_beta:.3g}"))
    panels[0].set_ylabel("LLC")
    figure.legend(handles=[*lines, *_marks()], loc="outside upper center", ncols=len(lines))
    panel_letters(panels, offset=(-26, 9), room=False)
    return figure


@styled
def llc_by_gamma(calibration: xr.Dataset) -> Figure:
    """Draw the LLC against the localization, one line per checkpoint.

    Parameters
    ----------
    calibration : xarray.Dataset
        `llc_by_gamma` and its `_se` and `_status` over (step, seed, gamma), with the choice in the attribute `gamma`.
    """
    calibration = select_seed(calibration, None)
    colors = sns.color_palette("viridis", calibration.sizes["step"] + 1).as_hex()[:-1]
    figure, ((axes,),) = frame(2.7)
    lines = []
    for step, color, marker in zip(calibration.step.values, colors, MARKERS, strict=False):
        _line(axes, calibration.sel(step=step), "llc_by_gamma", "gamma", color, marker, calibration.attrs["gamma"])
        lines.append(Line2D([], [], color=color, marker=marker, ms=4, label=f"step {int(step):,}"))
    axes.set_yscale("symlog", linthresh=1)
    axes.set(xlabel=r"Localization $\gamma$", ylabel="LLC")
    axes.set_ylim(bottom=min(0.0, 1.2 * float(calibration.llc_by_gamma.min())))
    legend_right(axes, [*lines, *_marks()])
    return figure


def _line(axes: Axes, llc: xr.Dataset, name: str, along: str, color: str, marker: str, chosen: float | None) -> None:
    """Draw a line with 95% error bars, a ring at the chosen setting and crosses at the edge for diverged estimates."""
    settings, status = llc[along].values, llc[f"{name}_status"]
    drawn = (np.isfinite(llc[name]) & (status != "diverged")).values
    x, value, error = settings[drawn], llc[name].values[drawn], QUANTILE * llc[f"{name}_se"].values[drawn]
    axes.plot(x, value, color=color, lw=0.9)
    axes.errorbar(x, value, error, color=color, ls="", lw=0.9, capsize=1.5)
    points(axes, x, value, status.isin(TRUSTED).values[drawn], color, marker, 4)
    diverged, edge = settings[~drawn], axes.get_xaxis_transform()
    axes.plot(diverged, np.full(len(diverged), 0.97), "x", ms=4.5, color=VERMILION, transform=edge, clip_on=False)
    if chosen is not None:
        ring = np.isclose(x, chosen)
        axes.plot(x[ring], value[ring], "o", ms=10, mec="black", mfc="none", mew=1.0)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(settings.tolist()))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}" if value >= 1000 else f"{value:.3g}")


def _marks() -> list[Line2D]:
    return [Line2D([], [], ls="", **mark) for mark in MARKS]

"""The LLC over temperature: against n_beta and against the chains' excess loss, at several checkpoints."""

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from slt_grok.llc.diagnostics import EXCLUDED, QUANTILE
from slt_grok.plots import style
from slt_grok.plots.lines import fit_llc, points_by_status, status_handles
from slt_grok.plots.logarithmic import logarithmic
from slt_grok.plots.palette import GRAY
from slt_grok.units import with_units

MARKERS = "osD^vP<X>"


@style.styled
def temperature_ladder(measured: xr.Dataset, seed: int | None = None) -> Figure:
    """Draw both panels, one line per checkpoint; melted values are hollow, and their region is shaded.

    Parameters
    ----------
    measured : xarray.Dataset
        The measurement `temperature`.
    """
    measured = style.select_seed(measured, seed).sortby("n_beta")
    colors = sns.color_palette("viridis", measured.sizes["step"] + 1).as_hex()[:-1]
    figure, grid = style.frame(3.2, 1, 2)
    by_temperature, by_loss = grid[0]
    for i, color in enumerate(colors):
        here = measured.isel(step=i)
        for axes, x in ((by_temperature, here.n_beta.values), (by_loss, here.excess_loss.values)):
            _line(axes, here, x, color, MARKERS[i % len(MARKERS)])
    by_temperature.axvline(measured.attrs["configured_n_beta"], color=GRAY, lw=0.8, ls=":", zorder=0)
    for tolerance in measured.at_loss.values:
        by_loss.axvline(tolerance, color=GRAY, lw=0.8, ls=":", zorder=0)
    for axes in grid[0]:
        logarithmic(axes.xaxis, axes.yaxis)
        axes.set_ylabel("LLC")
    by_temperature.set_xlabel(r"Inverse temperature $n\beta$")
    by_loss.set_xlabel(with_units("Excess loss of the chains", measured.excess_loss))
    if np.isfinite(limit := measured.attrs["melting_loss"]):
        right = by_loss.get_xlim()[1]
        by_loss.axvspan(limit, max(right, limit), color="0.5", alpha=0.15, lw=0, zorder=0)
        by_loss.set_xlim(right=right)
    for axes, x in ((by_temperature, measured.n_beta), (by_loss, measured.excess_loss)):
        at = [x.isel(step=i, missing_dims="ignore") for i in range(len(colors))]
        fit_llc(axes, [(at[i], measured.isel(step=i), color) for i, color in enumerate(colors)])
    handles = [
        Line2D([], [], color=color, marker=MARKERS[i % len(MARKERS)], ms=3, label=f"step {step:,}")
        for i, (step, color) in enumerate(zip(measured.step.values.tolist(), colors, strict=True))
        if (measured.llc.isel(step=i) > 0).any()
    ]
    handles += status_handles(measured.llc.where(measured.llc > 0), measured.llc_status)
    figure.legend(handles=handles, loc="outside upper center", ncols=4)
    style.panel_letters(list(grid.flat), offset=(-30, 9))
    return figure


def _line(axes: Axes, here: xr.Dataset, x: np.ndarray, color: str, marker: str) -> None:
    """Draw one checkpoint, melted values off its line; nonpositive and diverged values are omitted."""
    used = ((here.llc > 0) & ~here.llc_status.isin(EXCLUDED)).values
    value, error = here.llc.values[used], QUANTILE * here.llc_se.values[used]
    axes.plot(x[used], value, lw=0.9, color=color)
    axes.fill_between(x[used], np.maximum(value - error, value / 10), value + error, color=color, alpha=0.2, lw=0)
    points_by_status(axes, x, here.llc.where(here.llc > 0), here.llc_status, color, marker)

"""The LLC of several representatives of the same function."""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from slt_grok.llc.diagnostics import QUANTILE, TRUSTED, LLCStatus
from slt_grok.plots import style
from slt_grok.plots.lines import note_setting, points
from slt_grok.plots.palette import BLUE, GREEN, ORANGE, PURPLE

LOOKS = {  # color, marker, name
    "trained": (BLUE, "o", "as trained"),
    "balanced": (GREEN, "s", "both sides of equal norm"),
    "stretched_2": (ORANGE, "^", "input sides × 2"),
    "stretched_4": (PURPLE, "v", "input sides × 4"),
}


@style.styled
def llc_gauge(measured: xr.Dataset, seed: int | None = None) -> Figure:
    """Draw LLC and norm of the weights over training, one color per representative.

    Parameters
    ----------
    measured : xarray.Dataset
        The measurement `gauge`.
    """
    measured = style.select_seed(measured, seed)
    figure, ((left, right),) = style.frame(2.9, 1, 2, width_ratios=[1.5, 1])
    for name, (color, marker, label) in LOOKS.items():
        here = measured.sel(representative=name)
        value = here.llc.where((here.llc > 0) & (here.llc_status != LLCStatus.DIVERGED)).values
        error = np.minimum(QUANTILE * here.llc_se.values, value * 0.999)  # the axis is logarithmic
        look: Any = {"color": color, "lw": 1.0}
        left.plot(here.step, value, label=label, marker=marker, ms=3.6, **look)
        left.errorbar(here.step, value, [error, QUANTILE * here.llc_se.values], ls="", **look)
        points(left, here.step, value, here.llc_status.isin(TRUSTED).values, color, marker, 3.6)
        right.plot(here.step, here.weight_norm, marker=marker, ms=3.6, **look)
    left.set(yscale="log", ylabel="LLC")
    right.set(yscale="log", ylabel="Norm of the weights")
    for axes in (left, right):
        style.step_axis(axes, measured.step.values)
        axes.set_xlabel("Training step (logarithmic)")
        style.narrow_ticks(axes)
    note_setting(left, measured)
    style.shared_legend(figure, (left,))
    style.panel_letters([left, right], offset=(-34, 9), room=False)
    return figure

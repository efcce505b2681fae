"""The LLC of several representatives of the same function."""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from slt_grok.llc.diagnostics import EXCLUDED, QUANTILE
from slt_grok.plots import style
from slt_grok.plots.lines import fit_llc, note_setting, points_by_status
from slt_grok.plots.logarithmic import logarithmic
from slt_grok.plots.palette import BLUE, GREEN, ORANGE, PURPLE

LOOKS = {  # color, marker, its size, name: trained networks are nearly balanced, and must be seen behind these
    "trained": (BLUE, "o", 6.0, "as trained"),
    "balanced": (GREEN, "s", 3.2, "both sides of equal norm"),
    "stretched_2": (ORANGE, "^", 3.6, "input sides × 2"),
    "stretched_4": (PURPLE, "v", 3.6, "input sides × 4"),
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
    for name, (color, marker, size, label) in LOOKS.items():
        here = measured.sel(representative=name)
        value = here.llc.where((here.llc > 0) & ~here.llc_status.isin(EXCLUDED)).values
        error = np.minimum(QUANTILE * here.llc_se.values, value * 0.999)  # the axis is logarithmic
        look: Any = {"color": color, "lw": 1.0, "ls": "--" if name == "balanced" else "-"}
        left.plot(here.step, value, label=label, **look)
        left.errorbar(here.step, value, [error, QUANTILE * here.llc_se.values], **look | {"ls": ""})
        points_by_status(left, here.step, here.llc.where(here.llc > 0), here.llc_status, color, marker, size)
        right.plot(here.step, here.weight_norm, marker=marker, ms=size, **look)
    left.set_ylabel("LLC")
    right.set_ylabel("Norm of the weights")
    for axes in (left, right):
        style.step_axis(axes, measured.step.values)
        logarithmic(axes.yaxis)
    fit_llc(left, [(measured.step, measured.sel(representative=name), look[0]) for name, look in LOOKS.items()])
    note_setting(left, measured)
    style.shared_legend(figure, (left,), ncols=len(LOOKS))  # statuses have rows of their own
    style.panel_letters([left, right], offset=(-34, 9), room=False)
    return figure

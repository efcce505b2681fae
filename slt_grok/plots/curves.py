"""Curves over training with their errors, and the step axis that the panels of a figure share."""

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from slt_grok.plots.style import few_decades, panel_letters, step_axis

QUANTILE = 1.96  # of the standard normal, for a 95% interval


def curves(
    axes: Axes,
    label: str,
    drawn: Mapping[str, tuple[xr.DataArray, xr.DataArray | None, str]],
    logarithmic: bool = False,
) -> None:
    """Lines over `step` with 95% bands where there are errors, and a legend where there are several.

    Parameters
    ----------
    axes, label : Axes, str
        Where, and what the vertical axis says.
    drawn : Mapping[str, tuple[xarray.DataArray, xarray.DataArray or None, str]]
        Name -> (values, standard error or None, color).
    logarithmic : bool, optional
        The vertical axis; what is not positive is left out.
    """
    found = False
    for name, (values, error, color) in drawn.items():
        values = values.where(values > 0) if logarithmic else values
        values = values.dropna("step")
        found = found or len(values) > 0
        axes.plot(values.step, values, "o-", ms=2.6, lw=1.1, color=color, label=name)
        if error is not None:
            spread = QUANTILE * error.sel(step=values.step)
            low = values - spread
            low = np.maximum(low, values / 1e3) if logarithmic else low
            axes.fill_between(values.step, low, values + spread, color=color, alpha=0.2, lw=0)
    if logarithmic and found:
        axes.set_yscale("log")
        few_decades(axes)
    axes.set_ylabel(label)
    if len(drawn) > 1:
        axes.legend(loc="best")


def over_training(figure: Figure, panels: Sequence[Axes], steps: np.ndarray) -> None:
    """One step axis below all panels of a figure, and their letters."""
    for axes in panels:
        step_axis(axes, steps)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_xlabel("")
        axes.tick_params(axis="x", labelrotation=45)
    figure.supxlabel("Training step (logarithmic, linear near 0)", fontsize=8)
    panel_letters(list(panels))

"""How the weights move, beside the LLC: updates, their angle to the gradient, gradient noise, ranks and norms.

Measured by `slt_grok.landscape.dynamics`; gradient noise scale: McCandlish et al. 1812.06162.
"""

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from slt_grok.plots.style import BLUE, GREY, WIDTH, few_decades, one_seed, panel_letters, step_axis, styled

QUANTILE = 1.96  # of the standard normal, for a 95% interval
DOTS = {"marker": "o", "ms": 2.4, "lw": 1.1}


@styled
def dynamics(landscape: xr.Dataset, llc: xr.Dataset | None = None, seed: int | None = None) -> Figure:
    """LLC, update norm, gradient noise scale, cosine of gradient and step, effective rank and spectral norm.

    Parameters
    ----------
    landscape : of `slt_grok.landscape.measure_dynamics` for one seed.
    llc : its panel is left out where there is none.
    seed : which one; the first where None.

    Raises
    ------
    SltGrokError : no `step` dimension, or no such seed.
    """
    one = one_seed(landscape, seed)
    figure = Figure(figsize=(WIDTH, 5.9), layout="constrained")
    panels = figure.subplots(3, 2, sharex=True).flatten()
    if llc is not None:
        value = one_seed(llc, seed).dropna("step", subset=["llc"])
        _with_band(panels[0], value.llc, value.llc_se, BLUE)
    else:
        panels[0].set_axis_off()
    panels[0].set_ylabel("LLC")
    between = one.step.diff("step")
    panels[1].plot(between.step, one.update_norm.sel(component="total") / between, color=GREY, **DOTS)
    panels[1].set_yscale("log")
    panels[1].set_ylabel("Update norm\n(weight / step)")
    _with_band(panels[2], one.gradient_noise_scale, one.gradient_noise_scale_se, GREY, logarithmic=True)
    panels[2].set_ylabel("Gradient noise\nscale (samples)")
    panels[3].plot(one.step, one.gradient_step_cosine.sel(component="total"), color=GREY, **DOTS)
    panels[3].axhline(0, color="0.7", lw=0.7, zorder=0)
    panels[3].set_ylabel("Cosine of gradient\nand step")
    matrices = dict.fromkeys(name.split("[")[0] for name in one.weight_matrix.values.tolist())  # heads of a kind: one
    palette = sns.color_palette("colorblind" if len(matrices) <= 10 else "husl", len(matrices)).as_hex()
    colors = dict(zip(matrices, palette, strict=True))
    for axes, name in zip(panels[4:], ("effective_rank", "spectral_norm"), strict=True):
        for matrix in one.weight_matrix.values.tolist():
            width = 0.6 if "[" in matrix else 1.3
            axes.plot(one.step, one[name].sel(weight_matrix=matrix), color=colors[matrix.split("[")[0]], lw=width)
        axes.set_ylabel(name.capitalize().replace("_", " "))
    panels[4].set_yscale("log")
    panels[4].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panels[4].yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panels[4].yaxis.set_minor_formatter(NullFormatter())
    panels[5].set_ylim(bottom=0)
    few_decades(panels[1])
    few_decades(panels[2])
    for axes in panels:
        step_axis(axes, one.step.values)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_xlabel("")
        axes.tick_params(axis="x", labelrotation=45)
    figure.supxlabel("Training step (logarithmic, linear near 0)", fontsize=8)
    lines = [Line2D([], [], color=color, label=matrix) for matrix, color in colors.items()]
    figure.legend(handles=lines, loc="outside right lower")
    panel_letters(panels.tolist())
    return figure


def _with_band(axes: Axes, values: xr.DataArray, error: xr.DataArray, color: str, logarithmic: bool = False) -> None:
    spread = QUANTILE * error
    low = values - spread
    if logarithmic:
        axes.set_yscale("log")
        low = np.maximum(low, values / 10)
    axes.plot(values.step, values, color=color, **DOTS)
    axes.fill_between(values.step, low, values + spread, color=color, alpha=0.2, lw=0)

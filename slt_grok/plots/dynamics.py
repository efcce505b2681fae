"""How the weights move, beside the LLC: updates, their angle to the gradient, gradient noise, ranks and norms.

Measured by `slt_grok.landscape.dynamics`; gradient noise scale: McCandlish et al. 1812.06162.
"""

import seaborn as sns
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from slt_grok.plots.curves import curves, over_training
from slt_grok.plots.style import BLUE, GRAY, WIDTH, one_seed, styled


@styled
def dynamics(landscape: xr.Dataset, llc: xr.Dataset | None = None, seed: int | None = None) -> Figure:
    """LLC, update norm, gradient noise scale, cosine of gradient and step, effective rank and spectral norm.

    Parameters
    ----------
    landscape : xarray.Dataset
        Of `slt_grok.landscape.measure_dynamics` for one seed.
    llc : xarray.Dataset or None, optional
        Its panel is left out where there is none.
    seed : int or None, optional
        Which one; the first where None.

    Raises
    ------
    SltGrokError
        No `step` dimension, or no such seed.
    """
    one = one_seed(landscape, seed)
    figure = Figure(figsize=(WIDTH, 5.9), layout="constrained")
    panels = figure.subplots(3, 2, sharex=True).flatten()
    if llc is not None:
        value = one_seed(llc, seed)
        curves(panels[0], "LLC", {"LLC": (value.llc, value.llc_se, BLUE)})
    else:
        panels[0].set_axis_off()
    rate = one.update_norm.sel(component="total") / one.step.diff("step")
    curves(panels[1], "Update norm\n(weight / step)", {"update": (rate, None, GRAY)}, logarithmic=True)
    noise = one.gradient_noise_scale, one.gradient_noise_scale_se, GRAY
    curves(panels[2], "Gradient noise\nscale (samples)", {"noise": noise}, logarithmic=True)
    panels[3].plot(one.step, one.gradient_step_cosine.sel(component="total"), "o-", ms=2.6, lw=1.1, color=GRAY)
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
    over_training(figure, panels.tolist(), one.step.values)
    lines = [Line2D([], [], color=color, label=matrix) for matrix, color in colors.items()]
    figure.legend(handles=lines, loc="outside right lower")
    return figure

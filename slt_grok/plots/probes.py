"""The landscape and the motion of the weights over training, with the LLC: one panel per measure on a common step axis.

Gradient noise scale: McCandlish et al. 1812.06162.
"""

import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from slt_grok.plots.lines import curves
from slt_grok.plots.palette import BLUE, BROWN, GRAY, GREEN, ORANGE, PURPLE, VERMILION
from slt_grok.plots.style import frame, narrow_ticks, one_seed, over_training, styled


@styled
def landscape(landscape: xr.Dataset, llc: xr.Dataset | None = None, seed: int | None = None) -> Figure:
    """Draw LLC, norm, ranks, curvature at both logit scales, effective dimension, sharpness and volume of one seed.

    Parameters
    ----------
    landscape : xarray.Dataset
        The measurement `landscape`.
    llc : xarray.Dataset or None, optional
        The measurement `llc`.
    """
    one = one_seed(landscape, seed)
    figure, grid = frame(7.0, 4, 2, sharex=True)
    panels = grid.flatten().tolist()
    _llc(panels[0], llc, seed)
    curves(panels[1], "Weight norm", {"all weights": (one.weight_norm.sel(component="total"), None, GRAY)})
    effective, stable = (one[f"{kind}_rank"].mean("weight_matrix") for kind in ("effective", "stable"))
    curves(
        panels[2],
        "Mean rank of\nthe matrices",
        {"effective": (effective, None, BLUE), "stable": (stable, None, ORANGE)},
    )
    hessian = {
        "trace": (one.hessian_trace, one.hessian_trace_se, PURPLE),
        "top eigenvalue": (one.hessian_eigenvalue.isel(eigenvalue=0), None, BROWN),
    }
    curves(panels[3], "Hessian\n(nats / weight²)", hessian, logarithmic=True)
    at_unit = one.gauss_newton_trace_unit_scale, one.gauss_newton_trace_unit_scale_se, PURPLE
    curves(panels[4], "Gauss-Newton trace,\nunit logit scale", {"trace": at_unit}, logarithmic=True)
    dimension = {
        f"{name}, c = {c:g}": (*(one[f"effective_dimension{of}"].sel(c=c) for of in (at, f"{at}_se")), color)
        for at, name, colors in (("", "own scale", (BLUE, GREEN)), ("_unit_scale", "unit scale", (ORANGE, VERMILION)))
        for c, color in zip(one.c.values.tolist(), colors, strict=False)
    }
    curves(panels[5], "Effective\ndimension", dimension, logarithmic=True)
    radius = one.radius.values[0]
    sharp = {
        f"{mode}, ρ = {radius:g}": (one.sharpness.sel(mode=mode, radius=radius), None, color)
        for mode, color in (("plain", VERMILION), ("adaptive", GREEN))
    }
    curves(panels[6], "Sharpness\n(nats)", sharp, logarithmic=True)
    bound = "radial_log_volume_bound"
    volume = {
        f"ε = {epsilon:g} nats": (*(one[name].sel(epsilon=epsilon) for name in (bound, f"{bound}_se")), color)
        for epsilon, color in zip(one.epsilon.values.tolist(), (BLUE, ORANGE), strict=False)
    }
    curves(panels[7], "Log-volume,\nlower bound (nats)", volume)
    over_training(figure, panels, one.step.values)
    return figure


@styled
def dynamics(landscape: xr.Dataset, llc: xr.Dataset | None = None, seed: int | None = None) -> Figure:
    """Draw LLC, update norm, gradient noise scale, cosine of gradient and update, effective rank and spectral norm.

    Parameters
    ----------
    landscape : xarray.Dataset
        The measurement `landscape`.
    llc : xarray.Dataset or None, optional
        The measurement `llc`.
    """
    one = one_seed(landscape, seed)
    figure, grid = frame(5.9, 3, 2, sharex=True)
    panels = grid.flatten().tolist()
    _llc(panels[0], llc, seed)
    rate = one.update_norm.sel(component="total") / one.step.diff("step")
    curves(panels[1], "Update norm\n(weight / step)", {"update": (rate, None, GRAY)}, logarithmic=True)
    noise = one.gradient_noise_scale, one.gradient_noise_scale_se, GRAY
    curves(panels[2], "Gradient noise\nscale (samples)", {"noise": noise}, logarithmic=True)
    cosine = one.gradient_step_cosine.sel(component="total")
    curves(panels[3], "Cosine of gradient\nand step", {"cosine": (cosine, None, GRAY)})
    panels[3].axhline(0, color="0.7", lw=0.7, zorder=0)
    names = one.weight_matrix.values.tolist()
    kinds = list(dict.fromkeys(name.split("[")[0] for name in names))  # heads of the same kind share an entry
    palette = sns.color_palette("colorblind" if len(kinds) <= 10 else "husl", len(kinds)).as_hex()
    colors = dict(zip(kinds, palette, strict=True))
    for axes, variable in zip(panels[4:], ("effective_rank", "spectral_norm"), strict=True):
        for name in names:
            values = one[variable].sel(weight_matrix=name)
            axes.plot(one.step, values, color=colors[name.split("[")[0]], lw=0.6 if "[" in name else 1.3)
        axes.set_ylabel(variable.capitalize().replace("_", " "))
    panels[4].set_yscale("log")
    narrow_ticks(panels[4])
    panels[5].set_ylim(bottom=0)
    over_training(figure, panels, one.step.values)
    lines = [Line2D([], [], color=color, label=kind) for kind, color in colors.items()]
    figure.legend(handles=lines, loc="outside right lower")
    return figure


def _llc(axes: Axes, llc: xr.Dataset | None, seed: int | None) -> None:
    if llc is None or "llc" not in llc:
        axes.set_axis_off()
    else:
        one = one_seed(llc, seed)
        curves(axes, "LLC", {"LLC": (one.llc, one.llc_se, BLUE)})

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
from slt_grok.plots.style import frame, narrow_ticks, over_training, select_seed, styled


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
    networks = select_seed(landscape, seed)
    figure, grid = frame(7.0, 4, 2, sharex=True)
    panels = grid.flatten().tolist()
    _llc(panels[0], llc, seed)
    curves(panels[1], "Weight norm", {"all weights": (networks.weight_norm.sel(component="total"), None, GRAY)})
    effective, stable = (networks[f"{kind}_rank"].mean("weight_matrix") for kind in ("effective", "stable"))
    ranks = {"effective": (effective, None, BLUE), "stable": (stable, None, ORANGE)}
    curves(panels[2], "Mean rank of\nthe matrices", ranks)
    hessian = {
        "trace": (networks.hessian_trace, networks.hessian_trace_se, PURPLE),
        "top eigenvalue": (networks.hessian_eigenvalue.isel(eigenvalue=0), None, BROWN),
    }
    curves(panels[3], "Hessian\n(nats / weight²)", hessian, logarithmic=True)
    unit_scale = networks.gauss_newton_trace_unit_scale, networks.gauss_newton_trace_unit_scale_se, PURPLE
    curves(panels[4], "Gauss-Newton trace,\nunit logit scale", {"trace": unit_scale}, logarithmic=True)
    dimension = {
        f"{scale}, c = {c:g}": (networks[name].sel(c=c), networks[f"{name}_se"].sel(c=c), color)
        for name, scale, colors in (
            ("effective_dimension", "own scale", (BLUE, GREEN)),
            ("effective_dimension_unit_scale", "unit scale", (ORANGE, VERMILION)),
        )
        for c, color in zip(networks.c.values.tolist(), colors, strict=False)
    }
    curves(panels[5], "Effective\ndimension", dimension, logarithmic=True)
    sharpness = networks.sharpness.isel(radius=0)
    sharp = {
        f"{mode}, ρ = {float(sharpness.radius):g}": (sharpness.sel(mode=mode), None, color)
        for mode, color in (("plain", VERMILION), ("adaptive", GREEN))
    }
    curves(panels[6], "Sharpness\n(nats)", sharp, logarithmic=True)
    bound, error = networks.radial_log_volume_bound, networks.radial_log_volume_bound_se
    volume = {
        f"ε = {epsilon:g} nats": (bound.sel(epsilon=epsilon), error.sel(epsilon=epsilon), color)
        for epsilon, color in zip(networks.epsilon.values.tolist(), (BLUE, ORANGE), strict=False)
    }
    curves(panels[7], "Log-volume,\nlower bound (nats)", volume)
    over_training(figure, panels, networks.step.values)
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
    networks = select_seed(landscape, seed)
    figure, grid = frame(5.9, 3, 2, sharex=True)
    panels = grid.flatten().tolist()
    _llc(panels[0], llc, seed)
    rate = networks.update_norm.sel(component="total") / networks.step.diff("step")
    curves(panels[1], "Update norm\n(weight / step)", {"update": (rate, None, GRAY)}, logarithmic=True)
    noise = networks.gradient_noise_scale, networks.gradient_noise_scale_se, GRAY
    curves(panels[2], "Gradient noise\nscale (samples)", {"noise": noise}, logarithmic=True)
    cosine = networks.gradient_step_cosine.sel(component="total")
    curves(panels[3], "Cosine of gradient\nand step", {"cosine": (cosine, None, GRAY)})
    panels[3].axhline(0, color="0.7", lw=0.7, zorder=0)
    names = networks.weight_matrix.values.tolist()
    kinds = list(dict.fromkeys(name.split("[")[0] for name in names))  # heads of the same kind share an entry
    palette = sns.color_palette("colorblind" if len(kinds) <= 10 else "husl", len(kinds)).as_hex()
    colors = dict(zip(kinds, palette, strict=True))
    for axes, variable in zip(panels[4:], ("effective_rank", "spectral_norm"), strict=True):
        for name in names:
            values, color = networks[variable].sel(weight_matrix=name), colors[name.split("[")[0]]
            axes.plot(networks.step, values, color=color, lw=0.6 if "[" in name else 1.3)
        axes.set_ylabel(variable.capitalize().replace("_", " "))
    panels[4].set_yscale("log")
    narrow_ticks(panels[4])
    panels[5].set_ylim(bottom=0)
    over_training(figure, panels, networks.step.values)
    lines = [Line2D([], [], color=color, label=kind) for kind, color in colors.items()]
    figure.legend(handles=lines, loc="outside right lower")
    return figure


def _llc(axes: Axes, llc: xr.Dataset | None, seed: int | None) -> None:
    if llc is None or "llc" not in llc:
        axes.set_axis_off()
    else:
        estimates = select_seed(llc, seed)
        curves(axes, "LLC", {"LLC": (estimates.llc, estimates.llc_se, BLUE)})

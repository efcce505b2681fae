"""The landscape and the motion of the weights over training, and the spectral density of the curvature.

Gradient noise scale: McCandlish et al. 1812.06162.
"""

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from slt_grok.errors import SltGrokError
from slt_grok.measurement import evenly_spaced
from slt_grok.operators.spectrum import symlog_density
from slt_grok.plots import style
from slt_grok.plots.lines import curves, fit_llc, line_of_llc
from slt_grok.plots.logarithmic import logarithmic
from slt_grok.plots.palette import BLUE, BROWN, GRAY, GREEN, ORANGE, PURPLE, VERMILION
from slt_grok.units import with_units


@style.styled
def landscape(landscape: xr.Dataset, llc: xr.Dataset | None = None, seed: int | None = None) -> Figure:
    """Draw LLC, norm, ranks, curvature at both logit scales, effective dimension, sharpness and volume of one seed.

    Parameters
    ----------
    landscape : xarray.Dataset
        The measurement `landscape`.
    llc : xarray.Dataset or None, optional
        The measurement `llc`.
    """
    networks = style.select_seed(landscape, seed)
    figure, grid = style.frame(7.0, 4, 2, sharex=True)
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
    curves(panels[3], with_units("Hessian", networks.hessian_trace, "\n"), hessian, decades=True)
    unit_scale = networks.gauss_newton_trace_unit_scale, networks.gauss_newton_trace_unit_scale_se, PURPLE
    curves(panels[4], "Gauss-Newton trace,\nunit logit scale", {"trace": unit_scale}, decades=True)
    dimension = {
        f"{scale}, c = {c:g}": (networks[name].sel(c=c), networks[f"{name}_se"].sel(c=c), color)
        for name, scale, colors in (
            ("effective_dimension", "own scale", (BLUE, GREEN)),
            ("effective_dimension_unit_scale", "unit scale", (ORANGE, VERMILION)),
        )
        for c, color in zip(networks.c.values.tolist(), colors, strict=False)
    }
    curves(panels[5], "Effective\ndimension", dimension, decades=True)
    sharpness = networks.sharpness.isel(radius=0)
    sharp = {
        f"{mode}, ρ = {float(sharpness.radius):g}": (sharpness.sel(mode=mode), None, color)
        for mode, color in (("plain", VERMILION), ("adaptive", GREEN))
    }
    curves(panels[6], with_units("Sharpness", sharpness, "\n"), sharp, decades=True)
    bound, error = networks.radial_log_volume_bound, networks.radial_log_volume_bound_se
    volume = {
        f"ε = {epsilon:g}": (bound.sel(epsilon=epsilon), error.sel(epsilon=epsilon), color)
        for epsilon, color in zip(networks.epsilon.values.tolist(), (BLUE, ORANGE), strict=False)
    }
    curves(panels[7], "Log-volume,\nlower bound", volume)
    style.over_training(figure, panels, networks.step.values)
    return figure


@style.styled
def dynamics(landscape: xr.Dataset, llc: xr.Dataset | None = None, seed: int | None = None) -> Figure:
    """Draw LLC, update norm, gradient noise scale, cosine of gradient and update, effective rank and spectral norm.

    Parameters
    ----------
    landscape : xarray.Dataset
        The measurement `landscape`.
    llc : xarray.Dataset or None, optional
        The measurement `llc`.
    """
    networks = style.select_seed(landscape, seed)
    figure, grid = style.frame(5.9, 3, 2, sharex=True)
    panels = grid.flatten().tolist()
    _llc(panels[0], llc, seed)
    rate = networks.update_norm.sel(component="total") / networks.step.diff("step")
    curves(panels[1], "Update norm\n(weight / step)", {"update": (rate, None, GRAY)}, decades=True)
    noise = networks.gradient_noise_scale, networks.gradient_noise_scale_se, GRAY
    curves(panels[2], "Gradient noise\nscale (samples)", {"noise": noise}, decades=True)
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
    logarithmic(panels[4].yaxis)
    panels[5].set_ylim(bottom=0)
    style.over_training(figure, panels, networks.step.values)
    lines = [Line2D([], [], color=color, label=kind) for kind, color in colors.items()]
    figure.legend(handles=lines, loc="outside right lower")
    return figure


def _llc(axes: Axes, llc: xr.Dataset | None, seed: int | None) -> None:
    if llc is None or "llc" not in llc:
        axes.set_axis_off()
    else:
        estimates = style.select_seed(llc, seed)
        line_of_llc(axes, estimates, BLUE, lw=1.1, ms=2.6, alpha=0.2)
        fit_llc(axes, [(estimates.step, estimates, BLUE)])
        axes.set_ylabel("LLC")
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc="best")


DECADES = 6  # decades drawn below the largest eigenvalue; smaller values are in the linear part of the axis
POINTS = 800
TITLES = {"own": "the loss", "unit": "the loss at unit logit scale"}
BROADENING = 0.12  # standard deviation of the Gaussian for each node, in decades


@style.styled
def spectral_density(curvature: xr.Dataset, seed: int | None = None) -> Figure:
    """Draw the density of the Hessian's eigenvalues, one panel per logit scale and one line per checkpoint.

    Both axes are linear near 0 and logarithmic beyond. Each line integrates to 1 along the axis, measured in decades in
    the logarithmic part; triangles mark the largest eigenvalue. Up to four checkpoints are drawn, evenly spaced. With
    few Lanczos steps, a peak near 0 is at the mean of many small eigenvalues, and its width does not reflect their
    spread.

    Parameters
    ----------
    curvature : xarray.Dataset
        The measurement `curvature`.

    Raises
    ------
    SltGrokError
        No spectrum was measured.
    """
    spectra = style.select_seed(curvature, seed).sel(matrix="hessian", split="train", group="total")
    spectra = spectra.isel(step=spectra.curvature_trace.notnull().any("logit_scale").values)
    spectra = spectra.dropna("logit_scale", how="all", subset=["curvature_trace"])
    if not spectra.sizes["step"]:
        raise SltGrokError("the spectral density figure expected a checkpoint with a spectrum, found none")
    spectra = spectra.isel(step=evenly_spaced(spectra.step.values, 4))
    scales = spectra.logit_scale.values.tolist()
    figure, grid = style.frame(2.1 * len(scales) + 0.3, len(scales))
    panels = grid[:, 0].tolist()
    for axes, scale in zip(panels, scales, strict=True):
        _densities(axes, spectra.sel(logit_scale=scale))
        axes.set(xlabel=f"Eigenvalue of the Hessian of {TITLES[scale]}", ylabel="Density (per decade)")
    style.legend_right(panels[0])
    style.panel_letters(panels)
    return figure


def _densities(axes: Axes, spectra: xr.Dataset) -> None:
    """Draw the density at every checkpoint, and its largest eigenvalue."""
    reach = float(np.abs(spectra.ritz_value).max())
    linear = reach * 10.0**-DECADES
    edge = np.arcsinh(3 * reach / (2 * linear))
    values = 2 * linear * np.sinh(np.linspace(-edge, edge, POINTS))
    for step, color in zip(spectra.step.values, sns.color_palette("viridis", spectra.sizes["step"]), strict=True):
        spectrum = spectra.sel(step=step)
        kept = np.isfinite(spectrum.ritz_value.values)
        nodes, weights = (spectrum[name].values[kept] for name in ("ritz_value", "ritz_weight"))
        density = symlog_density(nodes, weights / spectrum.sizes["repeat"], values, linear, BROADENING)
        axes.plot(values, density, color=color, label=f"step {step:,}")
        largest = float(spectrum.curvature_eigenvalue.max())
        axes.plot(largest, 0.03, "v", ms=3.5, color=color, transform=axes.get_xaxis_transform())
    axes.set_xscale("symlog", linthresh=linear, linscale=0.5)
    axes.set_yscale("symlog", linthresh=1e-5, linscale=0.4)
    axes.set_xlim(values[0], values[-1])
    axes.set_ylim(bottom=0)
    powers = 10.0 ** np.arange(np.floor(np.log10(reach)), np.log10(linear), -2)
    axes.set_xticks([*-powers, 0, *powers[::-1]])
    axes.minorticks_off()

"""The spectral density of the curvature at several checkpoints."""

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from slt_grok.errors import SltGrokError
from slt_grok.measurement import evenly_spaced
from slt_grok.operators.spectrum import symlog_density
from slt_grok.plots.style import frame, legend_right, panel_letters, select_seed, styled

DECADES = 6  # decades drawn below the largest eigenvalue; smaller values are in the linear part of the axis
POINTS = 800
TITLES = {"own": "the loss", "unit": "the loss at unit logit scale"}
BROADENING = 0.12  # standard deviation of the Gaussian for each node, in decades


@styled
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
    spectra = select_seed(curvature, seed).sel(matrix="hessian", split="train", group="total")
    spectra = spectra.isel(step=spectra.curvature_trace.notnull().any("logit_scale").values)
    spectra = spectra.dropna("logit_scale", how="all", subset=["curvature_trace"])
    if not spectra.sizes["step"]:
        raise SltGrokError("the spectral density figure expected a checkpoint with a spectrum, found none")
    spectra = spectra.isel(step=evenly_spaced(spectra.step.values, 4))
    scales = spectra.logit_scale.values.tolist()
    figure, grid = frame(2.1 * len(scales) + 0.3, len(scales))
    panels = grid[:, 0].tolist()
    for axes, scale in zip(panels, scales, strict=True):
        _densities(axes, spectra.sel(logit_scale=scale))
        axes.set(xlabel=f"Eigenvalue of the Hessian of {TITLES[scale]}", ylabel="Density (per decade)")
    legend_right(panels[0])
    panel_letters(panels)
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

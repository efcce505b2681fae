"""The spectral density of the curvature at several checkpoints."""

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.figure import Figure

from slt_grok.errors import SltGrokError
from slt_grok.operators.spectrum import symlog_density
from slt_grok.plots.style import frame, legend_right, one_seed, panel_letters, styled

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
    one = one_seed(curvature, seed).sel(matrix="hessian", split="train", group="total")
    measured = one.step.values[np.isfinite(one.curvature_trace).any("logit_scale").values]
    if not len(measured):
        raise SltGrokError("the spectral density figure expected a checkpoint with a spectrum, found none")
    steps = measured[np.unique(np.linspace(0, len(measured) - 1, 4).astype(int))].tolist()
    there = np.isfinite(one.curvature_trace).any("step")
    scales = one.logit_scale.values[there.values].tolist()
    figure, grid = frame(2.1 * len(scales) + 0.3, len(scales))
    panels = grid[:, 0].tolist()
    colors = sns.color_palette("viridis", len(steps))
    for axes, scale in zip(panels, scales, strict=True):
        chosen = one.sel(logit_scale=scale, step=steps)
        reach = float(np.abs(chosen.ritz_value).max())
        linear = reach * 10.0**-DECADES
        edge = np.arcsinh(3 * reach / (2 * linear))
        values = 2 * linear * np.sinh(np.linspace(-edge, edge, POINTS))
        for step, color in zip(steps, colors, strict=True):
            at = chosen.sel(step=step)
            kept = np.isfinite(at.ritz_value.values)
            nodes, weights = at.ritz_value.values[kept], at.ritz_weight.values[kept] / at.sizes["repeat"]
            axes.plot(
                values, symlog_density(nodes, weights, values, linear, BROADENING), color=color, label=f"step {step:,}"
            )
            largest = float(at.curvature_eigenvalue.max())
            axes.plot(largest, 0.03, "v", ms=3.5, color=color, transform=axes.get_xaxis_transform())
        axes.set_xscale("symlog", linthresh=linear, linscale=0.5)
        axes.set_yscale("symlog", linthresh=1e-5, linscale=0.4)
        axes.set_xlim(values[0], values[-1])
        axes.set_ylim(bottom=0)
        powers = 10.0 ** np.arange(np.floor(np.log10(reach)), np.log10(linear), -2)
        axes.set_xticks([*-powers, 0, *powers[::-1]])
        axes.minorticks_off()
        axes.set_xlabel(f"Eigenvalue of the Hessian of {TITLES[scale]}")
        axes.set_ylabel("Density (per decade)")
    legend_right(panels[0])
    panel_letters(panels)
    return figure

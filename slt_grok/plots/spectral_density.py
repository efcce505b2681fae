"""The density of the curvature's eigenvalues at several checkpoints."""

from collections.abc import Sequence

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.figure import Figure

from slt_grok.errors import SltGrokError
from slt_grok.operators.spectrum import symlog_density
from slt_grok.plots.style import WIDTH, legend_right, one_seed, panel_letters, styled

DECADES = 6  # drawn below the largest eigenvalue; what is smaller is near the middle, on a linear piece of the axis
POINTS = 800
TITLES = {"own": "the loss as it is", "unit": "at unit logit scale"}
NAMES = {"hessian": "Hessian", "gauss_newton": "Gauss-Newton matrix"}


@styled
def spectral_density(
    curvature: xr.Dataset,
    steps: Sequence[int] | None = None,
    *,
    matrix: str = "hessian",
    split: str = "train",
    group: str = "total",
    width: float = 0.12,
    seed: int | None = None,
) -> Figure:
    """Density of eigenvalues of one seed, a panel for each logit scale and a line for each checkpoint.

    Both axes are linear near 0 and logarithmic beyond. The integral of a line along the axis, in decades where that is
    logarithmic, is 1; triangles mark the largest eigenvalue. With few Lanczos steps a peak near 0 stands where the mean
    of many small eigenvalues is, and says little of how they spread.

    Parameters
    ----------
    curvature : xarray.Dataset
        As `slt_grok.landscape.curvature.measure_curvature` gives it.
    steps : Sequence[int] or None, optional
        Checkpoints that are drawn; None: up to four of those measured, spread evenly.
    matrix, split, group : str, optional
        Which of them.
    width : float, optional
        Standard deviation of the Gaussian that stands for each node, in decades.
    seed : int or None, optional
        None for the first.

    Raises
    ------
    SltGrokError
        No such step, matrix, split, group or seed, or nothing that was measured.
    """
    for name, value in {"matrix": matrix, "split": split, "group": group}.items():
        if value not in curvature[name].values:
            raise SltGrokError(f"{name}: expected one of {', '.join(curvature[name].values)}, got {value}")
    one = one_seed(curvature, seed).sel(matrix=matrix, split=split, group=group)
    measured = one.step.values[np.isfinite(one.curvature_trace).any("logit_scale").values]
    spread = measured[np.unique(np.linspace(0, max(len(measured) - 1, 0), 4).astype(int))] if len(measured) else []
    steps = list(spread if steps is None else steps)
    missing = [step for step in steps if step not in measured]
    if missing or not steps:
        raise SltGrokError(f"steps: expected some that were measured, got {', '.join(map(str, missing)) or 'none'}")
    there = np.isfinite(one.curvature_trace).any("step")
    scales = one.logit_scale.values[there.values].tolist()
    figure = Figure(figsize=(WIDTH, 2.1 * len(scales) + 0.3), layout="constrained")
    panels = figure.subplots(len(scales), 1, squeeze=False)[:, 0]
    colors = sns.color_palette("viridis", len(steps))
    for axes, scale in zip(panels, scales, strict=True):
        chosen = one.sel(logit_scale=scale, step=steps)
        reach = float(np.abs(chosen.ritz_value).max())
        linear = reach * 10.0**-DECADES
        edge = np.arcsinh(3 * reach / (2 * linear))
        grid = 2 * linear * np.sinh(np.linspace(-edge, edge, POINTS))
        for step, color in zip(steps, colors, strict=True):
            at = chosen.sel(step=step)
            kept = np.isfinite(at.ritz_value.values)
            nodes, weights = at.ritz_value.values[kept], at.ritz_weight.values[kept] / at.sizes["repeat"]
            axes.plot(grid, symlog_density(nodes, weights, grid, linear, width), color=color, label=f"step {step:,}")
            largest = float(at.curvature_eigenvalue.max())
            axes.plot(largest, 0.03, "v", ms=3.5, color=color, transform=axes.get_xaxis_transform())
        axes.set_xscale("symlog", linthresh=linear, linscale=0.5)
        axes.set_yscale("symlog", linthresh=1e-5, linscale=0.4)
        axes.set_xlim(grid[0], grid[-1])
        axes.set_ylim(bottom=0)
        powers = 10.0 ** np.arange(np.floor(np.log10(reach)), np.log10(linear), -2)
        axes.set_xticks([*-powers, 0, *powers[::-1]])
        axes.minorticks_off()
        axes.set_xlabel(f"Eigenvalue of the {NAMES[matrix]}, {TITLES[scale]}")
        axes.set_ylabel("Density (per decade)")
    legend_right(panels[0])
    panel_letters(list(panels))
    return figure

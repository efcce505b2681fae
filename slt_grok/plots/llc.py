"""The LLC over training, and the diagnostics behind the status of each estimate (estimator: Lau et al., 2308.12108).

Diagnostics: R-hat and effective sample size (Vehtari et al. 1903.08008), drift between the halves of the draws, the
virial identity, acceptance of a Metropolis-adjusted Langevin proposal, distance from the checkpoint.
"""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from slt_grok.errors import SltGrokError
from slt_grok.plots.lines import TRUSTED, line_of_llc, points, setting
from slt_grok.plots.palette import BLUE, GRAY, VERMILION
from slt_grok.plots.style import frame, legend_right, panel_letters, select_seed, step_axis, styled, with_seed

LIMITS = {"rhat": 1.1, "drift": 0.05, "virial": 0.1}
"""Limits beyond which an estimate is not well sampled, from `slt_grok.llc.diagnostics`."""


def draw_llc(axes: Axes, llc: xr.Dataset) -> None:
    """Draw the LLC, its 95% interval and statuses on axes that already have a step axis.

    Filled points have a trusted status, hollow ones another; a diverged estimate is a cross at the upper edge.
    Several seeds share the color, each with its own line and band.
    """
    llc = with_seed(llc)
    several = llc.sizes["seed"] > 1
    look: Any = {"lw": 0.8, "ms": 3, "alpha": 0.15} if several else {"lw": 1.4, "ms": 3.6}
    for seed in llc.seed:
        line_of_llc(axes, llc.sel(seed=seed), BLUE, **look)
    omitted = (llc.llc_status == "diverged") | ~np.isfinite(llc.llc)
    handles = [Line2D([], [], color=BLUE, marker="o", ms=3.6, label="LLC, 95% interval")]
    for name in np.unique(llc.llc_status.values[(~omitted & ~llc.llc_status.isin(TRUSTED)).values].astype(str)):
        handles.append(Line2D([], [], ls="", marker="o", ms=3.6, mec=BLUE, mfc="white", label=name))
    if omitted.any():
        steps, edge = llc.step.values[omitted.any("seed").values], axes.get_xaxis_transform()
        cross = {"ls": "", "marker": "x", "ms": 4.5, "color": VERMILION}
        axes.plot(steps, np.full(len(steps), 0.96), **cross, transform=edge, clip_on=False)
        handles.append(Line2D([], [], **cross, label="diverged, not drawn"))
    legend_right(axes, handles)
    axes.annotate(
        setting(llc).replace(", ", "\n"), (1.015, 0.0), xycoords="axes fraction", fontsize=6.5, va="bottom",
        color="0.35", annotation_clip=False,
    )  # fmt: skip


@styled
def llc_curve(llc: xr.Dataset) -> Figure:
    """Draw the LLC against the training step, with its 95% error band.

    Parameters
    ----------
    llc : xarray.Dataset
        A dataset of `slt_grok.llc.estimate` for checkpoints: llc, llc_se and llc_status over (step,) or (step, seed).

    Raises
    ------
    SltGrokError
        The dataset has no `step` dimension, or lacks one of these variables.
    """
    llc = with_seed(llc)
    for name in ("llc", "llc_se", "llc_status"):
        if name not in llc:
            raise SltGrokError(f"the LLC figure expected a variable {name}, got {', '.join(map(str, llc.data_vars))}")
    figure, ((axes,),) = frame(2.8)
    step_axis(axes, llc.step.values)
    draw_llc(axes, llc)
    axes.set_ylabel("Local learning coefficient (LLC)")
    return figure


@styled
def llc_diagnostics(llc: xr.Dataset, seed: int | None = None) -> Figure:
    """Draw R-hat, effective sample size, drift, virial, acceptance and distance against the training step.

    Dashed lines are the limits of the statuses. Points with a status other than effective or converged are hollow.
    """
    llc = select_seed(llc, seed)
    trusted = llc.llc_status.isin(TRUSTED).values
    drift = 100 * LIMITS["drift"]
    panels = (
        ("R-hat", llc.rhat, (LIMITS["rhat"],)),
        ("Effective\nsample size", llc.ess, ()),
        ("Drift\n(% of LLC)", 100 * llc.drift / abs(llc.llc), (-drift, drift)),
        ("Virial", llc.virial, (1 - LIMITS["virial"], 1 + LIMITS["virial"])),
        ("Acceptance", llc.acceptance.mean("chain"), ()),
        ("Distance\n$|w-w^*|$", llc.distance.isel(look=-1).mean("chain"), ()),
    )
    figure, grid = frame(4.4, 3, 2, sharex=True)
    for axes, (label, values, limits) in zip(grid.flat, panels, strict=True):
        step_axis(axes, llc.step.values, narrow=True)
        axes.plot(llc.step, values, color=BLUE, lw=0.9)
        points(axes, llc.step, values, trusted, BLUE)
        for limit in limits:
            axes.axhline(limit, color=GRAY, lw=0.8, ls=(0, (4, 2)))
        axes.set_ylabel(label)
        axes.set_xlabel("Training step" if axes in grid[-1] else "")
    panel_letters(list(grid.flat), offset=(-40, 4))
    figure.align_ylabels(list(grid.flat))
    return figure

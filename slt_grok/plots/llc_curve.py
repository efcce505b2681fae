"""The LLC along training with its 95% band, each point marked by its status (estimator: Lau et al., 2308.12108)."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from slt_grok.errors import SltGrokError
from slt_grok.plots.style import BLUE, VERMILION, WIDTH, step_axis, styled, with_seed

TRUSTED = ("effective", "converged")
QUANTILE = 1.96  # of the standard normal, for a 95% interval


def settings(llc: xr.Dataset) -> str:
    """Sampler, n*beta and gamma as one line for a figure; parts that the dataset does not say are left out."""
    attrs = llc.attrs
    parts = [str(attrs["sampler"])] if "sampler" in attrs else []
    parts += [f"$n\\beta$ = {attrs['n_beta']:g}"] if "n_beta" in attrs else []
    parts += [f"$\\gamma$ = {attrs['gamma']:g}"] if "gamma" in attrs else []
    return ", ".join(parts)


def interval(llc: xr.Dataset) -> tuple[xr.DataArray, xr.DataArray]:
    """Return the ends of the 95% interval: llc_low and llc_high, or llc +- 1.96 llc_se where the dataset lacks them."""
    if "llc_low" in llc and "llc_high" in llc:
        return llc.llc_low, llc.llc_high
    return llc.llc - QUANTILE * llc.llc_se, llc.llc + QUANTILE * llc.llc_se


def draw_llc(axes: Axes, llc: xr.Dataset) -> None:
    """Draw the LLC, its 95% interval and statuses of axes that have their step axis already.

    The interval is llc_low to llc_high where the dataset has them, and llc +- 1.96 llc_se where not. Filled points
    have a trusted status, hollow ones another; of a diverged one nothing is drawn but a cross at the upper edge.
    Several seeds share the color, each with its own line and band.
    """
    llc = with_seed(llc)
    for name in ("llc", "llc_se"):
        if name not in llc:
            raise SltGrokError(f"the LLC figure expected a variable {name}, got {', '.join(map(str, llc.data_vars))}")
    several = llc.sizes["seed"] > 1
    status = llc.llc_status if "llc_status" in llc else xr.full_like(llc.llc, "effective", dtype=object)
    lost = (status == "diverged") | ~np.isfinite(llc.llc)
    value, (low, high) = llc.llc.where(~lost), (end.where(~lost) for end in interval(llc))
    trusted = status.isin(TRUSTED)
    for seed in llc.seed:
        y, band = value.sel(seed=seed), (low.sel(seed=seed), high.sel(seed=seed))
        axes.fill_between(llc.step, *band, color=BLUE, alpha=0.15 if several else 0.25, lw=0)
        axes.plot(llc.step, y, color=BLUE, lw=0.8 if several else 1.4)
        for good, face in ((True, BLUE), (False, "white")):
            shown = y.where(trusted.sel(seed=seed) == good)
            axes.plot(llc.step, shown, "o", ms=3 if several else 3.6, mec=BLUE, mfc=face, mew=0.9)
    handles = [Line2D([], [], color=BLUE, marker="o", ms=3.6, label="LLC, 95% interval")]
    for name in np.unique(status.where(~lost & ~trusted, "").values.astype(str)):
        if name:
            handles.append(Line2D([], [], ls="", marker="o", ms=3.6, mec=BLUE, mfc="white", label=name))
    if lost.any():
        steps = llc.step.values[lost.any("seed").values]
        axes.plot(
            steps,
            np.full(len(steps), 0.96),
            "x",
            ms=4.5,
            color=VERMILION,
            transform=axes.get_xaxis_transform(),
            clip_on=False,
        )
        handles.append(Line2D([], [], ls="", marker="x", ms=4.5, color=VERMILION, label="diverged, not drawn"))
    note = settings(llc)
    axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.015, 1.0))
    if note:
        axes.annotate(
            note.replace(", ", "\n"),
            (1.015, 0.0),
            xycoords="axes fraction",
            fontsize=6.5,
            va="bottom",
            color="0.35",
            annotation_clip=False,
        )
    axes.set_ylabel("LLC")


@styled
def llc_curve(llc: xr.Dataset) -> Figure:
    """Draw the LLC against the training step, with its 95% error band.

    Parameters
    ----------
    llc : xarray.Dataset
        What `slt_grok.llc.estimate` returns for checkpoints: llc and llc_se over (step,) or (step, seed), and
        llc_status where there is one.

    Raises
    ------
    SltGrokError
        The dataset has no `step` dimension, or no llc or llc_se.
    """
    figure = Figure(figsize=(WIDTH, 2.8), layout="constrained")
    axes = figure.add_subplot()
    llc = with_seed(llc)
    step_axis(axes, llc.step.values)
    draw_llc(axes, llc)
    axes.set_ylabel("Local learning coefficient (LLC)")
    axes.spines[["top", "right"]].set_visible(False)
    return figure

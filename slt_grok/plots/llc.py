"""The LLC over training, its diagnostics and chains (Lau et al., 2308.12108).

Diagnostics: R-hat and effective sample size (Vehtari et al. 1903.08008), drift between the halves of the draws, the
virial identity, acceptance of a Metropolis-adjusted Langevin proposal, distance from the checkpoint. The estimate is
n beta times the gap between the mean of the chains' loss after burn-in and the baseline L(w*).
"""

import textwrap
from typing import Any

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from slt_grok.errors import SltGrokError
from slt_grok.llc.diagnostics import DRIFT_LIMIT, HEALTHY, RHAT_LIMIT, VIRIAL_LIMIT, LLCStatus
from slt_grok.measurement import evenly_spaced
from slt_grok.plots import style
from slt_grok.plots.lines import fit_llc, hollow, line_of_llc, name_of, points_by_status, setting, untrusted
from slt_grok.plots.logarithmic import logarithmic
from slt_grok.plots.palette import BLUE, GRAY, VERMILION
from slt_grok.units import with_units


def draw_llc(axes: Axes, llc: xr.Dataset) -> None:
    """Draw the LLC, its 95% interval and statuses on axes that already have a step axis.

    Filled points have a trusted status, hollow ones the status in the legend; melted ones are off the line. A diverged
    estimate is a cross at the upper edge.
    Several seeds share the color, each with its own line and band.
    """
    llc = style.with_seed(llc)
    several = llc.sizes["seed"] > 1
    look: Any = {"lw": 0.8, "ms": 3, "alpha": 0.15} if several else {"lw": 1.4, "ms": 3.6}
    for seed in llc.seed:
        line_of_llc(axes, llc.sel(seed=seed), BLUE, **look)
    fit_llc(axes, [(llc.step, llc, BLUE)])
    omitted = (llc.llc_status == LLCStatus.DIVERGED) | ~np.isfinite(llc.llc)
    handles = [Line2D([], [], color=BLUE, marker="o", ms=3.6, label="LLC, 95% interval")]
    for name in untrusted(llc.llc, llc.llc_status):
        handles.append(Line2D([], [], label=name_of(name), **hollow(name, BLUE, 3.6)))
    if omitted.any():
        steps, edge = llc.step.values[omitted.any("seed").values], axes.get_xaxis_transform()
        cross = {"ls": "", "marker": "x", "ms": 4.5, "color": VERMILION}
        axes.plot(steps, np.full(len(steps), 0.96), **cross, transform=edge, clip_on=False)
        handles.append(Line2D([], [], **cross, label="diverged, not drawn"))
    style.legend_right(axes, handles)
    axes.annotate(
        setting(llc).replace(", ", "\n"), (1.015, 0.0), xycoords="axes fraction", fontsize=6.5, va="bottom",
        color="0.35", annotation_clip=False,
    )  # fmt: skip


@style.styled
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
    llc = style.with_seed(llc)
    for name in ("llc", "llc_se", "llc_status"):
        if name not in llc:
            raise SltGrokError(f"the LLC figure expected a variable {name}, got {', '.join(map(str, llc.data_vars))}")
    figure, ((axes,),) = style.frame(2.8)
    style.step_axis(axes, llc.step.values)
    draw_llc(axes, llc)
    axes.set_ylabel("Local learning coefficient (LLC)")
    return figure


@style.styled
def llc_diagnostics(llc: xr.Dataset, seed: int | None = None) -> Figure:
    """Draw R-hat, effective sample size, drift, virial, acceptance and distance against the training step.

    Dashed lines are the limits of the statuses. Points with an untrusted status are hollow, as named in the legend.
    """
    llc = style.select_seed(llc, seed)
    panels = (
        ("R-hat", llc.rhat, (RHAT_LIMIT,)),
        ("Effective\nsample size", llc.ess, ()),
        ("Drift\n(% of LLC)", 100 * llc.drift / abs(llc.llc), (-100 * DRIFT_LIMIT, 100 * DRIFT_LIMIT)),
        ("Virial", llc.virial, (1 - VIRIAL_LIMIT, 1 + VIRIAL_LIMIT)),
        ("Acceptance", llc.acceptance.mean("chain"), ()),
        ("Distance\n$|w-w^*|$", llc.distance.isel(look=-1).mean("chain"), ()),
    )
    figure, grid = style.frame(4.4, 3, 2, sharex=True)
    for axes, (label, values, limits) in zip(grid.flat, panels, strict=True):
        style.step_axis(axes, llc.step.values, narrow=True)
        axes.plot(llc.step, values, color=BLUE, lw=0.9)
        points_by_status(axes, llc.step, values, llc.llc_status, BLUE)
        for limit in limits:
            axes.axhline(limit, color=GRAY, lw=0.8, ls=(0, (4, 2)))
        axes.set_ylabel(label)
        axes.set_xlabel("Training step" if axes in grid[-1] else "")
    style.panel_letters(list(grid.flat), offset=(-40, 4))
    figure.align_ylabels(list(grid.flat))
    if untrusted(llc.llc, llc.llc_status):
        style.shared_legend(figure, grid.flat)
    return figure


CHECKPOINTS = 6


@style.styled
def llc_traces(llc: xr.Dataset, seed: int | None = None) -> Figure:
    """Draw the sampled loss of every chain against the sampler's step, with shaded burn-in and the baseline loss.

    The checkpoints are evenly spaced. Unhealthy chains are dashed; the healthy ones set the loss axis, so that a
    diverged chain leaves the panel instead of compressing it.
    """
    llc = style.select_seed(llc, seed)
    chosen = evenly_spaced(llc.step.values, CHECKPOINTS)
    rows = -(-len(chosen) // 2)
    figure, grid = style.frame(1.75 * rows + 0.5, rows, 2)
    panels = list(grid.flat)[: len(chosen)]
    for axes in grid.flat[len(chosen) :]:
        axes.remove()
    colors = sns.color_palette("crest", llc.sizes["chain"]).as_hex()
    for axes, index in zip(panels, chosen, strict=True):
        _traces(axes, llc.isel(step=index), colors)
    for axes in panels[-2:]:
        axes.set_xlabel("Sampler step")
    handles = [
        Line2D([], [], color=colors[len(colors) // 2], lw=0.8, label="healthy chain"),
        Line2D([], [], color=VERMILION, lw=0.8, ls="--", label="excluded chain"),
        Line2D([], [], color="black", lw=0.9, ls=":", label=r"baseline $L(w^*)$"),
        Patch(color="0.5", alpha=0.15, lw=0, label="burn-in"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=4, title=setting(llc), title_fontsize=7)
    style.panel_letters(panels, offset=(-34, 19), room=False)
    return figure


def _traces(axes: Axes, llc: xr.Dataset, colors: list[str]) -> None:
    """Draw the chains of one checkpoint."""
    burn_in = int(llc.attrs.get("burn_in", llc.sizes.get("burn_in", 0)))
    draw = burn_in + int(llc.attrs.get("thinning", 1)) * np.arange(1, llc.sizes["draw"] + 1)
    health, baseline = llc.chain_health.values.astype(str), float(llc.baseline_loss)
    for i, color in enumerate(colors):
        excluded: Any = {"color": VERMILION, "ls": (0, (4, 1.5))}
        look: Any = {"lw": 0.6, "color": color} | (excluded if health[i] != HEALTHY else {})
        if "burn_in_loss" in llc and llc.sizes["burn_in"]:
            early = llc.burn_in_loss.isel(chain=i)
            axes.plot(np.linspace(0, burn_in, len(early), endpoint=False), early, alpha=0.6, **look)
        axes.plot(draw, llc.loss_trace.isel(chain=i), **look)
    axes.axvspan(0, burn_in, color="0.5", alpha=0.15, lw=0)
    axes.axhline(baseline, color="black", lw=0.9, ls=":")
    axes.set_xlim(0, draw[-1])
    losses = llc.loss_trace.values[health == HEALTHY]
    losses = losses[np.isfinite(losses)]
    if len(losses):
        low, high = min(losses.min(), baseline), max(losses.max(), baseline)
        axes.set_ylim(low - 0.06 * (high - low), high + 0.12 * (high - low))
    else:
        logarithmic(axes.yaxis)
    axes.set_ylabel(with_units("Loss", llc.loss_trace))
    axes.set_title(_title(llc, health), loc="left", fontsize=7, linespacing=1.25)


def _title(llc: xr.Dataset, health: np.ndarray) -> str:
    """Format step, status, R-hat and ESS, and the excluded chains with the first reason."""
    rhat, ess = float(llc.rhat), float(llc.ess)
    numbers = f"R-hat {rhat:.2f}, ESS {ess:.0f}" if np.isfinite(rhat) else "no R-hat"
    text = f"Step {int(llc.step):,}: {llc.llc_status.values!s}; {numbers}\n"
    excluded = np.flatnonzero(health != HEALTHY)
    if not len(excluded):
        return f"{text}all {len(health)} chains healthy"
    names = ", ".join(map(str, llc.chain.values[excluded]))
    chains = f"all {len(health)} chains" if len(excluded) == len(health) else f"chain {names} of {len(health)}"
    return text + textwrap.shorten(f"{chains} excluded: {health[excluded[0]]}", 58, placeholder=" ...")

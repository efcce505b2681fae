"""Loss traces of the LLC's chains at a few checkpoints, with the health of each chain.

The estimate is n beta times the gap between the mean of the traces after burn-in and the baseline L(w*) (2308.12108).
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

from slt_grok.measurement import evenly_spaced
from slt_grok.plots.lines import setting
from slt_grok.plots.palette import VERMILION
from slt_grok.plots.style import few_decades, frame, panel_letters, select_seed, styled

CHECKPOINTS = 6


@styled
def llc_traces(llc: xr.Dataset, seed: int | None = None) -> Figure:
    """Draw the sampled loss of every chain against the sampler's step, with shaded burn-in and the baseline loss.

    The checkpoints are evenly spaced. Unhealthy chains are dashed; the healthy ones set the loss axis, so that a
    diverged chain leaves the panel instead of compressing it.
    """
    llc = select_seed(llc, seed)
    chosen = evenly_spaced(llc.step.values, CHECKPOINTS)
    rows = -(-len(chosen) // 2)
    figure, grid = frame(1.75 * rows + 0.5, rows, 2)
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
    panel_letters(panels, offset=(-34, 19), room=False)
    return figure


def _traces(axes: Axes, llc: xr.Dataset, colors: list[str]) -> None:
    """Draw the chains of one checkpoint."""
    burn_in = int(llc.attrs.get("burn_in", llc.sizes.get("burn_in", 0)))
    draw = burn_in + int(llc.attrs.get("thinning", 1)) * np.arange(1, llc.sizes["draw"] + 1)
    health, baseline = llc.chain_health.values.astype(str), float(llc.baseline_loss)
    for i, color in enumerate(colors):
        excluded: Any = {"color": VERMILION, "ls": (0, (4, 1.5))}
        look: Any = {"lw": 0.6, "color": color} | (excluded if health[i] != "healthy" else {})
        if "burn_in_loss" in llc and llc.sizes["burn_in"]:
            early = llc.burn_in_loss.isel(chain=i)
            axes.plot(np.linspace(0, burn_in, len(early), endpoint=False), early, alpha=0.6, **look)
        axes.plot(draw, llc.loss_trace.isel(chain=i), **look)
    axes.axvspan(0, burn_in, color="0.5", alpha=0.15, lw=0)
    axes.axhline(baseline, color="black", lw=0.9, ls=":")
    axes.set_xlim(0, draw[-1])
    losses = llc.loss_trace.values[health == "healthy"]
    losses = losses[np.isfinite(losses)]
    if len(losses):
        low, high = min(losses.min(), baseline), max(losses.max(), baseline)
        axes.set_ylim(low - 0.06 * (high - low), high + 0.12 * (high - low))
    else:
        axes.set_yscale("log")
        few_decades(axes)
    axes.set_ylabel("Loss (nats)")
    axes.set_title(_title(llc, health), loc="left", fontsize=7, linespacing=1.25)


def _title(llc: xr.Dataset, health: np.ndarray) -> str:
    """Format step, status, R-hat and ESS, and the excluded chains with the first reason."""
    rhat, ess = float(llc.rhat), float(llc.ess)
    numbers = f"R-hat {rhat:.2f}, ESS {ess:.0f}" if np.isfinite(rhat) else "no R-hat"
    text = f"Step {int(llc.step):,}: {llc.llc_status.values!s}; {numbers}\n"
    excluded = np.flatnonzero(health != "healthy")
    if not len(excluded):
        return f"{text}all {len(health)} chains healthy"
    names = ", ".join(map(str, llc.chain.values[excluded]))
    chains = f"all {len(health)} chains" if len(excluded) == len(health) else f"chain {names} of {len(health)}"
    return text + textwrap.shorten(f"{chains} excluded: {health[excluded[0]]}", 58, placeholder=" ...")

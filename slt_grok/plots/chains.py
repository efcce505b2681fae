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

from slt_grok.plots.lines import setting
from slt_grok.plots.palette import VERMILION
from slt_grok.plots.style import few_decades, frame, one_seed, panel_letters, styled


@styled
def llc_traces(llc: xr.Dataset, seed: int | None = None, checkpoints: int = 6) -> Figure:
    """Draw the sampled loss of every chain against the sampler's step, with shaded burn-in and the baseline loss.

    The checkpoints are evenly spaced. Unhealthy chains are dashed; the healthy ones set the loss axis, so that a
    diverged chain leaves the panel instead of compressing it.
    """
    one = one_seed(llc, seed)
    chosen = np.unique(np.linspace(0, one.sizes["step"] - 1, checkpoints).round().astype(int))
    rows = -(-len(chosen) // 2)
    figure, grid = frame(1.75 * rows + 0.5, rows, 2)
    panels = list(grid.flat)
    for axes in panels[len(chosen) :]:
        axes.remove()
    colors = sns.color_palette("crest", one.sizes["chain"]).as_hex()
    for axes, index in zip(panels, chosen, strict=False):
        _traces(axes, one.isel(step=index), colors)
    for axes in panels[: len(chosen)][-2:]:
        axes.set_xlabel("Sampler step")
    handles = [
        Line2D([], [], color=colors[len(colors) // 2], lw=0.8, label="healthy chain"),
        Line2D([], [], color=VERMILION, lw=0.8, ls="--", label="excluded chain"),
        Line2D([], [], color="black", lw=0.9, ls=":", label=r"baseline $L(w^*)$"),
        Patch(color="0.5", alpha=0.15, lw=0, label="burn-in"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=4, title=setting(llc), title_fontsize=7)
    panel_letters(panels[: len(chosen)], offset=(-34, 19), room=False)
    return figure


def _traces(axes: Axes, point: xr.Dataset, colors: list[str]) -> None:
    """Draw the chains of one checkpoint."""
    burn_in = int(point.attrs.get("burn_in", point.sizes.get("burn_in", 0)))
    draw = burn_in + int(point.attrs.get("thinning", 1)) * np.arange(1, point.sizes["draw"] + 1)
    health = point.chain_health.values.astype(str)
    for i, reason in enumerate(health):
        look: dict[str, Any] = (
            {"color": colors[i]} if reason == "healthy" else {"color": VERMILION, "ls": (0, (4, 1.5))}
        )
        if "burn_in_loss" in point and point.sizes["burn_in"]:
            early = point.burn_in_loss.isel(chain=i).values
            axes.plot(np.linspace(0, burn_in, len(early), endpoint=False), early, lw=0.6, alpha=0.6, **look)
        axes.plot(draw, point.loss_trace.isel(chain=i), lw=0.6, **look)
    axes.axvspan(0, burn_in, color="0.5", alpha=0.15, lw=0)
    baseline = float(point.baseline_loss)
    axes.axhline(baseline, color="black", lw=0.9, ls=":")
    axes.set_xlim(0, draw[-1])
    kept = point.loss_trace.values[health == "healthy"]
    kept = kept[np.isfinite(kept)]
    if len(kept):
        low, high = min(kept.min(), baseline), max(kept.max(), baseline)
        axes.set_ylim(low - 0.06 * (high - low), high + 0.12 * (high - low))
    else:
        axes.set_yscale("log")
        few_decades(axes)
    axes.set_ylabel("Loss (nats)")
    axes.set_title(_title(point, health), loc="left", fontsize=7, linespacing=1.25)


def _title(point: xr.Dataset, health: np.ndarray) -> str:
    """Format step, status, R-hat and ESS, and the excluded chains with the first reason."""
    rhat, ess = float(point.rhat), float(point.ess)
    numbers = f"R-hat {rhat:.2f}, ESS {ess:.0f}" if np.isfinite(rhat) else "no R-hat"
    text = f"Step {int(point.step):,}: {point.llc_status.values!s}; {numbers}\n"
    bad = np.flatnonzero(health != "healthy")
    if not len(bad):
        return f"{text}all {len(health)} chains healthy"
    named = ", ".join(str(chain) for chain in point.chain.values[bad])
    who = f"all {len(health)} chains" if len(bad) == len(health) else f"chain {named} of {len(health)}"
    return text + textwrap.shorten(f"{who} excluded: {health[bad[0]]}", 58, placeholder=" ...")

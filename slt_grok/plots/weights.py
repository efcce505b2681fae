"""Interventions on the weights over training: LLC, train loss and test accuracy of each, with controls.

Variants of the measurement `interventions`; LLC estimator: Lau et al. 2308.12108, definition 3.
"""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from slt_grok.errors import SltGrokError
from slt_grok.plots.lines import TRUSTED, interval, setting
from slt_grok.plots.palette import BLUE, GREEN, ORANGE, PURPLE
from slt_grok.plots.style import few_decades, frame, panel_letters, percent_axis, select_seed, styled, symlog_axis

PLAIN = "0.15"
COLUMNS = {  # act -> title
    "kept": "circuit kept alone",
    "removed": "circuit removed",
    "from the end": "part from the\nlast checkpoint",
    "from memorization": "part from the\nmemorizing one",
}
SITES = {  # color and marker of the modified site
    "tables": (BLUE, "o"),
    "neurons": (ORANGE, "s"),
    "tables and neurons": (GREEN, "D"),
    "embedding": (BLUE, "o"),
    "attention": (PURPLE, "v"),
    "MLP": (ORANGE, "s"),
    "unembedding": (GREEN, "D"),
}
LINES = {"circuit": "-", "": "-", "random planes": ":"}  # all others are dashed
AXES = ("LLC", "Train loss\n(nats)", "Test accuracy\n(%)")


@styled
def interventions(measured: xr.Dataset, seed: int | None = None) -> Figure:
    """Draw one column per kind of intervention: the LLC with 95% intervals, then train loss and test accuracy.

    Solid: the circuit, or a part from another checkpoint; dashed and dotted: random controls, averaged over draws. The
    dark line is the trained network. Hollow points have a status other than effective or converged.

    Parameters
    ----------
    measured : xarray.Dataset
        The measurement `interventions`.

    Raises
    ------
    SltGrokError
        The dataset only contains unmodified networks.
    """
    networks = select_seed(measured, seed)
    acts = [act for act in COLUMNS if np.isfinite(networks.llc.isel(variant=(networks.act == act).values)).any()]
    if not acts:
        raise SltGrokError("the figure of interventions expected some variants, found only networks as trained")
    figure, panels = frame(5.4, 3, len(acts), sharex=True, sharey="row", height_ratios=[1.6, 1, 1])
    for column, act in zip(panels.T, acts, strict=True):
        column[0].set_title(COLUMNS[act])
        _lines(column, networks.isel(variant=(networks.act == "as trained").values), PLAIN, ".", "-")
        variants = networks.isel(variant=(networks.act == act).values)
        for site, control in dict.fromkeys(
            zip(variants.site.values.tolist(), variants.control.values.tolist(), strict=True)
        ):
            draws = variants.isel(variant=((variants.site == site) & (variants.control == control)).values)
            _lines(column, draws, *SITES[site], LINES.get(control, "--"))
    _finish(panels, networks.step.values)
    handles = [Line2D([], [], color=PLAIN, marker=".", label="as trained")]
    for site, (color, marker) in SITES.items():
        if (networks.site == site).any():
            handles.append(Line2D([], [], color=color, marker=marker, ms=3.5, label=site))
    if (networks.control == "circuit").any():
        handles.append(Line2D([], [], color="0.4", ls="--", label="random frequencies, neurons"))
        handles.append(Line2D([], [], color="0.4", ls=":", label="random planes"))
    figure.legend(handles=handles, loc="outside lower center", ncols=5)
    figure.suptitle(setting(measured), x=0.995, ha="right", fontsize=6.5, color="0.35")
    return figure


def _lines(column: np.ndarray, draws: xr.Dataset, color: str, marker: str, line: str) -> None:
    """Draw LLC, loss and accuracy of an intervention: the mean over its draws, and every draw in the first panel."""
    drawn = (draws.llc_status != "diverged") & np.isfinite(draws.llc)
    value, low, high = (values.where(drawn) for values in (draws.llc, *interval(draws)))
    column[0].plot(draws.step, value.mean("variant"), line, color=color, lw=1.1)
    trusted = draws.llc_status.isin(TRUSTED)
    look = {"ms": 3, "mew": 0.8, "elinewidth": 0.7, "alpha": 1.0 if line == "-" else 0.6}
    for i in range(draws.sizes["variant"]):
        bars = np.abs([(value - low)[:, i], (high - value)[:, i]])
        for face, shown in ((color, trusted), ("white", ~trusted)):
            points = value.where(shown)[:, i]
            column[0].errorbar(draws.step, points, bars, fmt=marker, color=color, mfc=face, **look)
    style = {"color": color, "lw": 1.1, "ls": line, "marker": marker, "ms": 2.6 if line == "-" else 0}
    column[1].plot(draws.step, draws.loss.sel(split="train").mean("variant"), **style)
    column[2].plot(draws.step, 100 * draws.accuracy.sel(split="test").mean("variant"), **style)


def _finish(panels: np.ndarray, steps: np.ndarray) -> None:
    for axes in panels.flat:
        axes.set_xscale("log")
        axes.set_xticks(steps, [f"{step:,}" for step in steps], rotation=45)
        axes.minorticks_off()
    for axes in panels[0]:
        symlog_axis(axes)
        axes.axhline(0, color="0.8", lw=0.6, zorder=0)
    for axes in panels[1]:
        axes.set_yscale("log")
        few_decades(axes)
    for axes in panels[2]:
        percent_axis(axes)
        axes.set_xlabel("Training step\n(logarithmic)")
    for axes, label in zip(panels[:, 0], AXES, strict=True):
        axes.set_ylabel(label)
    panel_letters(panels[:, 0].tolist())

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
from slt_grok.plots.style import few_decades, frame, one_seed, panel_letters, styled

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
LINEAR = 10  # the LLC's axis is linear up to here, since it can be negative


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
    one = one_seed(measured, seed)
    acts = [act for act in COLUMNS if np.isfinite(one.llc.isel(variant=(one.act == act).values)).any()]
    if not acts:
        raise SltGrokError("the figure of interventions expected some variants, found only networks as trained")
    figure, panels = frame(5.4, 3, len(acts), sharex=True, sharey="row", height_ratios=[1.6, 1, 1])
    for column, act in zip(panels.T, acts, strict=True):
        column[0].set_title(COLUMNS[act])
        _lines(column, one.isel(variant=(one.act == "as trained").values), PLAIN, ".", "-")
        found = one.isel(variant=(one.act == act).values)
        for site, control in dict.fromkeys(zip(found.site.values.tolist(), found.control.values.tolist(), strict=True)):
            some = found.isel(variant=((found.site == site) & (found.control == control)).values)
            _lines(column, some, *SITES[site], LINES.get(control, "--"))
    _finish(panels, one.step.values)
    handles = [Line2D([], [], color=PLAIN, marker=".", label="as trained")]
    names = [site for site in SITES if (one.site == site).any()]
    handles += [Line2D([], [], color=SITES[s][0], marker=SITES[s][1], ms=3.5, label=s) for s in names]
    if (one.control == "circuit").any():
        handles.append(Line2D([], [], color="0.4", ls="--", label="random frequencies, neurons"))
        handles.append(Line2D([], [], color="0.4", ls=":", label="random planes"))
    figure.legend(handles=handles, loc="outside lower center", ncols=5)
    figure.suptitle(setting(measured), x=0.995, ha="right", fontsize=6.5, color="0.35")
    return figure


def _lines(column: np.ndarray, some: xr.Dataset, color: str, marker: str, line: str) -> None:
    """Draw LLC, loss and accuracy of an intervention: the mean over its draws, and every draw in the first panel."""
    seen = (some.llc_status != "diverged") & np.isfinite(some.llc)
    value, low, high = (values.where(seen) for values in (some.llc, *interval(some)))
    column[0].plot(some.step, value.mean("variant"), line, color=color, lw=1.1)
    trusted = some.llc_status.isin(TRUSTED)
    for i in range(some.sizes["variant"]):
        at = {"variant": i}
        bars = np.abs(np.stack([value[at] - low[at], high[at] - value[at]]))
        look = {"ms": 3, "mew": 0.8, "elinewidth": 0.7, "alpha": 1.0 if line == "-" else 0.6}
        for face, shown in ((color, trusted[at]), ("white", ~trusted[at])):
            column[0].errorbar(some.step, value[at].where(shown), bars, fmt=marker, color=color, mfc=face, **look)
    style = {"color": color, "lw": 1.1, "ls": line, "marker": marker, "ms": 2.6 if line == "-" else 0}
    column[1].plot(some.step, some.loss.sel(split="train").mean("variant"), **style)
    column[2].plot(some.step, 100 * some.accuracy.sel(split="test").mean("variant"), **style)


def _finish(panels: np.ndarray, steps: np.ndarray) -> None:
    for axes in panels.flat:
        axes.set_xscale("log")
        axes.set_xticks(steps, [f"{step:,}" for step in steps], rotation=45)
        axes.minorticks_off()
    for axes in panels[0]:
        axes.set_yscale("symlog", linthresh=LINEAR, linscale=0.6)
        axes.axhline(0, color="0.8", lw=0.6, zorder=0)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    for axes in panels[1]:
        axes.set_yscale("log")
        few_decades(axes)
    for axes in panels[2]:
        axes.set(ylim=(-4, 104), yticks=[0, 50, 100], xlabel="Training step\n(logarithmic)")
    for axes, label in zip(panels[:, 0], AXES, strict=True):
        axes.set_ylabel(label)
    panel_letters(panels[:, 0].tolist())

"""The LLC along training under three treatments of the weights' scale, and what rescaling does to the loss.

Treatments of `slt_grok.studies.confound`; estimator: Lau et al. 2308.12108, definition 3.
"""

import xarray as xr
from matplotlib.figure import Figure

from slt_grok.plots.llc_curve import TRUSTED, interval
from slt_grok.plots.style import BLUE, GREEN, ORANGE, WIDTH, legend_right, one_seed, panel_letters, step_axis, styled

STYLES = {  # treatment -> color, marker, name
    "fixed_gamma": (BLUE, "o", r"fixed $\gamma$"),
    "relative_gamma": (ORANGE, "s", r"$\gamma = d/(\rho |w^*|^2)$"),
    "rescaled_weights": (GREEN, "D", r"rescaled weights, fixed $\gamma$"),
}


@styled
def confound(measured: xr.Dataset, seed: int | None = None) -> Figure:
    """Above the LLC with 95% bands, one color a treatment; below the loss at w*, as trained and rescaled.

    Raises
    ------
    SltGrokError
        The dataset has no `step` dimension, or no such seed.
    """
    one = one_seed(measured, seed)
    steps = one.step.values
    figure = Figure(figsize=(WIDTH, 3.8), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[1.8, 1])
    step_axis(lower, steps)
    for treatment, (color, marker, name) in STYLES.items():
        at = one.sel(treatment=treatment)
        seen = at.llc_status != "diverged"
        value, (low, high) = at.llc.where(seen), (end.where(seen) for end in interval(at))
        upper.fill_between(steps, low, high, color=color, alpha=0.25, lw=0)
        upper.plot(steps, value, color=color, marker=marker, ms=3.6, label=name)
        doubted = seen & ~at.llc_status.isin(TRUSTED)
        upper.plot(steps, value.where(doubted), marker, ms=3.6, mec=color, mfc="white", mew=0.9)
    upper.axhline(0, color="0.7", lw=0.7, zorder=0)
    upper.set_ylabel("LLC")
    for treatment, name in (("fixed_gamma", "as trained"), ("rescaled_weights", "rescaled weights")):
        color, marker, _ = STYLES[treatment]
        lower.plot(steps, one.baseline_loss.sel(treatment=treatment), color=color, marker=marker, ms=3, label=name)
    lower.set_yscale("log")
    lower.set_ylabel("Loss at $w^*$\n(nats)")
    for axes in (upper, lower):
        axes.spines[["top", "right"]].set_visible(False)
        legend_right(axes)
    step_axis(lower, steps)
    panel_letters([upper, lower])
    figure.align_ylabels([upper, lower])
    return figure

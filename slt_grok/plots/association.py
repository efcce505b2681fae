"""What moves with the LLC beyond the course of training; what predicts it in seeds that were held out.

Datasets: `slt_grok.transitions.associate` and `slt_grok.transitions.predict_llc`.
"""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from slt_grok.plots.style import BLUE, GRAY, ORANGE, WIDTH, measure_name, styled

NAMES = {"step": "step\nalone", "weight_norm": "weight\nnorm", "circuits": "circuits", "both": "both"}


@styled
def association(found: xr.Dataset) -> Figure:
    """Partial rank correlation with the LLC: seeds as gray dots, mean with its 95% interval, p-values of both nulls.

    Filled where the association is beyond the trend (Holm's p by pairing at most 0.05).
    """
    measures = found.measure.values.tolist()
    figure = Figure(figsize=(WIDTH, 0.9 + 0.24 * len(measures)), layout="constrained")
    axes = figure.subplots()
    axes.axvline(0, color=GRAY, lw=0.8)
    for row, measure in enumerate(measures):
        one = found.sel(measure=measure)
        of_seed = one.partial_correlation.values
        jitter = np.linspace(-0.18, 0.18, len(of_seed)) if len(of_seed) > 1 else np.zeros(1)
        axes.plot(of_seed, row + jitter, ".", color="0.6", ms=3, zorder=1)
        beyond = str(one.verdict.values) == "beyond the trend"
        ends = [one.mean_correlation_low, one.mean_correlation_high]
        axes.plot(ends, [row, row], color=BLUE, lw=2, alpha=0.7, solid_capstyle="butt")
        axes.plot(one.rank_correlation, row, "|", color=ORANGE, ms=8, mew=1.4)
        axes.plot(one.mean_correlation, row, "o", color=BLUE, ms=5, mfc=BLUE if beyond else "white", mew=1)
        p = [f"{float(one.p_value_holm.sel(null=null)):.3f}" for null in ("pairing", "block")]
        text = f"{one.verdict.values!s}; Holm's p {p[0]} by pairing, {p[1]} by blocks".replace("nan", "–")
        axes.annotate(text, (1.01, row), xycoords=axes.get_yaxis_transform(), fontsize=6, va="center")
    axes.set_yticks(range(len(measures)), [measure_name(m) for m in measures])
    axes.set(xlim=(-1.02, 1.02), ylim=(len(measures) - 0.5, -0.5))
    axes.set_xlabel("Rank correlation of increments with the LLC's\n(● given loss and weight norm, | without)")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


@styled
def prediction(found: xr.Dataset) -> Figure:
    """Error of the LLC in held-out seeds by set of predictors; lines join the same seed."""
    figure = Figure(figsize=(WIDTH / 2, 2.4), layout="constrained")
    axes = figure.subplots()
    at = np.arange(found.sizes["predictors"])
    axes.plot(at, found.error.values, "-", color="0.75", lw=0.6)
    axes.plot(at, found.error.values, ".", color="0.5", ms=4)
    axes.plot(at, found.mean_error, "_", color=BLUE, ms=16, mew=2)
    axes.set_xticks(at, [NAMES[name] for name in found.predictors.values.tolist()])
    axes.set_ylabel("Root mean square error of the LLC\nin the held-out seed")
    axes.set_ylim(0)
    axes.spines[["top", "right"]].set_visible(False)
    return figure

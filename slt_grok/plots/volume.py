"""Log-volume of the basin against the threshold of the loss: its slope is the learning coefficient.

V(epsilon) ~ epsilon^lambda (Watanabe 2009, theorem 7.1); measured by `slt_grok.landscape.volume_exponent`.
"""

from collections.abc import Sequence

import matplotlib
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from slt_grok.errors import SltGrokError
from slt_grok.plots.style import WIDTH, legend_right, one_seed, styled

QUANTILE = 1.96  # of the standard normal, for a 95% band


@styled
def volume_scaling(measured: xr.Dataset, steps: Sequence[int] | None = None, seed: int | None = None) -> Figure:
    """Share of the ball's volume against epsilon, both logarithmic: points with 95% bars, fitted lines with 95% bands.

    Each line goes through the mean of its points; its band shows the error of the slope alone. The legend has the
    exponent, which is the slope of the line and the correction for a known multiplicity. Thresholds that not every
    population reached are left out.

    Parameters
    ----------
    measured : xarray.Dataset
        What `volume_exponent` gives, over (step,) or (step, seed).
    steps : Sequence[int] or None, optional
        Checkpoints to draw; None for all of them, at most 8.
    seed : int or None, optional
        Which one; None for the first.

    Raises
    ------
    SltGrokError
        No `step` dimension, no such seed or step, a variable that is missing, or more than 8 checkpoints.
    """
    missing = [n for n in ("log_volume", "volume_exponent", "log_ball_volume") if n not in measured]
    if missing:
        raise SltGrokError(f"the volume figure expected a variable {missing[0]}, the dataset has none")
    one = one_seed(measured, seed)
    chosen = one.step.values.tolist() if steps is None else list(steps)
    unknown = [step for step in chosen if step not in one.step.values]
    if unknown or not 1 <= len(chosen) <= 8:
        raise SltGrokError(f"steps: expected 1 to 8 of the measured checkpoints, got {chosen}")
    figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
    axes = figure.add_subplot()
    colors = matplotlib.colormaps["viridis"](np.linspace(0, 0.85, len(chosen)))
    decades = np.log(10)
    for step, color in zip(chosen, colors, strict=True):
        at = one.sel(step=step).sortby("epsilon").dropna("epsilon", subset=["log_volume"])
        x, share = at.epsilon.values, ((at.log_volume - at.log_ball_volume) / decades).values
        error = QUANTILE * at.log_volume_se.values / decades
        axes.errorbar(x, share, error, fmt="o", ms=3.2, color=color, elinewidth=0.8, capsize=1.5)
        slope, slope_error = float(at.volume_exponent), QUANTILE * float(at.volume_exponent_se)
        if not np.isfinite(slope):
            continue
        if (order := measured.attrs.get("multiplicity", 1)) > 1:
            drawn = slope - (order - 1) / (np.log(float(at.median_ball_loss)) - np.log(x).mean())
        else:
            drawn = slope
        across = np.linspace(np.log10(x.min()), np.log10(x.max()), 50)
        away = across - np.log10(x).mean()
        line, band = share.mean() + drawn * away, slope_error * abs(away)
        axes.plot(
            10**across, line, color=color, label=rf"step {step:,}: $\lambda$ = {slope:.3g} $\pm$ {slope_error:.2g}"
        )
        axes.fill_between(10**across, line - band, line + band, color=color, alpha=0.25, lw=0)
    axes.set_xscale("log")
    axes.set_xlabel(r"Threshold $\epsilon$ of the excess loss $L(w) - L(w^*)$ (nats)")
    axes.set_ylabel(r"$\log_{10}$ of the basin's share of the ball")
    axes.spines[["top", "right"]].set_visible(False)
    legend_right(axes, title="Exponent, 95% interval", title_fontsize=7)
    return figure

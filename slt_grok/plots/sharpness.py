"""Sharpness over training, at worst and on average, plain and in units of each weight."""

import seaborn as sns
import xarray as xr
from matplotlib.figure import Figure

from slt_grok.errors import SltGrokError
from slt_grok.plots.style import (
    WIDTH,
    few_decades,
    legend_right,
    panel_letters,
    positive_over_seeds,
    step_axis,
    styled,
    with_seed,
)

TITLES = {"plain": "", "adaptive": ", adaptive"}
DOTS = {"marker": "o", "ms": 2.5}


@styled
def sharpness(dataset: xr.Dataset, *, split: str = "train", logit_scale: str = "own") -> Figure:
    """Rise of the loss within each radius (solid: ascent, dotted: first order) and under noise (dashed), with 2 s.e.

    Parameters
    ----------
    dataset : xarray.Dataset
        As `slt_grok.landscape.sharpness.measure_sharpness` gives it, over `step`.
    split, logit_scale : str, optional
        Which of them.

    Raises
    ------
    SltGrokError
        No `step` dimension, or no such split or logit scale.
    """
    for name, value in {"split": split, "logit_scale": logit_scale}.items():
        if value not in dataset[name].values:
            raise SltGrokError(f"{name}: expected one of {', '.join(dataset[name].values)}, got {value}")
    data = with_seed(dataset).sel(split=split, logit_scale=logit_scale)
    figure = Figure(figsize=(WIDTH, 4.4), layout="constrained")
    panels = figure.subplots(data.sizes["mode"], 1, sharex=True, squeeze=False)[:, 0]
    worst = sns.color_palette("flare", data.sizes["radius"]).as_hex()
    average = sns.color_palette("crest", data.sizes["sigma"]).as_hex()
    for axes, mode in zip(panels, data["mode"].values.tolist(), strict=True):
        for radius, color in zip(data.radius.values.tolist(), worst, strict=True):
            at = data.sel(mode=mode, radius=radius)
            positive_over_seeds(axes, at.sharpness, color, rf"worst, $\rho$ = {radius:g}", **DOTS)
            positive_over_seeds(axes, at.sharpness_first_order, color, "", ls=":", lw=1)
        for sigma, color in zip(data.sigma.values.tolist(), average, strict=True):
            at = data.sel(mode=mode, sigma=sigma)
            positive_over_seeds(axes, at.average_sharpness, color, rf"mean, $\sigma$ = {sigma:g}", ls="--", **DOTS)
            for seed in data.seed.values:
                mean, error = at.average_sharpness.sel(seed=seed), 2 * at.average_sharpness_se.sel(seed=seed)
                floor = mean.where(mean > 0).min() / 10
                axes.fill_between(data.step, (mean - error).clip(min=floor), mean + error, color=color, alpha=0.2, lw=0)
        few_decades(axes)
        axes.set_ylabel(f"Rise of the loss (nats){TITLES[mode]}")
        legend_right(axes)
    step_axis(panels[-1], data.step.values)
    panel_letters(list(panels))
    return figure

"""Influence between pairs, WAIC against the loss on unseen pairs, and what frequencies serve, along training."""

import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from slt_grok.plots.style import (
    BLUE,
    GRAY,
    GREEN,
    ORANGE,
    PURPLE,
    VERMILION,
    WIDTH,
    few_decades,
    legend_right,
    panel_letters,
    step_axis,
    styled,
)

QUANTILE = 1.96  # of the standard normal, for a 95% interval
RELATION_COLORS = {"swapped": PURPLE, "same answer": GREEN, "shared token": ORANGE, "unrelated": GRAY}


@styled
def influence_figure(by_relation: xr.Dataset, waic: xr.Dataset, susceptibilities: xr.Dataset) -> Figure:
    """Three panels over the training step.

    Parameters
    ----------
    by_relation : xarray.Dataset
        Of `slt_grok.llc.relations.influence_by_relation`, over (step, relation).
    waic : xarray.Dataset
        Of `slt_grok.llc.fluctuation.fluctuation`, over (step,), with `bayes_test_loss`.
    susceptibilities : xarray.Dataset
        Of `slt_grok.llc.influence.susceptibilities`, over (step, component, sample), with test pairs, and a coordinate
        `key` that says which components are key frequencies.
    """
    figure = Figure(figsize=(WIDTH, 5.4), layout="constrained")
    panels = list(figure.subplots(3, 1, sharex=True))
    _relations(panels[0], by_relation)
    _losses(panels[1], waic)
    _slopes(panels[2], susceptibilities)
    step_axis(panels[2], by_relation.step.values)
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        legend_right(axes)
    panel_letters(panels)
    figure.align_ylabels(panels)
    return figure


def _relations(axes: Axes, data: xr.Dataset) -> None:
    """Mean correlation of two pairs' losses with its 95% band; hollow where the band reaches 0."""
    axes.set_yscale("log")
    for relation in data.relation.values:
        one, color = data.sel(relation=relation), RELATION_COLORS[str(relation)]
        value, half = one.loss_correlation, QUANTILE * one.loss_correlation_se
        clear, positive = value > half, value > 0
        if not clear.any():
            axes.plot([], [], color=color, label=f"{relation}: 0 within its error")
            continue
        band = {"color": color, "alpha": 0.25, "lw": 0}
        axes.fill_between(data.step, (value - half).where(clear), (value + half).where(clear), **band)
        axes.plot(data.step, value.where(positive), color=color, label=relation)
        for where, face in ((clear, color), (positive & ~clear, "white")):
            axes.plot(data.step, value.where(where), ls="", marker="o", ms=3.4, mec=color, mfc=face, mew=0.9)
    few_decades(axes)
    axes.set_ylabel("Correlation of\ntwo pairs' losses")


def _losses(axes: Axes, waic: xr.Dataset) -> None:
    axes.set_yscale("log")
    band = {"color": BLUE, "alpha": 0.25, "lw": 0}
    axes.fill_between(waic.step, waic.waic - QUANTILE * waic.waic_se, waic.waic + QUANTILE * waic.waic_se, **band)
    for name, color, label in (
        ("bayes_test_loss", ORANGE, "Bayes loss, test pairs"),
        ("waic", BLUE, "WAIC"),
        ("bayes_training_loss", GRAY, "Bayes loss, train pairs"),
    ):
        axes.plot(waic.step, waic[name], color=color, marker="o", ms=3, label=label)
    few_decades(axes)
    axes.set_ylabel("Loss\n(nats)")


def _slopes(axes: Axes, data: xr.Dataset) -> None:
    """One thin line a frequency and the median of each kind."""
    axes.set_yscale("log")
    slopes = data.loss_slope.isel(sample=~data.trained.values).mean("sample")
    for key, color, label in ((True, VERMILION, "key frequencies"), (False, GRAY, "other frequencies")):
        own = slopes.isel(component=data.key.values == key)
        for one in own.transpose("component", "step").values:
            axes.plot(data.step, one, color=color, lw=0.6, alpha=0.6)
        axes.plot(data.step, own.median("component"), color=color, marker="o", ms=3, label=label)
    axes.axhline(1, color="0.5", lw=0.8, ls=":", label="train pairs")
    few_decades(axes)
    axes.set_ylabel("Rise of test loss\nper train loss")

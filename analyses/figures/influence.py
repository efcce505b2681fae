"""Influence between pairs, WAIC against the loss on unseen pairs, and what frequencies serve, along training."""

import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from slt_grok.plots.lines import QUANTILE, points
from slt_grok.plots.logarithmic import logarithmic
from slt_grok.plots.palette import BLUE, GRAY, GREEN, ORANGE, PURPLE, VERMILION
from slt_grok.plots.style import finish, frame, legend_right, styled

RELATION_COLORS = {"swapped": PURPLE, "same answer": GREEN, "shared token": ORANGE, "unrelated": GRAY}


@styled
def influence_figure(by_relation: xr.Dataset, waic: xr.Dataset, susceptibilities: xr.Dataset) -> Figure:
    """Draw three panels over the training step.

    Parameters
    ----------
    by_relation : xarray.Dataset
        Of `pair_relations.influence_by_relation`, over (step, relation).
    waic : xarray.Dataset
        Of `fluctuation.fluctuation`, over (step,), with `bayes_test_loss`.
    susceptibilities : xarray.Dataset
        Of `susceptibilities.susceptibilities`, over (step, component, sample), with test pairs, and a coordinate
        `key` that says which components are key frequencies.
    """
    figure, grid = frame(5.4, 3, sharex=True)
    panels = grid[:, 0].tolist()
    _relations(panels[0], by_relation)
    _losses(panels[1], waic)
    _slopes(panels[2], susceptibilities)
    for axes in panels:
        legend_right(axes)
    finish(figure, panels, by_relation.step.values)
    return figure


def _relations(axes: Axes, data: xr.Dataset) -> None:
    """Draw the mean correlation of two pairs' losses with its 95% band; hollow where the band reaches 0."""
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
        points(axes, data.step, value.where(positive), clear, color, size=3.4)
    logarithmic(axes.yaxis)
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
    logarithmic(axes.yaxis)
    axes.set_ylabel("Loss\n(nats)")


def _slopes(axes: Axes, data: xr.Dataset) -> None:
    """Draw one thin line a frequency and the median of each kind."""
    axes.set_yscale("log")
    slopes = data.loss_slope.isel(sample=~data.trained.values).mean("sample")
    for key, color, label in ((True, VERMILION, "key frequencies"), (False, GRAY, "other frequencies")):
        kind = slopes.isel(component=data.key.values == key)
        axes.plot(data.step, kind.transpose("step", "component"), color=color, lw=0.6, alpha=0.6)
        axes.plot(data.step, kind.median("component"), color=color, marker="o", ms=3, label=label)
    axes.axhline(1, color="0.5", lw=0.8, ls=":", label="train pairs")
    logarithmic(axes.yaxis)
    axes.set_ylabel("Rise of test loss\nper train loss")

"""The clock and pizza plane: gradient symmetricity against distance irrelevance, over the published runs.

After Zhong et al. 2306.17844, section 5, whose one-layer networks of attention rate 0 to 1 fill the way from pizza
(symmetric gradients, logits that depend on a - b) to clock. Distance irrelevance is that of the largest wrong logit, as
in the table of these runs.
"""

from collections.abc import Mapping

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from slt_grok.plots.style import BROWN, GREEN, PURPLE, VERMILION, legend_right, styled, with_seed
from slt_grok.store.published_runs import CIRCULAR

# The boundaries of 2306.17844 between the two
GRADIENT_SYMMETRICITY = 0.98
DISTANCE_IRRELEVANCE = 0.6
RUNS = ((VERMILION, "o"), ("k", "s"), (PURPLE, "^"), (GREEN, "D"), (BROWN, "v"))  # color, marker; then again


@styled
def clock_pizza_plane(runs: Mapping[str, xr.Dataset], published: xr.Dataset | None = None) -> Figure:
    """Each run's checkpoints as a path from its hollow first to its full last one; bars are 95% intervals.

    Parameters
    ----------
    runs : Mapping[str, xarray.Dataset]
        Name -> dataset of `slt_grok.circuits.measure` over `step`; each of its seeds is a path. Checkpoints where one
        of the two measures is not defined are left out.
    published : xarray.Dataset or None, optional
        Of `slt_grok.store.published_runs.read_published_runs`; those of circular embeddings are drawn beneath, as the
        paper does, colored by attention rate.

    Raises
    ------
    SltGrokError
        A dataset without the dimension `step`.
    """
    figure = Figure(figsize=(5.8, 4.4 if published is not None else 3.6), layout="constrained")
    axes = figure.subplots()
    axes.axvline(DISTANCE_IRRELEVANCE, color="0.6", lw=0.8, ls="--", zorder=0)
    axes.axhline(GRADIENT_SYMMETRICITY, color="0.6", lw=0.8, ls="--", zorder=0)
    if published is not None:
        circular = published.isel(run=published.circularity.values >= CIRCULAR)
        cloud = axes.scatter(
            circular.distance_irrelevance_top_wrong,
            circular.gradient_symmetricity,
            c=circular.attention_rate,
            cmap="cividis",
            vmin=0,
            vmax=1,
            s=9,
            lw=0,
            alpha=0.6,
            zorder=1,
        )
        figure.colorbar(
            cloud, ax=axes, location="bottom", shrink=0.6, aspect=30, label="Attention rate of the published runs"
        )
    styles = iter(RUNS * (1 + sum(map(_seeds, runs.values())) // len(RUNS)))
    for name, run in runs.items():
        several = with_seed(run)
        for seed in several.seed.values.tolist():
            label = f"{name}, seed {seed}" if _seeds(run) > 1 else name
            _path(axes, several.sel(seed=seed), label, *next(styles))
    axes.set(xlabel="Distance irrelevance (largest wrong logit)", ylabel="Gradient symmetricity")
    low = min(axes.get_ylim()[0], 0.15)
    axes.set(xlim=(0, 1.03), ylim=(low, 1.04))
    corner = {"fontsize": 8, "color": "0.35", "style": "italic"}
    axes.text(0.015, GRADIENT_SYMMETRICITY - 0.015, "pizza", va="top", **corner)
    axes.text(1.02, low + 0.02, "clock", ha="right", **corner)
    axes.spines[["top", "right"]].set_visible(False)
    legend_right(axes)
    return figure


def _seeds(run: xr.Dataset) -> int:
    return run.sizes.get("seed", 1)


def _path(axes: Axes, run: xr.Dataset, label: str, color: str, marker: str) -> None:
    """One network along training."""
    x, y = run.distance_irrelevance_top_wrong.values, run.gradient_symmetricity.values
    there = np.isfinite(x) & np.isfinite(y)
    if not there.any():
        return
    x, y, error = x[there], y[there], 1.96 * run.gradient_symmetricity_se.values[there]
    axes.errorbar(x, y, error, color=color, lw=0.9, elinewidth=0.6, marker=".", ms=2.5, alpha=0.7, zorder=3)
    axes.plot(x[:1], y[:1], marker, ms=5, color=color, mfc="white", mew=1, zorder=4)
    steps = run.step.values[there]
    label = f"{label}\n(step {steps[0]:,} to {steps[-1]:,})"
    axes.plot(x[-1:], y[-1:], marker, ms=6.5, color=color, mec="white", mew=0.8, zorder=5, label=label)

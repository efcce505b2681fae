"""The panels of the phase-transition figure: functions that draw one dataset on given axes.

The curves are defined by the measurements: progress measures after Nanda et al. (2301.05217), LLC after Lau et al.
(2308.12108). Colors have the same meaning in all panels: train blue, test orange, circuit green, memorizer vermilion.
"""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from slt_grok.plots.lines import QUANTILE, over_seeds
from slt_grok.plots.palette import BLUE, BROWN, GRAY, GREEN, ORANGE, PURPLE, VERMILION
from slt_grok.plots.style import empty_panel, percent_axis

DOTS = {"marker": "o", "ms": 2.4}
POSITIVE = {**DOTS, "positive": True}


def losses(axes: Axes, training: xr.Dataset) -> None:
    """Draw train and test loss on a logarithmic axis."""
    over_seeds(axes, training.train_loss, BLUE, "train", positive=True)
    over_seeds(axes, training.test_loss, ORANGE, "test", positive=True)


def accuracies(axes: Axes, training: xr.Dataset) -> None:
    """Draw train and test accuracy in percent."""
    over_seeds(axes, 100 * training.train_accuracy, BLUE, "train")
    over_seeds(axes, 100 * training.test_accuracy, ORANGE, "test")
    percent_axis(axes)


def circuit_losses(axes: Axes, circuits: xr.Dataset) -> None:
    """Draw restricted loss (train, test), excluded loss (train) and the loss of guessing on a logarithmic axis."""
    defined = circuits.circuit_frequency.any("frequency")  # without a frequency both losses are meaningless
    restricted, excluded = circuits.restricted_loss_sum.where(defined), circuits.excluded_loss.where(defined)
    drawn = [
        over_seeds(axes, restricted.sel(split="test"), GREEN, "restricted, test", **POSITIVE),
        over_seeds(axes, restricted.sel(split="train"), GREEN, "restricted, train", ls="--", lw=1.0, positive=True),
        over_seeds(axes, excluded.sel(split="train"), VERMILION, "excluded, train", **POSITIVE),
    ]
    if not any(drawn):
        empty_panel(axes, "no key frequency at the last checkpoint: restricted and excluded loss are undefined")
    elif classes := circuits.attrs.get("classes"):
        axes.axhline(np.log(classes), color=GRAY, lw=0.8, ls=":", label=f"guessing, log {classes}")


def circuit_measures(axes: Axes, circuits: xr.Dataset) -> None:
    """Draw the fraction of neurons that respond to one frequency, and the Gini coefficients, all in [0, 1]."""
    over_seeds(axes, circuits.neuron_share, PURPLE, "neuron share", **DOTS)
    over_seeds(axes, circuits.gini_embedding, BROWN, r"Gini of $W_E$", **DOTS)
    over_seeds(axes, circuits.gini_neuron_logit_map, GRAY, r"Gini of $W_L$", **DOTS)
    axes.set(ylim=(-0.04, 1.04), yticks=[0, 0.5, 1])


def weight_norm(axes: Axes, landscape: xr.Dataset) -> None:
    """Draw the Euclidean norm of all parameters."""
    over_seeds(axes, landscape.weight_norm.sel(component="total"), BLUE, "all weights", **DOTS)


def curvature(axes: Axes, landscape: xr.Dataset) -> None:
    """Draw Hessian trace with its 95% band, largest eigenvalue and gradient norm on a logarithmic axis."""
    over_seeds(axes, landscape.gradient_norm, GRAY, "gradient norm", **POSITIVE)
    if "hessian_trace" in landscape:
        trace, error = landscape.hessian_trace, landscape.hessian_trace_se
        for seed in landscape.seed:
            low, high = ((trace + side * QUANTILE * error).sel(seed=seed).dropna("step") for side in (-1, 1))
            axes.fill_between(low.step, low.where(low > 0), high.where(low > 0), color=PURPLE, alpha=0.2, lw=0)
        over_seeds(axes, trace, PURPLE, "Hessian trace", **POSITIVE)
        over_seeds(axes, landscape.hessian_eigenvalue.isel(eigenvalue=0), BROWN, "top eigenvalue", **POSITIVE)


def barrier(axes: Axes, landscape: xr.Dataset) -> None:
    """Draw the loss barrier on the straight line from the previous checkpoint on a logarithmic axis."""
    drawn = [
        over_seeds(axes, landscape.loss_barrier.sel(split=split), color, split, **POSITIVE)
        for split, color in (("train", BLUE), ("test", ORANGE))
        if split in landscape.split
    ]
    if not any(drawn):
        empty_panel(axes, "no barrier above 0 between successive checkpoints")

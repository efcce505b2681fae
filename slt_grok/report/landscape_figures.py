"""The figures of the page on the loss landscape: along training, the path's dynamics, and the costlier probes."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import xarray as xr

from slt_grok import plots
from slt_grok.report.figures import Shown, by_seed, shown


def landscape(dataset: xr.Dataset, llc: xr.Dataset | None, folder: Path) -> list[Shown]:
    """Return the probes of the landscape along training, a figure for each seed."""
    caption = (
        "The loss landscape along training{note}: weight norm, ranks of the weight matrices (mean), trace and top "
        "eigenvalue of the Hessian of the train loss, trace of the Gauss-Newton matrix at unit logit scale (logits "
        "divided by their standard deviation) and its effective dimension (sum of h / (h + c) over its "
        "eigenvalues) at both scales, sharpness at one radius (adaptive: in units of each weight), and a lower "
        "bound of the basin's log-volume from 8 random directions, which in so many dimensions is far below it. "
        "Bands are 95% intervals."
    )
    return by_seed(partial(plots.landscape, llc=llc), dataset, folder, "landscape", caption)


def dynamics(dataset: xr.Dataset, llc: xr.Dataset | None, folder: Path) -> list[Shown]:
    """How the weights move, a figure for each seed."""
    caption = (
        "How the weights move beside the LLC{note}: the norm of the update from one checkpoint to the next, over "
        "the steps between them; gradient noise scale (variance of one sample's gradient over the squared norm "
        "of the mean one, 95% band); cosine of the train loss's gradient with the update from there (-1: "
        "descent, above 0: the update would raise the train loss); effective rank and spectral norm of each "
        "matrix, those of single heads thin, in the color of their kind."
    )
    return by_seed(partial(plots.dynamics, llc=llc), dataset, folder, "dynamics", caption)


def probes(datasets: Mapping[str, xr.Dataset], folder: Path) -> list[Shown]:
    """Spectral density, barriers, curves and planes, as far as they were measured, a figure of each for each seed."""
    density = (
        "Density of the Hessian's eigenvalues once the train set is memorized, once it generalizes and at "
        "the end{note}, on an axis that counts decades on both sides of 0, as it is and at unit logit scale."
    )
    barriers = (
        "Loss barrier on the straight line between every two checkpoints{note}, on the train and on the test set: "
        "0 where the line stays below the straight line between the losses of its ends."
    )
    curves = (
        "Loss from the memorizing and from the generalizing checkpoint to the last one{note}, on the straight "
        "line between the weights and on a quadratic Bezier curve whose control point was trained on the train "
        "set. A curve without a hump proves that its ends are connected below their losses; one with a hump "
        "proves nothing."
    )
    path = (
        "Train and test loss in the plane of the first two principal components of the path of the weights{note}. "
        "The points are the checkpoints, each in the color of its own loss: they lie off the plane, whose loss "
        "under them is another one."
    )
    random = (
        "The train and the test loss in a random plane through the last checkpoint{note}, in units of the norm of "
        "each filter."
    )

    def found(label: str, variable: str) -> bool:
        return label in datasets and variable in datasets[label]

    made = [
        ("curvature", "ritz_value", "spectral_density", plots.spectral_density, density),
        ("connectivity", "barrier_between", "barrier_matrix", plots.barrier_matrix, barriers),
        ("connectivity", "line_loss", "mode_connectivity", plots.mode_connectivity, curves),
        ("shape", "principal_plane_loss", "principal_plane", plots.principal_plane, path),
        ("shape@random", "plane_loss", "random_plane", plots.random_plane, random),
    ]
    drawn = [
        figure
        for label, variable, name, draw, caption in made
        if found(label, variable)
        for figure in by_seed(draw, datasets[label], folder, name, caption)
    ]
    if found("connectivity@seeds", "barrier_between"):
        between = plots.save(plots.seed_barriers(datasets["connectivity@seeds"]), folder, "seed_barriers")[0]
        caption = (
            "Loss barrier on the straight line between the seeds at each checkpoint, each pair thin and their median "
            "thick: between the weights as they are, and after the units of one network (neurons, heads, dimensions "
            "of the embedding) were put in the order in which its weights are closest to the other's. That order is "
            "a local optimum, so that the second is an upper bound of the barrier modulo permutations."
        )
        drawn.append(shown(between, caption))
    return drawn

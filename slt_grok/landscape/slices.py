"""Filter-normalized slices through a checkpoint: the loss in random planes.

L(w + x d + y e) with d and e Gaussian, rescaled filter by filter, d_f <- d_f |w_f| / |d_f| (Li et al. 1712.09913,
section 4). At x = 1 every filter has moved by its own norm, so that slices of networks with different weight
scales are comparable. A filter is the set of weights that generate one neuron: in a matrix of this package, which
multiplies from the right (input, output), a column, separately for each head; in a torch layer (output, input, ...)
the weights of one output. One-dimensional parameters such as biases do not move, as in the paper's plots, nor do
scalars.

A random direction has a fraction of about k / D in any k of D directions: these slices show the mean curvature, tr H
weighted by the filters' norms, and never a sharp direction or a valley floor.
"""

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from slt_grok.errors import SltGrokError
from slt_grok.landscape.common import declared
from slt_grok.landscape.evaluation import SPLITS, mean_losses, splits
from slt_grok.measurement import Variable
from slt_grok.operators.objective import network_seed
from slt_grok.progress import ProgressCallback, ignore
from slt_grok.trajectories import Network, Parameters, Trajectory

SOURCE = "arXiv:1712.09913, section 4"
VARIABLES = {
    "plane_loss": Variable(
        ("x", "y", "split"),
        "loss in a random plane",
        "mean loss at w + x d + y e, d and e filter-normalized directions: Gaussian, each filter scaled to the "
        "norm of the weights', 0 for biases",
        SOURCE,
        of_loss=True,
    ),
    "plane_loss_se": Variable(
        ("x", "y", "split"), "standard error of the loss in a random plane", "over the samples", SOURCE, of_loss=True
    ),
    "plane_cosine": Variable((), "cosine between the directions", "d e / (|d| |e|)", SOURCE),
}


def filter_norms(network: Network, weights: Tensor) -> Tensor:
    """Compute the norms of a matrix's filters, in a shape that broadcasts over it."""
    if network.declares("units"):  # the package's models declare units and multiply from the right
        return weights.norm(dim=-2, keepdim=True)
    return weights.reshape(len(weights), -1).norm(dim=1).reshape(-1, *[1] * (weights.ndim - 1))


def filter_normalized(network: Network, parameters: Parameters, count: int, seed: int) -> dict[str, Tensor]:
    """Draw random directions for one network, every parameter with a leading `count`; 0 for frozen ones."""
    generator = torch.Generator().manual_seed(seed)
    directions = {name: w.new_zeros(count, *w.shape) for name, w in parameters.items()}
    for i in range(count):
        for name, weights in parameters.items():
            if weights.ndim < 2 or name in network.fixed:
                continue
            noise = torch.randn(weights.shape, generator=generator, dtype=torch.float64)
            scale = filter_norms(network, weights.double().cpu()) / filter_norms(network, noise)
            directions[name][i] = noise * scale
    return directions


def random_plane(
    trajectory: Trajectory,
    *,
    radius: float = 1.0,
    points: int = 21,
    rows: int | None = 1024,
    seed: int = 0,
    on_progress: ProgressCallback = ignore,
) -> xr.Dataset:
    """Measure L(w + x d + y e) in a random plane through each checkpoint.

    The cost per network is points^2 losses of each split; see `evaluation.predicted_seconds`.

    Parameters
    ----------
    trajectory : Trajectory
        The networks.
    radius : float, optional
        Maximum |x| and |y|, in filter norms.
    points : int, optional
        Number of values of x and of y, odd.
    rows : int, optional
        Number of samples of each split; None for all.
    seed : int, optional
        Seed of directions, which also depend on the network's coordinates, and of the sample selection.
    on_progress : callable, optional
        Called with the completed fraction of networks.

    Returns
    -------
    xarray.Dataset
        Losses may be infinite or NaN; standard errors are 0 if all samples are used.

    Raises
    ------
    SltGrokError
        The number of points is even.
    """
    if points % 2 == 0:
        raise SltGrokError(f"points: expected an odd number of at least 3, so that 0 is included, got {points}")
    x = np.linspace(-radius, radius, points)
    moves = np.stack(np.meshgrid(x, x, indexing="ij"), -1).reshape(-1, 2)
    coefficients = np.insert(moves, 0, 1, axis=1)
    selection, stack = splits(trajectory, rows, seed), trajectory.stacked()
    losses, cosines = [], []
    for i, coordinates in enumerate(trajectory.labels()):
        center = {name: tensor[i] for name, tensor in stack.items()}
        directions = filter_normalized(trajectory.network, center, 2, network_seed(seed, coordinates))
        flat = torch.cat([d.double().reshape(len(d), -1) for d in directions.values()], 1)
        cosines.append(torch.nn.functional.cosine_similarity(flat[0], flat[1], dim=0).item())
        vectors = {name: torch.cat([center[name][None], d]) for name, d in directions.items()}
        losses.append(mean_losses(trajectory.network, vectors, coefficients, selection))
        on_progress((i + 1) / len(trajectory))
    means, errors = np.reshape(losses, (-1, 2, points, points, len(SPLITS))).swapaxes(0, 1)
    values = {"plane_loss": means, "plane_loss_se": errors, "plane_cosine": cosines}
    return declared(trajectory, VARIABLES, values, x=x, y=x, split=list(SPLITS))

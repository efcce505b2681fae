"""Filter-normalized slices through a checkpoint: the loss along random directions and in random planes.

L(w + x d) and L(w + x d + y e), d and e Gaussian and then scaled filter by filter, d_f <- d_f |w_f| / |d_f| (Li et al.
1712.09913, section 4). At x = 1 every filter has moved by as much as its own norm, so that slices of networks of
different weight scale can be compared. A filter is the weights that generate one neuron: of a matrix of this package,
which multiplies from the right (input, output), a column, in each head; of a torch layer (output, input, ...) what
belongs to one output. Parameters of one dimension, biases among them, are not moved, as in the paper's plots; scalars
neither.

A random direction has a share of about k / D in any k of D directions: these slices show the mean curvature, tr H
weighted by the filters' norms, and never a sharp direction or a valley floor. Their spread over directions is stored.
"""

from collections.abc import Callable

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from slt_grok.errors import SltGrokError
from slt_grok.landscape.evaluation import SPLITS, losses_at, splits
from slt_grok.operators.objective import Data
from slt_grok.operators.objective import network_seed
from slt_grok.models import Adapter, Model
from slt_grok.trajectories import Parameters, Trajectory

SOURCE = "arXiv:1712.09913, section 4"
STEP = "filter-normalized direction: Gaussian, each filter scaled to the norm of the weights', 0 for biases"


def filter_norms(module: nn.Module, weights: Tensor) -> Tensor:
    """Norms of the filters of a matrix, in a shape that broadcasts over it; see the module's docstring."""
    if isinstance(module, Model) and not isinstance(module, Adapter):
        return weights.norm(dim=-2, keepdim=True)
    return weights.flatten(1).norm(dim=1).reshape(-1, *[1] * (weights.ndim - 1))


def filter_normalized(module: nn.Module, parameters: Parameters, count: int, seed: int) -> dict[str, Tensor]:
    """Random directions for one network, every parameter with a leading `count`."""
    generator = torch.Generator().manual_seed(seed)
    directions = {name: torch.zeros(count, *w.shape, dtype=torch.float64) for name, w in parameters.items()}
    for i in range(count):
        for name, weights in parameters.items():
            if weights.ndim < 2:
                continue
            drawn = torch.randn(weights.shape, generator=generator, dtype=torch.float64)
            scale = filter_norms(module, weights.double().cpu()) / filter_norms(module, drawn)
            directions[name][i] = drawn * scale
    return {name: d.to(parameters[name]) for name, d in directions.items()}


def cosine(directions: Parameters) -> float:
    """Cosine of the angle between the first two directions; random ones are nearly orthogonal."""
    flat = torch.cat([d.double().flatten(1) for d in directions.values()], 1)
    return torch.nn.functional.cosine_similarity(flat[0], flat[1], dim=0).item()


def grid(radius: float, points: int) -> np.ndarray:
    """Equally spaced places from -radius to radius, 0 among them.

    Raises
    ------
    SltGrokError
        A radius that is not above 0, an even number of points, or fewer than 3.
    """
    if not radius > 0:
        raise SltGrokError(f"radius: expected a number above 0, in norms of the filters, got {radius:g}")
    if points < 3 or points % 2 == 0:
        raise SltGrokError(f"points: expected an odd number of at least 3, so that 0 is among them, got {points}")
    return np.linspace(-radius, radius, points)


def random_lines(
    trajectory: Trajectory,
    *,
    data: Data | None = None,
    directions: int = 5,
    radius: float = 1.0,
    points: int = 21,
    rows: int | None = None,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> xr.Dataset:
    """1-D slices: L(w + x d) for several random directions at each checkpoint.

    Costs directions x (points - 1) + 1 losses of each split for each network; see `evaluation.predicted_seconds`.

    Parameters
    ----------
    trajectory : Trajectory
        The networks.
    data : Data or None, optional
        Train inputs (n, ...) and targets (n, ...) for networks without a task; None: the task's splits.
    directions : int, optional
        How many; their spread says how much one slice can be trusted.
    radius : float, optional
        Largest |x|, in norms of the filters.
    points : int, optional
        Odd number of x.
    rows : int or None, optional
        Samples of each split; None: all.
    seed : int, optional
        Of directions, which also depend on the network's coordinates, and of the draw of samples.
    on_progress : callable or None, optional
        Called with (networks done, networks in all).

    Returns
    -------
    xarray.Dataset
        Over the trajectory's dimensions: `slice_loss` (direction, x, split), as the network has it, infinite or NaN
        too; `slice_loss_se`, its standard error over the samples, 0 where all are taken.

    Raises
    ------
    SltGrokError
        No task and no data, or settings out of range.
    """
    if directions < 1:
        raise SltGrokError(f"directions: expected at least 1, got {directions}")
    x = grid(radius, points)
    moves = (np.eye(directions)[:, None] * x[:, None]).reshape(-1, directions)
    losses, errors, _ = _slices(trajectory, data, moves, directions, rows, seed, on_progress)
    shape = (len(trajectory), directions, points, len(SPLITS))
    about = {"units": "nats", "source": SOURCE}
    variables = {
        "slice_loss": (
            ("direction", "x", "split"),
            losses.reshape(shape),
            {"long_name": "loss along random directions", "definition": f"mean loss at w + x d, d a {STEP}"} | about,
        ),
        "slice_loss_se": (
            ("direction", "x", "split"),
            errors.reshape(shape),
            {"long_name": "standard error of the loss along random directions", "definition": "over the samples"}
            | about,
        ),
    }
    return trajectory.dataset(variables, x=x, direction=np.arange(directions), split=list(SPLITS))


def random_plane(
    trajectory: Trajectory,
    *,
    data: Data | None = None,
    radius: float = 1.0,
    points: int = 21,
    rows: int | None = 1024,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> xr.Dataset:
    """2-D slices: L(w + x d + y e) in a random plane through each checkpoint.

    Costs points^2 losses of each split for each network; see `evaluation.predicted_seconds`. Parameters as for
    `random_lines`.

    Returns
    -------
    xarray.Dataset
        Over the trajectory's dimensions: `plane_loss` (x, y, split), as the network has it, infinite or NaN too;
        `plane_loss_se`; `plane_cosine`, that of the angle between d and e.

    Raises
    ------
    SltGrokError
        No task and no data, or settings out of range.
    """
    x = grid(radius, points)
    moves = np.stack(np.meshgrid(x, x, indexing="ij"), -1).reshape(-1, 2)
    losses, errors, cosines = _slices(trajectory, data, moves, 2, rows, seed, on_progress)
    shape = (len(trajectory), points, points, len(SPLITS))
    about = {"units": "nats", "source": SOURCE}
    variables = {
        "plane_loss": (
            ("x", "y", "split"),
            losses.reshape(shape),
            {"long_name": "loss in a random plane", "definition": f"mean loss at w + x d + y e, d and e each a {STEP}"}
            | about,
        ),
        "plane_loss_se": (
            ("x", "y", "split"),
            errors.reshape(shape),
            {"long_name": "standard error of the loss in a random plane", "definition": "over the samples"} | about,
        ),
        "plane_cosine": (
            (),
            cosines,
            {"long_name": "cosine between the directions", "definition": "d e / (|d| |e|)", "source": SOURCE},
        ),
    }
    return trajectory.dataset(variables, x=x, y=x, split=list(SPLITS))


def _slices(
    trajectory: Trajectory,
    data: Data | None,
    moves: np.ndarray,
    directions: int,
    rows: int | None,
    seed: int,
    on_progress: Callable[[int, int], None] | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Losses and errors (N, move, split) at w + moves (move, direction) of directions, and their cosines (N,)."""
    chosen = splits(trajectory, data, rows, seed)
    stack = trajectory.stacked()
    losses, errors = np.full((2, len(trajectory), len(moves), len(SPLITS)), np.nan)
    cosines = np.full(len(trajectory), np.nan)
    for i, coordinates in enumerate(trajectory.labels()):
        center = {name: tensor[i] for name, tensor in stack.items()}
        own = network_seed(seed, coordinates)
        random = filter_normalized(trajectory.network.module, center, directions, own)
        if directions > 1:
            cosines[i] = cosine(random)
        vectors = {name: torch.cat([center[name][None], d]) for name, d in random.items()}
        coefficients = np.concatenate([np.ones((len(moves), 1)), moves], 1)
        for split, samples in chosen.items():
            k = SPLITS.index(split)
            values = losses_at(trajectory.network, vectors, coefficients, samples)
            losses[i, :, k] = values @ samples.weights
            errors[i, :, k] = samples.standard_error(values)
        if on_progress:
            on_progress(i + 1, len(trajectory))
    return losses, errors, cosines

"""The plane of a trajectory's first two principal components, its loss, and the path in it.

With w_k the checkpoints of one run, the components are those of the matrix of w_k - mean(w). The plane passes
through the last checkpoint, so that the loss at its origin is that of the trained network (Li et al. 1712.09913,
section 7). The other checkpoints are drawn at their projections, where the loss differs from theirs: `path_distance` is
the distance of each from the plane, `path_loss` its loss, and `projected_loss` the loss at its projection.

The null: a random walk of n steps in many dimensions also has few large components, with fractions (6 / pi^2) / k^2,
61% and 15% (Antognini and Sohl-Dickstein 1806.08805). Fractions near these do not indicate a low-dimensional path.
"""

from dataclasses import replace

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from slt_grok.errors import SltGrokError
from slt_grok.landscape.evaluation import SPLITS, losses_at, splits
from slt_grok.measurement import Variable
from slt_grok.operators.objective import Data
from slt_grok.progress import ProgressCallback, ignore
from slt_grok.trajectories import Parameters, Trajectory

SOURCE = "arXiv:1712.09913, section 7"
MARGIN = 0.25  # added on each side, as a fraction of the path's extent
WALK = 6 / np.pi**2 / np.arange(1, 3) ** 2

PLANE = "the plane of the first two principal components through the last checkpoint"
SURFACE = ("x", "y", "split")
VARIABLES = {
    "principal_plane_loss": Variable(
        SURFACE, "loss in the principal plane", f"mean loss in {PLANE}; per run, not per step", SOURCE, "nats"
    ),
    "principal_plane_loss_se": Variable(
        SURFACE, "standard error of the loss in the principal plane", "over the samples", SOURCE, "nats"
    ),
    "plane_x": Variable(
        ("x",), "position along the first component", "distance from the last checkpoint", SOURCE, "weight"
    ),
    "plane_y": Variable(
        ("y",), "position along the second component", "distance from the last checkpoint", SOURCE, "weight"
    ),
    "explained_share": Variable(("component",), "fraction of variance", "s_k^2 / sum s^2, s of w - mean(w)", SOURCE),
    "explained_share_random_walk": Variable(
        ("component",), "fractions of variance of a random walk", "(6 / pi^2) / k^2", "arXiv:1806.08805"
    ),
    "path": Variable(("component",), "path in the principal plane", "(w - w_last) . component", SOURCE, "weight"),
    "path_distance": Variable((), "distance from the principal plane", "|w - its projection|", SOURCE, "weight"),
    "path_loss": Variable(("split",), "loss of the checkpoint", "mean loss at w", SOURCE, "nats"),
    "projected_loss": Variable(
        ("split",), "loss at the checkpoint's projection", f"mean loss at the projection on {PLANE}", SOURCE, "nats"
    ),
}
OF_CHECKPOINTS = ("path", "path_distance", "path_loss", "projected_loss")


def principal_components(stack: Parameters) -> tuple[dict[str, Tensor], np.ndarray]:
    """Compute the first two principal components of a stack of networks, and the fractions of variance they explain.

    Parameters
    ----------
    stack : Parameters
        Every parameter with a leading N, at least 3 networks that are not all on a line.

    Returns
    -------
    tuple of dict and ndarray
        Orthonormal directions in float64, every parameter with a leading 2, with signs such that the first
        network has negative coordinates relative to the last; fractions of variance (2,) in [0, 1].

    Raises
    ------
    SltGrokError
        There are fewer than 3 networks, or all are on a line.
    """
    flat = torch.cat([tensor.double().flatten(1) for tensor in stack.values()], 1)
    if len(flat) < 3:
        raise SltGrokError(f"principal plane: expected at least 3 checkpoints along step, got {len(flat)}")
    centered = flat - flat.mean(0)
    _, values, components = torch.linalg.svd(centered, full_matrices=False)
    if values[1] <= 1e-7 * values[0]:  # of weights in float32
        raise SltGrokError("principal plane: expected checkpoints that are not all on one line in weight space")
    components = components[:2] * torch.where(components[:2] @ (flat[0] - flat[-1]) > 0, -1, 1)[:, None]
    shares = (values[:2].square() / values.square().sum()).numpy(force=True)
    sizes = [tensor[0].numel() for tensor in stack.values()]
    pieces = components.split(sizes, 1)
    return {name: d.reshape(2, *stack[name].shape[1:]) for name, d in zip(stack, pieces, strict=True)}, shares


def principal_plane(
    trajectory: Trajectory,
    *,
    data: Data | None = None,
    points: int = 25,
    rows: int | None = 1024,
    seed: int = 0,
    on_progress: ProgressCallback = ignore,
) -> xr.Dataset:
    """Measure the loss in the plane of the first two principal components of the path along `step`, for each run.

    The cost per run is points^2 + 2 checkpoints losses of each split; see `evaluation.predicted_seconds`.

    Parameters
    ----------
    trajectory : Trajectory
        Networks over `step`, at least 3 of them.
    data : Data, optional
        Train inputs (n, ...) and targets (n, ...) for networks without a task.
    points : int, optional
        Number of grid points along each axis, which extends a quarter of the path's extent beyond it on each side.
    rows : int, optional
        Number of samples of each split; None for all.
    seed : int, optional
        Seed of the sample selection.
    on_progress : callable, optional
        Called with the completed fraction of runs.

    Returns
    -------
    xarray.Dataset
        `path`, `path_distance`, `path_loss` and `projected_loss` over all dimensions of the trajectory, the others over
        all but `step`. Losses may be infinite or NaN.

    Raises
    ------
    SltGrokError
        There is no `step`, fewer than 3 checkpoints or all on a line, no task and no data, or a setting out of range.
    """
    if "step" not in trajectory.dims:
        raise SltGrokError(f"principal plane: expected a dimension step, got {', '.join(trajectory.dims) or 'none'}")
    if points < 3:
        raise SltGrokError(f"points: expected at least 3, got {points}")
    chosen = splits(trajectory, data, rows, seed)
    axis = trajectory.dims.index("step")
    first = {name: tensor.movedim(axis, 0) for name, tensor in trajectory.parameters.items()}
    others = tuple(dim for dim in trajectory.dims if dim != "step")
    turned = replace(trajectory, parameters=first, dims=("step", *others))
    steps, runs = turned.shape[0], turned.shape[1:].numel()
    stack = {name: tensor.unflatten(0, (steps, runs)) for name, tensor in turned.stacked().items()}

    surface = np.full((2, runs, points, points, len(SPLITS)), np.nan)
    places, shares = np.empty((runs, 2, points)), np.empty((runs, 2))
    path, distance = np.empty((steps, runs, 2)), np.empty((steps, runs))
    seen = np.full((2, steps, runs, len(SPLITS)), np.nan)
    for run in range(runs):
        own = {name: tensor[:, run] for name, tensor in stack.items()}
        directions, shares[run] = principal_components(own)
        path[:, run], distance[:, run] = _projection(own, directions)
        low, high = path[:, run].min(0), path[:, run].max(0)
        room = MARGIN * (high - low)
        places[run] = np.linspace(low - room, high + room, points, axis=-1)
        grid = np.stack(np.meshgrid(*places[run], indexing="ij"), -1).reshape(-1, 2)
        moves = np.concatenate([grid, path[:, run]])
        vectors = {name: torch.cat([tensor[-1:], directions[name].to(tensor)]) for name, tensor in own.items()}
        coefficients = np.concatenate([np.ones((len(moves), 1)), moves], 1)
        for split, samples in chosen.items():
            k = SPLITS.index(split)
            losses = losses_at(trajectory.network, vectors, coefficients, samples)
            inner, projected = np.split(losses, [len(grid)])
            surface[0, run, ..., k] = (inner @ samples.weights).reshape(points, points)
            surface[1, run, ..., k] = samples.standard_error(inner).reshape(points, points)
            true = losses_at(trajectory.network, own, np.eye(steps), samples)
            seen[:, :, run, k] = true @ samples.weights, projected @ samples.weights
        on_progress((run + 1) / runs)

    values = (*surface, places[:, 0], places[:, 1], shares, WALK, path, distance, *seen)
    arrays = {}
    for (name, variable), value in zip(VARIABLES.items(), values, strict=True):
        dims = () if value is WALK else turned.dims if name in OF_CHECKPOINTS else others
        sizes = [len(trajectory.coords[dim]) for dim in dims]
        shaped = value.reshape(*sizes, *value.shape[value.ndim - len(variable.dims) :])
        arrays[name] = ((*dims, *variable.dims), shaped, variable.attrs)
    coords = {dim: (dim, values) for dim, values in trajectory.coords.items()}
    return xr.Dataset(arrays, coords={**coords, "component": [1, 2], "split": list(SPLITS)})


def _projection(stack: Parameters, directions: Parameters) -> tuple[np.ndarray, np.ndarray]:
    """Project the networks onto the plane through the last one: coordinates (N, 2) and distances (N,) from it."""
    apart = torch.cat([(tensor - tensor[-1]).double().flatten(1) for tensor in stack.values()], 1)
    basis = torch.cat([d.flatten(1) for d in directions.values()], 1)
    inside = apart @ basis.T
    return inside.numpy(force=True), (apart - inside @ basis).norm(dim=1).numpy(force=True)

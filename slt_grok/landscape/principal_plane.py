"""The plane of a trajectory's first two principal components, its loss, and the path in it.

With w_k the checkpoints of one run, the components are those of the matrix of w_k - mean(w), and the plane goes
through the last checkpoint, so that the loss at its origin is that of the trained network (Li et al. 1712.09913,
section 7). The other checkpoints are seen at their projections, and the loss there is not theirs: `path_distance` says
how far from the plane each one is, `path_loss` what its loss is, and `projected_loss` what the plane shows.

The null: a random walk of n steps in many dimensions also lies in few components, with shares (6 / pi^2) / k^2, 61% and
15% (Antognini and Sohl-Dickstein 1806.08805). Shares near these are no sign of a path of low dimension.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from slt_grok.errors import SltGrokError
from slt_grok.landscape.evaluation import SPLITS, losses_at, splits
from slt_grok.operators.objective import Data
from slt_grok.trajectories import Parameters, Trajectory

SOURCE = "arXiv:1712.09913, section 7"
MARGIN = 0.25  # of the path's extent on each side
WALK = 6 / np.pi**2 / np.arange(1, 3) ** 2


def principal_components(stack: Parameters) -> tuple[dict[str, Tensor], np.ndarray]:
    """Return the first two principal components of a stack of networks, and the shares of variance they explain.

    Parameters
    ----------
    stack : Parameters
        Every parameter with a leading N, at least 3 networks that are not all on a line.

    Returns
    -------
    tuple[dict[str, Tensor], ndarray]
        Orthonormal directions in float64, every parameter with a leading 2, each with its sign such that the first
        network is on its negative side of the last; shares (2,) in [0, 1].

    Raises
    ------
    SltGrokError
        Fewer than 3 networks, or all on a line.
    """
    flat = torch.cat([tensor.double().flatten(1) for tensor in stack.values()], 1)
    if len(flat) < 3:
        raise SltGrokError(f"principal plane: expected at least 3 checkpoints along step, got {len(flat)}")
    centered = flat - flat.mean(0)
    _, values, components = torch.linalg.svd(centered, full_matrices=False)
    if values[1] <= 1e-7 * values[0]:  # of weights in float32
        raise SltGrokError("principal plane: expected checkpoints that are not all on a line in weight space")
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
    on_progress: Callable[[int, int], None] | None = None,
) -> xr.Dataset:
    """Loss in the plane of the first two principal components of the path along `step`, for each run.

    Costs points^2 + 2 checkpoints losses of each split for a run; see `evaluation.predicted_seconds`.

    Parameters
    ----------
    trajectory : Trajectory
        Networks over `step`, at least 3 of them.
    data : Data or None, optional
        Train inputs (n, ...) and targets (n, ...) for networks without a task; None: the task's splits.
    points : int, optional
        Of the grid along each axis, which reaches a quarter of the path's extent beyond it on each side.
    rows : int or None, optional
        Samples of each split; None: all.
    seed : int, optional
        Of the draw of these samples.
    on_progress : callable or None, optional
        Called with (runs done, runs in all).

    Returns
    -------
    xarray.Dataset
        Over the other dimensions of the trajectory: `principal_plane_loss` (x, y, split), as the network has it,
        infinite or NaN too, with its `principal_plane_loss_se` and the places `plane_x` (x) and `plane_y` (y) in units
        of weight from the last checkpoint; `explained_share` (component), and `explained_share_random_walk` (component)
        to set beside it. Over all its dimensions: `path` (component), `path_distance`, `path_loss` and `projected_loss`
        (split).

    Raises
    ------
    SltGrokError
        No `step`, fewer than 3 checkpoints or all on a line, no task and no data, or settings out of range.
    """
    if "step" not in trajectory.dims:
        raise SltGrokError(f"principal plane: expected a dimension step, got {', '.join(trajectory.dims) or 'none'}")
    if points < 3:
        raise SltGrokError(f"points: expected at least 3, got {points}")
    chosen = splits(trajectory, data, rows, seed)
    axis = trajectory.dims.index("step")
    last = {name: tensor.movedim(axis, 0) for name, tensor in trajectory.parameters.items()}
    others = tuple(dim for dim in trajectory.dims if dim != "step")
    turned = replace(trajectory, parameters=last, dims=("step", *others))
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
        if on_progress:
            on_progress(run + 1, runs)

    rest = turned.shape[1:]
    plane = "the plane of the first two principal components through the last checkpoint"
    nats = {"units": "nats", "source": SOURCE}
    weight = {"units": "weight", "source": SOURCE}
    walk = {"long_name": "shares of a random walk", "definition": "(6 / pi^2) / k^2", "source": "arXiv:1806.08805"}
    variables = {
        "principal_plane_loss": (
            (*others, "x", "y", "split"),
            surface[0].reshape(*rest, points, points, len(SPLITS)),
            {"long_name": "loss in the principal plane", "definition": f"mean loss in {plane}"} | nats,
        ),
        "principal_plane_loss_se": (
            (*others, "x", "y", "split"),
            surface[1].reshape(*rest, points, points, len(SPLITS)),
            {"long_name": "standard error of the loss in the principal plane", "definition": "over the samples"} | nats,
        ),
        "plane_x": (
            (*others, "x"),
            places[:, 0].reshape(*rest, points),
            {"long_name": "place along the first component", "definition": "distance from the last checkpoint"}
            | weight,
        ),
        "plane_y": (
            (*others, "y"),
            places[:, 1].reshape(*rest, points),
            {"long_name": "place along the second component", "definition": "distance from the last checkpoint"}
            | weight,
        ),
        "explained_share": (
            (*others, "component"),
            shares.reshape(*rest, 2),
            {"long_name": "share of variance", "definition": "s_k^2 / sum s^2, s of w - mean(w)", "source": SOURCE},
        ),
        "explained_share_random_walk": (("component",), WALK, walk),
        "path": (
            ("step", *others, "component"),
            path.reshape(steps, *rest, 2),
            {"long_name": "path in the principal plane", "definition": "(w - w_last) . component"} | weight,
        ),
        "path_distance": (
            ("step", *others),
            distance.reshape(steps, *rest),
            {"long_name": "distance from the principal plane", "definition": "|w - its projection|"} | weight,
        ),
        "path_loss": (
            ("step", *others, "split"),
            seen[0].reshape(steps, *rest, len(SPLITS)),
            {"long_name": "loss of the checkpoint", "definition": "mean loss at w"} | nats,
        ),
        "projected_loss": (
            ("step", *others, "split"),
            seen[1].reshape(steps, *rest, len(SPLITS)),
            {
                "long_name": "loss at the checkpoint's projection",
                "definition": f"mean loss at the projection on {plane}",
            }
            | nats,
        ),
    }
    coords = {dim: (dim, values) for dim, values in trajectory.coords.items()}
    return xr.Dataset(variables, coords={**coords, "component": [1, 2], "split": list(SPLITS)})


def _projection(stack: Parameters, directions: Parameters) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates (N, 2) of the networks in the plane through the last one, and their distances (N,) from it."""
    apart = torch.cat([(tensor - tensor[-1]).double().flatten(1) for tensor in stack.values()], 1)
    basis = torch.cat([d.flatten(1) for d in directions.values()], 1)
    inside = apart @ basis.T
    return inside.numpy(force=True), (apart - inside @ basis).norm(dim=1).numpy(force=True)

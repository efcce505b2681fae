"""The plane of a trajectory's first two principal components, its loss, and the path in it.

With w_k the checkpoints of one run, the components are those of the matrix of w_k - mean(w). The plane passes
through the last checkpoint, so that the loss at its origin is that of the trained network (Li et al. 1712.09913,
section 7). The other checkpoints are drawn at their projections, where the loss differs from theirs: `path_distance` is
the distance of each from the plane, `path_loss` its loss, and `projected_loss` the loss at its projection.

The null: a random walk of n steps in many dimensions also has few large components, with fractions (6 / pi^2) / k^2,
61% and 15% (Antognini and Sohl-Dickstein 1806.08805). Fractions near these do not indicate a low-dimensional path.
"""

from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from slt_grok.errors import SltGrokError
from slt_grok.landscape.common import declared
from slt_grok.landscape.evaluation import SPLITS, Samples, mean_losses, splits
from slt_grok.measurement import Variable
from slt_grok.progress import ProgressCallback, ignore
from slt_grok.tasks import Split
from slt_grok.trajectories import Parameters, Trajectory

SOURCE = "arXiv:1712.09913, section 7"
MARGIN = 0.25  # added on each side, as a fraction of the path's extent
RANDOM_WALK = "explained_share_random_walk"
WALK = 6 / np.pi**2 / np.arange(1, 3) ** 2

PLANE = "the plane of the first two principal components through the last checkpoint"
SURFACE = ("x", "y", "split")
VARIABLES = {
    "principal_plane_loss": Variable(
        SURFACE, "loss in the principal plane", f"mean loss in {PLANE}; per run, not per step", SOURCE, of_loss=True
    ),
    "principal_plane_loss_se": Variable(
        SURFACE, "standard error of the loss in the principal plane", "over the samples", SOURCE, of_loss=True
    ),
    "plane_x": Variable(
        ("x",), "position along the first component", "distance from the last checkpoint", SOURCE, "weight"
    ),
    "plane_y": Variable(
        ("y",), "position along the second component", "distance from the last checkpoint", SOURCE, "weight"
    ),
    "explained_share": Variable(("component",), "fraction of variance", "s_k^2 / sum s^2, s of w - mean(w)", SOURCE),
    RANDOM_WALK: Variable(
        ("component",), "fractions of variance of a random walk", "(6 / pi^2) / k^2", "arXiv:1806.08805"
    ),
    "path": Variable(("component",), "path in the principal plane", "(w - w_last) . component", SOURCE, "weight"),
    "path_distance": Variable((), "distance from the principal plane", "|w - its projection|", SOURCE, "weight"),
    "path_loss": Variable(("split",), "loss of the checkpoint", "mean loss at w", SOURCE, of_loss=True),
    "projected_loss": Variable(
        ("split",),
        "loss at the checkpoint's projection",
        f"mean loss at the projection on {PLANE}",
        SOURCE,
        of_loss=True,
    ),
}


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
    flat = torch.cat([tensor.double().reshape(len(tensor), -1) for tensor in stack.values()], 1)
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
    points: int = 25,
    rows: int | None = 1024,
    seed: int = 0,
    on_progress: ProgressCallback = ignore,
) -> xr.Dataset:
    """Measure the loss in the plane of the first two principal components of the path along `step`, for each seed.

    The cost per seed is points^2 + 2 checkpoints losses of each split; see `evaluation.predicted_seconds`.

    Parameters
    ----------
    trajectory : Trajectory
        Networks over (step, seed), at least 3 steps.
    points : int, optional
        Number of grid points along each axis, which extends a quarter of the path's extent beyond it on each side.
    rows : int, optional
        Number of samples of each split; None for all.
    seed : int, optional
        Seed of the sample selection.
    on_progress : callable, optional
        Called with the completed fraction of seeds.

    Returns
    -------
    xarray.Dataset
        `path`, `path_distance`, `path_loss` and `projected_loss` over (step, seed, ...), the others over (seed, ...).
        Losses may be infinite or NaN.

    Raises
    ------
    SltGrokError
        There are fewer than 3 checkpoints, or all are on a line.
    """
    selection, count = splits(trajectory, rows, seed), trajectory.shape[1]
    planes: list[xr.Dataset] = []
    for index in range(count):
        planes.append(_plane(trajectory.isel(seed=[index]), points, selection))
        on_progress((index + 1) / count)
    return xr.concat(planes, "seed", data_vars="minimal", join="exact")


def _plane(run: Trajectory, points: int, selection: dict[Split, Samples]) -> xr.Dataset:
    """Measure the plane of one seed."""
    stack = run.stacked()
    weights = {name: stack[name] for name in run.network.moving}
    directions, shares = principal_components(weights)
    path, distance = _projection(weights, directions)
    low, high = path.min(0), path.max(0)
    margin = MARGIN * (high - low)
    x, y = np.linspace(low - margin, high + margin, points, axis=-1)
    grid = np.stack(np.meshgrid(x, y, indexing="ij"), -1).reshape(-1, 2)
    fixed = {name: torch.zeros(2, *shape) for name, shape in run.network.shapes.items()}
    vectors = {name: torch.cat([w[-1:], (fixed | directions)[name].to(w)]) for name, w in stack.items()}
    coefficients = np.insert(np.concatenate([grid, path]), 0, 1, axis=1)
    means, errors = mean_losses(run.network, vectors, coefficients, selection)
    surface, surface_se = (losses[: len(grid)].reshape(points, points, -1) for losses in (means, errors))
    per_run = {
        "principal_plane_loss": surface,
        "principal_plane_loss_se": surface_se,
        "plane_x": x,
        "plane_y": y,
        "explained_share": shares,
    }
    per_checkpoint = {
        "path": path,
        "path_distance": distance,
        "path_loss": mean_losses(run.network, stack, np.eye(len(path)), selection)[0],
        "projected_loss": means[len(grid) :],
    }
    arrays: dict[str, Any] = {
        name: (("seed", *VARIABLES[name].dims), value[None], VARIABLES[name].attrs) for name, value in per_run.items()
    }
    arrays[RANDOM_WALK] = "component", WALK, VARIABLES[RANDOM_WALK].attrs
    return declared(run, VARIABLES, per_checkpoint, component=[1, 2], split=list(SPLITS)).assign(arrays)


def _projection(stack: Parameters, directions: Parameters) -> tuple[np.ndarray, np.ndarray]:
    """Project the networks onto the plane through the last one: coordinates (N, 2) and distances (N,) from it."""
    offsets = torch.cat([(tensor - tensor[-1]).double().reshape(len(tensor), -1) for tensor in stack.values()], 1)
    basis = torch.cat([d.reshape(len(d), -1) for d in directions.values()], 1)
    coordinates = offsets @ basis.T
    return coordinates.numpy(force=True), (offsets - coordinates @ basis).norm(dim=1).numpy(force=True)

"""Barriers along the straight line between any two networks: checkpoints, seeds, or two trajectories.

L(t) = L((1 - t) w_1 + t w_2) for t in [0, 1] (Goodfellow et al. 1412.6544), and the barrier is
max_t [L(t) - (1 - t) L(0) - t L(1)] (Frankle et al. 1912.05671; in this form Entezari et al. 2110.06296, definition 1):
0 if the line stays at or below the chord, as on a convex loss. The barrier is relative to the chord, so that a hump
below it, between a bad end and a good one, does not count.

Two networks that compute the same function with different neurons have a barrier that says nothing about the function;
the barrier after `slt_grok.landscape.alignment` does not depend on the order of units. Its null is the barrier after
`alignment.shuffle`, the cost of a line without any matching.
"""

from collections.abc import Mapping

import numpy as np
import torch
import xarray as xr

from slt_grok.landscape.alignment import aligned
from slt_grok.landscape.common import declared, paired_stacks, timed
from slt_grok.landscape.dynamics import predecessors
from slt_grok.landscape.evaluation import SPLITS, Samples, losses_at, predicted_seconds, splits
from slt_grok.measurement import Variable
from slt_grok.progress import ProgressCallback, ignore
from slt_grok.trajectories import Parameters, Trajectory

POSITIONS = 9
BARRIER = Variable(
    ("split",),
    "loss barrier",
    "max over t of L(t) - (1 - t) L(0) - t L(1) on the straight line (1 - t) w_1 + t w_2",
    "arXiv:2110.06296, definition 1; arXiv:1912.05671",
    of_loss=True,
)
ERROR = Variable(
    ("split",),
    "standard error of the loss barrier",
    "standard error over the samples at the position of the barrier; 0 if all samples are used",
    "Cochran 1977, section 2.6",
    of_loss=True,
)
LINE: dict[str, Variable] = {
    "line_loss": Variable(
        ("split", "position"),
        "loss between networks",
        "mean loss at (1 - t) w_1 + t w_2, t the position",
        "arXiv:1412.6544",
        of_loss=True,
    ),
    "line_barrier": BARRIER,
    "line_barrier_se": ERROR,
}
NEIGHBORS: Mapping[str, Variable] = dict(
    zip(("interpolation_loss", "loss_barrier", "loss_barrier_se"), LINE.values(), strict=True)
)


def between(along: str, align: bool = False) -> dict[str, Variable]:
    """Declare the variables of `barrier_matrix`."""
    dims, name = (f"{along}_other", "split"), f"loss barrier between pairs along {along}"
    kinds = {"between": (name, BARRIER.definition)}
    if align:
        matched = f"{BARRIER.definition}, the units of w_2 matched to those of w_1 (method weights)"
        kinds["aligned"] = f"{name}, units aligned", matched
    variables = {}
    for kind, (long_name, definition) in kinds.items():
        variables[f"barrier_{kind}"] = BARRIER._replace(dims=dims, long_name=long_name, definition=definition)
        variables[f"barrier_{kind}_se"] = ERROR._replace(dims=dims, long_name=f"standard error of the {long_name}")
    return variables


def excess_over_chord(losses: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Compute L(t) - (1 - t) L(0) - t L(1) along the last axis (position), whose maximum is the barrier."""
    return losses - ((1 - positions) * losses[..., :1] + positions * losses[..., -1:])


def barrier_with_error(losses: np.ndarray, positions: np.ndarray, samples: Samples) -> tuple[np.ndarray, np.ndarray]:
    """Compute the barrier and its standard error from losses (..., position, block); NaN if a loss is not finite."""
    with np.errstate(invalid="ignore"):  # infinity - infinity
        excess = excess_over_chord(losses @ samples.weights, positions)
        blocks = excess_over_chord(losses.swapaxes(-1, -2), positions)
        highest = np.take_along_axis(blocks, excess.argmax(-1)[..., None, None], -1)[..., 0]
        known = np.isfinite(excess).all(-1)
        return np.where(known, excess.max(-1), np.nan), np.where(known, samples.standard_error(highest), np.nan)


def along_curves(
    trajectory: Trajectory,
    variables: Mapping[str, Variable],
    curves: Mapping[int, Parameters],
    coefficients: np.ndarray,
    *,
    rows: int | None = None,
    seed: int = 0,
) -> xr.Dataset:
    """Compute the losses along curves and their barriers.

    Parameters
    ----------
    trajectory : Trajectory
        Networks over which the results are stored.
    variables : mapping
        Declarations whose first three are of the losses, the barriers and their standard errors.
    curves : mapping
        Index of a network -> K points that its curve combines, every parameter with a leading K.
    coefficients : ndarray
        Coefficients (position, K) at equally spaced positions from 0 to 1.
    rows : int, optional
        Number of samples of each split; all by default.
    seed : int, optional
        Seed of the sample selection.

    Returns
    -------
    xarray.Dataset
        Over the trajectory's dimensions: losses (split, position), barriers and standard errors (split). NaN for a
        network without a curve and for an empty split; a barrier is NaN if a loss on its curve is not finite.
    """
    t = np.linspace(0, 1, len(coefficients))
    selection = splits(trajectory, rows, seed)
    means = np.full((len(trajectory), len(SPLITS), len(t)), np.nan)
    barriers, errors = np.full((2, len(trajectory), len(SPLITS)), np.nan)
    for index, points in curves.items():
        for split, samples in selection.items():
            place = index, SPLITS.index(split)
            losses = losses_at(trajectory.network, points, coefficients, samples)
            means[place] = losses @ samples.weights
            barriers[place], errors[place] = barrier_with_error(losses, t, samples)
    values = dict(zip(variables, (means, barriers, errors), strict=False))
    return declared(trajectory, variables, values, split=list(SPLITS), position=t)


def straight(positions: int) -> np.ndarray:
    """Compute the coefficients (position, 2) of the two ends of a straight line."""
    t = np.linspace(0, 1, positions)
    return np.stack([1 - t, t], -1)


def barrier(first: Trajectory, second: Trajectory, *, positions: int = POSITIONS) -> xr.Dataset:
    """Measure the loss along the straight line from each network of one trajectory to its partner in another.

    Parameters
    ----------
    first, second : Trajectory
        Equally many networks of the same shapes. Task, loss and coordinates are those of `first`.
    positions : int, optional
        Number of positions t, including both ends. The barrier is the maximum over these, so it is at most too small.

    Returns
    -------
    xarray.Dataset
        `line_loss`, `line_barrier` and `line_barrier_se`, as in `along_curves`.

    Raises
    ------
    SltGrokError
        The trajectories have different numbers of networks.
    """
    starts, ends = paired_stacks(first, second)
    lines = {i: {k: torch.stack([w[i], ends[k][i]]) for k, w in starts.items()} for i in range(len(first))}
    return along_curves(first, LINE, lines, straight(positions))


def neighbor_barriers(trajectory: Trajectory, *, rows: int | None = None, seed: int = 0) -> xr.Dataset:
    """Measure `barrier` from each checkpoint's predecessor: `interpolation_loss`, `loss_barrier`, `loss_barrier_se`.

    NaN at the first checkpoint. For `rows` and `seed` see `along_curves`.
    """
    stack = trajectory.stacked()
    lines = {
        current: {name: tensor[[previous, current]] for name, tensor in stack.items()}
        for previous, current in predecessors(trajectory)
    }
    return along_curves(trajectory, NEIGHBORS, lines, straight(POSITIONS), rows=rows, seed=seed)


def matrix_seconds(trajectory: Trajectory, along: str, *, align: bool = False, positions: int, rows: int) -> float:
    """Predict the seconds of `barrier_matrix` from a few losses and, with `align`, from matching one pair."""
    size = len(trajectory.coords[along])
    groups, pairs = len(trajectory) // size, size * (size - 1) // 2
    points = groups * (size + pairs * (positions - 2)) * (2 if align else 1)
    seconds = predicted_seconds(trajectory, points, splits(trajectory, rows))
    if align:
        last, other = ({name: w[i] for name, w in trajectory.stacked().items()} for i in (-1, -2))
        seconds += timed(aligned, trajectory.network, last, other) * groups * pairs
    return seconds


def barrier_matrix(
    trajectory: Trajectory,
    along: str = "step",
    *,
    align: bool = False,
    positions: int = 5,
    rows: int | None = 1024,
    seed: int = 0,
    on_progress: ProgressCallback = ignore,
) -> xr.Dataset:
    """Measure the barriers between all pairs of networks along one dimension.

    Parameters
    ----------
    trajectory : Trajectory
        The networks.
    along : str, optional
        The dimension; the other network of a pair is indexed by `step_other` or similar.
    align : bool, optional
        Whether to measure also after matching the units of the later network to the earlier one.
    positions : int, optional
        Number of positions t, including both ends.
    rows : int, optional
        Number of samples of each split; None for all.
    seed : int, optional
        Seed of the sample selection.
    on_progress : callable, optional
        Called with the completed fraction of pairs.

    Returns
    -------
    xarray.Dataset
        Over the trajectory's dimensions: `barrier_between` and `barrier_between_se` (`along`_other, split), and with
        `align` also `barrier_aligned` and `barrier_aligned_se`. Symmetric, 0 between a network and itself; NaN if a
        loss on the line is not finite, and for a split without samples.
    """
    t = np.linspace(0, 1, positions)
    selection = splits(trajectory, rows, seed)
    network, stack, size = trajectory.network, trajectory.stacked(), len(trajectory.coords[along])
    grid = np.arange(len(trajectory)).reshape(trajectory.shape)
    groups = np.moveaxis(grid, trajectory.dims.index(along), -1).reshape(-1, size)
    results = np.full((2 if align else 1, 2, len(trajectory), size, len(SPLITS)), np.nan)
    done, pairs = 0, len(groups) * size * (size - 1) // 2
    for group in groups:
        vectors = {name: tensor[group] for name, tensor in stack.items()}
        ends = {split: losses_at(network, vectors, np.eye(size), samples) for split, samples in selection.items()}
        for split, losses in ends.items():
            results[:, :, group, range(size), SPLITS.index(split)] = 0 * losses.sum(-1)  # NaN stays NaN
        for i in range(size - 1):
            count = size - 1 - i
            first = {name: tensor[i] for name, tensor in vectors.items()}
            # lines from network i to each of the later ones: (1 - t) of the former, t of one of the latter
            spokes = np.hstack([np.tile(1 - t[1:-1], count)[:, None], np.kron(np.eye(count), t[1:-1, None])])
            for kind, values in enumerate(results):
                fan = {name: tensor[i:] for name, tensor in vectors.items()}
                if kind:
                    others = [{name: w[j] for name, w in vectors.items()} for j in range(i + 1, size)]
                    matched = [first, *(aligned(network, first, other) for other in others)]
                    fan = {name: torch.stack([weights[name] for weights in matched]) for name in first}
                for split, samples in selection.items():
                    inner = losses_at(network, fan, spokes, samples).reshape(count, len(t) - 2, -1)
                    start = np.broadcast_to(ends[split][i], (count, 1, inner.shape[-1]))
                    lines = np.concatenate([start, inner, ends[split][i + 1 :, None]], 1)
                    column, later = SPLITS.index(split), group[i + 1 :]
                    estimates = np.stack(barrier_with_error(lines, t, samples))
                    values[:, group[i], i + 1 :, column] = values[:, later, i, column] = estimates
            done += count
            on_progress(done / pairs)
    variables = between(along, align)
    values = dict(zip(variables, results.reshape(-1, *results.shape[2:]), strict=True))
    coords = {"split": list(SPLITS), f"{along}_other": trajectory.coords[along]}
    return declared(trajectory, variables, values, **coords)

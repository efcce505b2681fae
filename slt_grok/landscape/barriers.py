"""Barriers along the straight line between any two networks: checkpoints, seeds, or two trajectories.

L(t) = L((1 - t) w_1 + t w_2) for t in [0, 1] (Goodfellow et al. 1412.6544), and the barrier is
max_t [L(t) - (1 - t) L(0) - t L(1)] (Frankle et al. 1912.05671; in this form Entezari et al. 2110.06296, definition 1):
0 if the line stays at or below the chord, as on a convex loss. The barrier is relative to the chord, so that a hump
below it, between a bad end and a good one, does not count.

Two networks that compute the same function with different neurons have a barrier that says nothing about the function;
the barrier after `slt_grok.landscape.alignment` does not depend on the order of units. Its null is the barrier to the
same network with randomly permuted units (method `random` there): the cost of a line without any matching.
"""

import time
from collections.abc import Mapping

import numpy as np
import torch
import xarray as xr

from slt_grok.errors import SltGrokError
from slt_grok.landscape import alignment
from slt_grok.landscape.declared import declared
from slt_grok.landscape.dynamics import predecessors
from slt_grok.landscape.evaluation import SPLITS, Samples, losses_at, predicted_seconds, splits
from slt_grok.measurement import Variable
from slt_grok.operators.objective import Data
from slt_grok.progress import ProgressCallback, ignore
from slt_grok.trajectories import Parameters, Trajectory

POSITIONS = 9
BARRIER = Variable(
    ("split",),
    "loss barrier",
    "max over t of L(t) - (1 - t) L(0) - t L(1) on the straight line (1 - t) w_1 + t w_2",
    "arXiv:2110.06296, definition 1; arXiv:1912.05671",
    "nats",
)
ERROR = Variable(
    ("split",),
    "standard error of the loss barrier",
    "standard error over the samples at the position of the barrier; 0 if all samples are used",
    "Cochran 1977, section 2.6",
    "nats",
)
LINE: dict[str, Variable] = {
    "line_loss": Variable(
        ("split", "position"),
        "loss between networks",
        "mean loss at (1 - t) w_1 + t w_2, t the position",
        "arXiv:1412.6544",
        "nats",
    ),
    "barrier": BARRIER,
    "barrier_se": ERROR,
}
NEIGHBORS: Mapping[str, Variable] = dict(
    zip(("interpolation_loss", "loss_barrier", "loss_barrier_se"), LINE.values(), strict=True)
)


def between(along: str, align: str = "") -> dict[str, Variable]:
    """Declare the variables of `barrier_matrix`."""
    name, dims = f"loss barrier between pairs along {along}", (f"{along}_other", "split")
    plain = {
        "barrier_between": BARRIER._replace(dims=dims, long_name=name),
        "barrier_between_se": ERROR._replace(dims=dims, long_name=f"standard error of the {name}"),
    }
    if not align:
        return plain
    name, matched = f"{name}, units aligned", f", the units of w_2 matched to those of w_1 (method {align})"
    return plain | {
        "barrier_aligned": BARRIER._replace(dims=dims, long_name=name, definition=BARRIER.definition + matched),
        "barrier_aligned_se": ERROR._replace(dims=dims, long_name=f"standard error of the {name}"),
    }


def positions_between(count: int) -> np.ndarray:
    """Space positions t equally over [0, 1], including both ends.

    Raises
    ------
    SltGrokError
        `count` is below 3.
    """
    if count < 3:
        raise SltGrokError(f"positions: expected at least 3, including both ends, got {count}")
    return np.linspace(0, 1, count)


def loss_barrier(losses: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Compute max_t [L(t) - (1 - t) L(0) - t L(1)] over the last axis (position); NaN if any loss is NaN."""
    return (losses - _chord(losses, positions)).max(-1)


def barrier_with_error(losses: np.ndarray, positions: np.ndarray, samples: Samples) -> tuple[np.ndarray, np.ndarray]:
    """Compute the barrier and its standard error from losses (..., position, block); NaN if a loss is not finite."""
    with np.errstate(invalid="ignore"):  # infinity - infinity
        means = losses @ samples.weights
        highest = (means - _chord(means, positions)).argmax(-1)
        t = positions[highest][..., None]
        at = np.take_along_axis(losses, highest[..., None, None], -2)[..., 0, :]
        error = samples.standard_error(at - (1 - t) * losses[..., 0, :] - t * losses[..., -1, :])
        known = np.isfinite(means).all(-1)
        return np.where(known, loss_barrier(means, positions), np.nan), np.where(known, error, np.nan)


def barrier(
    first: Trajectory,
    second: Trajectory,
    *,
    data: Data | None = None,
    positions: int = POSITIONS,
    rows: int | None = None,
    seed: int = 0,
) -> xr.Dataset:
    """Measure the loss along the straight line from each network of one trajectory to its partner in another.

    Parameters
    ----------
    first, second : Trajectory
        Networks of the same shapes; `second` has as many as `first`, or one. Task, loss and coordinates are those of
        `first`.
    data : Data, optional
        Train inputs (n, ...) and targets (n, ...) for networks without a task.
    positions : int, optional
        Number of positions t, including both ends. The barrier is the maximum over these, so it is at most too small.
    rows : int, optional
        Number of samples of each split; all by default.
    seed : int, optional
        Seed of the sample selection.

    Returns
    -------
    xarray.Dataset
        Over the dimensions of `first`: `line_loss` (split, position), `barrier` and `barrier_se` (split). NaN for a
        split without samples; a barrier is NaN if a loss on its line is not finite.

    Raises
    ------
    SltGrokError
        Shapes or numbers of networks differ, there is no task and no data, or a setting is out of range.
    """
    alignment.check_same_shapes(first, second)
    partners = range(len(first)) if len(second) > 1 else [0] * len(first)
    lines = [(i, i, j) for i, j in enumerate(partners)]
    return _along_lines(LINE, first, first.stacked(), second.stacked(), lines, data, positions, rows, seed)


def neighbor_barriers(
    trajectory: Trajectory,
    *,
    data: Data | None = None,
    positions: int = POSITIONS,
    rows: int | None = None,
    seed: int = 0,
) -> xr.Dataset:
    """Measure `barrier` from each checkpoint's predecessor: `interpolation_loss`, `loss_barrier`, `loss_barrier_se`.

    NaN at the first checkpoint, and everywhere without a `step` dimension.
    """
    stack = trajectory.stacked()
    lines = [(this, previous, this) for previous, this in predecessors(trajectory)]
    return _along_lines(NEIGHBORS, trajectory, stack, stack, lines, data, positions, rows, seed)


def _along_lines(
    variables: Mapping[str, Variable],
    trajectory: Trajectory,
    starts: Parameters,
    ends: Parameters,
    lines: list[tuple[int, int, int]],
    data: Data | None,
    positions: int,
    rows: int | None,
    seed: int,
) -> xr.Dataset:
    """Compute losses, barriers and errors; for (i, j, k) in `lines`, network i stores the line from j to k."""
    t = positions_between(positions)
    chosen = splits(trajectory, data, rows, seed)
    straight = np.stack([1 - t, t], -1)
    means = np.full((len(trajectory), len(SPLITS), positions), np.nan)
    barriers, errors = np.full((2, len(trajectory), len(SPLITS)), np.nan)
    for i, j, k in lines:
        pair = {name: torch.stack([tensor[j], ends[name][k].to(tensor)]) for name, tensor in starts.items()}
        for split, samples in chosen.items():
            at = i, SPLITS.index(split)
            losses = losses_at(trajectory.network, pair, straight, samples)
            means[at] = losses @ samples.weights
            barriers[at], errors[at] = barrier_with_error(losses, t, samples)
    values = dict(zip(variables, (means, barriers, errors), strict=True))
    return declared(trajectory, variables, values, split=list(SPLITS), position=t)


def matrix_points(count: int, positions: int) -> int:
    """Count the losses of each split that `barrier_matrix` evaluates for a number of networks."""
    return count + count * (count - 1) // 2 * (positions - 2)


def matrix_seconds(
    trajectory: Trajectory,
    along: str = "step",
    *,
    align: alignment.Method | None = None,
    data: Data | None = None,
    positions: int = 5,
    rows: int | None = 1024,
) -> float:
    """Predict the seconds of `barrier_matrix` from a few losses and, with `align`, from matching one pair."""
    chosen = splits(trajectory, data, rows)
    size = len(trajectory.coords[along])
    groups, kinds = len(trajectory) // size, 2 if align else 1
    seconds = predicted_seconds(trajectory, kinds * groups * matrix_points(size, positions), chosen)
    if not align:
        return seconds
    stack = trajectory.stacked()
    one, other = {name: w[-1] for name, w in stack.items()}, {name: w[-2:-1] for name, w in stack.items()}
    start = time.perf_counter()
    alignment.aligned(trajectory.network, one, other, align, _inputs(chosen))
    return seconds + (time.perf_counter() - start) * groups * size * (size - 1) / 2


def barrier_matrix(
    trajectory: Trajectory,
    along: str = "step",
    *,
    align: alignment.Method | None = None,
    data: Data | None = None,
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
    align : alignment.Method, optional
        Method for also matching the units of the later network to the earlier one; see `alignment.align`.
    data : Data, optional
        Train inputs (n, ...) and targets (n, ...) for networks without a task.
    positions : int, optional
        Number of positions t, including both ends.
    rows : int, optional
        Number of samples of each split; None for all.
    seed : int, optional
        Seed of the sample selection and of a random alignment.
    on_progress : callable, optional
        Called with the completed fraction of pairs.

    Returns
    -------
    xarray.Dataset
        Over the trajectory's dimensions: `barrier_between` and `barrier_between_se` (`along`_other, split), and with
        `align` also `barrier_aligned` and `barrier_aligned_se`. Symmetric, 0 between a network and itself; NaN if a
        loss on the line is not finite, and for a split without samples.

    Raises
    ------
    SltGrokError
        There is no such dimension, no task and no data, or a setting is out of range.
    """
    if along not in trajectory.dims:
        known = ", ".join(trajectory.dims) or "none, this is a single network"
        raise SltGrokError(f"barrier_matrix: expected a dimension among {known}, got {along}")
    t = positions_between(positions)
    chosen = splits(trajectory, data, rows, seed)
    network, stack = trajectory.network, trajectory.stacked()
    grid = np.arange(len(trajectory)).reshape(trajectory.shape)
    groups = np.moveaxis(grid, trajectory.dims.index(along), -1).reshape(-1, len(trajectory.coords[along]))
    size = groups.shape[1]
    methods: list[alignment.Method | None] = [None, align] if align else [None]
    found = np.full((len(methods), 2, len(trajectory), size, len(SPLITS)), np.nan)
    done, pairs = 0, len(groups) * size * (size - 1) // 2
    for group in groups:
        vectors = {name: tensor[group] for name, tensor in stack.items()}
        ends = {split: losses_at(network, vectors, np.eye(size), samples) for split, samples in chosen.items()}
        for split in chosen:
            found[:, :, group, range(size), SPLITS.index(split)] = 0 * ends[split].sum(-1)  # NaN stays NaN
        for i in range(size - 1):
            others = {name: tensor[i + 1 :] for name, tensor in vectors.items()}
            one = {name: tensor[i] for name, tensor in vectors.items()}
            for values, method in zip(found, methods, strict=True):
                if method:
                    others = alignment.aligned(network, one, others, method, _inputs(chosen), seed)
                fan = {name: torch.cat([one[name][None], tensor]) for name, tensor in others.items()}
                for split, samples in chosen.items():
                    k = SPLITS.index(split)
                    inner = losses_at(network, fan, _spokes(size - 1 - i, t[1:-1]), samples)
                    inner = inner.reshape(size - 1 - i, len(t) - 2, -1)
                    start = np.broadcast_to(ends[split][i], (len(inner), 1, inner.shape[-1]))
                    line = np.concatenate([start, inner, ends[split][i + 1 :, None]], 1)
                    both = np.stack(barrier_with_error(line, t, samples))
                    values[:, group[i], i + 1 :, k] = values[:, group[i + 1 :], i, k] = both
            done += size - 1 - i
            on_progress(done / pairs)
    variables = between(along, align or "")
    arrays = dict(zip(variables, found.reshape(-1, *found.shape[2:]), strict=True))
    coords = {"split": list(SPLITS), f"{along}_other": trajectory.coords[along]}
    return declared(trajectory, variables, arrays, **coords)


def _chord(losses: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Interpolate linearly between the losses at both ends of the last axis."""
    return (1 - positions) * losses[..., :1] + positions * losses[..., -1:]


def _spokes(count: int, inner: np.ndarray) -> np.ndarray:
    """Compute coefficients (count x inner, 1 + count) of the lines from network 0 to each of the others."""
    coefficients = np.zeros((count, len(inner), 1 + count))
    coefficients[:, :, 0] = 1 - inner
    coefficients[np.arange(count), :, 1 + np.arange(count)] = inner
    return coefficients.reshape(-1, 1 + count)


def _inputs(chosen: dict[str, Samples]) -> torch.Tensor:
    """Get the train inputs, on which activations are matched."""
    return torch.cat([inputs for inputs, _ in chosen["train"].blocks])

"""Loss along the straight line between two successive checkpoints, and its barrier.

L(t) = L((1 - t) w_previous + t w) for t in [0, 1] (Goodfellow et al. 1412.6544). The barrier is
max_t [L(t) - (1 - t) L(0) - t L(1)] (Frankle et al. 1912.05671; in this form Entezari et al. 2110.06296, definition
1): 0 where the line stays at or below the chord, as on a convex loss.
"""

import numpy as np
import torch
from torch import Tensor

from slt_grok.errors import SltGrokError
from slt_grok.landscape.evaluation import ROWS, Samples, losses_at
from slt_grok.operators.objective import Data, as_floats, batches
from slt_grok.trajectories import Network, Trajectory


def check_same_shapes(first: Trajectory, second: Trajectory) -> None:
    """Whether a line can be drawn from one trajectory's networks to another's.

    Raises
    ------
    SltGrokError
        Parameters of other names or shapes, or neither as many networks as the first nor one.
    """
    one, other = first.network.shapes, second.network.shapes
    odd = [name for name in {**one, **other} if one.get(name) != other.get(name)]
    if odd:
        mine, theirs = (tuple(shapes[odd[0]]) if odd[0] in shapes else "none" for shapes in (one, other))
        raise SltGrokError(f"line between networks: expected the same shapes, {odd[0]} has {mine} against {theirs}")
    if len(second) not in (1, len(first)):
        raise SltGrokError(
            f"line between networks: expected as many second networks as first ({len(first)}) or one, got {len(second)}"
        )


def predecessors(trajectory: Trajectory) -> list[tuple[int, int]]:
    """Pairs (previous, this) of flat indices of networks that are neighbors along `step`."""
    if "step" not in trajectory.dims:
        return []
    grid = np.arange(len(trajectory)).reshape(trajectory.shape)
    along = np.moveaxis(grid, trajectory.dims.index("step"), 0)
    return list(zip(along[:-1].ravel().tolist(), along[1:].ravel().tolist(), strict=True))


def interpolation_loss(
    network: Network, start: dict[str, Tensor], end: dict[str, Tensor], data: Data, positions: np.ndarray
) -> np.ndarray:
    """Mean losses (position,) at (1 - t) start + t end, float64 from weights in their own precision.

    Parameters
    ----------
    start, end : dict[str, Tensor]
        Parameters of the two ends.
    data : Data
        Inputs (n, ...) and targets (n, ...).
    positions : ndarray
        t, each in [0, 1].
    """
    pair = {name: torch.stack([tensor, end[name]]) for name, tensor in start.items()}
    inputs = as_floats(data[0], next(iter(pair.values())).dtype)
    samples = Samples(tuple(batches((inputs, data[1]), ROWS)), 1.0)
    return losses_at(network, pair, np.stack([1 - positions, positions], -1), samples) @ samples.weights


def loss_barrier(losses: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """max_t [L(t) - (1 - t) L(0) - t L(1)] over the last axis (position); at least 0, NaN where a loss is."""
    chord = (1 - positions) * losses[..., :1] + positions * losses[..., -1:]
    return (losses - chord).max(-1)

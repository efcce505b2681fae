"""Loss along the straight line between two successive checkpoints, and its barrier.

L(t) = L((1 - t) w_previous + t w) for t in [0, 1] (Goodfellow et al. 1412.6544). The barrier is
max_t [L(t) - (1 - t) L(0) - t L(1)] (Frankle et al. 1912.05671; in this form Entezari et al. 2110.06296, definition
1): 0 where the line stays at or below the chord, as on a convex loss.
"""

import numpy as np
import torch
from torch import Tensor

from slt_grok.landscape.objective import Data, as_floats, batches
from slt_grok.trajectories import Network, Trajectory

ROWS = 2048  # samples at a time for all positions of one line together


def predecessors(trajectory: Trajectory) -> list[tuple[int, int]]:
    """Pairs (previous, this) of flat indices of networks that are neighbours along `step`."""
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
    start, end : parameters of the two ends.
    data : inputs (n, ...) and targets (n, ...).
    positions : t, each in [0, 1].
    """

    def line(name: str) -> Tensor:
        first, last = start[name], end[name]
        t = torch.from_numpy(positions).to(first).reshape(-1, *[1] * first.ndim)
        return (1 - t) * first + t * last  # exact at both ends

    stack = {name: line(name) for name in start}
    inputs, targets = as_floats(data[0], next(iter(stack.values())).dtype), data[1]
    total = torch.zeros(len(positions), dtype=torch.float64)
    with torch.no_grad():
        for x, y in batches((inputs, targets), ROWS):
            total += network.stacked_mean_loss(stack, x, y, own_data=False).cpu() * (len(x) / len(inputs))
    return total.numpy()


def loss_barrier(losses: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """max_t [L(t) - (1 - t) L(0) - t L(1)] over the last axis (position); at least 0, NaN where a loss is."""
    chord = (1 - positions) * losses[..., :1] + positions * losses[..., -1:]
    return (losses - chord).max(-1)

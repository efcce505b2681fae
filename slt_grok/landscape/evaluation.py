"""Mean losses at linear combinations of networks, on all samples of a split or on a random part of them.

Every probe between and around checkpoints asks for L(sum_k c_k w_k): on a line, a curve, or in a plane. Loss
differences over a random part of the samples carry the standard error of a mean over blocks without replacement,
sqrt((1 - n / N) s^2 / B), n of N samples in B blocks, s^2 the variance over blocks (Cochran 1977, section 2.6).
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from slt_grok.batching import at_a_time
from slt_grok.errors import SltGrokError
from slt_grok.operators.objective import Data, as_floats, batches, samples_of
from slt_grok.tasks import Split
from slt_grok.trajectories import Network, Parameters, Trajectory

SPLITS: tuple[Split, ...] = ("train", "test")
BLOCKS = 8  # of a random part of the samples: their spread has 7 degrees of freedom
ROWS = 1024  # samples at a time where all are taken
BUDGET = 2**25  # bytes of weights, and of float32 activations of the widest layer, at a time


@dataclass(frozen=True)
class Samples:
    """Samples of a split in blocks.

    Parameters
    ----------
    blocks : tuple of Data
        Inputs (n_b, ...) and targets (n_b, ...) of each block.
    fraction : float
        n / N, the fraction of the split that they are; 1 for all of it.
    """

    blocks: tuple[Data, ...]
    fraction: float

    @property
    def weights(self) -> np.ndarray:
        """n_b / n, (block,): the weight of each block's mean in the mean over all."""
        sizes = np.array([len(inputs) for inputs, _ in self.blocks], dtype=float)
        return sizes / sizes.sum()

    def standard_error(self, values: np.ndarray) -> np.ndarray:
        """Return the standard error of a mean with values (..., block); 0 where all samples were taken."""
        if self.fraction == 1:
            return np.where(np.isfinite(values).all(-1), 0.0, np.nan)
        return np.sqrt((1 - self.fraction) / len(self.blocks)) * values.std(-1, ddof=1)


def splits(
    trajectory: Trajectory, data: Data | None = None, rows: int | None = None, seed: int = 0
) -> dict[str, Samples]:
    """Return the samples of each split that is not empty: `train`, and `test` where the task has a test set.

    Parameters
    ----------
    trajectory : Trajectory
        Networks with a task, unless `data` is given.
    data : Data, optional
        Train inputs (n, ...) and targets (n, ...) for a network without a task.
    rows : int, optional
        Most samples of each split, drawn without replacement, at least 16; all by default.
    seed : int, optional
        Seed of the draw, which is the same for every network.

    Raises
    ------
    SltGrokError
        Neither data nor a task is given, inputs and targets differ in number, or rows below 16.
    """
    if rows is not None and rows < 2 * BLOCKS:
        raise SltGrokError(f"rows: expected at least {2 * BLOCKS}, since the spread of {BLOCKS} blocks is the error")
    filled: Sequence[Split] = ("train",) if data is not None else trajectory.task.evaluation_splits()
    found = {}
    chosen: list[Split] = [split for split in SPLITS if split in filled]
    for number, split in enumerate(chosen):
        inputs, targets = samples_of(trajectory, data, split)
        inputs = as_floats(inputs, next(iter(trajectory.parameters.values())).dtype)
        if rows is None or rows >= len(inputs):
            found[split] = Samples(tuple(batches((inputs, targets), ROWS)), 1.0)
            continue
        drawn = np.random.default_rng([seed, number]).permutation(len(inputs))[:rows]
        blocks = tuple((inputs[part], targets[part]) for part in np.array_split(drawn, BLOCKS))
        found[split] = Samples(blocks, rows / len(inputs))
    return found


def losses_at(network: Network, vectors: Parameters, coefficients: np.ndarray, samples: Samples) -> np.ndarray:
    """Return mean losses of each block at sum_k c_k w_k, float64 from weights in their own precision.

    Parameters
    ----------
    network : Network
        The function.
    vectors : Parameters
        Every parameter with a leading K.
    coefficients : ndarray
        c, (point, K). Rows of 0 and a single 1 give that network to the last bit.
    samples : Samples
        Samples of one split.

    Returns
    -------
    ndarray
        (point, block); times `samples.weights` it is the mean loss. Infinite or NaN where the network's loss is.
    """
    points, blocks = len(coefficients), samples.blocks
    losses = np.empty((points, len(blocks)))
    chunk = _points_at_a_time(network, samples)
    with torch.no_grad():
        for start in range(0, points, chunk):
            part = slice(start, start + chunk)
            stack = {name: _combined(coefficients[part], tensor) for name, tensor in vectors.items()}
            for block, (inputs, targets) in enumerate(blocks):
                values = network.stacked_mean_loss(stack, inputs, targets, own_data=False)
                losses[part, block] = values.numpy(force=True)
    return losses


def predicted_seconds(trajectory: Trajectory, points: int, chosen: Mapping[str, Samples]) -> float:
    """Return the seconds that losses at so many points take on the samples of `splits`, from a trial on a few."""
    network, stack = trajectory.network, {name: tensor[:1] for name, tensor in trajectory.stacked().items()}
    total = 0.0
    for samples in chosen.values():
        few = np.ones((min(points, _points_at_a_time(network, samples)), 1))
        one = Samples(samples.blocks[:1], samples.fraction)
        losses_at(network, stack, few, one)  # the first call is slower
        start = time.perf_counter()
        losses_at(network, stack, few, one)
        total += (time.perf_counter() - start) * points / len(few) / samples.weights[0]
    return total


def _combined(coefficients: np.ndarray, tensor: Tensor) -> Tensor:
    return torch.tensordot(torch.from_numpy(coefficients).to(tensor), tensor, dims=1)


def _points_at_a_time(network: Network, samples: Samples) -> int:
    shapes = network.shapes.values()
    widest = max(size for shape in shapes for size in (*shape, 1))
    rows = max(len(inputs) for inputs, _ in samples.blocks)
    return at_a_time(4 * max(rows * widest, sum(shape.numel() for shape in shapes)), BUDGET)

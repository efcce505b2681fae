"""Mean losses at linear combinations of networks, on all samples of a split or a random subset.

Every probe between and around checkpoints needs L(sum_k c_k w_k): on a line, a curve, or in a plane. Loss
differences over a random subset carry the standard error of a mean over blocks drawn without replacement,
sqrt((1 - n / N) s^2 / B), for n of N samples in B blocks with s^2 the variance over blocks (Cochran 1977, section 2.6).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from slt_grok.batching import at_a_time
from slt_grok.landscape.common import timed
from slt_grok.operators.objective import Data, batches
from slt_grok.tasks import Split
from slt_grok.trajectories import Network, Parameters, Trajectory

SPLITS: tuple[Split, ...] = ("train", "test")
BLOCKS = 8  # number of blocks of a random subset, whose spread has 7 degrees of freedom
ROWS = 1024  # number of samples at a time if all are used
BUDGET = 2**25  # bytes of weights, and of float32 activations of the widest layer, held at a time


@dataclass(frozen=True)
class Samples:
    """Samples of a split, divided into blocks.

    Parameters
    ----------
    blocks : tuple of Data
        Inputs (n_b, ...) and targets (n_b, ...) of each block.
    fraction : float
        n / N, their fraction of the split; 1 for the whole split.
    """

    blocks: tuple[Data, ...]
    fraction: float

    @property
    def weights(self) -> np.ndarray:
        """n_b / n, (block,): the weight of each block's mean in the overall mean."""
        sizes = np.array([len(inputs) for inputs, _ in self.blocks], dtype=float)
        return sizes / sizes.sum()

    def standard_error(self, values: np.ndarray) -> np.ndarray:
        """Compute the standard error of a mean with values (..., block); 0 if all samples were used."""
        if self.fraction == 1:
            return np.where(np.isfinite(values).all(-1), 0.0, np.nan)
        return np.sqrt((1 - self.fraction) / len(self.blocks)) * values.std(-1, ddof=1)


def splits(trajectory: Trajectory, rows: int | None = None, seed: int = 0) -> dict[Split, Samples]:
    """Select the samples of each nonempty split: `train`, and `test` if the task has a test set.

    Parameters
    ----------
    trajectory : Trajectory
        Networks with a task.
    rows : int, optional
        Maximum number of samples of each split, drawn without replacement, at least 16; all by default.
    seed : int, optional
        Seed of the sample selection, which is the same for every network.
    """
    selection = {}
    for number, split in enumerate(SPLITS):
        inputs, targets = trajectory.task.data(split)
        if rows is not None and rows < len(inputs):
            drawn = np.random.default_rng([seed, number]).permutation(len(inputs))[:rows]
            blocks = tuple((inputs[part], targets[part]) for part in np.array_split(drawn, BLOCKS))
            selection[split] = Samples(blocks, rows / len(inputs))
        elif len(inputs):
            selection[split] = Samples(tuple(batches((inputs, targets), ROWS)), 1.0)
    return selection


def losses_at(network: Network, vectors: Parameters, coefficients: np.ndarray, samples: Samples) -> np.ndarray:
    """Compute mean losses of each block at sum_k c_k w_k, in float64 from weights in their own precision.

    Frozen tensors that are the same in all vectors stay the same; others, such as running averages, are combined too.

    Parameters
    ----------
    network : Network
        The network to evaluate.
    vectors : Parameters
        Every parameter with a leading K.
    coefficients : ndarray
        c, (point, K). A row with a single 1 and zeros elsewhere reproduces that network bit for bit.
    samples : Samples
        Samples of one split.

    Returns
    -------
    ndarray
        (point, block); the mean loss is the sum over blocks weighted by `samples.weights`. Infinite or NaN where the
        network's loss is.
    """
    losses = np.empty((len(coefficients), len(samples.blocks)))
    chunk = _points_at_a_time(network, samples)
    with torch.no_grad():
        for start in range(0, len(losses), chunk):
            part = slice(start, start + chunk)
            weights = torch.from_numpy(coefficients[part])
            stack = {
                name: tensor[:1].expand(len(weights), *tensor.shape[1:])
                if name in network.fixed and torch.equal(tensor, tensor[:1].expand_as(tensor))
                else torch.tensordot(weights.to(tensor), tensor, dims=1)
                for name, tensor in vectors.items()
            }
            for block, (inputs, targets) in enumerate(samples.blocks):
                values = network.stacked_mean_loss(stack, inputs, targets, own_data=False)
                losses[part, block] = values.numpy(force=True)
    return losses


def mean_losses(
    network: Network, vectors: Parameters, coefficients: np.ndarray, selection: Mapping[Split, Samples]
) -> tuple[np.ndarray, np.ndarray]:
    """Compute mean losses at sum_k c_k w_k and their standard errors, each (point, split); NaN for an empty split.

    Parameters
    ----------
    network, vectors, coefficients
        See `losses_at`.
    selection : mapping
        Samples of each split, as selected by `splits`.
    """
    means, errors = np.full((2, len(coefficients), len(SPLITS)), np.nan)
    for split, samples in selection.items():
        losses, column = losses_at(network, vectors, coefficients, samples), SPLITS.index(split)
        means[:, column], errors[:, column] = losses @ samples.weights, samples.standard_error(losses)
    return means, errors


def predicted_seconds(trajectory: Trajectory, points: int, selection: Mapping[Split, Samples]) -> float:
    """Predict the seconds of evaluating losses at a number of points on the samples of `splits`, from a short trial."""
    network, stack = trajectory.network, {name: tensor[:1] for name, tensor in trajectory.stacked().items()}
    total = 0.0
    for samples in selection.values():
        coefficients = np.ones((min(points, _points_at_a_time(network, samples)), 1))
        seconds = timed(losses_at, network, stack, coefficients, Samples(samples.blocks[:1], samples.fraction))
        total += seconds * points / len(coefficients) / samples.weights[0]
    return total


def _points_at_a_time(network: Network, samples: Samples) -> int:
    shapes = network.shapes.values()
    widest = max(size for shape in shapes for size in (*shape, 1))
    rows = max(len(inputs) for inputs, _ in samples.blocks)
    return at_a_time(4 * max(rows * widest, sum(shape.numel() for shape in shapes)), BUDGET)

"""Losses that are functions of the weights alone, so that everything about them is known."""

import numpy as np
import torch
from torch import nn

from slt_grok.trajectories import Trajectory

ONE_SAMPLE = (torch.zeros(1, 1, dtype=torch.float64), torch.zeros(1))


class TrainSet:
    """A task with the given train set and an empty test set."""

    def __init__(self, inputs, targets):
        self.samples = inputs, targets

    def indices(self, split):
        return torch.arange(0 if split == "test" else len(self.samples[0]))

    def data(self, split):
        return tuple(part[self.indices(split)] for part in self.samples)


class Weights(nn.Module):
    """Outputs its weights for every sample."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.zeros(size // 2, dtype=torch.float64))
        self.rest = nn.Parameter(torch.zeros(size - size // 2, 1, dtype=torch.float64))

    def forward(self, inputs):
        return torch.cat([self.first, self.rest[:, 0]]).expand(len(inputs), -1)


def stacked(points: torch.Tensor, loss, steps=None) -> Trajectory:
    """A trajectory over `step` whose weights are the rows of `points`, with loss(weights) -> scalar."""
    size = points.shape[1]
    checkpoints = {
        step: {"first": row[: size // 2], "rest": row[size // 2 :, None]}
        for step, row in zip(steps or range(len(points)), points.double(), strict=True)
    }
    return Trajectory.stack(
        Weights(size), checkpoints, TrainSet(*ONE_SAMPLE), lambda outputs, _: torch.func.vmap(loss)(outputs)
    )


def symmetric_matrix(eigenvalues: np.ndarray) -> torch.Tensor:
    """A matrix of these eigenvalues in a random basis."""
    rotation, _ = np.linalg.qr(np.random.default_rng(3).standard_normal((len(eigenvalues),) * 2))
    return torch.from_numpy(rotation @ np.diag(eigenvalues) @ rotation.T)

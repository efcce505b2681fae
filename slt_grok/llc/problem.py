"""The sampling problem: networks, their data and the weights that move, and the starting points of the chains."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from slt_grok.devices import CPU
from slt_grok.errors import SltGrokError
from slt_grok.llc.samplers.sampler import Sampler
from slt_grok.llc.sampling import Sampling, Schedule, Starts
from slt_grok.llc.subspaces import Subspace, everything
from slt_grok.trajectories import Loss, Trajectory, cross_entropy


@dataclass(frozen=True)
class Problem:
    """Networks with their data and the weights that move.

    Parameters
    ----------
    trajectory : Trajectory
        The N networks.
    inputs, targets : Tensor
        The n samples.
    subspace : Subspace
        Weights that move.
    dtype : torch.dtype
        Precision of the chains' weights; losses are always float64.
    baselines : ndarray
        L(w*) on all samples in float64, (N,).
    """

    trajectory: Trajectory
    inputs: Tensor
    targets: Tensor
    subspace: Subspace
    dtype: torch.dtype
    baselines: np.ndarray

    @classmethod
    def from_inputs(
        cls,
        source: nn.Module | Trajectory,
        data: tuple[Tensor, Tensor] | None = None,
        loss: Loss | None = None,
        subspace: Subspace | None = None,
        dtype: torch.dtype | None = None,
    ) -> "Problem":
        """Build the problem from the arguments of `slt_grok.llc.estimate`.

        Raises
        ------
        SltGrokError
            There are no data, weights or the loss at w* are not finite, or the subspace is empty.
        """
        trajectory = _trajectory(source, loss)
        inputs, targets = _data(trajectory, data)
        dtype = dtype or next(iter(trajectory.parameters.values())).dtype
        subspace = subspace or everything(trajectory.network.shapes)
        if not subspace.dimension:
            raise SltGrokError("subspace: expected at least one weight that moves, got none")
        if inputs.is_floating_point():
            inputs = inputs.to(dtype)
        baselines = _baselines(trajectory, inputs.double() if inputs.is_floating_point() else inputs, targets)
        for label, value in zip(trajectory.labels(), baselines, strict=True):
            if not np.isfinite(value):
                where = ", ".join(f"{dim} {coordinate}" for dim, coordinate in label.items()) or "the network"
                raise SltGrokError(f"loss: expected a finite loss at the checkpoint, got {value} at {where}")
        return cls(trajectory, inputs, targets, subspace, dtype, baselines)

    @property
    def d(self) -> int:
        """Number of coordinates that move."""
        return self.subspace.dimension

    @property
    def finite_minimizer(self) -> bool:
        """Whether a fitted network has a finite minimizer of the loss; False for cross-entropy, ours or torch's."""
        loss = self.trajectory.network.loss
        known = loss in (cross_entropy, nn.functional.cross_entropy) or isinstance(loss, nn.CrossEntropyLoss)
        return not known

    def sampling(
        self, sampler: Sampler, schedule: Schedule, box: float | None = None, device: torch.device = CPU
    ) -> Sampling:
        """Bundle everything that chains need except their starting points."""
        network = self.trajectory.network
        return Sampling(network, self.inputs, self.targets, self.subspace, sampler, schedule, box, device)

    def starts(self, n_betas: Sequence[float], gamma: float, chains: int, seed: int) -> Starts:
        """Start chains at w*, in the order (network, temperature, chain)."""
        copies = len(n_betas) * chains
        stack = {
            name: tensor.repeat_interleave(copies, 0) for name, tensor in self.trajectory.stacked(self.dtype).items()
        }
        count = len(self.trajectory) * copies
        n_beta = torch.tensor(n_betas, dtype=self.dtype).repeat_interleave(chains).repeat(len(self.trajectory))
        streams = [
            np.random.SeedSequence(seed, spawn_key=(*key, temperature, chain))
            for key in _keys(self.trajectory)
            for temperature in range(len(n_betas))
            for chain in range(chains)
        ]
        return Starts(stack, n_beta[:, None], torch.full((count, 1), gamma, dtype=self.dtype), streams)


def _trajectory(source: nn.Module | Trajectory, loss: Loss | None) -> Trajectory:
    if isinstance(source, nn.Module):
        return Trajectory.of(source, loss=loss or cross_entropy)
    if loss is not None:
        return replace(source, network=replace(source.network, loss=loss))
    return source


def _data(trajectory: Trajectory, data: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
    if data is None and trajectory.network.task is None:
        raise SltGrokError("data: expected (inputs, targets), since the network has no task")
    inputs, targets = data if data is not None else trajectory.task.data("train")
    if len(inputs) != len(targets) or not len(inputs):
        raise SltGrokError(f"data: expected as many targets as inputs, got {len(inputs)} and {len(targets)}")
    return inputs, targets


def _baselines(trajectory: Trajectory, inputs: Tensor, targets: Tensor) -> np.ndarray:
    """Compute the baselines one network at a time, to limit memory."""
    stack = trajectory.stacked(torch.float64)
    with torch.no_grad():
        losses = [
            trajectory.network.stacked_mean_loss(
                {name: tensor[i : i + 1] for name, tensor in stack.items()}, inputs, targets, own_data=False
            )
            for i in range(len(trajectory))
        ]
    return torch.cat(losses).numpy()


def _keys(trajectory: Trajectory) -> list[tuple[int, ...]]:
    """Convert each network's coordinates to non-negative integers, names by their checksum.

    Without coordinates, the network's index is used.
    """
    values = {
        dim: np.array([zlib.crc32(str(name).encode()) for name in v.tolist()]) if v.dtype.kind in "UO" else v
        for dim, v in trajectory.coords.items()
    }
    if all(np.issubdtype(v.dtype, np.integer) and (v >= 0).all() for v in values.values()):
        grid = np.ndindex(*trajectory.shape)
        return [tuple(int(values[d][i]) for d, i in zip(trajectory.dims, index, strict=True)) for index in grid]
    return [tuple(index) for index in np.ndindex(*trajectory.shape)]

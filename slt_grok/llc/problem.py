"""The sampling problem: networks, their data and the weights that move, and the starting points of the chains."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import product
from typing import Any

import numpy as np
import torch
from scipy.stats import entropy
from torch import Tensor, nn

from slt_grok.devices import CPU
from slt_grok.errors import SltGrokError
from slt_grok.llc.compatibility import check_together, explained
from slt_grok.llc.gathering import with_samples
from slt_grok.llc.minimizers import LossKind, loss_kind
from slt_grok.llc.rounding import with_single_precision
from slt_grok.llc.samplers.sampler import Sampler
from slt_grok.llc.sampling import Sampling, Schedule, Starts
from slt_grok.llc.subspaces import Subspace, everything
from slt_grok.models.network import as_floats
from slt_grok.samples import described
from slt_grok.trajectories import Loss, Trajectory

CHECKED = 64  # samples on which it is checked that network, data and loss fit together


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
    kind : LossKind
        What the loss is like.
    notes : tuple of str, optional
        What a reader of the estimate has to know about the network.
    """

    trajectory: Trajectory
    inputs: Tensor
    targets: Tensor
    subspace: Subspace
    dtype: torch.dtype
    baselines: np.ndarray
    kind: LossKind
    notes: tuple[str, ...] = ()

    @classmethod
    def from_inputs(
        cls,
        source: nn.Module | Trajectory,
        data: Any = None,
        loss: Loss | None = None,
        subspace: Subspace | None = None,
        dtype: torch.dtype | None = None,
        finite_minimizer: bool | None = None,
    ) -> "Problem":
        """Build the problem from the arguments of `slt_grok.llc.estimate`.

        Parameters
        ----------
        source, data, loss, subspace, dtype, finite_minimizer
            See `slt_grok.llc.estimate`.

        Raises
        ------
        SltGrokError
            Network, data and loss do not fit together, weights or the loss at w* are not finite, or the subspace is
            empty.
        """
        if not isinstance(source, nn.Module | Trajectory):
            raise SltGrokError(f"source: expected a torch.nn.Module or a Trajectory, got {type(source).__name__}")
        trajectory = Trajectory.of(source) if isinstance(source, nn.Module) else source
        if loss is not None:
            trajectory = replace(trajectory, network=replace(trajectory.network, loss=loss))
        if not isinstance(finite_minimizer, bool | None):
            raise SltGrokError(f"finite_minimizer: expected True, False or None, got {finite_minimizer!r}")
        trajectory, inputs, targets, given = with_samples(trajectory, data)
        if dtype is None:  # that of the weights, but at least float32
            dtypes = {trajectory.parameters[name].dtype for name in trajectory.network.moving}
            dtype = reduce(torch.promote_types, dtypes, torch.float32)
        if dtype not in (torch.float32, torch.float64):
            raise SltGrokError(f"dtype: expected torch.float32 or torch.float64, got {dtype}")
        moves = subspace or everything(trajectory.network.shapes, trajectory.network.fixed)
        if not moves.dimension:
            raise SltGrokError("subspace: expected at least one weight that moves, got none")
        inputs, targets = as_floats(inputs, dtype), as_floats(targets, torch.float64)
        precise = as_floats(inputs, torch.float64)
        few = slice(CHECKED)
        outputs = check_together(trajectory, moves.parts, precise[few].clone(), targets[few].clone(), described(given))
        kind = loss_kind(trajectory.network.loss, outputs, len(targets[few]), targets)
        if finite_minimizer is not None:
            kind = kind._replace(finite_minimizer=finite_minimizer, known=True)
        with explained(f"data: network and loss accept the first {CHECKED} samples, but not all {len(targets)}"):
            trajectory, notes = with_single_precision(trajectory, precise, targets, kind.finite_minimizer)
            baselines = _baselines(trajectory, precise, targets)
        if not kind.known:
            notes.append("the loss fails on large outputs: a finite minimizer is assumed; pass finite_minimizer=")
        if subspace is None and trajectory.network.frozen:
            notes.append(f"held fixed (requires_grad=False): {', '.join(trajectory.network.frozen)}")
        for label, value in zip(trajectory.labels(), baselines, strict=True):
            if not np.isfinite(value):
                where = ", ".join(f"{dim} {coordinate}" for dim, coordinate in label.items()) or "the network"
                raise SltGrokError(f"loss: expected a finite loss at the checkpoint, got {value} at {where}")
        return cls(trajectory, inputs, targets, moves, dtype, baselines, kind, tuple(notes))

    @property
    def d(self) -> int:
        """Number of coordinates that move."""
        return self.subspace.dimension

    @property
    def guessing_loss(self) -> float | None:
        """Cross-entropy of guessing, the entropy of the targets' marginal in nats; None for another loss or targets."""
        if self.kind.finite_minimizer or not self.kind.in_nats or self.targets.is_floating_point():
            return None
        return float(entropy(np.unique(self.targets.cpu().numpy(), return_counts=True)[1]))

    @property
    def melting_loss(self) -> float | None:
        """Mean loss above which chains count as melted by default, half that of guessing; None if unknown or 0."""
        return loss / 2 if (loss := self.guessing_loss) else None

    @property
    def finite_minimizer(self) -> bool:
        """Whether a fitted network has a finite minimizer of the loss; not so for cross-entropy."""
        return self.kind.finite_minimizer

    def single(self, index: int) -> "Problem":
        """Select one of the networks, from 0 to N - 1; its random streams stay the same."""
        dims, place = self.trajectory.dims, np.unravel_index(index, self.trajectory.shape)
        network = self.trajectory.isel(**{dim: [int(i)] for dim, i in zip(dims, place, strict=True)})
        return replace(self, trajectory=network, baselines=self.baselines[[index]])

    def sampling(
        self, sampler: Sampler, schedule: Schedule, box: float | None = None, device: torch.device = CPU
    ) -> Sampling:
        """Bundle everything that chains need except their starting points."""
        network = self.trajectory.network
        return Sampling(network, self.inputs, self.targets, self.subspace, sampler, schedule, box, device)

    def starts(self, n_betas: Sequence[float], gamma: float, chains: int, seed: int) -> Starts:
        """Start chains at w*.

        Parameters
        ----------
        n_betas, gamma : sequence of float, float
            n times each inverse temperature, and the localization.
        chains : int
            Number of chains for each network and temperature.
        seed : int
            Seed; together with a network's coordinates and a chain's index it determines the random streams.

        Returns
        -------
        Starts
            Starting points in the order (network, temperature, chain).
        """
        networks, copies = self.trajectory.stacked(self.dtype), len(n_betas) * chains
        stack = {name: tensor.repeat_interleave(copies, 0) for name, tensor in networks.items()}
        n_beta = torch.tensor(n_betas, dtype=self.dtype).repeat_interleave(chains).repeat(len(self.trajectory))[:, None]
        streams = [
            np.random.SeedSequence(seed, spawn_key=(*key, temperature, chain))
            for key in _keys(self.trajectory)
            for temperature in range(len(n_betas))
            for chain in range(chains)
        ]
        return Starts(stack, n_beta, torch.full_like(n_beta, gamma), streams)


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

    If a coordinate is neither, the network's index is used.
    """
    axes: list[Sequence[int]] = []
    for dim in trajectory.dims:
        values = trajectory.coords[dim]
        if values.dtype.kind in "UO":
            values = np.array([zlib.crc32(str(name).encode()) for name in values])
        if values.dtype.kind not in "iu" or (values < 0).any():
            return list(np.ndindex(*trajectory.shape))
        axes.append(values.tolist())
    return list(product(*axes))

"""The sampling problem: networks, their data and the weights that move, and the starting points of the chains."""

import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
from slt_grok.format import first_line
from slt_grok.llc.gathering import with_samples
from slt_grok.llc.minimizers import LossKind, loss_kind
from slt_grok.llc.rounding import with_single_precision
from slt_grok.llc.sample_losses import losses_of_outputs
from slt_grok.llc.samplers.sampler import Sampler
from slt_grok.llc.sampling import Sampling, Schedule, Starts
from slt_grok.llc.subspaces import Subspace, everything
from slt_grok.operators.objective import as_floats
from slt_grok.samples import described
from slt_grok.trajectories import Loss, Trajectory, cross_entropy

CHECKED = 64  # samples on which the loss is checked


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
        inputs = as_floats(inputs, dtype)
        precise = as_floats(inputs, torch.float64)
        outputs = _check_loss(trajectory, precise[:CHECKED], targets[:CHECKED], described(given))
        kind = loss_kind(trajectory.network.loss, outputs, len(precise[:CHECKED]), targets)
        if finite_minimizer is not None:
            kind = kind._replace(finite_minimizer=finite_minimizer, known=True)
        with _explained("loss: cannot be computed"):
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


def _check_loss(trajectory: Trajectory, inputs: Tensor, targets: Tensor, given: str) -> Tensor:
    """Check that network and loss accept the data, and that the loss is differentiable and an average over samples.

    Returns
    -------
    Tensor
        Outputs of the first network.
    """
    network, n = trajectory.network, len(inputs)

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return network.loss(outputs, targets).double().mean()

    def same(one: Tensor, other: Tensor) -> bool:
        return torch.allclose(one, other, rtol=1e-4, atol=1e-12, equal_nan=True)

    # a little off w*, where every sample's loss may be 0
    parameters = {name: tensor[0] for name, tensor in trajectory.stacked(torch.float64).items()}
    parameters |= {name: (parameters[name] + 0.01).requires_grad_() for name in network.moving}
    with torch.enable_grad(), _explained(f"data: the network fails on inputs of {given}"):
        outputs = network.outputs(parameters, inputs)
    if not isinstance(outputs, Tensor):
        raise SltGrokError(f"data: expected a network that returns one tensor, got {type(outputs).__name__}")
    outputs = outputs.double()
    kinds = f"outputs of {described(outputs)} and targets of {described(targets)}"
    if network.loss is cross_entropy and targets.is_floating_point():
        raise SltGrokError(f"loss: cross-entropy expects integer targets, got {kinds}; pass another loss")
    with torch.enable_grad(), _explained(f"loss: fails on {kinds}"):
        losses = network.loss(outputs, targets)
        if not isinstance(losses, Tensor) or not losses.requires_grad:
            raise SltGrokError("loss: expected a tensor that can be differentiated by the parameters")
        by_sample = outputs.shape[:1] == (n,)
        twice = torch.cat([outputs, outputs]) if by_sample else network.outputs(parameters, torch.cat([inputs, inputs]))
        once = loss(outputs, targets)
        if not same(once, loss(twice.double(), torch.cat([targets, targets]))):
            raise SltGrokError(
                "loss: expected the losses of the samples or their mean, got a different value when every "
                "sample is repeated; use reduction='mean'"
            )
        shifted = loss(outputs.roll(1, 0), targets) if by_sample and n > 1 else None
        if (
            shifted is not None
            and same(once, shifted)
            and not same(once, losses_of_outputs(network, outputs, targets).mean())
        ):
            raise SltGrokError(f"loss: combines every output with every target, got {kinds}; reshape the targets")
    return outputs.detach()


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Turn any error into a sentence."""
    try:
        yield
    except SltGrokError:
        raise
    except Exception as error:
        raise SltGrokError(f"{what}: {first_line(error) or type(error).__name__}") from error


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

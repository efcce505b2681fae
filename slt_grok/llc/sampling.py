"""Specification of a sampling run: networks, schedule, starting points, and the records of the chains."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from slt_grok.devices import CPU
from slt_grok.llc.samplers.sampler import Sampler, State
from slt_grok.llc.subspaces import Subspace
from slt_grok.settings import NonNegative, Positive, check
from slt_grok.trajectories import Network


@dataclass(frozen=True)
class Schedule:
    """Length of a chain, and its data.

    Parameters
    ----------
    burn_in : int
        Initial updates, whose losses are stored separately and never averaged in.
    draws : int
        Number of losses to average.
    thinning : int, optional
        Number of updates between draws.
    batch_size : int or None, optional
        Minibatch size, drawn without replacement within an epoch; None for the full batch.
    """

    burn_in: NonNegative
    draws: Positive
    thinning: Positive = 1
    batch_size: Positive | None = None

    def __post_init__(self) -> None:
        check(self, "schedule")

    @property
    def updates(self) -> int:
        """Number of updates per chain."""
        return self.burn_in + self.draws * self.thinning

    def drawn(self, losses: np.ndarray) -> np.ndarray:
        """Select the draws' losses from those of all updates, along the last axis."""
        return losses[..., self.burn_in + self.thinning - 1 :: self.thinning]


class Observer(Protocol):
    """Records more about the draws than their loss, such as the losses of individual samples."""

    @property
    def every(self) -> int:
        """Number of draws between observations."""
        ...

    def begin(self, starts: "Starts") -> None:
        """Discard earlier chains before new ones start."""

    def observe(self, chains: slice, state: State, stack: Mapping[str, Tensor]) -> None:
        """Record a draw of some chains from their state and their parameters as named tensors."""


@dataclass(frozen=True)
class Sampling:
    """A specification of what to sample, and how.

    Parameters
    ----------
    network : Network
        The function and its loss.
    inputs, targets : Tensor
        The n samples.
    subspace : Subspace
        Weights that move.
    sampler : Sampler
        See `slt_grok.llc.samplers`; tensor-valued settings have one row per chain.
    schedule : Schedule
        Length and batch size.
    box : float or None, optional
        See `LocalPosterior`.
    device : torch.device, optional
        Device of the chains; starts and records are on the CPU.
    """

    network: Network
    inputs: Tensor
    targets: Tensor
    subspace: Subspace
    sampler: Sampler
    schedule: Schedule
    box: float | None = None
    device: torch.device = CPU

    def on_device(self) -> "Sampling":
        """Copy this with samples and buffers on the device."""
        if self.device == CPU:
            return self
        network = replace(self.network)  # a copy
        network.module.to(self.device)
        return replace(self, network=network, inputs=self.inputs.to(self.device), targets=self.targets.to(self.device))


class Starts(NamedTuple):
    """Starting points of the chains, one row per chain.

    Parameters
    ----------
    stack : dict[str, Tensor]
        The checkpoint's parameters by name, (chains, ...).
    n_beta, gamma : Tensor
        Inverse temperature times n, and localization, (chains, 1), at the precision of the parameters.
    streams : sequence of numpy.random.SeedSequence
        One seed sequence per chain; its spawn key ends in (temperature, chain).
    position : Tensor or None, optional
        Starting points, (chains, d); None for the checkpoint.
    """

    stack: dict[str, Tensor]
    n_beta: Tensor
    gamma: Tensor
    streams: Sequence[np.random.SeedSequence]
    position: Tensor | None = None

    def rows(self, rows: slice, device: torch.device = CPU) -> "Starts":
        """Slice some of the chains, on a device."""
        stack = {name: tensor[rows].to(device) for name, tensor in self.stack.items()}
        position = None if self.position is None else self.position[rows].to(device)
        return Starts(stack, self.n_beta[rows].to(device), self.gamma[rows].to(device), self.streams[rows], position)


class Chains(NamedTuple):
    """Records of the chains.

    Parameters
    ----------
    losses : Tensor
        Loss on the update's batch after each update, float64 (chains, updates); infinite or NaN if the chain diverged,
        after which it restarts from w*.
    resets : Tensor
        Number of times a chain was reset to w*, (chains,).
    distance : Tensor
        |w - w*| at evenly spaced draws, (chains, look).
    virial : Tensor
        (w - w*) . grad U(w) / d at these draws, (chains, look); its mean is 1 in equilibrium.
    acceptance : Tensor
        Acceptance probability of a MALA proposal with the sampler's step (epsilon, or h^2), averaged over some draws;
        the sampler's actual acceptance if it accepts or rejects; (chains,).
    """

    losses: Tensor
    resets: Tensor
    distance: Tensor
    virial: Tensor
    acceptance: Tensor

"""What is sampled and how, where chains start, and what is recorded along them."""

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
    """How long a chain runs and on which data.

    Parameters
    ----------
    burn_in : int
        Updates at the start whose losses are stored separately and never averaged in.
    draws : int
        Losses that are averaged.
    thinning : int, optional
        Updates from one draw to the next.
    batch_size : int or None, optional
        Samples of a minibatch, drawn without replacement within an epoch; None for the full batch.
    """

    burn_in: NonNegative
    draws: Positive
    thinning: Positive = 1
    batch_size: Positive | None = None

    def __post_init__(self) -> None:
        check(self, "schedule")

    @property
    def updates(self) -> int:
        """Updates of one chain."""
        return self.burn_in + self.draws * self.thinning

    def drawn(self, losses: np.ndarray) -> np.ndarray:
        """Return the draws' losses from those of all updates, along the last axis."""
        return losses[..., self.burn_in + self.thinning - 1 :: self.thinning]


class Observer(Protocol):
    """What records more of the draws than their loss, such as the losses of single samples."""

    @property
    def every(self) -> int:
        """Draws between two observations."""
        ...

    def begin(self, starts: "Starts") -> None:
        """Forget earlier chains, since new ones are about to start."""
        ...

    def observe(self, chains: slice, state: State, stack: Mapping[str, Tensor]) -> None:
        """Record a draw of some chains from their state and their parameters as named tensors."""
        ...


@dataclass(frozen=True)
class Sampling:
    """What is sampled, and how.

    Parameters
    ----------
    network : Network
        The function and its loss.
    inputs, targets : Tensor
        The n samples.
    subspace : Subspace
        The weights that move.
    sampler : Sampler
        See `slt_grok.llc.samplers`; settings that are tensors have a row for each chain.
    schedule : Schedule
        Length and batch.
    box : float or None, optional
        See `LocalPosterior`.
    device : torch.device, optional
        Where the chains run; starts and records are on the CPU.
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
        """Return the same with samples and buffers on the device."""
        if self.device == CPU:
            return self
        network = replace(self.network)  # a copy
        network.module.to(self.device)
        return replace(self, network=network, inputs=self.inputs.to(self.device), targets=self.targets.to(self.device))


class Starts(NamedTuple):
    """Where the chains start, a row for each chain.

    stack : the checkpoint's parameters by name, (chains, ...).
    n_beta, gamma : (chains, 1) in the precision of the parameters.
    streams : a seed sequence for each chain; its spawn key ends in (temperature, chain).
    position : where the chains start, (chains, d); at the checkpoint where None.
    """

    stack: dict[str, Tensor]
    n_beta: Tensor
    gamma: Tensor
    streams: Sequence[np.random.SeedSequence]
    position: Tensor | None = None

    def rows(self, rows: slice, device: torch.device = CPU) -> "Starts":
        """Return some of the chains, on a device."""
        stack = {name: tensor[rows].to(device) for name, tensor in self.stack.items()}
        position = None if self.position is None else self.position[rows].to(device)
        n_beta, gamma = self.n_beta[rows].to(device), self.gamma[rows].to(device)
        return Starts(stack, n_beta, gamma, self.streams[rows], position)


class Chains(NamedTuple):
    """What was recorded along the chains.

    losses : float64 (chains, updates): the loss on the update's batch after each update; a chain that left every bound
        has an infinite or NaN loss there and restarts from w*.
    resets : how often a chain was put back at w*, (chains,).
    distance : |w - w*| at some draws, (chains, look).
    virial : (w - w*) . grad U(w) / d at these draws, (chains, look); its mean is 1 in equilibrium.
    acceptance : acceptance probability of a MALA proposal with the sampler's step (epsilon, or h^2), mean over some
        draws; the sampler's own where it accepts or rejects; (chains,).
    """

    losses: Tensor
    resets: Tensor
    distance: Tensor
    virial: Tensor
    acceptance: Tensor

"""What is sampled and how, where chains start, and what is seen along them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from slt_grok.devices import CPU
from slt_grok.llc.samplers import Sampler, State
from slt_grok.llc.subspaces import Subspace
from slt_grok.trajectories import Network


@dataclass(frozen=True)
class Schedule:
    """How long a chain runs and on which data.

    Parameters
    ----------
    burn_in : int
        Updates whose losses are kept apart and never averaged in.
    draws : int
        Losses that are averaged.
    thinning : int, optional
        Updates from one draw to the next.
    batch_size : int or None, optional
        Samples of a minibatch, drawn without replacement within an epoch; None for the full batch.
    """

    burn_in: int
    draws: int
    thinning: int = 1
    batch_size: int | None = None

    @property
    def updates(self) -> int:
        """Updates of one chain."""
        return self.burn_in + self.draws * self.thinning


class Observer(Protocol):
    """What looks at draws beyond their loss, such as the losses of the samples."""

    @property
    def every(self) -> int:
        """Draws from one look to the next."""
        ...

    def begin(self, starts: "Starts") -> None:
        """Chains are about to start: what was seen of earlier ones is forgotten."""
        ...

    def observe(self, chains: slice, state: State, stack: Mapping[str, Tensor]) -> None:
        """Take a draw of some of the chains: their state, and their parameters as named tensors."""
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
        See `slt_grok.llc.samplers`; settings that are tensors have one row a chain.
    schedule : Schedule
        Length and batch.
    box : float or None, optional
        See `LocalPosterior`.
    device : torch.device, optional
        Where the chains run; they start from the CPU, and what is seen along them comes back to it.
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
        """With the samples and the network's buffers there."""
        if self.device == CPU:
            return self
        network = replace(self.network)  # a copy
        network.module.to(self.device)
        return replace(self, network=network, inputs=self.inputs.to(self.device), targets=self.targets.to(self.device))


class Starts(NamedTuple):
    """Where the chains start: one row a chain.

    stack : the checkpoint's parameters by name, (chains, ...).
    n_beta, gamma : (chains, 1) in the precision of the parameters.
    streams : one seed sequence a chain.
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
    """What was seen along the chains.

    losses : float64 (chains, updates): the loss on the update's batch after each update; a chain that left every bound
        has its infinite or NaN loss there, and goes on from w* after it.
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

"""Losses of individual samples at the chains' draws, recorded by observers.

With several temperatures, only the chains at the largest n_beta are observed. Everything is float64.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from torch.func import vmap

from slt_grok.errors import SltGrokError
from slt_grok.llc.chains import WORKING_MEMORY, saved_for_backward
from slt_grok.llc.diagnostics import HEALTHY
from slt_grok.llc.samplers.sampler import State
from slt_grok.llc.sampling import Starts
from slt_grok.models.network import Network


def losses_of_outputs(network: Network, outputs: Tensor, targets: Tensor) -> Tensor:
    """Compute each sample's loss, float64 (n,), from outputs (n, ...) by evaluating the network's loss on it alone.

    Their mean over the samples is the network's mean loss, whether its loss returns one number per sample or their
    mean.
    """

    def one(output: Tensor, target: Tensor) -> Tensor:
        return network.loss(output[None], target[None]).double().mean()

    return vmap(one)(outputs.double(), targets)


def sample_losses(network: Network, stack: Mapping[str, Tensor], inputs: Tensor, targets: Tensor) -> Tensor:
    """Compute the loss of each sample under each of N networks, float64 (N, n)."""
    outputs = network.stacked_outputs(stack, inputs)
    return vmap(lambda one: losses_of_outputs(network, one, targets))(outputs)


def healthy_chains(result: xr.Dataset) -> np.ndarray:
    """Mask of the averaged chains of an estimate, bool (network, chain), in the order of the estimate's networks."""
    return (result.chain_health == HEALTHY).values.reshape(-1, result.sizes["chain"])


class SampleObserver(ABC):
    """An observer (`slt_grok.llc.sampling.Observer`) of the losses of all samples at every n-th draw.

    Parameters
    ----------
    network : Network
        The function and its loss.
    inputs, targets : Tensor
        Samples to evaluate, which may differ from those that the chains train on.
    trained : Tensor or None, optional
        Indices of the samples whose mean is the training loss L; None for all.
    every : int, optional
        Number of draws between evaluations.

    Raises
    ------
    SltGrokError
        There are no samples, or an index is invalid.
    """

    def __init__(
        self, network: Network, inputs: Tensor, targets: Tensor, *, trained: Tensor | None = None, every: int = 1
    ) -> None:
        if len(inputs) != len(targets) or not len(inputs):
            raise SltGrokError(f"data: expected as many targets as inputs, got {len(inputs)} and {len(targets)}")
        self.network, self.inputs, self.targets, self.every = network, inputs, targets, every
        self.trained = torch.arange(len(inputs)) if trained is None else trained
        if not len(self.trained) or self.trained.min() < 0 or self.trained.max() >= len(inputs):
            raise SltGrokError(f"trained: expected at least one place among the {len(inputs)} samples")
        self._sample_bytes = 0

    def begin(self, starts: Starts) -> None:
        """Prepare for new chains; those at the largest n_beta are observed."""
        coldest = starts.n_beta[:, 0] == starts.n_beta.max()
        self._row = torch.where(coldest, coldest.cumsum(0) - 1, -1)
        self._sample_bytes = 0
        self._start(int(coldest.sum()))

    def observe(self, chains: slice, state: State, stack: Mapping[str, Tensor]) -> None:
        """Record a draw of some of the chains."""
        rows = self._row[chains]
        seen = rows >= 0
        if seen.any():
            self._add(rows[seen], self._losses({name: tensor[seen] for name, tensor in stack.items()}))

    @abstractmethod
    def _start(self, count: int) -> None:
        """Prepare for the given number of chains."""

    @abstractmethod
    def _add(self, rows: Tensor, losses: Tensor) -> None:
        """Add a draw of the chains in these rows: losses (rows, n)."""

    def _losses(self, stack: Mapping[str, Tensor]) -> Tensor:
        """Compute the losses in pieces that fit into the working memory, (chains, n)."""
        dtype = next(iter(stack.values())).dtype
        inputs = self.inputs.to(dtype) if self.inputs.is_floating_point() else self.inputs
        if not self._sample_bytes:
            self._sample_bytes = _sample_bytes(self.network, stack, inputs)
        at_once = max(1, WORKING_MEMORY // self._sample_bytes)  # samples times chains
        width = min(at_once, len(inputs))
        height = max(1, at_once // width)
        chains = len(next(iter(stack.values())))
        rows = []
        for i in range(0, chains, height):
            some = {name: tensor[i : i + height] for name, tensor in stack.items()}
            pieces = zip(inputs.split(width), self.targets.split(width), strict=True)
            rows.append(torch.cat([sample_losses(self.network, some, x, y) for x, y in pieces], dim=1))
        return torch.cat(rows)


def _sample_bytes(network: Network, stack: Mapping[str, Tensor], inputs: Tensor) -> int:
    """Bound the bytes that one sample needs in one network's forward pass, by what backward would save."""
    count = min(256, len(inputs))
    with torch.enable_grad(), saved_for_backward() as kept:
        one = {name: tensor[:1].detach().requires_grad_() for name, tensor in stack.items()}
        outputs = network.stacked_outputs(one, inputs[:count]).double()
    return (2 * sum(kept.values()) + 4 * outputs.nbytes) // count + 1


class SampleDraws(SampleObserver):
    """The losses of all samples at every draw, for uses that need the draws themselves; 8 n bytes per draw and chain.

    Parameters
    ----------
    network, inputs, targets, trained, every : Network, Tensor, Tensor, Tensor or None, int
        See `SampleObserver`.
    """

    def _start(self, count: int) -> None:
        self._draws: list[list[Tensor]] = [[] for _ in range(count)]

    def _add(self, rows: Tensor, losses: Tensor) -> None:
        for row, draw in zip(rows.tolist(), losses, strict=True):
            self._draws[row].append(draw)

    def by_chain(self, networks: int = 1) -> np.ndarray:
        """Get the draws so far of each chain of each network, float64 (network, chain, draw, n)."""
        return torch.stack([torch.stack(chain) for chain in self._draws]).unflatten(0, (networks, -1)).numpy()

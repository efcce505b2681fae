"""Base of samplers with a Metropolis test: they sample the full-batch posterior exactly for any step."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from slt_grok.llc.samplers.sampler import Evaluate, Noise, Sampler


class ExactState(NamedTuple):
    """The state of every chain.

    Parameters
    ----------
    position, loss, gradient : Tensor
        See `slt_grok.llc.samplers.sampler.State`.
    acceptance : Tensor
        Acceptance probability of the last proposal, (chains,).
    """

    position: Tensor
    loss: Tensor
    gradient: Tensor
    acceptance: Tensor

    def moved(self, proposal: Tensor, loss: Tensor, gradient: Tensor, acceptance: Tensor, noise: Noise) -> "ExactState":
        """Move to the proposal with its acceptance probability, in place; other chains stay."""
        accepted = noise.uniform() < acceptance[:, None]
        torch.where(accepted, proposal, self.position, out=self.position)
        torch.where(accepted, gradient, self.gradient, out=self.gradient)
        return ExactState(self.position, torch.where(accepted[:, 0], loss, self.loss), self.gradient, acceptance)


@dataclass(frozen=True)
class ExactSampler(Sampler):
    """A sampler with an accept-reject step; a chain with a non-finite proposal stays."""

    exact = True

    def init(self, position: Tensor, evaluate: Evaluate, noise: Noise) -> ExactState:
        """Build the state at `position`; the noise is not used."""
        loss, gradient = evaluate(position)
        return ExactState(position, loss, gradient, torch.ones_like(loss))

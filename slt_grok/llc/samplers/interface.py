"""What every sampler is given and what it gives back.

A sampler moves many chains at once, as flat positions of shape (chains, d). It is made of `init`, which turns an
evaluated starting point into a state, and `update`, which turns a state into the next one. Every state carries the
chain's current sample: position, loss there and gradient of the loss there.
"""

from collections.abc import Callable
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from slt_grok.llc.posterior import LocalPosterior

Evaluate = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Positions (chains, d) -> losses L, float64 (chains,), and their gradients (chains, d). A full batch, or the next
minibatch of each chain. The gradient's memory is overwritten by the next call."""


class Noise(Protocol):
    """Where a sampler's randomness comes from: given from outside, so that two devices can share it."""

    def normal(self) -> Tensor:
        """Return standard normal numbers, (chains, d); overwritten by the next call."""
        ...

    def uniform(self) -> Tensor:
        """Uniform numbers in [0, 1), (chains, 1)."""
        ...


class State(Protocol):
    """What every sampler's state has."""

    @property
    def position(self) -> Tensor:
        """The chains' samples, (chains, d)."""
        ...

    @property
    def loss(self) -> Tensor:
        """L at the samples, float64 (chains,)."""
        ...

    @property
    def gradient(self) -> Tensor:
        """Return grad L at the samples, (chains, d)."""
        ...


class Sampler(Protocol):
    """What every sampler offers."""

    name: ClassVar[str]
    exact: ClassVar[bool]  # accepts or rejects by the full loss: minibatches would make that wrong

    @property
    def step_size(self) -> float | Tensor:
        """The step: epsilon of SGLD, h of an integrator; one number, or one a chain (chains, 1)."""
        ...

    def init(self, position: Tensor, evaluate: Evaluate, noise: Noise) -> Any:
        """Return the state at `position`, which is kept and moved in place."""
        ...

    def update(self, state: Any, evaluate: Evaluate, noise: Noise, posterior: LocalPosterior) -> Any:
        """Return the state after one update."""
        ...


def like(value: float | Tensor, position: Tensor) -> Tensor:
    """Return a setting as a tensor that multiplies positions: one number, or one a chain."""
    return torch.as_tensor(value, dtype=position.dtype, device=position.device)

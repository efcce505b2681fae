"""What every sampler is given and what it gives back.

A sampler moves many chains at once, as flat positions of shape (chains, d). It is a dataclass that is also its own
configuration, made of `init`, which turns an evaluated starting point into a state, and `update`, which turns a state
into the next one. Every state carries the chain's current sample: position, loss there and gradient of the loss there.
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import torch
from torch import Tensor

from slt_grok.errors import SltGrokError
from slt_grok.llc.posterior import LocalPosterior
from slt_grok.progress import ProgressCallback, ignore
from slt_grok.registry import Registered
from slt_grok.settings import AboveZero, check

if TYPE_CHECKING:
    from slt_grok.llc.sampling import Chains, Observer, Sampling, Starts

Evaluate = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Positions (chains, d) -> losses L, float64 (chains,), and their gradients (chains, d). A full batch, or the next
minibatch of each chain. The gradient's memory is overwritten by the next call."""


class Noise(Protocol):
    """Where a sampler's randomness comes from: given from outside, so that two devices can share it."""

    def normal(self) -> Tensor:
        """Return standard normal numbers, (chains, d); overwritten by the next call."""
        ...

    def uniform(self) -> Tensor:
        """Return uniform numbers in [0, 1), (chains, 1)."""
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
        """Grad L at the samples, (chains, d)."""
        ...


@dataclass(frozen=True)
class Sampler(Registered):
    """A sampler of the local posterior; a subclass with a `name` is one.

    Parameters
    ----------
    step_size : float or Tensor
        The step: epsilon of a Langevin step, h of an integrator; a number, or one for each chain, (chains, 1).
    """

    packages: ClassVar[tuple[str, ...]] = ("llc.samplers",)
    exact: ClassVar[bool] = False
    """Whether it accepts or rejects by the full loss, so that minibatches would be wrong; its state then has
    `acceptance` (chains,)."""

    step_size: AboveZero | Tensor

    def __post_init__(self) -> None:
        check(self, "sampler")

    def require(self, batch_size: int | None, gamma: float) -> None:
        """Check that the sampler can run with a batch size (None for the full batch) and a localization.

        Raises
        ------
        SltGrokError
            It cannot.
        """
        if self.exact and batch_size is not None:
            raise SltGrokError(f"batch_size must be omitted, since {self.name} accepts by the loss of the full batch")

    @property
    def gradients(self) -> int:
        """Gradients that one update costs."""
        return 1

    @property
    def langevin_step(self) -> float | Tensor:
        """The epsilon of a Langevin proposal that moves as far as one update."""
        return self.step_size

    def run(
        self,
        sampling: "Sampling",
        starts: "Starts",
        on_progress: ProgressCallback = ignore,
        observers: "Sequence[Observer]" = (),
    ) -> "Chains":
        """Run every chain, see `slt_grok.llc.chains.run_chains`; a sampler from elsewhere may bring its own loop."""
        from slt_grok.llc.chains import run_chains  # which imports this module

        return run_chains(sampling, starts, on_progress, observers)

    @abstractmethod
    def init(self, position: Tensor, evaluate: Evaluate, noise: Noise) -> Any:
        """Return the state at `position`, which is kept and moved in place."""

    @abstractmethod
    def update(self, state: Any, evaluate: Evaluate, noise: Noise, posterior: LocalPosterior) -> Any:
        """Return the state after one update."""


def like(value: float | Tensor, position: Tensor) -> Tensor:
    """Return a setting as a tensor that multiplies positions: a number, or one for each chain."""
    return torch.as_tensor(value, dtype=position.dtype, device=position.device)

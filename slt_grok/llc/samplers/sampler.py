"""Interface of samplers.

A sampler moves many chains at once, as flat positions of shape (chains, d). It is a dataclass that is also its own
configuration, with `init`, which turns a starting point into a state, and `update`, which advances the state. Every
state includes the chain's current sample: position, loss there and gradient of the loss there.
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor

from slt_grok.errors import SltGrokError
from slt_grok.llc.posterior import LocalPosterior
from slt_grok.progress import ProgressCallback
from slt_grok.registry import Registered
from slt_grok.settings import AboveZero, check

if TYPE_CHECKING:
    from slt_grok.llc.sampling import Chains, Observer, Sampling, Schedule, Starts

Evaluate = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Positions (chains, d) -> losses L, float64 (chains,), and their gradients (chains, d), on the full batch or on each
chain's next minibatch."""


class Noise(Protocol):
    """Source of a sampler's randomness, passed in so that two devices can share it."""

    def normal(self) -> Tensor:
        """Draw standard normal numbers, (chains, d); overwritten by the next call."""
        ...

    def uniform(self) -> Tensor:
        """Draw uniform numbers in [0, 1), (chains, 1)."""
        ...


class State(NamedTuple):
    """State of all chains; samplers with extra variables append fields.

    Parameters
    ----------
    position : Tensor
        The current samples, (chains, d).
    loss : Tensor
        L at the samples, float64 (chains,).
    gradient : Tensor
        The gradient of L at the samples, (chains, d).
    """

    position: Tensor
    loss: Tensor
    gradient: Tensor


@dataclass(frozen=True)
class Sampler(Registered):
    """A sampler of the local posterior; subclasses with a `name` are registered.

    Parameters
    ----------
    step_size : float or Tensor
        Step size: epsilon of a Langevin step, h of an integrator; a number, or one per chain, (chains, 1).
    """

    packages: ClassVar[tuple[str, ...]] = ("llc.samplers",)
    exact: ClassVar[bool] = False
    """Whether it accepts or rejects by the full loss, so that minibatches would be wrong; its state then has an
    `acceptance` (chains,)."""

    step_size: AboveZero | Tensor

    def __post_init__(self) -> None:
        check(self, "sampler")

    def require(self, schedule: "Schedule", gamma: float) -> None:
        """Check that the sampler can run with a schedule and a localization strength.

        Raises
        ------
        SltGrokError
            The sampler cannot run with these settings.
        """
        if self.exact and schedule.batch_size is not None:
            raise SltGrokError(f"batch_size must be omitted, since {self.name} accepts by the loss of the full batch")

    @property
    def shortest_burn_in(self) -> int:
        """Number of updates in which the sampler tunes itself, which burn-in has to contain."""
        return 0

    @property
    def gradients(self) -> int:
        """Number of gradients per update."""
        return 1

    def langevin_step(self, state: Any) -> float | Tensor:
        """Step epsilon of a Langevin proposal that moves as far as one update from this state."""
        return self.step_size

    def run(
        self,
        sampling: "Sampling",
        starts: "Starts",
        on_progress: ProgressCallback,
        observers: Sequence["Observer"] = (),
    ) -> "Chains":
        """Run all chains, see `slt_grok.llc.chains.run_chains`; an external sampler may use its own loop."""
        from slt_grok.llc.chains import run_chains  # which imports this module

        return run_chains(sampling, starts, on_progress, observers)

    @abstractmethod
    def init(self, position: Tensor, evaluate: Evaluate, noise: Noise) -> Any:
        """Build the state at `position`, which is kept and updated in place.

        Parameters
        ----------
        position : Tensor
            Starting points, (chains, d).
        evaluate : callable
            Computes losses and gradients, see `Evaluate`.
        noise : Noise
            Source of randomness.

        Returns
        -------
        State
            A `State`, or a named tuple that starts with its fields.
        """

    @abstractmethod
    def update(self, state: Any, evaluate: Evaluate, noise: Noise, posterior: LocalPosterior) -> Any:
        """Make one update of all chains.

        Parameters
        ----------
        state : State
            State returned by `init` or by the last update; it may be changed in place.
        evaluate, noise : callable, Noise
            See `init`.
        posterior : LocalPosterior
            Computes forces and potentials, and reflects chains that leave the box.

        Returns
        -------
        State
            The new state.
        """


def like(value: float | Tensor, position: Tensor) -> Tensor:
    """Convert a setting to a tensor that multiplies positions: a number, or one per chain."""
    return torch.as_tensor(value, dtype=position.dtype, device=position.device)

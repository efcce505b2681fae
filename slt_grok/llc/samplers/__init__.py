"""Samplers of the local posterior, one a file, one interface.

A sampler's `init(position, noise)` makes a state and `update(state, loss_gradient, noise, posterior)` moves it by one
step; both work on the chains' flat parameters of shape (chains, d), in place, and take their standard normal noise as
an argument. `name` is what a configuration and a dataset call it.
"""

from typing import Any, ClassVar, Protocol

from torch import Tensor

from slt_grok.llc.posterior import LocalPosterior
from slt_grok.llc.samplers.sgld import SGLD
from slt_grok.llc.samplers.underdamped import UnderdampedLangevin


class Sampler(Protocol):
    """What every sampler offers."""

    name: ClassVar[str]

    @property
    def step_size(self) -> float:
        """The step: epsilon of SGLD, h of an integrator."""
        ...

    def init(self, position: Tensor, noise: Tensor) -> Any:
        """The state at the start."""

    def update(self, state: Any, loss_gradient: Tensor, noise: Tensor, posterior: LocalPosterior) -> Any:
        """The state after one step."""


__all__ = ["SGLD", "Sampler", "UnderdampedLangevin"]

"""A sampler from outside the package: SGLD whose step takes the mean of two gradients."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, NamedTuple

from pydantic import Field
from torch import Tensor

from slt_grok.llc.samplers.sampler import Sampler, like


class State(NamedTuple):
    """The current sample."""

    position: Tensor
    loss: Tensor
    gradient: Tensor


@dataclass(frozen=True)
class AveragedSGLD(Sampler):
    """w <- w - (epsilon/2) grad U(w + reach (w - w*)) + sqrt(epsilon) N(0, I), averaged with grad U(w).

    Parameters
    ----------
    reach : float, optional
        How far ahead the second gradient is taken.
    """

    name: ClassVar[str] = "averaged_sgld"

    reach: Annotated[float, Field(ge=0)] = 0.0

    @property
    def gradients(self):
        """Two."""
        return 2

    def init(self, position, evaluate, noise):
        """Return the state at `position`."""
        loss, gradient = evaluate(position)
        return State(position, loss, gradient.clone())

    def update(self, state, evaluate, noise, posterior):
        """Return the state after one step."""
        epsilon, position = like(self.step_size, state.position), state.position
        ahead = position + self.reach * (position - posterior.center)
        mean = (state.gradient + evaluate(ahead)[1]) / 2
        posterior.descend(position, mean, epsilon / 2)
        position.addcmul_(noise.normal(), epsilon.sqrt())
        posterior.reflect(position)
        loss, gradient = evaluate(position)
        return State(position, loss, gradient.clone())

"""Underdamped Langevin dynamics by the BAOAB splitting (Leimkuhler & Matthews 2013, J. Chem. Phys. 138, 174102)."""

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from torch import Tensor

from slt_grok.errors import SltGrokError
from slt_grok.llc.posterior import LocalPosterior


class UnderdampedState(NamedTuple):
    """Position and momentum, each (chains, d)."""

    position: Tensor
    momentum: Tensor


@dataclass(frozen=True)
class UnderdampedLangevin:
    """dw = v dt, dv = -grad U(w) dt - xi v dt + sqrt(2 xi) dB with U = n_beta L + gamma/2 |w - w*|^2 and unit mass.

    One update is B A O A of the BAOAB splitting with the two half kicks B that meet between steps joined, so that it
    costs one gradient: v <- v - h grad U; w <- w + h v/2; v <- e^(-xi h) v + sqrt(1 - e^(-2 xi h)) N; w <- w + h v/2.
    The gradient is taken at the points that BAOAB samples. On a quadratic loss their variance is 1/A for every stable
    step (h sqrt(A) < 2), without the step-size bias of SGLD, and relaxation costs of order sqrt(A/gamma) steps instead
    of A/gamma.

    Parameters
    ----------
    step_size : h, in units of time; epsilon of SGLD corresponds to h^2.
    friction : xi; damping is critical in a direction of curvature (xi/2)^2.
    """

    step_size: float
    friction: float
    name: ClassVar[str] = "underdamped"

    @classmethod
    def for_gamma(cls, step_size: float, gamma: float) -> "UnderdampedLangevin":
        """With friction 4 sqrt(gamma): the directions that only the localisation holds are damped twice critically.

        Raises
        ------
        SltGrokError : gamma is not above 0.
        """
        if gamma <= 0:
            raise SltGrokError(f"gamma: expected a number above 0, since the friction follows from it, got {gamma}")
        return cls(step_size, 4 * math.sqrt(gamma))

    def init(self, position: Tensor, noise: Tensor) -> UnderdampedState:
        """The state at `position` (kept, and moved in place) with momentum drawn from its stationary law N(0, I)."""
        return UnderdampedState(position, noise.clone())

    def update(
        self, state: UnderdampedState, loss_gradient: Tensor, noise: Tensor, posterior: LocalPosterior
    ) -> UnderdampedState:
        """One step, in place."""
        h, keep = self.step_size, math.exp(-self.friction * self.step_size)
        position, momentum = state
        momentum.add_(posterior.force(position, loss_gradient), alpha=-h)
        position.add_(momentum, alpha=h / 2)
        momentum.mul_(keep).add_(noise, alpha=math.sqrt(1 - keep**2))
        position.add_(momentum, alpha=h / 2)
        return state

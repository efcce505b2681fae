"""Underdamped Langevin dynamics by the BAOAB splitting (Leimkuhler & Matthews 2013, J. Chem. Phys. 138, 174102)."""

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from slt_grok.errors import SltGrokError
from slt_grok.llc.posterior import LocalPosterior
from slt_grok.llc.samplers.interface import Evaluate, Noise, like


class UnderdampedState(NamedTuple):
    """The current sample, the momentum (chains, d), and the steps until it is drawn anew (chains, 1)."""

    position: Tensor
    loss: Tensor
    gradient: Tensor
    momentum: Tensor
    countdown: Tensor


@dataclass(frozen=True)
class UnderdampedLangevin:
    """dw = v dt, dv = -grad U(w) dt - xi v dt + sqrt(2 xi) dB with U = n_beta L + gamma/2 |w - w*|^2 and unit mass.

    One update is B A O A of the BAOAB splitting with the two half kicks B that meet between steps joined, so that it
    costs one gradient: v <- v - h grad U; w <- w + h v/2; v <- e^(-xi h) v + sqrt(1 - e^(-2 xi h)) N; w <- w + h v/2.
    The gradient is taken at the points that BAOAB samples. On a quadratic loss their variance is 1/A for every stable
    step (h sqrt(A) < 2), without the step-size bias of SGLD, and relaxation costs of order sqrt(A/gamma) steps instead
    of A/gamma.

    The friction alone leaves some directions slow: those much softer than xi^2/4 creep, those much stiffer ring. So
    each chain's momentum is also drawn anew, after a number of steps that is log-uniform between 1 and
    `longest_flight` steps: flights of every length, for curvatures of every size. It is drawn in the middle of the
    step, as if xi were infinite there: that is where BAOAB's momentum is independent of the position on a quadratic.

    Parameters
    ----------
    step_size : float or Tensor
        h, in units of time, one number or one a chain (chains, 1); epsilon of SGLD corresponds to h^2.
    friction : float or Tensor
        Xi, one number or one a chain; damping is critical in a direction of curvature (xi/2)^2.
    longest_flight : int or None, optional
        Most steps between two fresh momenta; None to never draw them anew.
    """

    step_size: float | Tensor
    friction: float | Tensor
    longest_flight: int | None = None
    name: ClassVar[str] = "underdamped"
    exact: ClassVar[bool] = False

    @classmethod
    def for_gamma(cls, step_size: float, gamma: float) -> "UnderdampedLangevin":
        """With friction 4 sqrt(gamma): the directions that only the localization holds are damped twice critically.

        Raises
        ------
        SltGrokError
            gamma is not above 0.
        """
        if gamma <= 0:
            raise SltGrokError(f"gamma: expected a number above 0, since the friction follows from it, got {gamma}")
        return cls(step_size, 4 * math.sqrt(gamma))

    def init(self, position: Tensor, evaluate: Evaluate, noise: Noise) -> UnderdampedState:
        """Return the state at `position` with momentum drawn from its stationary law N(0, I)."""
        momentum = noise.normal().clone()
        return UnderdampedState(position, *evaluate(position), momentum, self._flight(position, noise))

    def update(
        self, state: UnderdampedState, evaluate: Evaluate, noise: Noise, posterior: LocalPosterior
    ) -> UnderdampedState:
        """One step, in place."""
        position, _, gradient, momentum, countdown = state
        h = like(self.step_size, position)
        keep = torch.exp(-like(self.friction, position) * h)
        if self.longest_flight is not None:
            countdown = countdown - 1
            landed = countdown <= 0
            keep = torch.where(landed, 0.0, keep)
            # drawn by every chain at every step, so that a chain's numbers do not depend on the chains beside it
            countdown = torch.where(landed, self._flight(position, noise), countdown)
        momentum.addcmul_(posterior.force(position, gradient), -h)
        position.addcmul_(momentum, h / 2)
        momentum.mul_(keep).addcmul_(noise.normal(), (1 - keep**2).sqrt())
        position.addcmul_(momentum, h / 2)
        posterior.reflect(position, momentum)
        return UnderdampedState(position, *evaluate(position), momentum, countdown)

    def _flight(self, position: Tensor, noise: Noise) -> Tensor:
        """Return the steps until the momentum is drawn anew, (chains, 1)."""
        if self.longest_flight is None:
            return position.new_zeros(len(position), 1)
        return torch.exp(noise.uniform() * math.log(self.longest_flight)).ceil()

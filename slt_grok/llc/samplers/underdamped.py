"""Underdamped Langevin dynamics by the BAOAB splitting (Leimkuhler & Matthews 2013, J. Chem. Phys. 138, 174102)."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from slt_grok.errors import SltGrokError
from slt_grok.llc.posterior import LocalPosterior
from slt_grok.llc.samplers.sampler import Evaluate, Noise, Sampler, like
from slt_grok.settings import AboveZero, Positive


class UnderdampedState(NamedTuple):
    """The current sample, the momentum (chains, d), and the steps until it is redrawn (chains, 1)."""

    position: Tensor
    loss: Tensor
    gradient: Tensor
    momentum: Tensor
    countdown: Tensor


@dataclass(frozen=True)
class UnderdampedLangevin(Sampler):
    """dw = v dt, dv = -grad U(w) dt - xi v dt + sqrt(2 xi) dB with U = n_beta L + gamma/2 |w - w*|^2 and unit mass.

    One update is B A O A of the BAOAB splitting with the two half kicks B that meet between steps joined, so that it
    costs one gradient: v <- v - h grad U; w <- w + h v/2; v <- e^(-xi h) v + sqrt(1 - e^(-2 xi h)) N; w <- w + h v/2.
    The gradient is taken at the points that BAOAB samples. On a quadratic loss their variance is 1/A for every stable
    step (h sqrt(A) < 2), without the step-size bias of SGLD, and relaxation costs of order sqrt(A/gamma) steps instead
    of A/gamma.

    The friction alone leaves some directions slow: those much softer than xi^2/4 creep, those much stiffer ring. So
    each chain's momentum is also redrawn, after a number of steps that is log-uniform between 1 and
    `longest_flight` steps: flights of every length, for curvatures of every size. It is drawn in the middle of the
    step, as if xi were infinite there: that is where BAOAB's momentum is independent of the position on a quadratic.

    Parameters
    ----------
    step_size : float or Tensor
        h, in units of time, a number, or one for each chain, (chains, 1); epsilon of SGLD corresponds to h^2.
    friction : float or Tensor or None, optional
        xi, a number, or one for each chain, (chains, 1); damping is critical in a direction of curvature (xi/2)^2. By
        default 4 sqrt(gamma), so that directions held by the localization alone are damped at twice the critical rate.
    longest_flight : int or None, optional
        Most steps between two fresh momenta; None never redraws them.
    """

    name = "underdamped"

    friction: AboveZero | Tensor | None = None
    longest_flight: Positive | None = None

    @property
    def langevin_step(self) -> float | Tensor:
        """The epsilon of a Langevin proposal that moves as far as one update, h^2."""
        return self.step_size**2

    def require(self, batch_size: int | None, gamma: float) -> None:
        """Check that there is a localization for the friction to follow from.

        Raises
        ------
        SltGrokError
            gamma is 0 and no friction is given.
        """
        if self.friction is None and gamma <= 0:
            raise SltGrokError(f"gamma ({gamma:g}) must be above 0, since the friction of {self.name} follows from it")

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
        friction = 4 * posterior.gamma.sqrt() if self.friction is None else like(self.friction, position)
        keep = torch.exp(-friction * h)
        if self.longest_flight is not None:
            countdown = countdown - 1
            landed = countdown <= 0
            keep = torch.where(landed, 0.0, keep)
            # drawn by every chain at every step, so that a chain's numbers do not depend on the other chains
            countdown = torch.where(landed, self._flight(position, noise), countdown)
        momentum.addcmul_(posterior.force(position, gradient), -h)
        position.addcmul_(momentum, h / 2)
        momentum.mul_(keep).addcmul_(noise.normal(), (1 - keep**2).sqrt())
        position.addcmul_(momentum, h / 2)
        posterior.reflect(position, momentum)
        return UnderdampedState(position, *evaluate(position), momentum, countdown)

    def _flight(self, position: Tensor, noise: Noise) -> Tensor:
        """Return the steps until the momentum is redrawn, (chains, 1)."""
        if self.longest_flight is None:
            return position.new_zeros(len(position), 1)
        return torch.exp(noise.uniform() * math.log(self.longest_flight)).ceil()

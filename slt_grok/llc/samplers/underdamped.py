"""Underdamped Langevin dynamics by the BAOAB splitting (Leimkuhler & Matthews 2013, J. Chem. Phys. 138, 174102)."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from slt_grok.errors import SltGrokError
from slt_grok.llc.posterior import LocalPosterior
from slt_grok.llc.samplers.sampler import Evaluate, Noise, Sampler, like
from slt_grok.settings import AboveZero, Positive

if TYPE_CHECKING:
    from slt_grok.llc.sampling import Schedule


class UnderdampedState(NamedTuple):
    """The state of every chain.

    Parameters
    ----------
    position, loss, gradient : Tensor
        See `slt_grok.llc.samplers.sampler.State`.
    momentum : Tensor
        Momentum, (chains, d).
    countdown : Tensor
        Number of steps until the momentum is refreshed, (chains, 1).
    """

    position: Tensor
    loss: Tensor
    gradient: Tensor
    momentum: Tensor
    countdown: Tensor


@dataclass(frozen=True)
class UnderdampedLangevin(Sampler):
    """dw = v dt, dv = -grad U(w) dt - xi v dt + sqrt(2 xi) dB with U = n_beta L + gamma/2 |w - w*|^2 and unit mass.

    One update is B A O A of the BAOAB splitting with the two adjacent half kicks B merged, so that it costs one
    gradient: v <- v - h grad U; w <- w + h v/2; v <- e^(-xi h) v + sqrt(1 - e^(-2 xi h)) N; w <- w + h v/2. The
    gradient is computed at the points that BAOAB samples. On a quadratic loss their variance is 1/A for every stable
    step (h sqrt(A) < 2), without the step-size bias of SGLD, and relaxation takes about sqrt(A/gamma) steps instead of
    A/gamma.

    Friction alone leaves some directions slow: those much softer than xi^2/4 creep, those much stiffer ring. Therefore
    each chain's momentum is also refreshed after a number of steps that is log-uniform between 1 and `longest_flight`:
    flights of all lengths for curvatures of all sizes. It is refreshed in the middle of the step, as if xi were
    infinite there: at that point, BAOAB's momentum is independent of the position on a quadratic loss.

    Parameters
    ----------
    step_size : float or Tensor
        Step h in units of time, a number, or one per chain, (chains, 1); epsilon of SGLD corresponds to h^2.
    friction : float or Tensor or None, optional
        Friction xi, a number, or one per chain, (chains, 1); damping is critical in a direction of curvature (xi/2)^2.
        The default 4 sqrt(gamma) damps directions held by the localization alone at twice the critical rate.
    longest_flight : int or None, optional
        Most steps between momentum refreshments; None to disable them.
    """

    name = "underdamped"

    friction: AboveZero | Tensor | None = None
    longest_flight: Positive | None = None

    def langevin_step(self, state: UnderdampedState) -> float | Tensor:
        """Step epsilon of a Langevin proposal that moves as far as one update, h^2."""
        return self.step_size**2

    def require(self, schedule: "Schedule", gamma: float) -> None:
        """Check that the localization can determine the friction.

        Raises
        ------
        SltGrokError
            Gamma is 0 and no friction is given.
        """
        if self.friction is None and gamma <= 0:
            raise SltGrokError(f"gamma ({gamma:g}) must be above 0, since the friction of {self.name} follows from it")

    def init(self, position: Tensor, evaluate: Evaluate, noise: Noise) -> UnderdampedState:
        """Build the state at `position` with momentum drawn from its stationary distribution N(0, I)."""
        momentum = noise.normal().clone()
        return UnderdampedState(position, *evaluate(position), momentum, self._flight(position, noise))

    def update(
        self, state: UnderdampedState, evaluate: Evaluate, noise: Noise, posterior: LocalPosterior
    ) -> UnderdampedState:
        """Make one step, in place."""
        position, _, gradient, momentum, countdown = state
        h = like(self.step_size, position)
        friction = 4 * posterior.gamma.sqrt() if self.friction is None else like(self.friction, position)
        keep = torch.exp(-friction * h)
        if self.longest_flight is not None:
            countdown = countdown - 1
            landed = countdown <= 0
            keep = torch.where(landed, 0.0, keep)
            # drawn by every chain at every step, so that a chain's random numbers do not depend on the other chains
            countdown = torch.where(landed, self._flight(position, noise), countdown)
        momentum.addcmul_(posterior.force(position, gradient), -h)
        position.addcmul_(momentum, h / 2)
        momentum.mul_(keep).addcmul_(noise.normal(), (1 - keep**2).sqrt())
        position.addcmul_(momentum, h / 2)
        posterior.reflect(position, momentum)
        return UnderdampedState(position, *evaluate(position), momentum, countdown)

    def _flight(self, position: Tensor, noise: Noise) -> Tensor:
        """Draw the number of steps until the next refreshment, (chains, 1)."""
        if self.longest_flight is None:
            return position.new_zeros(len(position), 1)
        return torch.exp(noise.uniform() * math.log(self.longest_flight)).ceil()

"""SGLD preconditioned by RMSprop (Li et al. 1512.07666), in devinterp's form and in one that preserves the posterior.

The moments use the loss gradient alone, without the localization term.
"""

from dataclasses import dataclass
from typing import Annotated, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from slt_grok.llc.posterior import LocalPosterior
from slt_grok.llc.samplers.sampler import Evaluate, Noise, Sampler, like
from slt_grok.settings import AboveZero, Positive


class RMSpropSGLDState(NamedTuple):
    """The state of every chain.

    Parameters
    ----------
    position, loss, gradient : Tensor
        See `slt_grok.llc.samplers.sampler.State`.
    square_average : Tensor
        Running mean V of the squared gradient, (chains, d).
    updates : int
        Number of updates so far.
    """

    position: Tensor
    loss: Tensor
    gradient: Tensor
    square_average: Tensor
    updates: int


@dataclass(frozen=True)
class RMSpropSGLD(Sampler):
    """w <- w - (epsilon/2) G [n_beta grad L(w) + gamma (w - w*)] + sqrt(epsilon G) N(0, I).

    V <- alpha V + (1 - alpha) (grad L)^2 and G = r / (sqrt(V) + floor r), with r the root mean square of sqrt(V) over a
    chain's weights, so that the step means the same as SGLD's in a typical direction. After `adaptation` updates, G is
    fixed: a G that keeps changing with the position, without a correction for its divergence, does not sample the
    posterior. With G fixed, a quadratic direction of curvature A has variance 1 / (A (1 - epsilon G A / 4)).

    Parameters
    ----------
    step_size : float or Tensor
        Step epsilon, a number, or one per chain, (chains, 1).
    alpha : float, optional
        Decay of the moments.
    floor : float, optional
        Smallest denominator, relative to r; absolute if `relative` is False.
    adaptation : int or None, optional
        Number of updates after which G is fixed; None to adapt indefinitely.
    relative : bool, optional
        Whether G is scaled by r. If False, with no end of adaptation, this is devinterp's sampler.
    """

    name = "rmsprop_sgld"

    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.99
    floor: AboveZero = 0.1
    adaptation: Positive | None = 100
    relative: bool = True

    def preconditioner(self, square_average: Tensor) -> Tensor:
        """Compute G, (chains, d)."""
        root = square_average.sqrt()
        if not self.relative:
            return 1 / (root + self.floor)
        scale = square_average.mean(1, keepdim=True).sqrt()
        scale = torch.where(scale > 0, scale, 1.0)  # no gradient yet: same as SGLD
        return torch.where(square_average.sum(1, keepdim=True) > 0, scale / (root + self.floor * scale), 1.0)

    def init(self, position: Tensor, evaluate: Evaluate, noise: Noise) -> RMSpropSGLDState:
        """Build the state at `position`; the noise is not used."""
        return RMSpropSGLDState(position, *evaluate(position), torch.zeros_like(position), 0)

    def update(
        self, state: RMSpropSGLDState, evaluate: Evaluate, noise: Noise, posterior: LocalPosterior
    ) -> RMSpropSGLDState:
        """Make one step, in place."""
        position, gradient, square_average = state.position, state.gradient, state.square_average
        if self.adaptation is None or state.updates < self.adaptation:
            square_average.mul_(self.alpha).addcmul_(gradient, gradient, value=1 - self.alpha)
        step = self.preconditioner(square_average).mul_(like(self.step_size, position))
        position.addcmul_(posterior.force(position, gradient), step, value=-0.5)
        position.addcmul_(noise.normal(), step.sqrt_())
        posterior.reflect(position)
        return RMSpropSGLDState(position, *evaluate(position), square_average, state.updates + 1)

"""Stochastic gradient Langevin dynamics (Welling & Teh 2011; localised by Lau et al. 2308.12108, section 4.4)."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from torch import Tensor

from slt_grok.llc.posterior import LocalPosterior


class SGLDState(NamedTuple):
    """Position (chains, d)."""

    position: Tensor


@dataclass(frozen=True)
class SGLD:
    """w <- w - (epsilon/2) [n_beta grad L(w) + gamma (w - w*)] + sqrt(epsilon) N(0, I).

    On a quadratic loss with Hessian eigenvalues h and A = n_beta h + gamma the stationary variance is
    1 / (A (1 - epsilon A / 4)): too wide by the factor in brackets, and unstable from epsilon A = 4 on.

    Parameters
    ----------
    step_size : epsilon.
    """

    step_size: float
    name: ClassVar[str] = "sgld"

    def init(self, position: Tensor, noise: Tensor) -> SGLDState:
        """The state at `position` (kept, and moved in place); the noise is not needed."""
        return SGLDState(position)

    def update(self, state: SGLDState, loss_gradient: Tensor, noise: Tensor, posterior: LocalPosterior) -> SGLDState:
        """One step, in place."""
        force = posterior.force(state.position, loss_gradient)
        state.position.add_(force, alpha=-self.step_size / 2).add_(noise, alpha=self.step_size**0.5)
        return state

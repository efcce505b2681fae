"""Stochastic gradient Langevin dynamics (Welling & Teh 2011; localized by Lau et al. 2308.12108, section 4.4)."""

from dataclasses import dataclass

from torch import Tensor

from slt_grok.llc.posterior import LocalPosterior
from slt_grok.llc.samplers.sampler import Evaluate, Noise, Sampler, State, like


@dataclass(frozen=True)
class SGLD(Sampler):
    """w <- w - (epsilon/2) [n_beta grad L(w) + gamma (w - w*)] + sqrt(epsilon) N(0, I).

    On a quadratic loss with Hessian eigenvalues h and A = n_beta h + gamma, the stationary variance is 1 / (A (1 -
    epsilon A / 4)): too large by the factor in parentheses, and unstable for epsilon A >= 4.

    Parameters
    ----------
    step_size : float or Tensor
        Step epsilon, a number, or one per chain, (chains, 1).
    """

    name = "sgld"

    def init(self, position: Tensor, evaluate: Evaluate, noise: Noise) -> State:
        """Build the state at `position`; the noise is not used."""
        return State(position, *evaluate(position))

    def update(self, state: State, evaluate: Evaluate, noise: Noise, posterior: LocalPosterior) -> State:
        """Make one step, in place."""
        epsilon = like(self.step_size, state.position)
        position = state.position
        posterior.descend(position, state.gradient, epsilon / 2)
        position.addcmul_(noise.normal(), epsilon.sqrt())
        posterior.reflect(position)
        return State(position, *evaluate(position))

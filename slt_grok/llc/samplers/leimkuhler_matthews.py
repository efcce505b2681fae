"""The Leimkuhler-Matthews scheme: overdamped Langevin dynamics with the noise averaged over two steps.

Leimkuhler & Matthews 2013, Appl. Math. Res. Express 2013(1), 34-56, equation (3).
"""

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from slt_grok.llc.posterior import LocalPosterior
from slt_grok.llc.samplers.sampler import Evaluate, Noise, Sampler, like


class LeimkuhlerMatthewsState(NamedTuple):
    """The state of every chain.

    Parameters
    ----------
    position, loss, gradient : Tensor
        See `slt_grok.llc.samplers.sampler.State`.
    noise : Tensor
        Noise of the last step, (chains, d).
    """

    position: Tensor
    loss: Tensor
    gradient: Tensor
    noise: Tensor


@dataclass(frozen=True)
class LeimkuhlerMatthews(Sampler):
    """w <- w - (epsilon/2) [n_beta grad L(w) + gamma (w - w*)] + sqrt(epsilon) (N_t + N_{t+1}) / 2.

    One gradient per step, as in SGLD; on a quadratic loss the stationary variance is 1/A for every stable step (epsilon
    A < 4), without SGLD's step-size bias.

    Parameters
    ----------
    step_size : float or Tensor
        Step epsilon, a number, or one per chain, (chains, 1).
    """

    name = "leimkuhler_matthews"

    def init(self, position: Tensor, evaluate: Evaluate, noise: Noise) -> LeimkuhlerMatthewsState:
        """Build the state at `position`, with the noise shared by the first step."""
        return LeimkuhlerMatthewsState(position, *evaluate(position), noise.normal().clone())

    def update(
        self, state: LeimkuhlerMatthewsState, evaluate: Evaluate, noise: Noise, posterior: LocalPosterior
    ) -> LeimkuhlerMatthewsState:
        """Make one step, in place."""
        epsilon = like(self.step_size, state.position)
        position, earlier = state.position, state.noise
        posterior.descend(position, state.gradient, epsilon / 2)
        fresh = noise.normal()
        position.addcmul_(earlier.add_(fresh), epsilon.sqrt(), value=0.5)
        earlier.copy_(fresh)
        posterior.reflect(position)
        return LeimkuhlerMatthewsState(position, *evaluate(position), earlier)

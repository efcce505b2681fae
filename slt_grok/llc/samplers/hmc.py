"""Hamiltonian Monte Carlo (Neal 1206.1901): exact for the full-batch posterior at any step."""

from dataclasses import dataclass

from slt_grok.llc.posterior import LocalPosterior
from slt_grok.llc.samplers.exact import ExactSampler, ExactState
from slt_grok.llc.samplers.sampler import Evaluate, Noise, like
from slt_grok.settings import Positive


@dataclass(frozen=True)
class HMC(ExactSampler):
    """A fresh momentum N(0, I), `leapfrog` leapfrog steps of size h, and a Metropolis test of the energy.

    The step of each proposal is drawn uniformly within 20% of h, since at a fixed flight time, directions with a
    matching period would never move. An update costs `leapfrog` gradients.

    Parameters
    ----------
    step_size : float or Tensor
        Step h, a number, or one per chain, (chains, 1).
    leapfrog : int, optional
        Leapfrog steps per proposal.
    """

    name = "hmc"

    leapfrog: Positive = 20

    @property
    def gradients(self) -> int:
        """Number of gradients per update."""
        return self.leapfrog

    def update(self, state: ExactState, evaluate: Evaluate, noise: Noise, posterior: LocalPosterior) -> ExactState:
        """Make one proposal."""
        position, loss, gradient, _ = state
        h = like(self.step_size, position) * (0.8 + 0.4 * noise.uniform().to(position.dtype))
        momentum = noise.normal().clone()
        before = posterior.potential(position, loss) + momentum.double().square().sum(1) / 2
        proposal, new_loss, new_gradient = position.clone(), loss, gradient
        for _ in range(self.leapfrog):
            momentum.addcmul_(posterior.force(proposal, new_gradient), -h / 2)
            proposal.addcmul_(momentum, h)
            posterior.reflect(proposal, momentum)
            new_loss, new_gradient = evaluate(proposal)
            momentum.addcmul_(posterior.force(proposal, new_gradient), -h / 2)
        after = posterior.potential(proposal, new_loss) + momentum.double().square().sum(1) / 2
        acceptance = (before - after).exp().clamp(max=1.0).nan_to_num(0.0)
        return state.moved(proposal, new_loss, new_gradient, acceptance, noise)

"""Metropolis-adjusted Langevin algorithm (Roberts & Tweedie 1996): SGLD's step made exact; the reference sampler."""

from dataclasses import dataclass

import torch
from torch import Tensor

from slt_grok.llc.posterior import LocalPosterior
from slt_grok.llc.samplers.exact import ExactSampler, ExactState
from slt_grok.llc.samplers.sampler import Evaluate, Noise, State, like


@dataclass(frozen=True)
class MALA(ExactSampler):
    """Propose SGLD's step w' from w; accept with probability min(1, p(w') q(w|w') / (p(w) q(w'|w))).

    q(w'|w) is the normal density with mean w - (epsilon/2) grad U(w) and variance epsilon.

    Parameters
    ----------
    step_size : float or Tensor
        Step epsilon, a number, or one per chain, (chains, 1).
    """

    name = "mala"

    def update(self, state: ExactState, evaluate: Evaluate, noise: Noise, posterior: LocalPosterior) -> ExactState:
        """Make one proposal."""
        epsilon = like(self.step_size, state.position)
        return state.moved(*propose(state, epsilon, evaluate, noise, posterior), noise)


def propose(
    state: State | ExactState, epsilon: Tensor, evaluate: Evaluate, noise: Noise, posterior: LocalPosterior
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Draw a Langevin proposal.

    Parameters
    ----------
    state : State or ExactState
        The current samples, with their losses and gradients.
    epsilon : Tensor
        Step, a scalar, or one per chain, (chains, 1).
    evaluate, noise, posterior : callable, Noise, LocalPosterior
        See `slt_grok.llc.samplers.sampler.Sampler`.

    Returns
    -------
    tuple of Tensor
        The proposal (chains, d), its loss, gradient and acceptance probability (chains,), which is 0 if not finite.
    """
    position, force = state.position, posterior.force(state.position, state.gradient)
    proposal = torch.addcmul(position, force, epsilon, value=-0.5).addcmul_(noise.normal(), epsilon.sqrt())
    forward = (proposal - position).addcmul_(force, epsilon, value=0.5)
    new_loss, new_gradient = evaluate(proposal)
    back = (position - proposal).addcmul_(posterior.force(proposal, new_gradient), epsilon, value=0.5)
    log_ratio = posterior.potential(position, state.loss) - posterior.potential(proposal, new_loss)
    log_ratio += ((forward.double().square() - back.double().square()) / (2 * epsilon.double())).sum(1)
    return proposal, new_loss, new_gradient, log_ratio.exp().clamp(max=1.0).nan_to_num(0.0)

"""Metropolis-adjusted Langevin algorithm (Roberts & Tweedie 1996): SGLD's step made exact; the reference sampler."""

from dataclasses import dataclass

import torch
from torch import Tensor

from slt_grok.llc.posterior import LocalPosterior
from slt_grok.llc.samplers.exact import ExactSampler, ExactState
from slt_grok.llc.samplers.sampler import Evaluate, Noise, like


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
        position, loss, gradient, _ = state
        proposal, new_loss, new_gradient, acceptance = propose(
            position, loss, gradient, like(self.step_size, position), evaluate, noise, posterior
        )
        return state.moved(proposal, new_loss, new_gradient, acceptance, noise)


def propose(
    position: Tensor,
    loss: Tensor,
    gradient: Tensor,
    epsilon: Tensor,
    evaluate: Evaluate,
    noise: Noise,
    posterior: LocalPosterior,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Draw a proposal; compute its loss, gradient and acceptance probability (chains,), which is 0 if not finite."""
    force = posterior.force(position, gradient)
    proposal = torch.addcmul(position, force, epsilon, value=-0.5).addcmul_(noise.normal(), epsilon.sqrt())
    forward = (proposal - position).addcmul_(force, epsilon, value=0.5)
    new_loss, new_gradient = evaluate(proposal)
    back = (position - proposal).addcmul_(posterior.force(proposal, new_gradient), epsilon, value=0.5)
    log_ratio = posterior.potential(position, loss) - posterior.potential(proposal, new_loss)
    log_ratio += ((forward.double().square() - back.double().square()) / (2 * epsilon.double())).sum(1)
    return proposal, new_loss, new_gradient, log_ratio.exp().clamp(max=1.0).nan_to_num(0.0)

"""The Metropolis-adjusted Langevin algorithm (Roberts & Tweedie 1996): SGLD's step, made exact; the reference."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from slt_grok.llc.posterior import LocalPosterior
from slt_grok.llc.samplers.sampler import Evaluate, Noise, Sampler, like


class MALAState(NamedTuple):
    """The current sample and the acceptance probability of the last proposal (chains,)."""

    position: Tensor
    loss: Tensor
    gradient: Tensor
    acceptance: Tensor


@dataclass(frozen=True)
class MALA(Sampler):
    """Propose SGLD's step w' from w; accept with min(1, p(w') q(w|w') / (p(w) q(w'|w))).

    q(w'|w) is the normal density with mean w - (epsilon/2) grad U(w) and variance epsilon.

    Parameters
    ----------
    step_size : float or Tensor
        epsilon, a number, or one for each chain, (chains, 1).
    """

    name = "mala"
    exact = True

    def init(self, position: Tensor, evaluate: Evaluate, noise: Noise) -> MALAState:
        """Return the state at `position`; the noise is not needed."""
        loss, gradient = evaluate(position)
        return MALAState(position, loss, gradient.clone(), torch.ones_like(loss))

    def update(self, state: MALAState, evaluate: Evaluate, noise: Noise, posterior: LocalPosterior) -> MALAState:
        """One proposal, accepted or not; a chain whose proposal is not finite stays."""
        position, loss, gradient, _ = state
        proposal, new_loss, new_gradient, acceptance = propose(
            position, loss, gradient, like(self.step_size, position), evaluate, noise, posterior
        )
        accepted = noise.uniform() < acceptance[:, None]
        torch.where(accepted, proposal, position, out=position)
        torch.where(accepted, new_gradient, gradient, out=gradient)
        return MALAState(position, torch.where(accepted[:, 0], new_loss, loss), gradient, acceptance)


def propose(
    position: Tensor,
    loss: Tensor,
    gradient: Tensor,
    epsilon: Tensor,
    evaluate: Evaluate,
    noise: Noise,
    posterior: LocalPosterior,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """MALA's proposal, loss and gradient there, and its acceptance probability (chains,), 0 where not finite."""
    force = posterior.force(position, gradient)
    proposal = torch.addcmul(position, force, epsilon, value=-0.5).addcmul_(noise.normal(), epsilon.sqrt())
    forward = (proposal - position).addcmul_(force, epsilon, value=0.5)
    new_loss, new_gradient = evaluate(proposal)
    back = (position - proposal).addcmul_(posterior.force(proposal, new_gradient), epsilon, value=0.5)
    log_ratio = posterior.potential(position, loss) - posterior.potential(proposal, new_loss)
    log_ratio += ((forward.double().square() - back.double().square()) / (2 * epsilon.double())).sum(1)
    return proposal, new_loss, new_gradient, log_ratio.exp().clamp(max=1.0).nan_to_num(0.0)

"""Underdamped Langevin dynamics that tunes its mass matrix and its step during burn-in."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from slt_grok.errors import SltGrokError
from slt_grok.llc.posterior import LocalPosterior
from slt_grok.llc.samplers.sampler import Evaluate, Noise, Sampler, like
from slt_grok.settings import Positive

if TYPE_CHECKING:
    from slt_grok.llc.sampling import Schedule

DECAY = 0.98  # of the running mean of squared gradients: the last 50 updates
FIRST_TUNING = 16  # updates; later tunings after twice as many each
GROWTH = 1.5  # largest increase of the step at once, since chains that have not spread yet see too little curvature
POWER_ITERATIONS = 8  # enough since each tuning starts from the last one's vector


class AdaptiveState(NamedTuple):
    """The state of every chain.

    Parameters
    ----------
    position, loss, gradient : Tensor
        See `slt_grok.llc.samplers.sampler.State`.
    momentum : Tensor
        Momentum in units of sqrt(M), (chains, d).
    squares : Tensor
        Running mean of (n_beta dL/dw)^2, (chains, d).
    scale : Tensor
        M^(-1/2), (chains, d).
    stiffest : Tensor
        Direction of the largest curvature, (chains, d).
    step : Tensor
        Step h, (chains, 1); 0 before the first update.
    updates : int
        Number of updates so far.
    """

    position: Tensor
    loss: Tensor
    gradient: Tensor
    momentum: Tensor
    squares: Tensor
    scale: Tensor
    stiffest: Tensor
    step: Tensor
    updates: int


@dataclass(frozen=True)
class AdaptiveLangevin(Sampler):
    """Underdamped Langevin by BAOAB with U = n_beta L + gamma/2 |w - w*|^2, diagonal mass M and friction sqrt(gamma).

    M_i = 1 + E[(n_beta dL/dw_i)^2] / gamma: in equilibrium E[dL/dw_i dU/dw_i] = E[d^2 L/dw_i^2], so M is the mean
    diagonal of U's Hessian in units of gamma, and a coordinate that only the localization holds keeps unit mass. The
    step is `step_size` / sqrt(A), with A the largest curvature of U at the chain in the metric M, by power iteration.
    Both are tuned after 16, 32, 64, ... updates up to `adaptation`, separately for each chain, and fixed from then on:
    burn-in must be at least that long. Tuning costs 8 gradients each time.

    Compared with one step for all checkpoints, chosen at the stiffest, every checkpoint gets its own, and stiff
    coordinates (the position embedding of a transformer) do not shorten it.

    Parameters
    ----------
    step_size : float, optional
        Step relative to the shortest period, h sqrt(A); unstable from 2 on.
    adaptation : int, optional
        Number of updates during which mass and step are tuned.
    """

    name = "adaptive"

    step_size: Annotated[float, Field(gt=0, lt=2)] | Tensor = 1.0
    adaptation: Positive = 128

    @property
    def shortest_burn_in(self) -> int:
        """See `Sampler`."""
        return self.adaptation

    def require(self, schedule: "Schedule", gamma: float) -> None:
        """Check that tuning ends within burn-in, on the full batch, and that the localization sets the friction.

        Raises
        ------
        SltGrokError
            Burn-in is shorter than `adaptation`, there is a batch size, or gamma is 0.
        """
        if schedule.burn_in < self.adaptation:
            raise SltGrokError(
                f"burn_in ({schedule.burn_in}) must be at least {self.adaptation}, during which {self.name} is tuned"
            )
        if schedule.batch_size is not None:
            raise SltGrokError(f"batch_size must be omitted, since {self.name} tunes its step on the full batch")
        if gamma <= 0:
            raise SltGrokError(f"gamma ({gamma:g}) must be above 0, since the friction of {self.name} follows from it")

    def langevin_step(self, state: AdaptiveState) -> Tensor:
        """Compute epsilon = h^2 / M of a Langevin proposal that moves as far as one update, (chains, d)."""
        return (state.step * state.scale).square()

    def init(self, position: Tensor, evaluate: Evaluate, noise: Noise) -> AdaptiveState:
        """Build the state at `position` with momentum drawn from its stationary distribution."""
        momentum, step = noise.normal().clone(), position.new_zeros(len(position), 1)
        squares, scale = torch.zeros_like(position), torch.ones_like(position)
        return AdaptiveState(position, *evaluate(position), momentum, squares, scale, momentum.clone(), step, 0)

    def update(
        self, state: AdaptiveState, evaluate: Evaluate, noise: Noise, posterior: LocalPosterior
    ) -> AdaptiveState:
        """Make one step, in place."""
        if state.updates == 0:
            # at a draw of the localization alone, where the loss is steepest: at w* it may be flat
            spread = posterior.center + noise.normal() / posterior.gamma.sqrt()
            state = self._tuned(state, spread, evaluate(spread)[1], evaluate, posterior, math.inf)
        position, _, gradient, momentum, squares, scale, stiffest, h, updates = state
        keep = torch.exp(-posterior.gamma.sqrt() * h)
        momentum.addcmul_(posterior.force(position, gradient).mul_(scale), -h)
        position.addcmul_(momentum * scale, h / 2)
        momentum.mul_(keep).addcmul_(noise.normal(), (1 - keep**2).sqrt())
        position.addcmul_(momentum * scale, h / 2)
        posterior.reflect(position, momentum)
        loss, gradient = evaluate(position)
        updates += 1
        state = AdaptiveState(position, loss, gradient, momentum, squares, scale, stiffest, h, updates)
        if updates <= self.adaptation:
            squares.lerp_((gradient * posterior.n_beta).square_(), 1 - DECAY)
            if updates >= FIRST_TUNING and updates & (updates - 1) == 0:
                mass = squares / ((1 - DECAY**updates) * posterior.gamma)
                torch.rsqrt(mass.add_(1), out=scale)
                state = self._tuned(state, position, gradient, evaluate, posterior, GROWTH)
        return state

    def _tuned(
        self,
        state: AdaptiveState,
        position: Tensor,
        gradient: Tensor,
        evaluate: Evaluate,
        posterior: LocalPosterior,
        growth: float,
    ) -> AdaptiveState:
        """Set the step by the largest curvature of U at a position in the metric of the mass."""
        vector, force = state.stiffest, posterior.force(position, gradient)
        # large enough for float32 to resolve the difference, small enough for the curvature to be local
        radius = (position.shape[1] / posterior.gamma).sqrt()
        reach = torch.maximum(position.norm(dim=1, keepdim=True), radius).mul_(1e-3 if position.itemsize < 8 else 1e-5)
        curvature = torch.ones_like(state.step)
        for _ in range(POWER_ITERATIONS):
            direction = state.scale * vector / vector.norm(dim=1, keepdim=True)
            length = direction.norm(dim=1, keepdim=True)
            moved = position + reach / length * direction
            change = posterior.force(moved, evaluate(moved)[1]).sub_(force)
            vector = change.mul_(state.scale).mul_(length / reach)
            curvature = vector.norm(dim=1, keepdim=True)
        step = like(self.step_size, position) / curvature.sqrt()
        if growth < math.inf:
            step = torch.minimum(step, growth * state.step)
        return state._replace(stiffest=vector, step=step)

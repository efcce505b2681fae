"""Rule-based settings: gamma, n_beta, step and friction from the weights, the curvature and the number of updates.

The rule needs neither a known answer nor manual tuning:

- gamma = d / (rho |w*|^2): the directions held only by the localization have a total variance of rho |w*|^2;
- n_beta such that A / gamma = (S/20)^2 for S updates, with A the largest curvature of n_beta L + gamma/2 |w - w*|^2:
  underdamped Langevin relaxes in about sqrt(A/gamma) updates, so S updates traverse every direction some twenty times;
- h = 0.7 / sqrt(A), a third of the largest stable step; friction 4 sqrt(gamma);
- A by power iteration at chain states, since chains do not stay at w*: for a fitted network with a loss of 1e-7, the
  curvature at w* nearly vanishes, and a step based on it would diverge at once.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from slt_grok.errors import SltGrokError
from slt_grok.llc.chains import BatchLoss
from slt_grok.llc.posterior import LocalPosterior
from slt_grok.llc.problem import Problem
from slt_grok.llc.samplers.hmc import HMC
from slt_grok.llc.samplers.sampler import State
from slt_grok.llc.samplers.underdamped import UnderdampedLangevin
from slt_grok.llc.sampling import Schedule, Starts
from slt_grok.progress import ProgressCallback, ignore, stretch
from slt_grok.rules import RHO

SWEEPS = 20  # S / sqrt(A / gamma)
SAFETY = 0.7  # h sqrt(A); 2 is unstable
LONGER_STEP = 3  # factor for the exact sampler, if the curvature varies too much for one stable step
FLIGHTS = 100  # number of its proposals
VARYING = "a loss exceeded the posterior's range: HMC with three times the rule's step, at a ninth of its n_beta"
TEMPERATURE_RATIOS = (1, 4, 16)
BURN_IN_FRACTION = 0.3
PILOT_FRACTION, PILOTS = 0.075, 6
SHORTEST_LEG = 100  # updates of a pilot
PILOT_NUMBERS = 2_048  # chains x coordinates: curvature varies most in low dimensions
FEWEST_PILOTS, MOST_PILOTS = 4, 64  # chains
SETTLED = 1.25  # two curvatures within this factor count as equal
UNSTABLE = 8  # factor by which the curvature exceeds the expected one if a step was unstable: h sqrt(A) above 2
STRIDE = 8  # largest factor by which n_beta grows between pilots
POWER_ITERATIONS = 12


@dataclass(frozen=True)
class Calibration:
    """The settings chosen by the rule.

    Parameters
    ----------
    gamma, n_beta : float
        Localization, and the largest n times inverse temperature.
    step_size : float
        Step size h.
    curvature : float
        Largest curvature A of the potential seen at chain states.
    updates : int
        Number of updates S per chain, including burn-in.
    reasons : tuple[str, ...]
        One sentence per choice.
    """

    gamma: float
    n_beta: float
    step_size: float
    curvature: float
    updates: int
    reasons: tuple[str, ...]

    @property
    def sampler(self) -> UnderdampedLangevin:
        """Underdamped Langevin with friction 4 sqrt(gamma) and flights of up to half a period of the localization."""
        friction, flight = 4 * math.sqrt(self.gamma), half_period(self.gamma, self.step_size)
        return UnderdampedLangevin(self.step_size, friction, flight)

    @property
    def for_varying_curvature(self) -> HMC:
        """HMC for a loss whose curvature can far exceed that seen by the pilots, at n_beta / LONGER_STEP^2.

        HMC rejects unstable steps, whereas a fixed stable step would be too short for the S updates: with the step for
        A / gamma = (S / 20 LONGER_STEP)^2, the updates cross the width of the localization about sixty times.
        """
        step_size = SAFETY * SWEEPS * LONGER_STEP / (math.sqrt(self.gamma) * self.updates)
        return HMC(step_size, max(1, self.updates // FLIGHTS))


def half_period(gamma: float, step_size: float) -> int:
    """Compute the steps in half a period of the directions that only the localization holds, pi / (sqrt(gamma) h)."""
    return math.ceil(math.pi / (math.sqrt(gamma) * step_size))


def calibrate(
    problem: Problem,
    updates: int,
    *,
    gamma: float | None = None,
    n_beta: float | None = None,
    batch_size: int | None = None,
    chains: int = MOST_PILOTS,
    seed: int = 0,
    on_progress: ProgressCallback = ignore,
) -> Calibration:
    """Choose any omitted setting by the rule.

    Parameters
    ----------
    problem : Problem
        One network, or several of a trajectory, which then share gamma and n_beta.
    updates : int
        Number of updates S that an estimate may use.
    gamma, n_beta : float or None, optional
        Values to keep; chosen by the rule if None.
    batch_size : int or None, optional
        Batch size of the chains; the curvature is measured on the same batches.
    chains : int, optional
        Largest number of chains for each network.
    seed : int, optional
        Seed of the pilots.
    on_progress : callable, optional
        See `estimate`.

    Raises
    ------
    SltGrokError
        No step is stable.
    """
    gamma_reason = "given" if gamma is not None else f"d / ({RHO} |w*|^2), or d where w* is 0"
    gamma = localization(problem) if gamma is None else gamma
    given, target = n_beta, (updates / SWEEPS) ** 2 * gamma
    pilot = _Pilot(problem, max(SHORTEST_LEG, round(PILOT_FRACTION * updates)), gamma, batch_size, seed, chains)
    n_beta = 1.0 if given is None else given
    curvature = pilot.curvature(n_beta, pilot.spread)
    if given is None:
        n_beta, curvature = _towards(target, n_beta, curvature, gamma, math.inf)
    settled = 0
    for index in range(PILOTS):
        stable = pilot.run(n_beta, curvature, index, stretch(on_progress, index / PILOTS, (index + 1) / PILOTS))
        before, curvature = curvature, pilot.curvature(n_beta, pilot.position)
        curvature = curvature if stable else max(curvature, UNSTABLE * before)
        settled = settled + 1 if abs(math.log(curvature / before)) < math.log(SETTLED) else 0
        if settled == 2 or index == PILOTS - 1:
            break
        if given is None:
            n_beta, curvature = _towards(target, n_beta, curvature, gamma, STRIDE)
    if not math.isfinite(curvature) or not math.isfinite(n_beta):
        raise SltGrokError(f"calibration: found no stable step for gamma {gamma:.4g}; expected a smooth loss")
    step_size = SAFETY / math.sqrt(curvature)
    by_rule = f"so that A / gamma = ({updates}/{SWEEPS})^2 for {updates} updates"
    reasons = (
        f"gamma: {gamma:.4g}, {gamma_reason}",
        f"n_beta: {n_beta:.4g}, {by_rule if given is None else 'given'}",
        f"step: {SAFETY} / sqrt(A) = {step_size:.4g}, A = {curvature:.4g} at chain states",
    )
    return Calibration(gamma, n_beta, step_size, curvature, updates, reasons)


def localization(problem: Problem) -> float:
    """Compute gamma = d / (rho |w*|^2) of the weights that move, the median over networks.

    The window's squared radius d / gamma is a fraction rho of |w*|^2. A w* of 0 sets no scale: gamma is d then.
    """
    center = problem.subspace.coordinates(problem.trajectory.stacked(torch.float64))
    square = center.square().sum(1).median().item()
    return problem.d / (RHO * square if square > 0 else 1.0)


def _towards(target: float, n_beta: float, curvature: float, gamma: float, stride: float) -> tuple[float, float]:
    """Move n_beta toward the target, and predict the potential's curvature there if that of the loss stays the same.

    The new n_beta is at most `stride` times the old one: chains that have not spread yet see too little curvature.
    """
    loss_curvature = max(curvature - gamma, 1e-3 * curvature) / n_beta
    n_beta = min((max(target, 2 * gamma) - gamma) / loss_curvature, stride * n_beta)
    return n_beta, n_beta * loss_curvature + gamma


class _Pilot:
    """Chains that start at w* and continue while n_beta is adjusted.

    Parameters
    ----------
    problem, gamma, batch_size, seed, chains : Problem, float, int or None, int, int
        See `calibrate`.
    updates : int
        Number of updates per leg.
    """

    def __init__(
        self, problem: Problem, updates: int, gamma: float, batch_size: int | None, seed: int, chains: int
    ) -> None:
        self.problem, self.gamma, self.seed = problem, gamma, seed
        self.schedule = Schedule(updates - 4, 4, 1, batch_size)
        self.chains = max(FEWEST_PILOTS, min(chains, PILOT_NUMBERS // problem.d))
        center = problem.subspace.coordinates(problem.trajectory.stacked(problem.dtype))
        self.position = self.center = center.repeat_interleave(self.chains, 0)
        noise = torch.randn(self.position.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        # draws from the localization alone: the loss is steepest here, so the first n_beta is too small
        self.spread = self.position + noise.to(self.position) / math.sqrt(gamma)

    def run(self, n_beta: float, curvature: float, leg: int, on_progress: ProgressCallback) -> bool:
        """Continue at this n_beta, with a step for this curvature; return True if it was stable.

        Diverged chains are reset to w*. A chain that is diverging can still have a finite loss; it is detected because
        n_beta times its excess loss is far above d (in equilibrium it is d/2, and up to `STRIDE` d/2 just after n_beta
        has grown).
        """
        step_size = torch.tensor(SAFETY / math.sqrt(curvature), dtype=torch.float64)  # 0 or NaN if diverged
        sampler, ends = UnderdampedLangevin(step_size, 4 * math.sqrt(self.gamma)), Ends(4)
        starts = self.problem.starts([n_beta], self.gamma, self.chains, self.seed + 7919 * (leg + 1))
        sampling = self.problem.sampling(sampler, self.schedule)
        chains = sampler.run(sampling, starts._replace(position=self.position), on_progress, [ends])
        baselines = torch.from_numpy(self.problem.baselines).repeat_interleave(self.chains)
        excess = n_beta * (chains.losses[:, -1] - baselines)
        lost = excess > STRIDE * max(self.problem.d, 30)
        self.position = torch.where(lost[:, None], self.center, ends.positions)
        return not (chains.resets.any() or lost.any())

    def curvature(self, n_beta: float, position: Tensor) -> float:
        """Compute the largest curvature of the potential over some positions, one per chain."""
        return curvature_at(self.problem, position, n_beta, self.gamma, self.schedule, self.seed + 7919).max().item()


class Ends:
    """Observer that stores the final positions of chains with a given number of draws."""

    def __init__(self, draws: int) -> None:
        self.every = draws
        self.pieces: list[Tensor] = []

    def begin(self, starts: Starts) -> None:
        """Discard earlier chains."""
        self.pieces = []

    def observe(self, chains: slice, state: State, stack: object) -> None:
        """Store the last draw."""
        self.pieces.append(state.position.clone())

    @property
    def positions(self) -> Tensor:
        """Final positions of the chains, (chains, d)."""
        return torch.cat(self.pieces)


def curvature_at(
    problem: Problem, position: Tensor, n_beta: float, gamma: float, schedule: Schedule, seed: int = 0
) -> Tensor:
    """Compute the largest curvature of n_beta L + gamma/2 |w - w*|^2 at each position, (chains,).

    Parameters
    ----------
    problem : Problem
        N networks.
    position : Tensor
        Positions, (N x chains, d), with the same number of chains for every network.
    n_beta, gamma : float
        Inverse temperature and localization.
    schedule : Schedule
        Schedule with the batch size; a minibatch is the first one of the chain's stream.
    seed : int, optional
        Seed of the random streams.
    """
    starts = problem.starts([n_beta], gamma, len(position) // len(problem.trajectory), seed)
    posterior = LocalPosterior(problem.subspace.coordinates(starts.stack), starts.n_beta, starts.gamma)
    sampling = problem.sampling(UnderdampedLangevin(1.0), schedule)  # nothing is sampled
    return top_curvature(BatchLoss(sampling, starts, starts.streams), position, posterior)


def top_curvature(batch_loss: BatchLoss, position: Tensor, posterior: LocalPosterior) -> Tensor:
    """Compute the Hessian eigenvalue of U(w) of largest magnitude at each position, (chains,), by power iteration.

    Hessian-vector products are central differences of the gradient on one batch, which give the eigenvalue to within a
    few percent, from below.
    """
    # not slt_grok.operators, which computes the exact Hessian of one network in float64; this covers all chains in one
    # batch, at their precision and with the models' fast gradients, and the rule's step sizes depend on these numbers
    batch_loss(position)
    generator = torch.Generator().manual_seed(0)
    vector = torch.randn(position.shape, generator=generator, dtype=torch.float64).to(position)
    # large enough for float32 to resolve the difference, small enough for the curvature to be local
    reach = (1e-3 if position.dtype == torch.float32 else 1e-5) * position.norm(dim=1, keepdim=True).clamp(min=1.0)
    norm = vector.norm(dim=1, keepdim=True)
    for _ in range(POWER_ITERATIONS):
        vector = vector / norm
        ahead = posterior.force(position + reach * vector, batch_loss.again(position + reach * vector)[1])
        behind = posterior.force(position - reach * vector, batch_loss.again(position - reach * vector)[1])
        vector = (ahead - behind) / (2 * reach)
        norm = vector.norm(dim=1, keepdim=True)
    return norm[:, 0]

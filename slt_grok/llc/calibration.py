"""Settings by rule: gamma, n_beta, step and friction from the weights, the curvature and a number of updates.

The rule needs no known answer and no tuning by eye:

- gamma = d / (rho |w*|^2): the directions that only the localization holds spread over rho |w*|^2 together;
- n_beta so that A / gamma = (S/20)^2 for S updates, A being the largest curvature of n_beta L + gamma/2 |w - w*|^2:
  underdamped Langevin relaxes in some sqrt(A/gamma) updates, so S updates see every direction some twenty times;
- h = 0.7 / sqrt(A), a third of the largest stable step; friction 4 sqrt(gamma);
- A by power iteration at chain states, since the chain does not live at w*: where a fitted network's loss is 1e-7,
  the curvature at w* nearly vanishes and a step taken from it diverges at once.
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

RHO = 0.7  # fraction of |w*|^2 that the localization lets all weights move together
SWEEPS = 20  # S / sqrt(A / gamma)
SAFETY = 0.7  # h sqrt(A); 2 is unstable
LONGER_STEP = 3  # of the exact sampler, where the curvature varies too much for one stable step
FLIGHTS = 100  # and how many of its proposals the updates make
VARYING = "a loss was out of the posterior's reach: HMC with three times the rule's step, at a ninth of its n_beta"
TEMPERATURE_RATIOS = (1, 4, 16)
BURN_IN_FRACTION = 0.3
PILOT_FRACTION, PILOTS = 0.075, 6
PILOT_NUMBERS = 2_048  # chains x coordinates, for 4 to 64 chains: in few dimensions the curvature varies most
SETTLED = 1.25  # two curvatures within this factor are the same
UNSTABLE = 8  # times the curvature that a step was for, where it was unstable: h sqrt(A) was above 2
STRIDE = 8  # most by which n_beta grows from one pilot to the next
POWER_ITERATIONS = 12


@dataclass(frozen=True)
class Calibration:
    """What the rule chose.

    Parameters
    ----------
    gamma, n_beta : float
        Localization and largest n times inverse temperature.
    step_size : float
        h.
    curvature : float
        A, the largest curvature of the potential seen at chain states.
    updates : int
        S, updates of a chain, burn-in included.
    reasons : tuple[str, ...]
        A sentence for each choice.
    """

    gamma: float
    n_beta: float
    step_size: float
    curvature: float
    updates: int
    reasons: tuple[str, ...]

    @property
    def sampler(self) -> UnderdampedLangevin:
        """Underdamped Langevin with friction 4 sqrt(gamma) and flights up to half a period of the localization."""
        flight = math.ceil(math.pi / (math.sqrt(self.gamma) * self.step_size))
        return UnderdampedLangevin(self.step_size, 4 * math.sqrt(self.gamma), flight)

    @property
    def for_varying_curvature(self) -> HMC:
        """HMC for a loss whose curvature is far larger in places than the pilots saw, at n_beta / LONGER_STEP^2.

        It refuses the steps that are unstable, where a fixed stable one would be too short for the S updates: with the
        step for A / gamma = (S / 20 LONGER_STEP)^2 they cross the localization's width some sixty times.
        """
        step_size = SAFETY * SWEEPS * LONGER_STEP / (math.sqrt(self.gamma) * self.updates)
        return HMC(step_size, max(1, self.updates // FLIGHTS))

    @property
    def burn_in(self) -> int:
        """Updates omitted at the start."""
        return round(BURN_IN_FRACTION * self.updates)


def localization(problem: Problem) -> float:
    """Return gamma = d / (rho |w*|^2) with d and |w*| of the weights that move; the median over networks.

    rho is 0.7; where w* is 0 it has no scale of its own, and the spread is 1.
    """
    center = problem.subspace.coordinates(problem.trajectory.stacked(torch.float64))
    norm = center.square().sum(1).median().item()
    return center.shape[1] / (RHO * norm if norm > 0 else 1.0)


def calibrate(
    problem: Problem,
    updates: int,
    *,
    gamma: float | None = None,
    n_beta: float | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    on_progress: ProgressCallback = ignore,
) -> Calibration:
    """Choose by the rule what is not given.

    Parameters
    ----------
    problem : Problem
        One network or some of a trajectory, which then share gamma and n_beta.
    updates : int
        S, the updates that an estimate may take.
    gamma, n_beta : float or None, optional
        Kept where given.
    batch_size : int or None, optional
        Of the chains; the curvature is that of the same batches.
    seed : int, optional
        Of the pilots.
    on_progress : callable, optional
        As in `estimate`.

    Raises
    ------
    SltGrokError
        No step is stable.
    """
    reasons = [f"gamma: {gamma:.4g}, given"] if gamma is not None else []
    if gamma is None:
        gamma = localization(problem)
        at_zero = ", with 1 for rho |w*|^2, since w* is 0" if not _norm(problem) else ""
        reasons.append(f"gamma: d / ({RHO} |w*|^2) = {gamma:.4g}{at_zero}")
    target = (updates / SWEEPS) ** 2 * gamma
    fixed = n_beta is not None
    value = n_beta if n_beta is not None else 1.0
    pilot = _Pilot(problem, max(100, round(PILOT_FRACTION * updates)), gamma, batch_size, seed)
    curvature = pilot.curvature(value, pilot.spread)
    if not fixed:
        value, curvature = _towards(target, value, curvature, gamma, math.inf)
    settled = 0
    for index in range(PILOTS):
        stable = pilot.run(value, curvature, index, stretch(on_progress, index / PILOTS, (index + 1) / PILOTS))
        before, curvature = curvature, pilot.curvature(value, pilot.position)
        curvature = curvature if stable else max(curvature, UNSTABLE * before)
        settled = settled + 1 if abs(math.log(curvature / before)) < math.log(SETTLED) else 0
        if settled == 2 or index == PILOTS - 1:
            break
        if not fixed:
            value, curvature = _towards(target, value, curvature, gamma, STRIDE)
    if not math.isfinite(curvature) or not math.isfinite(value):
        raise SltGrokError(f"calibration: found no stable step for gamma {gamma:.4g}; expected a loss that is smooth")
    step_size = SAFETY / math.sqrt(curvature)
    by_rule = f", so that A / gamma = ({updates}/{SWEEPS})^2 for {updates} updates"
    reasons.append(f"n_beta: {value:.4g}" + (", given" if fixed else by_rule))
    reasons.append(f"step: {SAFETY} / sqrt(A) = {step_size:.4g}, A = {curvature:.4g} at chain states")
    return Calibration(gamma, value, step_size, curvature, updates, tuple(reasons))


def _norm(problem: Problem) -> float:
    return problem.subspace.coordinates(problem.trajectory.stacked(torch.float64)).norm().item()


def _towards(target: float, n_beta: float, curvature: float, gamma: float, stride: float) -> tuple[float, float]:
    """n_beta on the way to the target, and the potential's curvature there if the loss's stays what it was.

    At most `stride` times the n_beta before: chains that have not spread yet see too little curvature.
    """
    loss_curvature = max(curvature - gamma, 1e-3 * curvature) / n_beta
    wanted = min((max(target, 2 * gamma) - gamma) / loss_curvature, stride * n_beta)
    return wanted, wanted * loss_curvature + gamma


class _Pilot:
    """Chains that start at w* and continue while n_beta is adjusted.

    Parameters
    ----------
    problem, gamma, batch_size, seed : Problem, float, int or None, int
        See `calibrate`.
    updates : int
        Of each leg.
    """

    def __init__(self, problem: Problem, updates: int, gamma: float, batch_size: int | None, seed: int) -> None:
        self.problem, self.gamma, self.seed = problem, gamma, seed
        self.schedule = Schedule(updates - 4, 4, 1, batch_size)
        self.chains = max(4, min(64, PILOT_NUMBERS // problem.d))
        self.position = self.center = problem.subspace.coordinates(self._starts(1.0, 0, None).stack)
        noise = torch.randn(self.position.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        # draws from the localization alone: where the loss is steepest, so that the first n_beta is too small
        self.spread = self.position + noise.to(self.position) / math.sqrt(gamma)

    def _starts(self, n_beta: float, leg: int, position: Tensor | None) -> Starts:
        starts = self.problem.starts([n_beta], self.gamma, self.chains, self.seed + 7919 * (leg + 1))
        return starts._replace(position=position)

    def run(self, n_beta: float, curvature: float, leg: int, on_progress: ProgressCallback) -> bool:
        """Continue at this n_beta, with a step for this curvature; tell whether it was stable.

        Chains that diverged are put back at w*. A chain on its way out still has a finite loss: its n_beta times excess
        loss is far above d, of which it is half in equilibrium and `STRIDE` halves after n_beta has grown.
        """
        step_size = torch.tensor(SAFETY / math.sqrt(curvature), dtype=torch.float64)  # 0 or NaN far out: no error yet
        sampler, ends = UnderdampedLangevin(step_size, 4 * math.sqrt(self.gamma)), Ends(4)
        sampling = self.problem.sampling(sampler, self.schedule)
        chains = sampler.run(sampling, self._starts(n_beta, leg, self.position), on_progress, [ends])
        baselines = torch.from_numpy(self.problem.baselines).repeat_interleave(self.chains)
        excess = n_beta * (chains.losses[:, -1] - baselines)
        lost = excess > STRIDE * max(self.problem.d, 30)
        self.position = torch.where(lost[:, None], self.center, ends.positions)
        return not (chains.resets.any() or lost.any())

    def curvature(self, n_beta: float, position: Tensor) -> float:
        """Return the largest curvature of the potential over some positions, one for each chain."""
        return curvature_at(self.problem, position, n_beta, self.gamma, self.schedule, self.seed + 7919).max().item()


class Ends:
    """Stores where chains of a given number of draws end (an observer)."""

    def __init__(self, draws: int) -> None:
        self.every = draws
        self.pieces: list[Tensor] = []

    def begin(self, starts: Starts) -> None:
        """Forget earlier chains."""
        self.pieces = []

    def observe(self, chains: slice, state: State, stack: object) -> None:
        """Store the last draw."""
        self.pieces.append(state.position.clone())

    @property
    def positions(self) -> Tensor:
        """Where the chains ended, (chains, d)."""
        return torch.cat(self.pieces)


def curvature_at(
    problem: Problem, position: Tensor, n_beta: float, gamma: float, schedule: Schedule, seed: int = 0
) -> Tensor:
    """Return the largest curvature of n_beta L + gamma/2 |w - w*|^2 at each position, (chains,).

    Parameters
    ----------
    problem : Problem
        N networks.
    position : Tensor
        (N x chains, d), as many chains for every network.
    n_beta, gamma : float
        Inverse temperature and localization.
    schedule : Schedule
        Its batch size; a minibatch is the first one of the chain's stream.
    seed : int, optional
        Seed of the streams.
    """
    starts = problem.starts([n_beta], gamma, len(position) // len(problem.trajectory), seed)
    posterior = LocalPosterior(problem.subspace.coordinates(starts.stack), starts.n_beta, starts.gamma)
    sampling = problem.sampling(UnderdampedLangevin(1.0), schedule)  # nothing is sampled
    return top_curvature(BatchLoss(sampling, starts, starts.streams), position, posterior)


def top_curvature(batch_loss: BatchLoss, position: Tensor, posterior: LocalPosterior) -> Tensor:
    """Return the largest eigenvalue in size of the Hessian of U(w) at each position, (chains,), by power iteration.

    Products with the Hessian are central differences of the gradient, on one batch, which gives the eigenvalue to
    a few percent from below.
    """
    # not slt_grok.operators: that is the exact Hessian of one network in float64; these are all chains in one batch, in
    # their own precision and with the quick gradients of the models, and the rule's step sizes rest on these numbers
    batch_loss(position)
    generator = torch.Generator().manual_seed(0)
    vector = torch.randn(position.shape, generator=generator, dtype=torch.float64).to(position)
    # far enough for float32 to see the difference, near enough for the curvature to be that of the point
    reach = (1e-3 if position.dtype == torch.float32 else 1e-5) * position.norm(dim=1, keepdim=True).clamp(min=1.0)
    norm = vector.norm(dim=1, keepdim=True)
    for _ in range(POWER_ITERATIONS):
        vector = vector / norm
        ahead = posterior.force(position + reach * vector, batch_loss.again(position + reach * vector)[1])
        behind = posterior.force(position - reach * vector, batch_loss.again(position - reach * vector)[1])
        vector = (ahead - behind) / (2 * reach)
        norm = vector.norm(dim=1, keepdim=True)
    return norm[:, 0]

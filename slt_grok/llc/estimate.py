"""Estimate the LLC of a network or a trajectory, with errors and diagnostics; a rule chooses omitted settings."""

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import nn

from slt_grok.errors import SltGrokError
from slt_grok.format import listing
from slt_grok.llc.budget import Budget
from slt_grok.llc.calibration import (
    BURN_IN_FRACTION,
    LONGER_STEP,
    MOST_PILOTS,
    SAFETY,
    TEMPERATURE_RATIOS,
    VARYING,
    calibrate,
    localization,
)
from slt_grok.llc.constant import CONSTANT, LEFT, constant_window
from slt_grok.llc.problem import Problem
from slt_grok.llc.regular import LEFT_THE_POINT, with_curvatures
from slt_grok.llc.sample import OutOfReach, check, sample
from slt_grok.llc.samplers.adaptive import AdaptiveLangevin
from slt_grok.llc.samplers.sampler import Sampler
from slt_grok.llc.samplers.underdamped import UnderdampedLangevin
from slt_grok.llc.sampling import Observer, Schedule
from slt_grok.llc.subspaces import Subspace
from slt_grok.progress import ProgressCallback, ignore, progress, stretch
from slt_grok.trajectories import Loss, Trajectory

UPDATES = 8_000  # per chain, by default; half at regular points, twice if the estimate still changes
SETTLED = 0.025  # relative change (beyond its error) from n_beta / 16 to n_beta that triggers more updates
SEEK_DRAWS = 2_000  # updates per draw: with more draws, the autocorrelation would leave no more information
SCOUT = 0.125  # fraction of the updates, for an initial estimate
TIGHTER, TIGHTENINGS = 16, 3  # factor and number of increases of gamma if the chains leave the point
COORDINATES = 8_192  # chains x coordinates per temperature: more chains (4 to 128) if they are cheap
EFFECTIVE_UPDATES = 640  # without a finite minimizer, so that no larger n_beta is sought
SHORTEST_BURN_IN = 32  # for a sampler that tunes itself during burn-in
CONSTANT_UPDATES = 300  # if the loss does not change, so that there is nothing to sample
PILOTS = 0.3  # fraction of the progress bar


@torch.enable_grad()
def estimate(
    source: nn.Module | Trajectory,
    data: Any = None,
    *,
    loss: Loss | None = None,
    finite_minimizer: bool | None = None,
    sampler: Sampler | None = None,
    n_beta: float | Sequence[float] | None = None,
    gamma: float | None = None,
    updates: int | None = None,
    chains: int | None = None,
    draws: int | None = None,
    burn_in: int | None = None,
    thinning: int | None = None,
    batch_size: int | None = None,
    box: float | None = None,
    subspace: Subspace | None = None,
    dtype: torch.dtype | None = None,
    device: str | None = None,
    seed: int = 0,
    observers: Sequence[Observer] = (),
    max_seconds: float | None = 60.0,
    on_progress: ProgressCallback | None = None,
) -> xr.Dataset:
    """Estimate the LLC at each network: llc = n_beta (E[L(w)] - L(w*)) (Lau et al. 2308.12108, definition 3).

    The expectation is over p(w) ~ exp(-n_beta L(w) - gamma/2 |w - w*|^2), sampled from w* by `chains` chains for each
    network and temperature, all in one batch. For a loss without a finite minimizer, such as cross-entropy, n_beta is n
    by default, and the sampler is `AdaptiveLangevin`. Otherwise, any of sampler, n_beta and gamma that is omitted is
    chosen by the rule of `slt_grok.llc.calibration`; for a loss with a finite minimizer, the rule uses the three
    temperatures n_beta {1, 1/4, 1/16} and the exact correction of `slt_grok.llc.regular` if the point turns out to be
    regular. If the curvature varies more than a fixed step can follow, HMC takes over with the same number of
    gradients, hence fewer draws, at a ninth of n_beta; if the loss does not change near w*, 300 updates show it. The
    attributes `sampler`, `n_beta`, `draws` and `calibration` record this. `slt_grok.llc.sample.sample` is the variant
    with every setting given.

    Parameters
    ----------
    source : torch.nn.Module or Trajectory
        Any `nn.Module` at the parameters w*, or a trajectory.
    data : tuple, dict, Dataset, DataLoader or str, optional
        Training data (inputs, targets) as tensors, arrays or lists of numbers, with a tuple or dict of tensors for a
        module with several inputs; or a dataset or loader, whose samples are all read once in the dataset's order, see
        `slt_grok.samples.read`; or a split of the trajectory's task, `train` (the default), `test` or `all`.
    loss : callable, optional
        (outputs, targets) -> losses of the samples or their mean; outputs and real targets are passed in float64. The
        default is the trajectory's loss, or cross-entropy.
    finite_minimizer : bool, optional
        Whether the loss has a finite minimizer near the network: True for a squared error, False for cross-entropy on a
        network that fits all samples. By default, from what the loss does, see `slt_grok.llc.minimizers`.
    sampler : Sampler, optional
        A sampler from `slt_grok.llc.samplers`.
    n_beta : float or sequence of float, optional
        n times the inverse temperature, above 0; of several, the largest is reported and the others show how the value
        depends on it.
    gamma : float, optional
        Localization, at least 0.
    updates : int, optional
        Updates per chain, including burn-in, if `draws` is omitted. If both are omitted, an initial run of 1,000
        updates raises gamma until the chains stay at the point; then 8,000 (4,000 at a regular point) and, if the
        estimate still changes with n_beta, twice as many with the settings that the rule then chooses; 640 for
        cross-entropy.
    chains, draws, burn_in, thinning : int, optional
        Length of the sampling in updates. Burn-in is never averaged in; it defaults to 30% of `updates` or half of
        `draws`. There are 4 chains by default, up to 128 for small problems; thinning is 1 if draws or n_beta are
        given.
    batch_size : int, optional
        Minibatch size of each chain; the full batch by default.
    box : float, optional
        Half-width of a hard box around w*, in addition to the Gaussian localization.
    subspace : Subspace, optional
        Weights that move; by default all, without those that were frozen by `requires_grad_(False)`.
    dtype : torch.dtype, optional
        Precision of the chains' parameters, by default that of the network; losses are always float64.
    device : str, optional
        `cuda` runs the chains on the GPU, all in one batch if memory allows; random numbers and the order of sums
        differ from the CPU. The CPU by default; the rule's pilots always run on the CPU.
    seed : int, optional
        Seed; together with a network's coordinates and a chain's index it determines the random streams.
    observers : sequence of Observer, optional
        See `slt_grok.llc.sampling.Observer`.
    max_seconds : float or None, optional
        Time limit if `draws` and `updates` are omitted; None for none. The cost is predicted from a few updates. To
        fit, first the chains are reduced, to no fewer than 8, then the updates, to no fewer than 200, and an estimate
        that still changes is not repeated with more; the status says how good the result is.
    on_progress : callable, optional
        Called with (fraction, note), the completed fraction and a few words; a progress bar by default.

    Returns
    -------
    xarray.Dataset
        A dataset over the trajectory's dimensions: `llc`, `llc_se`, `llc_low`, `llc_high` (95% interval), `rhat`,
        `ess`, `drift`, `virial`, `fraction_below_initial_loss`, `llc_status`, `llc_status_reason`, `baseline_loss`; by
        temperature `llc_at_temperature`, `llc_at_temperature_se`, with `llc_change` if there are several; by chain
        `llc_chain`, `chain_health`, `resets`, `acceptance`, `distance`, `loss_trace` (chain, draw), `burn_in_loss`
        (chain, burn_in). Negative values are reported, not clipped.

    Raises
    ------
    SltGrokError
        Network, data and loss do not fit together, a setting is wrong, or weights or the loss at w* are not finite.

    Examples
    --------
    >>> result = slt_grok.llc.estimate(module, (inputs, targets), n_beta=30, gamma=100)
    >>> float(result.llc), float(result.llc_se), str(result.llc_status.values)
    """
    if torch.is_inference_mode_enabled():
        raise SltGrokError("estimate: needs gradients; call it outside torch.inference_mode()")
    if not isinstance(sampler, Sampler | None):
        raise SltGrokError(f"sampler: expected a sampler such as slt_grok.llc.SGLD(step_size), got {sampler!r}")
    if on_progress is not None and not callable(on_progress):
        raise SltGrokError(f"on_progress: expected a function (fraction, note) or None, got {on_progress!r}")
    if max_seconds is not None and not (isinstance(max_seconds, Real) and max_seconds > 0):
        raise SltGrokError(f"max_seconds: expected a number above 0, or None for no limit, got {max_seconds!r}")
    lengths = {"updates": updates, "chains": chains, "draws": draws, "burn_in": burn_in, "thinning": thinning}
    for name, value in (lengths | {"batch_size": batch_size, "seed": seed}).items():
        lowest = int(name not in ("burn_in", "seed"))
        if value is not None and not (isinstance(value, Integral) and lowest <= int(value) < 2**63):
            raise SltGrokError(f"{name}: expected an integer of at least {lowest} and below 2**63, got {value!r}")
    for name, value in {"gamma": gamma, "box": box}.items():
        if value is not None and not (isinstance(value, Real) and math.isfinite(value)):
            raise SltGrokError(f"{name}: expected a finite number, got {value!r}")
    try:
        n_betas = None if n_beta is None else sorted(np.atleast_1d(n_beta).astype(float).tolist(), reverse=True)
    except (TypeError, ValueError) as error:
        raise SltGrokError(f"n_beta: expected a number or several, got {n_beta!r}") from error
    if n_betas is not None and not (n_betas and all(0 < value < math.inf for value in n_betas)):
        raise SltGrokError(f"n_beta ({n_beta}) must be above 0 and finite")
    automatic = draws is None and updates is None
    budget = Budget(max_seconds if automatic else None)
    problem = Problem.from_inputs(source, data, loss, subspace, dtype, finite_minimizer)
    wide = n_betas is None or n_betas[0] / n_betas[-1] > TEMPERATURE_RATIOS[-1] - 0.1
    extrapolates = problem.finite_minimizer and wide
    problem, hessians = with_curvatures(problem) if extrapolates else (problem, None)
    if problem.finite_minimizer and gamma is None and (window := constant_window(problem)) is not None:
        return _constant_estimate(
            problem,
            window,
            _schedule(updates or CONSTANT_UPDATES, draws, burn_in, thinning or 1, batch_size=None),
            sampler=sampler,
            n_betas=n_betas,
            chains=chains or 4,
            box=box,
            device=device,
            seed=seed,
            curvatures=hessians,
            observers=observers,
            on_progress=on_progress or ignore,
        )
    seek = n_betas is None and problem.finite_minimizer
    if chains is None:
        chains = max(4, min(128, COORDINATES // problem.d)) if seek else 4
    total = updates or (UPDATES if problem.finite_minimizer else EFFECTIVE_UPDATES)
    if thinning is None:
        thinning = max(1, total // SEEK_DRAWS) if seek and draws is None else 1
    schedule = _schedule(total, draws, burn_in, thinning, batch_size)
    chosen = [name for name, value in {"sampler": sampler, "n_beta": n_betas, "gamma": gamma}.items() if value is None]
    if not problem.finite_minimizer and batch_size is None and sampler is None and schedule.burn_in >= SHORTEST_BURN_IN:
        sampler = AdaptiveLangevin(adaptation=min(AdaptiveLangevin.adaptation, schedule.burn_in))
        n_betas, gamma = n_betas or [float(len(problem.inputs))], localization(problem) if gamma is None else gamma
    check(problem, schedule, n_betas, gamma, chains, box, sampler or UnderdampedLangevin(1.0))
    settings = {"chains": chains, "box": box, "device": device, "seed": seed, "observers": observers}
    attempt = partial(_attempt, problem, sampler=sampler, n_betas=n_betas, curvatures=hessians, chosen=chosen)
    tuning = sampler.adaptation if isinstance(sampler, AdaptiveLangevin) else 0
    scaled = partial(_scaled, shortest_burn_in=tuning)
    with progress("llc", 100, "%") if on_progress is None else nullcontext(on_progress) as report:
        if automatic:
            temperatures = len(n_betas or TEMPERATURE_RATIOS)
            share = SCOUT if seek else 1.0  # of the updates, in the first attempt
            settings["chains"], fraction = budget.fit(problem, schedule, chains, temperatures, share, report)
            schedule = scaled(schedule, fraction)
            if settings["chains"] < chains:
                attempt = partial(attempt, pilot_chains=settings["chains"])
        attempt = partial(attempt, **settings)
        if not seek or not automatic:
            return attempt(schedule, gamma, on_progress=report)
        result = _scout(partial(attempt, scaled(schedule, SCOUT)), gamma, budget, stretch(report, 0, 0.2))
        gamma, regular = result.attrs["gamma"], "llc_correction" in result and bool((result.llc_correction > 0).all())
        share = min(0.5 if regular else 1.0, SCOUT * budget.attempts_left)
        if share > SCOUT:
            middle = stretch(report, 0.2, 0.5)
            result = budget.improved(result, attempt, scaled(schedule, share), gamma, on_progress=middle)
        error = np.hypot(result.llc_se, result.llc_at_temperature_se.isel(temperature=-1))
        changes = abs(result.llc_change) > np.maximum(SETTLED * abs(result.llc), 2 * error)
        share = 1.0 if regular else 2.0
        if changes.any() and share <= SCOUT * budget.attempts_left:
            last = stretch(report, 0.5, 1)
            result = budget.improved(result, attempt, scaled(schedule, share), gamma, on_progress=last)
        return result


def _constant_estimate(
    problem: Problem,
    gamma: float,
    schedule: Schedule,
    *,
    sampler: Sampler | None,
    n_betas: list[float] | None,
    **settings: Any,
) -> xr.Dataset:
    """Make a short estimate where the loss does not change, with the gamma that keeps chains there."""
    sampler = sampler or UnderdampedLangevin(SAFETY / gamma**0.5, 4 * gamma**0.5)
    n_betas = n_betas or [len(problem.inputs) / ratio for ratio in TEMPERATURE_RATIOS]
    result = sample(problem, sampler, schedule, n_betas=n_betas, gamma=gamma, **settings)
    return result.assign_attrs(calibration=f"gamma: {gamma:.4g}, since {CONSTANT}; full batch")


def _schedule(updates: int, draws: int | None, burn_in: int | None, thinning: int, batch_size: int | None) -> Schedule:
    """Build the schedule; burn-in defaults to half of the draws if given, else to 30% of the updates."""
    if burn_in is None:
        burn_in = draws // 2 if draws is not None else round(BURN_IN_FRACTION * updates)
    if draws is None:
        if burn_in >= updates:
            raise SltGrokError(f"burn_in ({burn_in}) must be less than the {updates} updates of a chain")
        draws = (updates - burn_in) // max(thinning, 1)
    return Schedule(burn_in, draws, thinning, batch_size)


def _scout(
    attempt: Callable[..., xr.Dataset], gamma: float | None, budget: Budget, on_progress: ProgressCallback
) -> xr.Dataset:
    """Choose gamma, and test whether all points are regular, from a short estimate.

    If the chains see less than the Hessian at w* predicts, they have left for a more degenerate region, and if weights
    matter that do not near w*, they have left that region: gamma is raised.
    """
    result = budget.timed(attempt, gamma, on_progress=on_progress)
    for _ in range(TIGHTENINGS if gamma is None else 0):
        reasons = result.llc_status_reason.str
        left = any(reasons.contains(reason, regex=False).any() for reason in (LEFT_THE_POINT, LEFT))
        if not left or budget.attempts_left < 2:
            break
        result = budget.timed(attempt, TIGHTER * result.attrs["gamma"], on_progress=on_progress)
    return result


def _scaled(schedule: Schedule, factor: float, shortest_burn_in: int) -> Schedule:
    """Change the number of updates but not of draws."""
    thinning = max(1, round(factor * schedule.thinning))
    draws = round(factor * schedule.draws * schedule.thinning / thinning)
    burn_in = max(round(factor * schedule.burn_in), shortest_burn_in)
    return replace(schedule, burn_in=burn_in, draws=draws, thinning=thinning)


def _attempt(
    problem: Problem,
    schedule: Schedule,
    gamma: float | None,
    *,
    sampler: Sampler | None,
    n_betas: list[float] | None,
    chosen: Sequence[str],
    pilot_chains: int = MOST_PILOTS,
    on_progress: ProgressCallback,
    **settings: Any,
) -> xr.Dataset:
    """Make one estimate, with omitted settings chosen by the rule for this number of updates.

    `chosen` names the settings that the user did not give.
    """
    if sampler is not None and n_betas is not None and gamma is not None:
        result = sample(problem, sampler, schedule, n_betas=n_betas, gamma=gamma, on_progress=on_progress, **settings)
        return result.assign_attrs(calibration=f"chosen: {listing(chosen)}" if chosen else "settings given")
    options = {"batch_size": schedule.batch_size, "seed": settings["seed"], "chains": pilot_chains}
    n_beta, pilots = None if n_betas is None else n_betas[0], stretch(on_progress, 0, PILOTS)
    rule = calibrate(problem, schedule.updates, gamma=gamma, n_beta=n_beta, **options, on_progress=pilots)
    if n_betas is None:
        n_betas = [rule.n_beta / ratio for ratio in (TEMPERATURE_RATIOS if problem.finite_minimizer else (1,))]
    settings |= {"gamma": rule.gamma, "on_progress": stretch(on_progress, PILOTS, 1)}
    bounded = settings["curvatures"] is not None and schedule.batch_size is None and sampler is None
    notes = rule.reasons
    if gamma is not None and "gamma" in chosen:
        notes = f"gamma: {gamma:.4g}, chosen in an initial run", *notes[1:]
    try:
        result = sample(problem, sampler or rule.sampler, schedule, n_betas=n_betas, bounded=bounded, **settings)
    except OutOfReach:  # HMC with the same number of gradients
        hmc, notes = rule.for_varying_curvature, (*notes, VARYING)
        burn_in = schedule.burn_in // hmc.leapfrog
        schedule = replace(schedule, burn_in=burn_in, draws=schedule.updates // hmc.leapfrog - burn_in, thinning=1)
        result = sample(problem, hmc, schedule, n_betas=[value / LONGER_STEP**2 for value in n_betas], **settings)
    return result.assign_attrs(calibration="; ".join(notes))

"""The LLC of one network or of a whole trajectory, with its error and its health."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from slt_grok.devices import device_named
from slt_grok.errors import SltGrokError
from slt_grok.llc.calibration import BURN_IN_SHARE, LONGER_STEP, TEMPERATURE_RATIOS, VARYING, calibrate
from slt_grok.llc.chains import run_chains
from slt_grok.llc.diagnostics import highest_excess
from slt_grok.llc.problem import Problem
from slt_grok.llc.regular import LEFT_THE_POINT, Spectrum, spectrum
from slt_grok.llc.results import dataset
from slt_grok.llc.samplers import Sampler
from slt_grok.llc.sampling import Chains, Observer, Sampling, Schedule
from slt_grok.llc.subspaces import Subspace
from slt_grok.trajectories import Loss, Trajectory

UPDATES = 8_000  # of a chain, where the settings are left to the rule; half as many at regular points, and twice as
SETTLED = 0.025  # many where the estimate changes by more than this share (and its error) from n_beta / 16 to n_beta
SEEK_DRAWS = 2_000  # updates over draws: no more draws than the autocorrelation lets count
SCOUT = 0.125  # of the updates, for a first look
TIGHTER, TIGHTENINGS = 16, 2  # how gamma rises where the chains left the point, and how often
NUMBERS = 8_192  # chains x coordinates at each temperature: more chains where they are cheap, 4 to 128
EFFECTIVE_UPDATES = 500  # where there is no finite minimizer, so that no larger n_beta is sought


def estimate(
    source: nn.Module | Trajectory,
    data: tuple[Tensor, Tensor] | None = None,
    *,
    loss: Loss | None = None,
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
    on_steps: Callable[[int, float], None] = lambda steps, loss: None,
) -> xr.Dataset:
    """Estimate the LLC at each network: llc = n_beta (E[L(w)] - L(w*)) (Lau et al. 2308.12108, definition 3).

    The expectation is over p(w) ~ exp(-n_beta L(w) - gamma/2 |w - w*|^2), sampled from w* on by `chains` chains a
    network and temperature, all in one batch. What is left out of sampler, n_beta and gamma is chosen by the rule of
    `slt_grok.llc.calibration`; for a loss with a finite minimizer with three temperatures n_beta {1, 1/4, 1/16}
    and with the exact add-on of `slt_grok.llc.regular` where the point turns out to be regular.
    Where the curvature turns out to vary more than a fixed step can follow, HMC takes over with as many gradients, so
    fewer draws, at a ninth of n_beta; the attributes `sampler`, `n_beta`, `draws` and `calibration` say so.

    Parameters
    ----------
    source : torch.nn.Module or Trajectory
        Any `nn.Module` at the parameters w*, or a trajectory.
    data : tuple[Tensor, Tensor] or None, optional
        (inputs, targets) that the network was trained on; a trajectory of a modular task has its own.
    loss : Loss or None, optional
        (outputs, targets) -> losses of the samples or their mean; outputs arrive in float64. The trajectory's own, or
        cross-entropy, where it is left out.
    sampler : Sampler or None, optional
        One of `slt_grok.llc.samplers`.
    n_beta : float or Sequence[float] or None, optional
        n times the inverse temperature, above 0; of several, the largest is reported, the others tell how the value
        depends on it.
    gamma : float or None, optional
        Localization, at least 0.
    updates : int or None, optional
        Of a chain, burn-in included, where `draws` is left out. Where this is left out too, a first look of 1,000
        raises gamma until the chains stay at the point; then 8,000 (4,000 at a regular point) and, if the estimate
        still changes with n_beta, twice as many with the settings that the rule then chooses; 500 for cross-entropy.
    chains, draws, burn_in, thinning : int or None, optional
        Length of the sampling in updates; burn-in is never averaged in, and is 30% of `updates` or half of `draws`
        where left out. Chains are 4 where left out, up to 128 for small problems; thinning is 1 where draws or n_beta
        are given.
    batch_size : int or None, optional
        Samples of a chain's own minibatches; None for the full batch.
    box : float or None, optional
        Half-width of a hard box around w*, beside the Gaussian localization.
    subspace : Subspace or None, optional
        The weights that move; all where left out.
    dtype : torch.dtype or None, optional
        Precision of the chains' parameters, their own where left out; losses are float64 in any case.
    device : str or None, optional
        `cuda` for chains on such a device, all in one batch as far as its memory goes: other random numbers, and sums
        in another order; the CPU where left out. What the rule chooses, it chooses by pilots on the CPU.
    seed : int, optional
        With a network's coordinates and a chain's number it fixes the chain's random streams.
    observers : Sequence[Observer], optional
        See `slt_grok.llc.sampling.Observer`.
    on_steps : callable, optional
        Called with (gradients done, mean loss) for a progress bar.

    Returns
    -------
    xarray.Dataset
        A dataset over the trajectory's dimensions: `llc`, `llc_se`, `llc_low`, `llc_high` (95% interval), `rhat`,
        `ess`, `drift`, `virial`, `fraction_below_initial_loss`, `llc_status`, `llc_status_reason`, `baseline_loss`; by
        temperature `llc_at_temperature`, `llc_at_temperature_se`, with `llc_change` and `llc_wbic` where there are
        several; by chain `llc_chain`, `chain_health`, `resets`, `acceptance`, `distance`, `loss_trace` (chain, draw),
        `burn_in_loss` (chain, burn_in). Negative values are reported, not clipped.

    Raises
    ------
    SltGrokError
        No data, or a setting out of its range; weights or a loss at w* that are not finite.

    Examples
    --------
    >>> result = slt_grok.llc.estimate(module, (inputs, targets), n_beta=30, gamma=100)
    >>> float(result.llc), float(result.llc_se), str(result.llc_status.values)
    """
    given = [float(n_beta)] if isinstance(n_beta, int | float) else None if n_beta is None else list(n_beta)
    problem = Problem.from_inputs(source, data, loss, subspace, dtype)
    seek = given is None and problem.finite_minimizer
    if chains is None:
        chains = max(4, min(128, NUMBERS // problem.subspace.dimension)) if seek else 4
    total = updates or (UPDATES if problem.finite_minimizer else EFFECTIVE_UPDATES)
    if thinning is None:
        thinning = max(1, total // SEEK_DRAWS) if seek and draws is None else 1
    schedule = _schedule(total, draws, burn_in, thinning, batch_size)
    _check(given, gamma, schedule, chains, sampler, box, len(problem.inputs))
    spectra = [spectrum(problem, i) for i in range(len(problem.trajectory))] if seek else None
    once = partial(
        _once, problem, spectra, given=given, sampler=sampler, chains=chains, box=box,
        device=device_named(device), seed=seed, observers=observers, on_steps=on_steps,
    )  # fmt: skip
    if not seek or draws is not None or updates is not None:
        return once(schedule, gamma)
    gamma, regular = _scout(once, schedule, gamma)
    result = once(_scaled(schedule, 0.5) if regular else schedule, gamma)
    error = np.hypot(result.llc_se, result.llc_at_temperature_se.isel(temperature=-1))
    if (abs(result.llc_change) > np.maximum(SETTLED * abs(result.llc), 2 * error)).any():
        result = once(_scaled(schedule, 1 if regular else 2), gamma)
    return result


def _scout(once: Callable[..., xr.Dataset], schedule: Schedule, gamma: float | None) -> tuple[float, bool]:
    """gamma, and whether all points are regular, from a short estimate.

    Where its chains see less than the Hessian at w*, they have left for where the loss is more degenerate: gamma rises.
    """
    found = once(_scaled(schedule, SCOUT), gamma)
    for _ in range(TIGHTENINGS if gamma is None else 0):
        if not found.llc_status_reason.str.contains(LEFT_THE_POINT, regex=False).any():
            break
        found = once(_scaled(schedule, SCOUT), TIGHTER * found.attrs["gamma"])
    return found.attrs["gamma"], bool((found.llc_correction > 0).all())


def _scaled(schedule: Schedule, factor: float) -> Schedule:
    """As many draws, over another number of updates."""
    thinning = max(1, round(factor * schedule.thinning))
    draws = round(factor * schedule.draws * schedule.thinning / thinning)
    return replace(schedule, burn_in=round(factor * schedule.burn_in), draws=draws, thinning=thinning)


def _in_flights(schedule: Schedule, leapfrog: int) -> Schedule:
    """As many gradients, in updates of some leapfrog steps each."""
    burn_in = schedule.burn_in // leapfrog
    return replace(schedule, burn_in=burn_in, draws=schedule.updates // leapfrog - burn_in, thinning=1)


def _once(
    problem: Problem,
    spectra: Sequence[Spectrum | None] | None,
    schedule: Schedule,
    gamma: float | None,
    *,
    given: list[float] | None,
    sampler: Sampler | None,
    chains: int,
    box: float | None,
    device: torch.device,
    seed: int,
    observers: Sequence[Observer],
    on_steps: Callable[[int, float], None],
) -> xr.Dataset:
    """One estimate, with what was not given chosen by the rule for this many updates."""
    notes: tuple[str, ...] = ("settings given",)
    seek = given is None and problem.finite_minimizer
    chosen = None
    if sampler is None or given is None or gamma is None:
        chosen = calibrate(
            problem, schedule.updates, gamma=gamma, n_beta=max(given) if given else None,
            batch_size=schedule.batch_size, seed=seed, on_steps=on_steps,
        )  # fmt: skip
        given = given or [chosen.n_beta / ratio for ratio in (TEMPERATURE_RATIOS if seek else (1,))]
        gamma, notes, sampler = chosen.gamma, chosen.reasons, sampler or chosen.sampler
    n_betas, network = sorted(given, reverse=True), problem.trajectory.network
    starts = partial(problem.starts, gamma=gamma, chains=chains, seed=seed)
    sampling = Sampling(network, problem.inputs, problem.targets, problem.subspace, sampler, schedule, box, device)
    found = run_chains(sampling, starts(n_betas), on_steps, observers)
    may_change = seek and schedule.batch_size is None and chosen is not None and sampler == chosen.sampler
    if chosen and may_change and _unstable(problem, found, n_betas):
        exact = chosen.for_varying_curvature
        sampler, schedule = exact, _in_flights(schedule, exact.leapfrog)
        n_betas, notes = [value / LONGER_STEP**2 for value in n_betas], (*notes, VARYING)
        sampling = replace(sampling, sampler=sampler, schedule=schedule)
        found = run_chains(sampling, starts(n_betas), on_steps, observers)
    settings = {
        "sampler": sampler.name,
        **{key: value if value is not None else "none" for key, value in asdict(sampler).items()},  # pyright: ignore
        "n_beta": n_betas[0],
        "gamma": gamma,
        "box": box if box is not None else "none",
        "chains": chains,
        **{key: value if value is not None else "full" for key, value in asdict(schedule).items()},
        "device": device.type,
        "dtype": str(problem.dtype).removeprefix("torch."),
        "seed": seed,
        "n": len(problem.inputs),
        "dimension": problem.subspace.dimension,
        "calibration": "; ".join(notes),
    }
    return dataset(problem, found, schedule, n_betas, gamma, spectra).assign_attrs(settings)


def _unstable(problem: Problem, found: Chains, n_betas: Sequence[float]) -> bool:
    """Whether a loss of any chain is out of the posterior's reach."""
    losses = found.losses.unflatten(0, (len(problem.trajectory), len(n_betas), -1)).numpy()
    with np.errstate(over="ignore"):
        excess = np.array(n_betas)[:, None, None] * (losses - problem.baselines[:, None, None, None])
    return not bool((excess <= highest_excess(problem.subspace.dimension)).all())  # NaN compares false


def _check(
    n_betas: list[float] | None, gamma: float | None, schedule: Schedule, chains: int, sampler: Sampler | None,
    box: float | None, n: int,
) -> None:  # fmt: skip
    if n_betas is not None and (not n_betas or min(n_betas) <= 0):
        raise SltGrokError(f"n_beta: expected a number above 0, got {min(n_betas, default=None)}")
    if gamma is not None and gamma < 0:
        raise SltGrokError(f"gamma: expected a number of at least 0, got {gamma}")
    if gamma == 0 and sampler is None:
        raise SltGrokError("gamma: expected a number above 0, since the friction follows from it, got 0")
    burn_in, draws, thinning, batch_size = schedule.burn_in, schedule.draws, schedule.thinning, schedule.batch_size
    if chains < 1 or draws < 4 or burn_in < 0 or thinning < 1:
        raise SltGrokError(
            "chains, draws, burn_in, thinning: expected at least 1, 4, 0 and 1, got "
            f"{chains}, {draws}, {burn_in} and {thinning}"
        )
    if batch_size is not None and not 1 <= batch_size <= n:
        raise SltGrokError(f"batch_size: expected between 1 and the {n} samples there are, got {batch_size}")
    if batch_size is not None and sampler is not None and sampler.exact:
        raise SltGrokError(f"batch_size: expected the full batch, since {sampler.name} accepts by the full loss")
    if box is not None and box <= 0:
        raise SltGrokError(f"box: expected a number above 0, got {box}")


def _schedule(updates: int, draws: int | None, burn_in: int | None, thinning: int, batch_size: int | None) -> Schedule:
    """Burn-in is half of the draws where these are given, else 30% of the updates."""
    if draws is not None:
        return Schedule(draws // 2 if burn_in is None else burn_in, draws, thinning, batch_size)
    first = round(BURN_IN_SHARE * updates) if burn_in is None else burn_in
    if first >= updates:
        raise SltGrokError(f"burn_in: expected fewer than the {updates} updates of a chain, got {first}")
    return Schedule(first, (updates - first) // max(thinning, 1), thinning, batch_size)

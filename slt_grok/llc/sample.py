"""The LLC with every setting given: sample the local posterior and summarize the chains.

The chains' losses are converted to values, errors, diagnostics and statuses for each network.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
import xarray as xr

from slt_grok.devices import device_named
from slt_grok.errors import SltGrokError
from slt_grok.llc import diagnostics
from slt_grok.llc.constant import CONSTANT, LEFT, average_of_constant, has_left, stays_constant
from slt_grok.llc.descent import descent
from slt_grok.llc.diagnostics import EXCLUDED, HEALTHY, LIMITS, QUANTILE, TRUSTED, ChainStatistics, LLCStatus, Status
from slt_grok.llc.problem import Problem
from slt_grok.llc.regular import UNRESOLVED, Curvatures, is_complete, is_regular
from slt_grok.llc.samplers.sampler import Sampler
from slt_grok.llc.sampling import Chains, Observer, Schedule
from slt_grok.llc.variables import EFFECTIVE, VARIABLES
from slt_grok.llc.window_noise import window_noise
from slt_grok.measurement import declare
from slt_grok.progress import ProgressCallback, ignore

OF_AVERAGE = ("llc", "llc_se", "rhat", "ess", "drift", "virial")
SAMPLED = (*OF_AVERAGE, "llc_status", "llc_status_reason")


class OutOfReach(SltGrokError):
    """A loss along a chain too high for any draw of the posterior: the step is unstable there."""


def sample(
    problem: Problem,
    sampler: Sampler,
    schedule: Schedule,
    *,
    n_betas: Sequence[float],
    gamma: float,
    chains: int = 4,
    box: float | None = None,
    device: str | None = None,
    seed: int = 0,
    position: torch.Tensor | None = None,
    curvatures: Sequence[Curvatures] | None = None,
    melting_loss: float | None = None,
    bounded: bool = False,
    observers: Sequence[Observer] = (),
    on_progress: ProgressCallback = ignore,
) -> xr.Dataset:
    """Estimate the LLC of each network of a problem, with every setting given.

    Parameters
    ----------
    problem : Problem
        Networks, data and the weights that move.
    sampler : Sampler
        See `slt_grok.llc.samplers`.
    schedule : Schedule
        Length of a chain and its batch size.
    n_betas : sequence of float
        n times the inverse temperature, largest first; the largest is reported.
    gamma : float
        Localization, at least 0.
    chains : int, optional
        Number of chains for each network and temperature.
    box, device, seed, observers, on_progress
        See `slt_grok.llc.estimate`.
    position : Tensor or None, optional
        Starting points of the chains, in the order (network, temperature, chain), (chains, d); w* by default.
    curvatures : sequence of Curvatures or None, optional
        Hessian eigenvalues at each network's w*, for the lower bound and the correction.
    melting_loss : float or None, optional
        Mean loss above which chains count as melted; half the loss of guessing by default, for cross-entropy.
    bounded : bool, optional
        Whether to raise an error rather than return an estimate with a loss too high for any draw of the posterior.

    Returns
    -------
    xarray.Dataset
        See `slt_grok.llc.estimate`.

    Raises
    ------
    SltGrokError
        A setting is out of range, or incompatible with the sampler.
    OutOfReach
        See `bounded`.
    """
    check(problem, schedule, n_betas, gamma, chains, box, sampler)
    sampling = problem.sampling(sampler, schedule, box, device_named(device))
    starts = problem.starts(n_betas, gamma, chains, seed)._replace(position=position)
    records = sampler.run(sampling, starts, on_progress, observers)
    if bounded:
        losses, virial = (_by_network(problem, values, n_betas) for values in (records.losses, records.virial))
        if diagnostics.is_out_of_reach(losses, virial, problem.baselines, n_betas, problem.d):
            raise OutOfReach("step_size: a loss along a chain exceeds the posterior's range; use a smaller step")
    exact_losses = curvatures is not None and schedule.batch_size is None
    if melting_loss is None:
        melting_loss = problem.melting_loss
    summaries = statistics(problem, records, schedule, n_betas, exact_losses)
    constant = stays_constant(problem, gamma, [temperatures[0].draws for temperatures in summaries])
    rows = [
        _row(
            temperatures,
            gamma,
            problem.finite_minimizer,
            curvatures[i] if curvatures else None,
            melting_loss,
            descent(problem, i, n_betas[0], gamma),
            bool(constant[i]),
        )
        for i, temperatures in enumerate(summaries)
    ]
    for i, row in enumerate(rows):
        of_the_point = row["llc_status"] not in (*EXCLUDED, LLCStatus.NOT_A_MINIMUM, LLCStatus.EFFECTIVE)
        if of_the_point and not constant[i] and has_left(problem.single(i), n_betas[0], gamma, row["llc"]):
            row["llc_status"], row["llc_status_reason"] = LLCStatus.NOT_CONVERGED, LEFT
    noise = window_noise(problem, n_betas[:1], gamma, seed=seed)
    coldest = {name: _by_network(problem, tensor, n_betas)[:, 0] for name, tensor in records._asdict().items()}
    healthy = np.array([row["chain_health"] for row in rows]) == HEALTHY
    values = {
        **{name: [row[name] for row in rows] for name in rows[0]},
        "resets": coldest["resets"],
        "acceptance": np.where(healthy, coldest["acceptance"], np.nan),
        "distance": np.where(healthy[..., None], coldest["distance"], np.nan),
        "baseline_loss": problem.baselines,
        "window_noise": noise.llc[:, 0],
        "window_noise_se": noise.llc_se[:, 0],
        "loss_trace": schedule.drawn(coldest["losses"]),
        "burn_in_loss": coldest["losses"][..., : schedule.burn_in],
    }
    if len(n_betas) == 1:
        del values["llc_change"]
    if curvatures is None:
        del values["llc_correction"]
    return problem.trajectory.dataset(
        declare(VARIABLES, values),
        chain=np.arange(chains),
        draw=np.arange(schedule.draws),
        temperature=np.array(n_betas),
    ).assign_attrs(
        {
            **({} if problem.finite_minimizer else {"comment": EFFECTIVE}),
            "finite_minimizer": int(problem.finite_minimizer),
            **({"notes": "; ".join(problem.notes)} if problem.notes else {}),
            **({} if melting_loss is None else {"melting_loss": melting_loss}),
            "sampler": sampler.name,
            **{key: "none" if value is None else value for key, value in asdict(sampler).items()},
            "n_beta": n_betas[0],
            "gamma": gamma,
            "box": "none" if box is None else box,
            "chains": chains,
            **{key: "full" if value is None else value for key, value in asdict(schedule).items()},
            "gradients": sampler.gradients * schedule.updates,
            "device": sampling.device.type,
            "dtype": str(problem.dtype).removeprefix("torch."),
            "seed": seed,
            "n": len(problem.inputs),
            "dimension": problem.d,
        }
    )


def check(
    problem: Problem,
    schedule: Schedule,
    n_betas: Sequence[float] | None,
    gamma: float | None,
    chains: int,
    box: float | None,
    sampler: Sampler,
) -> None:
    """Check the settings of an estimate; `n_betas` and `gamma` are None if still to be chosen.

    Raises
    ------
    SltGrokError
        A setting is out of range, or incompatible with the sampler.
    """
    lowest = 1.0 if n_betas is None else min(n_betas, default=0.0)
    for wrong, sentence in (
        (not lowest > 0, f"n_beta ({lowest:g}) must be above 0"),
        (gamma is not None and not gamma >= 0, f"gamma ({gamma}) must be at least 0"),
        (box is not None and not box > 0, f"box ({box}) must be above 0"),
        (chains < 1, f"chains ({chains}) must be at least 1"),
        (schedule.draws < 4, f"draws ({schedule.draws}) must be at least 4"),
        (
            (schedule.batch_size or 0) > len(problem.inputs),
            f"batch_size ({schedule.batch_size}) must not exceed the {len(problem.inputs)} samples",
        ),
    ):
        if wrong:
            raise SltGrokError(sentence)
    sampler.require(schedule, 1.0 if gamma is None else gamma)


def _by_network(problem: Problem, values: torch.Tensor, n_betas: Sequence[float]) -> np.ndarray:
    """Reshape values of the chains, (chains, ...), to (network, temperature, chain, ...)."""
    return values.unflatten(0, (len(problem.trajectory), len(n_betas), -1)).numpy()


def statistics(
    problem: Problem, records: Chains, schedule: Schedule, n_betas: Sequence[float], bounded: bool = False
) -> list[list[ChainStatistics]]:
    """Collect the statistics of each network's chains at each temperature.

    Parameters
    ----------
    problem, records, schedule, n_betas : Problem, Chains, Schedule, sequence of float
        The records of chains in the order (network, temperature, chain), and the settings that they were run with.
    bounded : bool, optional
        See `slt_grok.llc.diagnostics.chain_health`.

    Returns
    -------
    list of list of ChainStatistics
        Statistics of each network at each temperature.
    """
    losses, virial = (_by_network(problem, values, n_betas) for values in (records.losses, records.virial))
    return [
        [
            ChainStatistics(
                schedule.drawn(losses[i, t]),
                [
                    diagnostics.chain_health(chain, baseline, n_beta, problem.d, looks, bounded)
                    for chain, looks in zip(losses[i, t], virial[i, t], strict=True)
                ],
                baseline,
                n_beta,
                virial[i, t],
            )
            for t, n_beta in enumerate(n_betas)
        ]
        for i, baseline in enumerate(problem.baselines)
    ]


def _row(
    temperatures: list[ChainStatistics],
    gamma: float,
    finite_minimizer: bool,
    curvatures: Curvatures | None,
    melting_loss: float | None,
    gain: float,
    constant: bool,
) -> dict[str, Any]:
    """Compute the variables of one network from its chains at each temperature, the coldest first."""
    coldest, n_betas = temperatures[0], [statistics.n_beta for statistics in temperatures]
    averages, correction = [diagnostics.average(statistics) for statistics in temperatures], 0.0
    if constant:
        averages = [average_of_constant(average) for average in averages]
    regular = curvatures is not None and is_regular(curvatures, averages, n_betas, gamma)
    missing = None if curvatures is None else curvatures.shortfall(averages[0], n_betas[0], gamma)
    if curvatures is not None and is_complete(curvatures, averages, n_betas, gamma):
        correction, missing = curvatures.hidden(n_betas[0], gamma)[0], None
        averages = [a.plus(*curvatures.hidden(b, gamma)) for a, b in zip(averages, n_betas, strict=True)]
    best = averages[0]
    hotter = next((a for a, b in zip(averages, n_betas, strict=True) if n_betas[0] / b >= 15.9), None)
    hotter = None if hotter is None or np.isnan(hotter.llc) else hotter  # NaN if all its chains failed
    status = diagnostics.assess(best, coldest, finite_minimizer, hotter, melting_loss, gain)
    if status.status not in (*EXCLUDED, LLCStatus.NOT_A_MINIMUM):
        if missing:
            status = Status(LLCStatus.LIKELY_LOW, missing)
        elif curvatures is not None and not curvatures.resolved and status.status in LIMITS:
            status = Status(LLCStatus.LIKELY_LOW, UNRESOLVED)
    if constant:
        status = Status(LLCStatus.CONVERGED if finite_minimizer else LLCStatus.EFFECTIVE, CONSTANT)
    low, high = diagnostics.interval(best, hotter if finite_minimizer else None, regular)
    if curvatures is not None and curvatures.resolved and status.status in TRUSTED:
        lowest, error = curvatures.lowest
        high = max(high, lowest + QUANTILE * error)
    status = diagnostics.limit_to_interval(status, best, low, high)
    return {
        **{name: getattr(best, name) for name in OF_AVERAGE},
        "llc_low": low,
        "llc_high": high,
        "llc_change": best.llc - hotter.llc if hotter is not None else np.nan,
        "llc_correction": correction,
        "fraction_below_initial_loss": best.fraction_below,
        "llc_status": status.status,
        "llc_status_reason": status.reason,
        "llc_at_temperature": [a.llc for a in averages],
        "llc_at_temperature_se": [a.llc_se for a in averages],
        "chain_health": coldest.health,
        "llc_chain": n_betas[0] * (coldest.draws.mean(-1) - coldest.baseline),
    }

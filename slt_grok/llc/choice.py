"""Choose the LLC's settings for a whole trajectory, and check them: the result `calibration`.

- n_beta is n unless given: the temperature of the posterior itself.
- gamma is the largest of d / (rho |w*|^2) over the checkpoints from memorization on: one window, of radius
  sqrt(d / gamma), that is inside sqrt(rho) |w*| at each of them.
- draws and burn-in, from the defaults, are doubled until three checkpoints have R-hat and standard errors below limits.

Mass and step need no choice, since the sampler `adaptive` tunes them. Its mean is compared with that of Hamiltonian
Monte Carlo (Neal 1206.1901), which has no step-size error.
"""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
import xarray as xr

from slt_grok.format import duration, listing, number, plus_minus
from slt_grok.format import step as at_step
from slt_grok.llc.calibration import SAFETY, Ends, curvature_at, localization
from slt_grok.llc.diagnostics import HEALTHY
from slt_grok.llc.measurement import seconds_of_updates
from slt_grok.llc.problem import Problem
from slt_grok.llc.sample import SAMPLED, sample
from slt_grok.llc.samplers.hmc import HMC
from slt_grok.llc.sampling import Schedule
from slt_grok.llc.settings import LLCSettings
from slt_grok.llc.variables import VARIABLES
from slt_grok.measurement import Context, Data, Result, Table, Variable
from slt_grok.progress import ProgressCallback
from slt_grok.rules import RHO
from slt_grok.trajectories import Trajectory

RHAT, ERROR, ERROR_AT_END = 1.05, 0.03, 0.05  # largest R-hat, and standard error relative to the LLC
LENGTHS = {1: (0.0, 0.3), 2: (0.3, 0.4), 4: (0.4, 0.5), 8: (0.5, 0.6)}  # times the default: span of the progress
FLIGHT_ANGLE = 1.5  # of the oscillation of directions that only the localization holds
FEWEST_PROPOSALS = 24
CORRELATION = 2.0  # proposals for each independent draw
AGREES = 3.0  # standard errors
RULE, NEAL = "the rules of slt_grok.llc.choice", "Neal 1206.1901"


class CalibrationResult(Result):
    """The LLC settings chosen for a run by `slt-grok calibrate`."""

    name, title, position = "calibration", "Calibration of the LLC", 19
    variables: ClassVar[Mapping[str, Variable]] = {
        "gamma_rule": Variable((), "localization by the rule", "d / (rho |w*|^2) with rho = 0.7", RULE),
        "draws": Variable((), "draws per chain", "first number with R-hat and standard error below the limits", RULE),
        **{name: VARIABLES[name]._replace(change=None) for name in SAMPLED},  # the run's LLC is another
        "llc_hmc": Variable(
            (),
            "LLC by Hamiltonian Monte Carlo",
            "n_beta (mean of the draws' losses - baseline_loss), full batch, at the chosen n_beta and gamma",
            NEAL,
        ),
        "llc_hmc_se": Variable((), "standard error of the LLC by Hamiltonian Monte Carlo", "as llc_se", NEAL),
        "draws_hmc": Variable(
            (), "proposals of Hamiltonian Monte Carlo per chain", "enough for a standard error of 3%", RULE
        ),
        "acceptance_hmc": Variable(
            (), "acceptance of Hamiltonian Monte Carlo", "mean acceptance probability of the proposals", NEAL
        ),
    }

    def notes(self, data: Data) -> Sequence[str]:
        """State the reasons for the choice."""
        return [str(reason) for reason in np.atleast_1d(data[self.name].attrs["reasons"])]

    def tables(self, data: Data) -> Sequence[Table]:
        """Tabulate the checkpoints that the choice was measured at."""
        found = data[self.name].isel(seed=0)
        rows = []
        for step in found.step.values.tolist():
            here = found.sel(step=step)
            rows.append(
                [
                    at_step(step), number(here.gamma_rule.item()), plus_minus(here.llc.item(), here.llc_se.item()),
                    f"{here.rhat.item():.3f}", f"{here.draws.item():,}", str(here.llc_status.item()),
                    plus_minus(here.llc_hmc.item(), here.llc_hmc_se.item()), f"{here.acceptance_hmc.item():.2f}",
                ]
            )  # fmt: skip
        header = ["Step", "γ by the rule", "LLC", "R-hat", "Draws", "Status", "LLC by HMC", "Acceptance"]
        return (Table("Basis of the choice", header, rows),)

    def columns(self, dataset: xr.Dataset) -> dict[str, Any]:
        """Report no columns: the choice belongs to a run, not to its last checkpoint."""
        return {}


def choose(
    trajectory: Trajectory, places: Sequence[int], n_beta: float | None, seed: int, context: Context
) -> tuple[xr.Dataset, dict[str, Any]]:
    """Choose the settings for a trajectory from three of its checkpoints.

    Parameters
    ----------
    trajectory : Trajectory
        All checkpoints of one seed.
    places : sequence of int
        Indices of the three checkpoints; the first one is at memorization, or what stands for it.
    n_beta : float or None
        n times the inverse temperature; None for n.
    seed : int
        Seed of the chains.
    context : Context
        Runs the checkpoints in parallel and stores finished parts until all are done.

    Returns
    -------
    tuple of xarray.Dataset and dict
        The measured values over (step, seed); and `reasons`, a list of sentences, and `llc`, a section of a
        configuration.
    """
    gammas, gamma = gamma_by_rule(trajectory.isel(step=slice(places[0], None)))
    settings, chosen = LLCSettings(gamma=gamma, n_beta=n_beta or "n", seed=seed), trajectory.isel(step=places)
    seconds = seconds_of_updates(chosen.isel(step=[0]), settings, settings.schedule.updates)
    context.announce(
        f"gamma = {gamma:g}, n_beta = {settings.n_beta_of(trajectory.task.train_size):g}, "
        f"{settings.chains} chains of {settings.burn_in} + {settings.draws} updates by {settings.sampler.name}"
    )
    context.announce(
        f"about {duration(seconds)} per checkpoint on one core; measures three, again with twice the updates where "
        f"they do not suffice, up to {max(LENGTHS)} times as many; then compares with HMC"
    )
    sampled = _long_enough(chosen, settings, context)
    exact = context.in_shards(chosen, partial(_hmc, settings, sampled), size=1, part="hmc", span=(0.6, 1.0))
    values = xr.merge([gammas.to_dataset().sel(step=chosen.coords["step"]), sampled.drop_vars("end"), exact])
    factor = int(values.draws.max()) // settings.draws
    context.announce(f"about {duration(factor * seconds)} per checkpoint with the settings below")
    llc = {
        "sampler": {"name": settings.sampler.name},
        "n_beta": settings.n_beta,
        "gamma": gamma,
        "chains": settings.chains,
        "draws": factor * settings.draws,
        "burn_in": factor * settings.burn_in,
        "seed": seed,
    }
    reasons = _reasons(values, llc, gammas)
    return values.assign_attrs(llc, sampler=settings.sampler.name, reasons=reasons), {"reasons": reasons, "llc": llc}


def gamma_by_rule(trajectory: Trajectory) -> tuple[xr.DataArray, float]:
    """Compute d / (rho |w*|^2) at every checkpoint, and the largest, to the three digits that settings print.

    Parameters
    ----------
    trajectory : Trajectory
        The checkpoints from memorization on, over (step, seed) with one seed.
    """
    values = [localization(Problem.from_inputs(trajectory.isel(step=[i]))) for i in range(trajectory.shape[0])]
    gammas = CalibrationResult().dataset(trajectory, {"gamma_rule": values}).gamma_rule
    return gammas, float(f"{float(gammas.max()):.3g}")


def _long_enough(chosen: Trajectory, settings: LLCSettings, context: Context) -> xr.Dataset:
    """Estimate the LLC of each network, with twice the updates wherever the last ones did not suffice."""
    missing, last, found = list(range(chosen.shape[0])), chosen.coords["step"][-1], dict[int, xr.Dataset]()
    for factor, span in LENGTHS.items():
        length = {"draws": factor * settings.draws, "burn_in": factor * settings.burn_in}
        measure = partial(_chains, settings.model_copy(update=length))
        values = context.in_shards(chosen.isel(step=missing), measure, size=1, part=f"length_{factor}", span=span)
        found |= {index: values.isel(step=[i]) for i, index in enumerate(missing)}
        missing = [index for index in missing if not _suffices(found[index], last).all()]
        if not missing:
            break
    return xr.concat([found[index] for index in sorted(found)], "step")


def _suffices(values: xr.Dataset, last: int) -> xr.DataArray:
    """Tell which estimates have a small R-hat and standard error; the limit at the last checkpoint is its own."""
    limit = xr.where(values.step == last, ERROR_AT_END, ERROR)
    return (values.rhat < RHAT) & (values.llc_se <= limit * abs(values.llc))


def _chains(settings: LLCSettings, network: Trajectory, on_progress: ProgressCallback) -> xr.Dataset:
    """Estimate the LLC of a network, with the final positions, and compute the number of proposals for its check."""
    problem, ends = Problem.from_inputs(network, dtype=settings.dtype), Ends(settings.draws)
    estimate = sample(
        problem, **settings.arguments(len(problem.inputs)), observers=[ends], on_progress=on_progress
    ).isel(step=0, seed=0)
    losses = estimate.loss_trace.where(estimate.chain_health == HEALTHY)
    spread = float(settings.n_beta_of(len(problem.inputs)) * losses.std() / estimate.llc)
    needed = CORRELATION * (spread / ERROR) ** 2 / settings.chains
    proposals = max(FEWEST_PROPOSALS, math.ceil(min(needed, settings.draws)) if math.isfinite(needed) else 0)
    values = {name: [estimate[name].item()] for name in SAMPLED}
    found = CalibrationResult().dataset(network, {**values, "draws": [settings.draws], "draws_hmc": [proposals]})
    return found.assign(end=(("step", "seed", "chain", "coordinate"), ends.positions.numpy()[None, None]))


def _hmc(settings: LLCSettings, sampled: xr.Dataset, network: Trajectory, on_progress: ProgressCallback) -> xr.Dataset:
    """Estimate the LLC of a network by HMC from where its chains ended; from w*, it would reject every proposal."""
    problem, here = Problem.from_inputs(network, dtype=settings.dtype), sampled.sel(step=network.coords["step"])
    n_beta, position = settings.n_beta_of(len(problem.inputs)), torch.from_numpy(here.end.values[0, 0])
    curvature = curvature_at(problem, position, n_beta, settings.gamma, Schedule(0, 1)).max().item()
    step_size, draws = SAFETY / math.sqrt(curvature), here.draws_hmc.item()
    estimate = sample(
        problem,
        HMC(step_size, math.ceil(FLIGHT_ANGLE / (math.sqrt(settings.gamma) * step_size))),
        Schedule(draws // 4, draws),
        n_betas=[n_beta],
        gamma=settings.gamma,
        chains=settings.chains,
        seed=settings.seed + 1,
        position=position,
        on_progress=on_progress,
    )
    numbers = {"llc_hmc": estimate.llc, "llc_hmc_se": estimate.llc_se, "acceptance_hmc": estimate.acceptance.mean()}
    return CalibrationResult().dataset(network, {name: [value.item()] for name, value in numbers.items()})


def _reasons(values: xr.Dataset, llc: Mapping[str, Any], gammas: xr.DataArray) -> list[str]:
    """State one sentence per choice, and the outcome of the check."""
    values = values.isel(seed=0)
    enough = _suffices(values, values.step[-1].item()).values
    steps = [f"step {at_step(step)}" for step in values.step.values.tolist()]
    errors = (abs(values.llc - values.llc_hmc) / np.hypot(values.llc_se, values.llc_hmc_se)).values.tolist()
    estimates = [
        f"{plus_minus(values.llc[i].item(), values.llc_se[i].item())} at {step} (R-hat {values.rhat[i].item():.3f}, "
        f"{values.llc_status[i].item()})"
        for i, step in enumerate(steps)
    ]
    short = listing([step for step, good in zip(steps, enough, strict=True) if not good])
    apart = listing([f"{error:.1f} at {step}" for error, step in zip(errors, steps, strict=True)])
    limits = f"R-hat below {RHAT:g} and standard errors of at most {ERROR:.0%}, {ERROR_AT_END:.0%} at the end"
    widest = at_step(gammas.isel(seed=0).idxmax().item())
    return [
        f"One setting for all checkpoints, measured at {listing(steps)}: LLCs compare only at the same setting.",
        f"n_beta = {llc['n_beta']}: {'the temperature of the posterior' if llc['n_beta'] == 'n' else 'given'}.",
        f"gamma = {llc['gamma']:g}: the largest d / ({RHO:g} |w*|²) over the {gammas.sizes['step']} checkpoints from "
        f"{steps[0]} on, at step {widest}: a window of radius {math.sqrt(RHO):.2f} |w*| there, and less at the others.",
        f"draws = {llc['draws']}, burn_in = {llc['burn_in']}: "
        + (f"more would be needed at {short} for {limits}." if short else f"enough for {limits}."),
        f"LLC: {listing(estimates)}.",
        f"Hamiltonian Monte Carlo {'agrees' if all(e < AGREES for e in errors) else 'does not agree'} within "
        f"{AGREES:g} standard errors: the differences are {apart}.",
    ]

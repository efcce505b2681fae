"""Choose one setting for an entire trajectory, with checks of its validity: the result `calibration`.

The rules of `slt_grok.llc.calibration` apply, with these additions for a trajectory:

- gamma is the largest of d / (rho |w*|^2) over the checkpoints, so that no neighborhood is wider than rho |w*|^2;
- n_beta is the smallest value given by the rule with a third of the updates: A / gamma = (S/60)^2 at the stiffest
  checkpoint. Cross-entropy has no limit at large n_beta, and draws that traverse every direction sixty times are worth
  more than a large n_beta;
- minibatches of a quarter of the samples if they change no LLC by more than 5%, else the full batch.

These are followed by maps of the LLC over step and n_beta and over gamma, and a check of the draws' mean by Hamiltonian
Monte Carlo (Neal 1206.1901), which has no step-size error, on the full batch.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
import xarray as xr

from slt_grok.format import number, plus_minus
from slt_grok.llc import calibration
from slt_grok.llc.calibration import RHO, SAFETY, SWEEPS, Ends, curvature_at, half_period
from slt_grok.llc.problem import Problem
from slt_grok.llc.sample import sample
from slt_grok.llc.samplers.hmc import HMC
from slt_grok.llc.samplers.underdamped import UnderdampedLangevin
from slt_grok.llc.sampling import Schedule
from slt_grok.llc.sensitivity import Setting, at_settings
from slt_grok.llc.variables import LAU, VARIABLES
from slt_grok.measurement import Context, Data, Drawing, Result, Table, Variable
from slt_grok.progress import ProgressCallback, stretch
from slt_grok.trajectories import Trajectory

PATIENCE = 3  # the rule is applied with this many times fewer updates than available
CHAINS = 4
MINIBATCH, SMALLEST = 4, 64  # a minibatch has one in MINIBATCH samples, and at least SMALLEST
TOLERANCE = 0.05  # relative change of the LLC that minibatches may cause
MAP_CHAINS = 2
STEPS, TEMPERATURES, GAMMAS = (0.5, 1.0, 2.0), (0.25, 1.0, 4.0), (1 / 16, 0.25, 1.0, 4.0, 16.0)  # x chosen
HMC_STEP, HMC_ANGLE = 0.5, 1.5  # relative to the chosen step; flight angle of the localization's oscillation
HMC_CHAINS, HMC_BURN_IN, HMC_DRAWS = 2, 8, 24
AGREES = 3.0  # standard errors
RULE, NEAL = "the rules of slt_grok.llc.calibration", "Neal 1206.1901"
SAMPLED = ("llc", "llc_se", "rhat", "ess", "drift", "virial", "llc_status", "llc_status_reason")
MAPPED = ("llc", "llc_se", "llc_status")


class CalibrationResult(Result):
    """The LLC settings chosen for a run by `slt-grok calibrate`."""

    name, title, position = "calibration", "Calibration of the LLC", 19
    variables: ClassVar[Mapping[str, Variable]] = {
        "weight_norm": Variable((), "norm of the weights", "|w*|", RULE),
        "gamma_rule": Variable((), "localization by the rule", "d / (rho |w*|^2) with rho = 0.7", RULE),
        "n_beta_rule": Variable(
            (), "n_beta by the rule", "n_beta at which A / gamma = (requested updates / 20)^2", RULE
        ),
        "curvature_rule": Variable(
            (),
            "curvature of the pilots",
            "largest curvature A of n_beta L + gamma/2 |w - w*|^2 at chain states, at the rule's n_beta",
            RULE,
        ),
        "curvature": Variable(
            (),
            "curvature at the chosen setting",
            "largest curvature A of n_beta L + gamma/2 |w - w*|^2 where the full-batch chains end",
            RULE,
        ),
        "llc_hmc": Variable(
            (),
            "LLC by Hamiltonian Monte Carlo",
            "n_beta (mean of the draws' losses - baseline_loss), full batch, at the chosen n_beta and gamma",
            NEAL,
        ),
        "llc_hmc_se": Variable((), "standard error of the LLC by Hamiltonian Monte Carlo", "as llc_se", NEAL),
        "acceptance_hmc": Variable(
            (), "acceptance of Hamiltonian Monte Carlo", "mean acceptance probability of the proposals", NEAL
        ),
        **{name: VARIABLES[name]._replace(dims=("batch",)) for name in SAMPLED},
        **{
            name.replace("llc", f"llc_by_{axis}"): VARIABLES[name]._replace(dims=dims, source=LAU)
            for axis, dims in (("step", ("step_size", "n_beta")), ("gamma", ("gamma",)))
            for name in MAPPED
        },
    }

    def figures(self) -> Sequence[Drawing]:
        """List the figures: the LLC around the chosen setting."""
        from slt_grok import plots

        marks = (
            "at three checkpoints. Bars are 95% intervals, hollow points are neither effective nor converged, rings "
            "mark the chosen setting."
        )
        return (
            Drawing("llc_by_step", plots.llc_by_step, f"LLC against step size and nβ {marks}", by_seed=False),
            Drawing("llc_by_gamma", plots.llc_by_gamma, f"LLC against γ {marks}", by_seed=False),
        )

    def notes(self, data: Data) -> Sequence[str]:
        """State the reasons for the choice."""
        return [str(reason) for reason in np.atleast_1d(data[self.name].attrs["reasons"])]

    def tables(self, data: Data) -> Sequence[Table]:
        """Tabulate the numbers at each checkpoint that determine the choice."""
        values = data[self.name].isel(seed=0)
        rows = []
        for step in values.step.values.tolist():
            network = values.sel(step=step)
            estimates = [(network.llc.sel(batch=b), network.llc_se.sel(batch=b)) for b in ("full", "minibatch")]
            estimates.append((network.llc_hmc, network.llc_hmc_se))
            numbers = ("weight_norm", "gamma_rule", "n_beta_rule", "curvature")
            rows.append(
                [
                    f"{step:,}",
                    *[number(network[name].item()) for name in numbers],
                    *[plus_minus(llc.item(), error.item()) for llc, error in estimates],
                    str(network.llc_status.sel(batch="full").values),
                ]
            )
        minibatch = f"LLC, batch {values.attrs['smaller_batch']}"
        header = ["Step", "|w*|", "γ by the rule", "nβ by the rule", "Curvature", "LLC, full batch", minibatch]
        return (Table("Basis of the choice", [*header, "LLC by HMC", "Status"], rows),)

    def columns(self, dataset: xr.Dataset) -> dict[str, Any]:
        """Report no columns: the choice belongs to a run, not to its last checkpoint."""
        return {}


@dataclass(frozen=True)
class CalibrationRequest:
    """A request to `slt-grok calibrate`.

    Parameters
    ----------
    updates : int
        Number of updates S per chain, including burn-in.
    batch_size : int or None
        Batch size; None to choose it.
    seed : int
        Seed of the chains.
    """

    updates: int
    batch_size: int | None
    seed: int

    def schedule(self, batch_size: int | None) -> Schedule:
        """Compute the schedule of a chain with a given batch size."""
        burn_in = round(calibration.BURN_IN_FRACTION * self.updates)
        return Schedule(burn_in, self.updates - burn_in, 1, batch_size)


def choose(trajectory: Trajectory, request: CalibrationRequest, context: Context) -> tuple[xr.Dataset, dict[str, Any]]:
    """Choose the settings for a trajectory from three of its checkpoints.

    Parameters
    ----------
    trajectory : Trajectory
        Three checkpoints of one seed.
    request : CalibrationRequest
        Number of updates, batch size and seed.
    context : Context
        Runs the checkpoints in parallel and stores finished parts until all are done.

    Returns
    -------
    tuple of xarray.Dataset and dict
        The measured values over (step, seed), and the content of `calibration.json`.
    """
    measure = partial(context.in_shards, trajectory, size=1)
    n, neighborhood = trajectory.task.train_size, _neighborhood(trajectory)
    gamma = rounded(float(neighborhood.gamma_rule.max()))
    ruled = measure(partial(_rule, request, gamma), part="rule", span=(0.0, 0.15))
    stiffest = ruled.isel(seed=0, step=int(ruled.n_beta_rule.isel(seed=0).argmin("step")))
    n_beta = rounded(float(stiffest.n_beta_rule))
    step_size = rounded(SAFETY / math.sqrt(float(stiffest.curvature_rule)))
    chosen = Setting(step_size, n_beta, gamma)
    batch_size = request.batch_size
    smaller = batch_size or max(n // MINIBATCH, min(n, SMALLEST))
    sampled = measure(partial(_chains, request, chosen, smaller), part="chains", span=(0.15, 0.35))
    if batch_size is None and smaller < n:
        ratio = sampled.llc.sel(batch="minibatch") / sampled.llc.sel(batch="full")
        batch_size = smaller if bool((abs(ratio - 1) <= TOLERANCE).all()) else None
    exact = measure(partial(_hmc, request, chosen, sampled), part="hmc", span=(0.35, 0.6))
    schedule = request.schedule(batch_size)
    maps = measure(partial(_maps, request, chosen, schedule), part="maps", span=(0.6, 1.0))
    settings = {
        "n_beta": n_beta,
        "gamma": gamma,
        "chains": CHAINS,
        "draws": schedule.draws,
        "burn_in": schedule.burn_in,
        "batch_size": batch_size,
        "seed": request.seed,
    }
    sampler = {"step_size": step_size, "longest_flight": half_period(gamma, step_size)}
    attrs = {**settings, **sampler, "sampler": UnderdampedLangevin.name, "batch_size": batch_size or "full"}
    values = xr.merge([neighborhood, ruled, sampled.drop_vars("end"), exact, maps])
    values = values.assign_attrs(attrs, n=n, smaller_batch=smaller)
    reasons = _reasons(values)
    content = {
        "question": asdict(request),
        "checkpoints": trajectory.coords["step"].tolist(),
        "reasons": reasons,
        "measured": _numbers(values),
        "llc": {"sampler": {"name": UnderdampedLangevin.name, **sampler}, **settings},
    }
    return values.assign_attrs(reasons=reasons), content


def rounded(value: float) -> float:
    """Round to three digits, so that the printed settings are the ones used."""
    return float(f"{value:.3g}")


def _dataset(trajectory: Trajectory, **values: Any) -> xr.Dataset:
    """Build a dataset of some variables of the result from their values for each network."""
    return CalibrationResult().dataset(trajectory, values)


def _neighborhood(trajectory: Trajectory) -> xr.Dataset:
    """Compute |w*| and the rule's gamma for every network."""
    flat = torch.cat([tensor.flatten(1) for tensor in trajectory.stacked(torch.float64).values()], 1)
    square = flat.square().sum(1).numpy()
    return _dataset(trajectory, weight_norm=np.sqrt(square), gamma_rule=flat.shape[1] / (RHO * square))


def _rule(request: CalibrationRequest, gamma: float, network: Trajectory, on_progress: ProgressCallback) -> xr.Dataset:
    """Compute the rule's n_beta and the curvature there."""
    problem, updates = Problem.from_inputs(network), request.updates // PATIENCE
    rule = calibration.calibrate(problem, updates, gamma=gamma, seed=request.seed, on_progress=on_progress)
    return _dataset(network, n_beta_rule=[rule.n_beta], curvature_rule=[rule.curvature])


def _chains(
    request: CalibrationRequest, chosen: Setting, smaller: int, network: Trajectory, on_progress: ProgressCallback
) -> xr.Dataset:
    """Estimate the LLC on the full batch, with the final positions, and on minibatches with the same noise."""
    problem, full = Problem.from_inputs(network), request.schedule(None)
    flight, ends = half_period(chosen.gamma, chosen.step_size), Ends(full.draws)
    estimate = partial(at_settings, problem, [chosen], longest_flight=flight, chains=CHAINS, seed=request.seed)
    estimates = [
        estimate(full, observers=[ends], on_progress=stretch(on_progress, 0, 0.5)),
        estimate(request.schedule(smaller), on_progress=stretch(on_progress, 0.5, 1)),
    ]
    curvature = curvature_at(problem, ends.positions, chosen.n_beta, chosen.gamma, full).max().item()
    both = xr.concat(estimates, xr.Variable("batch", ["full", "minibatch"])).isel(setting=0, drop=True)
    end = xr.Variable(("step", "seed", "hmc_chain", "coordinate"), ends.positions.numpy()[None, None])
    return both.merge(_dataset(network, curvature=[curvature])).assign(end=end)


def _hmc(
    request: CalibrationRequest,
    chosen: Setting,
    sampled: xr.Dataset,
    network: Trajectory,
    on_progress: ProgressCallback,
) -> xr.Dataset:
    """Estimate the LLC by HMC at two checkpoints, starting where the full-batch chains ended.

    Starting at w*, HMC would reject every proposal.
    """
    step = int(network.coords["step"][0])
    if step == int(sampled.step[1]):
        return _dataset(network, llc_hmc=[np.nan], llc_hmc_se=[np.nan], acceptance_hmc=[np.nan])
    step_size = HMC_STEP * chosen.step_size
    estimate = sample(
        Problem.from_inputs(network),
        HMC(step_size, math.ceil(HMC_ANGLE / (math.sqrt(chosen.gamma) * step_size))),
        Schedule(HMC_BURN_IN, HMC_DRAWS),
        n_betas=[chosen.n_beta],
        gamma=chosen.gamma,
        chains=HMC_CHAINS,
        seed=request.seed + 2,
        position=torch.from_numpy(sampled.end.sel(step=step).values[0, :HMC_CHAINS]),
        on_progress=on_progress,
    )
    return _dataset(
        network,
        llc_hmc=[estimate.llc.item()],
        llc_hmc_se=[estimate.llc_se.item()],
        acceptance_hmc=[estimate.acceptance.mean().item()],
    )


def _maps(
    request: CalibrationRequest, chosen: Setting, schedule: Schedule, network: Trajectory, on_progress: ProgressCallback
) -> xr.Dataset:
    """Estimate the LLC over step size and n_beta around the choice, and over gamma."""
    step_size, n_beta, gamma = chosen
    grid = [Setting(step_size * a, n_beta * b, gamma) for a in STEPS for b in TEMPERATURES]
    line = [Setting(step_size, n_beta, gamma * c) for c in GAMMAS]
    llcs = at_settings(
        Problem.from_inputs(network),
        grid + line,
        schedule,
        longest_flight=half_period(gamma, step_size),
        chains=MAP_CHAINS,
        seed=request.seed + 1,
        on_progress=on_progress,
    )[list(MAPPED)]
    by_step = llcs.isel(setting=slice(len(grid))).drop_vars("gamma").set_index(setting=["step_size", "n_beta"])
    by_gamma = llcs.isel(setting=slice(len(grid), None)).drop_vars(["step_size", "n_beta"]).swap_dims(setting="gamma")
    return xr.merge(
        [
            values.rename({name: name.replace("llc", f"llc_by_{axis}") for name in MAPPED})
            for axis, values in (("step", by_step.unstack("setting")), ("gamma", by_gamma))
        ]
    )


def _reasons(values: xr.Dataset) -> list[str]:
    """State one sentence per choice, and the outcome of the checks."""
    values, attrs = values.isel(seed=0), values.attrs
    steps = [f"step {step:,}" for step in values.step.values.tolist()]
    widest, stiffest = steps[int(values.gamma_rule.argmax("step"))], steps[int(values.n_beta_rule.argmin("step"))]
    updates = attrs["draws"] + attrs["burn_in"]
    change = float(abs(values.llc.sel(batch="minibatch") / values.llc.sel(batch="full") - 1).max())
    best = values.sel(batch="full" if attrs["batch_size"] == "full" else "minibatch")
    errors = (abs(best.llc - best.llc_hmc) / np.hypot(best.llc_se, best.llc_hmc_se)).values
    checked = [f"{error:.1f} at {step}" for error, step in zip(errors, steps, strict=True) if np.isfinite(error)]
    return [
        f"One setting for all checkpoints, measured at {', '.join(steps)}: LLCs compare only at the same setting.",
        f"gamma = {attrs['gamma']:g}: the largest d / ({RHO:g} |w*|²) over the checkpoints, at {widest}.",
        f"n_beta = {attrs['n_beta']:g}: the smallest at which A / gamma = ({updates}/{PATIENCE * SWEEPS})², at "
        f"{stiffest}; A is the largest curvature of n_beta L + gamma/2 |w - w*|².",
        f"step_size = {attrs['step_size']:g}: {SAFETY:g} / sqrt(A); the stability limit is "
        f"{2 / np.sqrt(float(values.curvature.max())):.2g}.",
        f"batch_size = {attrs['batch_size']}: batches of {attrs['smaller_batch']} of the {attrs['n']} samples change "
        f"the LLC by at most {change:.1%}; {TOLERANCE:.0%} is the limit.",
        "Drift: the second half of the draws differs from the first by at most "
        f"{float(abs(best.drift / best.llc).max()):.1%} of the LLC.",
        f"Hamiltonian Monte Carlo {'agrees' if np.nanmax(errors) < AGREES else 'does not agree'}: the differences in "
        f"standard errors are {', '.join(checked)}.",
    ]


def _numbers(values: xr.Dataset) -> list[dict[str, Any]]:
    """Convert the values at each checkpoint to JSON; NaN becomes None."""
    by_network = [name for name, variable in CalibrationResult.variables.items() if not variable.dims]
    rows = []
    for step in values.step.values.tolist():
        network = values.isel(seed=0).sel(step=step)
        row = {"step": step} | {name: network[name].item() for name in by_network}
        for batch in network.batch.values.tolist():
            names = ("llc", "llc_se", "drift", "virial", "rhat", "ess", "llc_status")
            row |= {f"{name}_{batch}": network[name].sel(batch=batch).item() for name in names}
        rows.append({key: None if isinstance(v, float) and not math.isfinite(v) else v for key, v in row.items()})
    return rows

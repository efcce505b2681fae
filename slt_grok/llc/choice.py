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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
import xarray as xr

from slt_grok.format import number, plus_minus
from slt_grok.llc import calibration
from slt_grok.llc.calibration import RHO, SAFETY, SWEEPS, Ends, curvature_at
from slt_grok.llc.problem import Problem
from slt_grok.llc.sample import sample
from slt_grok.llc.samplers.hmc import HMC
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
NUMBERS = (
    "weight_norm", "gamma_rule", "n_beta_rule", "curvature_rule", "curvature", "llc_hmc", "llc_hmc_se",
    "acceptance_hmc",
)  # fmt: skip


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
            f"llc_by_{axis}{suffix}": VARIABLES[name]._replace(dims=dims, source=LAU)
            for axis, dims in (("step", ("step_size", "n_beta")), ("gamma", ("gamma",)))
            for name, suffix in (("llc", ""), ("llc_se", "_se"), ("llc_status", "_status"))
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
        found = data[self.name]
        rows = []
        for step in found.step.values.tolist():
            here = found.sel(step=step).isel(seed=0)
            llcs = [here.sel(batch=batch) for batch in ("full", "minibatch")]
            rows.append(
                [
                    f"{step:,}",
                    *[number(here[name].item()) for name in ("weight_norm", "gamma_rule", "n_beta_rule", "curvature")],
                    *[plus_minus(one.llc.item(), one.llc_se.item()) for one in llcs],
                    plus_minus(here.llc_hmc.item(), here.llc_hmc_se.item()),
                    str(here.llc_status.sel(batch="full").values),
                ]
            )
        header = [
            "Step", "|w*|", "γ by the rule", "nβ by the rule", "Curvature", "LLC, full batch",
            f"LLC, batch {found.attrs['smaller_batch']}", "LLC by HMC", "Status",
        ]  # fmt: skip
        return (Table("Basis of the choice", header, rows),)

    def columns(self, dataset: xr.Dataset) -> dict[str, Any]:
        """Report no columns: the choice belongs to a run, not to its last checkpoint."""
        return {}


@dataclass(frozen=True)
class Question:
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


def choose(trajectory: Trajectory, question: Question, context: Context) -> tuple[xr.Dataset, dict[str, Any]]:
    """Choose the settings for a trajectory from three of its checkpoints.

    Parameters
    ----------
    trajectory : Trajectory
        Three checkpoints of one seed.
    question : Question
        Number of updates, batch size and seed.
    context : Context
        Runs the checkpoints in parallel and stores finished parts until all are done.

    Returns
    -------
    tuple of xarray.Dataset and dict
        The measured values over (step, seed), and the content of `calibration.json`.
    """
    updates, seed, n = question.updates, question.seed, trajectory.task.train_size
    steps = trajectory.coords["step"].tolist()

    def part(
        name: str, span: tuple[float, float], measure: Callable[[Problem, ProgressCallback], xr.Dataset]
    ) -> xr.Dataset:
        """Measure one part of the calibration, checkpoint by checkpoint."""
        return context.in_shards(
            trajectory, lambda one, done: measure(Problem.from_inputs(one), done), 1, part=name, span=span
        )

    neighborhood = _neighborhood(trajectory)
    gamma = rounded(float(neighborhood.gamma_rule.max()))
    ruled = part("rule", (0.0, 0.15), partial(_rule, question, gamma))
    at = ruled.isel(seed=0, step=int(ruled.n_beta_rule.isel(seed=0).argmin("step")))  # the stiffest
    n_beta = rounded(float(at.n_beta_rule))
    step_size = rounded(SAFETY / math.sqrt(float(at.curvature_rule)))
    chosen = Setting(step_size, n_beta, gamma)
    options: dict[str, Any] = {
        "longest_flight": math.ceil(math.pi / (math.sqrt(gamma) * step_size))
    }  # half a period of the localization
    smaller = question.batch_size or max(n // MINIBATCH, min(n, SMALLEST))
    sampled = part("chains", (0.15, 0.35), partial(_chains, question, chosen, smaller, options))
    batch_size = question.batch_size
    if batch_size is None and smaller < n:
        llc = sampled.llc.sel(batch="minibatch") / sampled.llc.sel(batch="full")
        batch_size = smaller if bool((abs(llc - 1) <= TOLERANCE).all()) else None
    exact = part("hmc", (0.35, 0.6), partial(_hmc, question, chosen, sampled))
    grid = [Setting(step_size * a, n_beta * b, gamma) for a in STEPS for b in TEMPERATURES]
    grid += [Setting(step_size, n_beta, gamma * c) for c in GAMMAS]

    def maps(problem: Problem, on_progress: ProgressCallback) -> xr.Dataset:
        return at_settings(
            problem, grid, question.schedule(batch_size), chains=MAP_CHAINS, seed=seed + 1, on_progress=on_progress,
            **options,
        )  # fmt: skip

    mapped = part("maps", (0.6, 1.0), maps)
    schedule = question.schedule(batch_size)
    llc = {
        "sampler": {"name": "underdamped", "step_size": step_size, **options},
        "n_beta": n_beta,
        "gamma": gamma,
        "chains": CHAINS,
        "draws": schedule.draws,
        "burn_in": schedule.burn_in,
        "batch_size": batch_size,
        "seed": seed,
    }
    found = xr.merge([neighborhood, ruled, sampled.drop_vars("end"), exact, _maps(mapped)])
    attrs = {key: value for key, value in llc.items() if key != "sampler"} | {
        "sampler": "underdamped", "step_size": step_size, **options, "batch_size": batch_size or "full", "n": n,
        "smaller_batch": smaller,
    }  # fmt: skip
    found = found.assign_attrs(attrs)
    reasons = _reasons(found)
    content = {
        "question": {"updates": updates, "batch_size": question.batch_size, "seed": seed},
        "checkpoints": steps,
        "reasons": reasons,
        "measured": _numbers(found),
        "llc": llc,
    }
    return found.assign_attrs(reasons=reasons), content


def rounded(value: float) -> float:
    """Round to three digits, so that the printed settings are the ones used."""
    return float(f"{value:.3g}")


def _of(problem: Problem, **values: float) -> xr.Dataset:
    """Wrap the values of one network in a dataset over its coordinates."""
    declared = CalibrationResult.variables
    return problem.trajectory.dataset({name: ((), [value], declared[name].attrs) for name, value in values.items()})


def _neighborhood(trajectory: Trajectory) -> xr.Dataset:
    """Compute |w*| and the rule's gamma for every network."""
    stack = trajectory.stacked(torch.float64)
    flat = torch.cat([tensor.flatten(1) for tensor in stack.values()], 1)
    square, d, declared = flat.square().sum(1).numpy(), flat.shape[1], CalibrationResult.variables
    values = {"weight_norm": np.sqrt(square), "gamma_rule": d / (RHO * square)}
    return trajectory.dataset({name: ((), value, declared[name].attrs) for name, value in values.items()})


def _rule(question: Question, gamma: float, problem: Problem, on_progress: ProgressCallback) -> xr.Dataset:
    """Compute the rule's n_beta and the curvature there."""
    found = calibration.calibrate(
        problem, question.updates // PATIENCE, gamma=gamma, seed=question.seed, on_progress=on_progress
    )
    return _of(problem, n_beta_rule=found.n_beta, curvature_rule=found.curvature)


def _chains(
    question: Question,
    chosen: Setting,
    smaller: int,
    options: dict[str, Any],
    problem: Problem,
    on_progress: ProgressCallback,
) -> xr.Dataset:
    """Estimate the LLC on the full batch, with the final positions, and on minibatches with the same noise."""
    full = question.schedule(None)
    ends, options = Ends(full.draws), {**options, "chains": CHAINS, "seed": question.seed}
    parts = stretch(on_progress, 0, 0.5), stretch(on_progress, 0.5, 1)
    results = [
        at_settings(problem, [chosen], full, observers=[ends], on_progress=parts[0], **options),
        at_settings(problem, [chosen], question.schedule(smaller), on_progress=parts[1], **options),
    ]
    curvature = curvature_at(problem, ends.positions, chosen.n_beta, chosen.gamma, full).max().item()
    both = xr.concat(results, xr.Variable("batch", ["full", "minibatch"])).isel(setting=0, drop=True)
    end = ends.positions.numpy()[None, None]
    return xr.merge([both, _of(problem, curvature=curvature)]).assign(
        end=(("step", "seed", "hmc_chain", "coordinate"), end)
    )


def _hmc(
    question: Question, chosen: Setting, sampled: xr.Dataset, problem: Problem, on_progress: ProgressCallback
) -> xr.Dataset:
    """Estimate the LLC by HMC at two checkpoints, starting where the full-batch chains ended.

    Starting at w*, HMC would reject every proposal.
    """
    step = int(problem.trajectory.coords["step"][0])
    if step == int(sampled.step[1]):
        return _of(problem, llc_hmc=np.nan, llc_hmc_se=np.nan, acceptance_hmc=np.nan)
    h = HMC_STEP * chosen.step_size
    sampler = HMC(h, math.ceil(HMC_ANGLE / (math.sqrt(chosen.gamma) * HMC_STEP * chosen.step_size)))
    one = sample(
        problem,
        sampler,
        Schedule(HMC_BURN_IN, HMC_DRAWS),
        n_betas=[chosen.n_beta],
        gamma=chosen.gamma,
        chains=HMC_CHAINS,
        seed=question.seed + 2,
        position=torch.from_numpy(sampled.end.sel(step=step).values[0, :HMC_CHAINS]),
        on_progress=on_progress,
    )
    values = {"llc_hmc": one.llc, "llc_hmc_se": one.llc_se, "acceptance_hmc": one.acceptance}
    return _of(problem, **{name: float(value.mean()) for name, value in values.items()})


def _maps(mapped: xr.Dataset) -> xr.Dataset:
    """Rearrange LLCs at a list of settings as two maps, over step and n_beta, and over gamma.

    Parameters
    ----------
    mapped : xarray.Dataset
        Values over (step, seed, setting): first every step at every n_beta, then the gammas.
    """
    shape, declared = (len(STEPS), len(TEMPERATURES)), CalibrationResult.variables
    first, second = (
        mapped.isel(setting=slice(shape[0] * shape[1])),
        mapped.isel(setting=slice(shape[0] * shape[1], None)),
    )
    coords = {
        "step_size": first.step_size.values.reshape(shape)[:, 0],
        "n_beta": first.n_beta.values.reshape(shape)[0],
        "gamma": second.gamma.values,
    }
    variables: dict[str, Any] = {}
    for name, suffix in (("llc", ""), ("llc_se", "_se"), ("llc_status", "_status")):
        for of, axis in ((first, "step"), (second, "gamma")):
            one = declared[f"llc_by_{axis}{suffix}"]
            values = of[name].transpose("step", "seed", "setting").values
            grid = values.reshape(*values.shape[:2], *(len(coords[dim]) for dim in one.dims))
            variables[f"llc_by_{axis}{suffix}"] = (("step", "seed", *one.dims), grid, one.attrs)
    return xr.Dataset(variables, coords={"step": mapped.step, "seed": mapped.seed, **coords})


def _reasons(found: xr.Dataset) -> list[str]:
    """State one sentence per choice, and the outcome of the checks."""
    one, attrs = found.isel(seed=0), found.attrs
    steps = [f"step {step:,}" for step in one.step.values.tolist()]
    widest, stiffest = steps[int(one.gamma_rule.argmax())], steps[int(one.n_beta_rule.argmin())]
    updates = attrs["draws"] + attrs["burn_in"]
    change = float(abs(one.llc.sel(batch="minibatch") / one.llc.sel(batch="full") - 1).max())
    best = one.sel(batch="full" if attrs["batch_size"] == "full" else "minibatch")
    errors = (abs(best.llc - best.llc_hmc) / np.hypot(best.llc_se, best.llc_hmc_se)).values
    checked = [f"{error:.1f} at {step}" for error, step in zip(errors, steps, strict=True) if np.isfinite(error)]
    return [
        f"One setting for all checkpoints, measured at {', '.join(steps)}: LLCs compare only at the same setting.",
        f"gamma = {attrs['gamma']:g}: the largest d / ({RHO:g} |w*|²) over the checkpoints, at {widest}.",
        f"n_beta = {attrs['n_beta']:g}: the smallest at which A / gamma = ({updates}/{PATIENCE * SWEEPS})², at "
        f"{stiffest}; A is the largest curvature of n_beta L + gamma/2 |w - w*|².",
        f"step_size = {attrs['step_size']:g}: {SAFETY:g} / sqrt(A); the stability limit is "
        f"{2 / np.sqrt(float(one.curvature.max())):.2g}.",
        f"batch_size = {attrs['batch_size']}: batches of {attrs['smaller_batch']} of the {attrs['n']} samples change "
        f"the LLC by at most {change:.1%}; {TOLERANCE:.0%} is the limit.",
        "Drift: the second half of the draws differs from the first by at most "
        f"{float(abs(best.drift / best.llc).max()):.1%} of the LLC.",
        f"Hamiltonian Monte Carlo {'agrees' if np.nanmax(errors) < AGREES else 'does not agree'}: the differences in "
        f"standard errors are {', '.join(checked)}.",
    ]


def _numbers(found: xr.Dataset) -> list[dict[str, Any]]:
    """Convert the values at each checkpoint to JSON; NaN becomes None."""
    one = found.isel(seed=0)
    rows = []
    for step in one.step.values.tolist():
        here = one.sel(step=step)
        row: dict[str, Any] = {"step": step} | {name: float(here[name]) for name in NUMBERS}
        for batch in one.batch.values.tolist():
            at = here.sel(batch=batch)
            row |= {f"{name}_{batch}": float(at[name]) for name in ("llc", "llc_se", "drift", "virial", "rhat", "ess")}
            row[f"llc_status_{batch}"] = str(at.llc_status.values)
        rows.append({key: None if isinstance(v, float) and not np.isfinite(v) else v for key, v in row.items()})
    return rows

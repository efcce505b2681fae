"""The choice of one setting for a whole trajectory, with what shows how far to trust it.

The rules are those of `slt_grok.llc.calibration`; a trajectory adds to them:

- gamma is the largest of d / (rho |w*|^2) over the checkpoints, so that no neighborhood is wider than rho |w*|^2;
- n_beta is the smallest that the rule asks for with a third of the updates: A / gamma = (S/60)^2 at the stiffest
  checkpoint. Cross-entropy has no limit of large n_beta to seek, and draws that pass through every direction sixty
  times are worth more than a large n_beta;
- minibatches of a quarter of the samples where they change no LLC by more than 5%, else the full batch.

Then come maps of the LLC over step and n_beta and over gamma, and a check of the draws' mean by Hamiltonian Monte Carlo
(Neal 1206.1901), which has no error of the step, on the full batch.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr

from slt_grok.llc import calibration
from slt_grok.llc.chains import run_chains
from slt_grok.llc.problem import Problem
from slt_grok.llc.results import dataset
from slt_grok.llc.samplers import HMC
from slt_grok.llc.sampling import Sampling, Schedule
from slt_grok.llc.sensitivity import Ends, Setting, at_settings, curvature_at
from slt_grok.progress import progress
from slt_grok.store import RunDirectory
from slt_grok.studies import reasons
from slt_grok.studies.shards import measure_in_shards
from slt_grok.trajectories import Trajectory

PATIENCE = 3  # the rule is asked for this many times fewer updates than there are
CHAINS = 4
MINIBATCH, SMALLEST = 4, 64  # a minibatch is one in so many of the samples, and at least so many
TOLERANCE = 0.05  # of the LLC, that minibatches may change
MAP_CHAINS = 2
STEPS, TEMPERATURES, GAMMAS = (0.5, 1.0, 2.0), (0.25, 1.0, 4.0), (1 / 16, 0.25, 1.0, 4.0, 16.0)  # times the choice
HMC_STEP, HMC_ANGLE = 0.5, 1.5  # step times the choice; a flight's angle of the localization's oscillation
HMC_CHAINS, HMC_BURN_IN, HMC_DRAWS = 2, 8, 24
OnSteps = Callable[[int, float], None]
Measure = Callable[[Problem, OnSteps], xr.Dataset]


def choose(
    run: RunDirectory, label: str, trajectory: Trajectory, question: Mapping[str, Any]
) -> tuple[xr.Dataset, dict[str, Any]]:
    """Return the choice for a trajectory from three checkpoints of it.

    Parameters
    ----------
    run, label : RunDirectory, str
        Finished parts are kept in `state/LABEL/` until all are there.
    trajectory : Trajectory
        The three checkpoints, of one seed.
    question : Mapping[str, Any]
        Updates, batch_size (None to choose it) and seed.

    Returns
    -------
    tuple[xarray.Dataset, dict[str, Any]]
        What was measured, over (step, seed), and the content of `calibration.json`.
    """
    updates, seed = question["updates"], question["seed"]
    steps = trajectory.coords["step"].tolist()
    n = len(trajectory.task.indices("train"))
    burn_in = round(calibration.BURN_IN_SHARE * updates)

    def part(name: str, gradients: int, measure: Measure, setting: Sequence[float]) -> xr.Dataset:
        """Return a part of the calibration, checkpoint by checkpoint."""
        with progress(f"calibration, {name}", len(steps), "checkpoints") as report:

            def shard(one: Trajectory, done: Callable[[float], None]) -> xr.Dataset:
                seen = 0

                def on_steps(count: int, loss: float) -> None:
                    nonlocal seen
                    seen += count
                    done(min(seen / gradients, 1.0))

                return measure(Problem.from_inputs(one, None, None, None, None), on_steps)

            return measure_in_shards(
                run, f"{label}/{name}", trajectory, shard, {**question, "steps": steps, "setting": list(setting)},
                size=1, on_progress=lambda checkpoints, total, facts: report(int(checkpoints)),
            )  # fmt: skip

    neighborhood = reasons.neighborhood(trajectory, calibration.RHO)
    gamma = rounded(float(neighborhood.gamma_rule.max()))

    def rule(problem: Problem, on_steps: OnSteps) -> xr.Dataset:
        found = calibration.calibrate(problem, updates // PATIENCE, gamma=gamma, seed=seed, on_steps=on_steps)
        return numbers_of(problem, n_beta_rule=found.n_beta, curvature_rule=found.curvature)

    ruled = part("rule", 2500, rule, [gamma])
    at = ruled.isel(seed=0, step=int(ruled.n_beta_rule.isel(seed=0).argmin("step")))  # the stiffest
    n_beta = rounded(float(at.n_beta_rule))
    step_size = rounded(calibration.SAFETY / math.sqrt(float(at.curvature_rule)))
    chosen = Setting(step_size, n_beta, gamma)
    flight = math.ceil(math.pi / (math.sqrt(gamma) * step_size))  # half a period of the localization
    smaller = question["batch_size"] or max(n // MINIBATCH, min(n, SMALLEST))

    def schedule(batch_size: int | None) -> Schedule:
        return Schedule(burn_in, updates - burn_in, 1, batch_size)

    def chains(problem: Problem, on_steps: OnSteps) -> xr.Dataset:
        """On the full batch, with where the chains end, and on minibatches, with the same noise."""
        ends, options = Ends(updates - burn_in), {"longest_flight": flight, "chains": CHAINS, "seed": seed}
        full = at_settings(problem, [chosen], schedule(None), observers=[ends], on_steps=on_steps, **options)
        mini = at_settings(problem, [chosen], schedule(smaller), on_steps=on_steps, **options)
        own = numbers_of(problem, curvature=curvature_at(problem, ends.positions, chosen).max().item())
        both = xr.concat([full, mini], xr.Variable("batch", ["full", "minibatch"])).isel(setting=0, drop=True)
        end = ends.positions.numpy()[None, None]
        return xr.merge([both, own]).assign(end=(("step", "seed", "hmc_chain", "coordinate"), end))

    sampled = part("chains", 2 * CHAINS * updates, chains, chosen)
    batch_size = question["batch_size"]
    if batch_size is None and smaller < n:
        llc = sampled.llc.sel(batch="minibatch") / sampled.llc.sel(batch="full")
        batch_size = smaller if bool((abs(llc - 1) <= TOLERANCE).all()) else None
    leapfrog = math.ceil(HMC_ANGLE / (math.sqrt(gamma) * HMC_STEP * step_size))

    def hmc(problem: Problem, on_steps: OnSteps) -> xr.Dataset:
        """At two checkpoints, from where the full batch's chains ended: at w* it would reject every proposal."""
        step = int(problem.trajectory.coords["step"][0])
        if step == steps[1]:
            return numbers_of(problem, llc_hmc=np.nan, llc_hmc_se=np.nan, acceptance_hmc=np.nan)
        starts = problem.starts([n_beta], gamma, HMC_CHAINS, seed + 2)
        ends = torch.from_numpy(sampled.end.sel(step=step).values[0, :HMC_CHAINS])
        length = Schedule(HMC_BURN_IN, HMC_DRAWS)
        sampling = Sampling(
            problem.trajectory.network, problem.inputs, problem.targets, problem.subspace,
            HMC(HMC_STEP * step_size, leapfrog), length,
        )  # fmt: skip
        drawn = run_chains(sampling, starts._replace(position=ends), on_steps)
        one = dataset(problem, drawn, length, [n_beta], gamma)
        values = (float(values.mean()) for values in (one.llc, one.llc_se, one.acceptance))
        return numbers_of(problem, **dict(zip(("llc_hmc", "llc_hmc_se", "acceptance_hmc"), values, strict=True)))

    exact = part("hmc", HMC_CHAINS * (HMC_BURN_IN + HMC_DRAWS) * leapfrog, hmc, chosen)
    grid = [Setting(step_size * a, n_beta * b, gamma) for a in STEPS for b in TEMPERATURES]
    grid += [Setting(step_size, n_beta, gamma * c) for c in GAMMAS]

    def maps(problem: Problem, on_steps: OnSteps) -> xr.Dataset:
        return at_settings(
            problem, grid, schedule(batch_size), longest_flight=flight, chains=MAP_CHAINS, seed=seed + 1,
            on_steps=on_steps,
        )  # fmt: skip

    mapped = part("maps", MAP_CHAINS * updates * len(grid), maps, [*chosen, batch_size or n])
    llc = {
        "sampler": "underdamped",
        **chosen._asdict(),
        "longest_flight": flight,
        "chains": CHAINS,
        "draws": updates - burn_in,
        "burn_in": burn_in,
        "batch_size": batch_size,
        "seed": seed,
    }
    by_setting = reasons.maps(mapped, (len(STEPS), len(TEMPERATURES)))
    found = xr.merge([neighborhood, ruled, sampled.drop_vars("end"), exact, by_setting])
    found = found.assign_attrs(llc | {"batch_size": batch_size or "full", "n": n, "smaller_batch": smaller})
    sweeps = PATIENCE * calibration.SWEEPS
    said = reasons.sentences(found, calibration.RHO, calibration.SAFETY, sweeps, TOLERANCE)
    content = {
        "question": dict(question),
        "checkpoints": steps,
        "reasons": said,
        "measured": reasons.numbers(found),
        "llc": llc,
    }
    return found.assign_attrs(reasons=said), content


def rounded(value: float) -> float:
    """To three digits, so that the settings that are printed are those that were used."""
    return float(f"{value:.3g}")


def numbers_of(problem: Problem, **values: float) -> xr.Dataset:
    """Numbers of one network, over its coordinates."""
    return problem.trajectory.dataset({name: ((), [value], reasons.ATTRS[name]) for name, value in values.items()})

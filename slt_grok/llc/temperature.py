"""How the LLC depends on temperature: a ladder of n_beta at a few checkpoints, at equal n_beta and at equal loss.

At equal n_beta, a checkpoint with a steeper loss is measured at a smaller excess loss; at equal excess loss, all are
measured at the same tolerance of the loss. Where the LLC does not change with n_beta (the plateau), it belongs to the
network. The rungs also integrate to the evidence of the neighborhood with the window N(w*, 1/gamma) as prior; see
`slt_grok.llc.ladder`.
"""

import math
from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import xarray as xr
from pydantic import Field

from slt_grok.devices import device_named
from slt_grok.format import number, plus_minus
from slt_grok.llc import restrictions
from slt_grok.llc.descent import descent
from slt_grok.llc.diagnostics import EXCLUDED, QUANTILE, ChainStatistics, LLCStatus, assess, average
from slt_grok.llc.drop import drop_of
from slt_grok.llc.ladder import TOLERANCES, at_tolerances, evidence, ladder, plateau
from slt_grok.llc.measurement import melted_note, seconds_of_updates, status_counts, subspace_of
from slt_grok.llc.milestones import at_milestones
from slt_grok.llc.problem import Problem
from slt_grok.llc.sample import statistics
from slt_grok.llc.settings import WindowedSettings
from slt_grok.llc.tables import doubts_at, estimate_text
from slt_grok.llc.variables import VARIABLES, of_the_network
from slt_grok.llc.window_noise import window_excess
from slt_grok.measurement import Context, Data, Drawing, Measurement, Table, Variable, final_numbers
from slt_grok.progress import ProgressCallback
from slt_grok.trajectories import Trajectory

OF_RUNG = ("llc", "llc_se", "rhat", "ess")
SAMPLED = (*OF_RUNG, "llc_status", "llc_status_reason")
RULE = "the rules of slt_grok.llc.temperature"
UNUSABLE = (*EXCLUDED, LLCStatus.NOT_A_MINIMUM)  # for curves over the rungs
EVIDENCE = "doi:10.1214/ss/1028905934"


class TemperatureSettings(WindowedSettings):
    """Settings of `llc`, for fewer checkpoints; the sampler and the batch size are not used."""

    checkpoints: int = Field(default=6, ge=1, description="number of checkpoints, starting at memorization")
    rungs: int = Field(default=16, ge=12, description="number of values of n_beta, evenly spaced in its logarithm")
    coldest: float = Field(
        default=10.0, ge=1, le=1e6, description="largest n_beta, relative to the configured one; the smallest is 1"
    )


class Temperature(Measurement):
    """The LLC over n_beta at a few checkpoints."""

    name, title, position = "temperature", "The LLC against temperature", 25
    Settings = TemperatureSettings
    default, inherits = False, "llc"
    variables = {name: VARIABLES[name]._replace(dims=("n_beta",)) for name in SAMPLED} | {
        "baseline_loss": VARIABLES["baseline_loss"],
        "excess_loss": Variable(("n_beta",), "excess loss", "E[L(w)] - L(w*), mean over the draws", RULE, of_loss=True),
        "llc_at_loss": Variable(
            ("at_loss",), "LLC at equal excess loss",
            "LLC at the excess loss `at_loss`, log LLC interpolated linearly in log excess loss between rungs that "
            "have not melted; NaN outside their range", RULE,
        ),
        "llc_at_loss_low": Variable(("at_loss",), "lower end of its 95% interval", "parametric bootstrap", RULE),
        "llc_at_loss_high": Variable(("at_loss",), "upper end of its 95% interval", "parametric bootstrap", RULE),
        "log_evidence": Variable(
            (), "log evidence of the neighborhood", "-int_0^1 n <L>_beta d beta, the window N(w*, 1/gamma) as prior",
            EVIDENCE, "nats",
        ),
        "log_evidence_se": Variable((), "its standard error", "from the spread of the chains' means", EVIDENCE, "nats"),
        "log_evidence_bennett": Variable(
            (), "log evidence by acceptance ratios", "Bennett acceptance ratios of neighboring rungs, same draws",
            "doi:10.1016/0021-9991(76)90078-4", "nats",
        ),
    }  # fmt: skip

    def measure(self, trajectory: Trajectory, settings: TemperatureSettings, context: Context) -> xr.Dataset:
        """Sample the ladder at each milestone."""
        return context.in_shards(
            at_milestones(trajectory, context, settings.checkpoints),
            lambda shard, on_progress: self.ladders(shard, settings, on_progress),
            size=1,
            local=settings.device is not None,
        )

    def ladders(self, shard: Trajectory, settings: TemperatureSettings, on_progress: ProgressCallback) -> xr.Dataset:
        """Sample all rungs of some networks in one batch, and evaluate them."""
        settings = settings.adaptive()
        data = restrictions.split(shard.task, settings.data)
        problem = Problem.from_inputs(shard, data, subspace=subspace_of(settings, shard), dtype=settings.dtype)
        configured = settings.n_beta_of(len(data[0]))
        n_betas = ladder(configured, settings.coldest, settings.rungs)
        sampler, schedule = settings.sampler, settings.schedule
        sampler.require(schedule, settings.gamma)
        sampling = problem.sampling(sampler, schedule, settings.box, device_named(settings.device))
        records = sampler.run(
            sampling, problem.starts(n_betas, settings.gamma, settings.chains, settings.seed), on_progress
        )
        noise = window_excess(problem, settings.gamma, seed=settings.seed)
        melting_loss = settings.melting_loss or problem.melting_loss or math.inf
        rows = [
            _row(
                rungs,
                [descent(problem, i, n_beta, settings.gamma) for n_beta in n_betas],
                noise[i],
                configured=configured,
                finite_minimizer=problem.finite_minimizer,
                melting_loss=melting_loss,
                seed=settings.seed,
            )
            for i, rungs in enumerate(statistics(problem, records, schedule, n_betas))
        ]
        values = {name: [row[name] for row in rows] for name in rows[0]}
        found = self.dataset(shard, values, n_beta=n_betas, at_loss=list(TOLERANCES))
        return found.assign_attrs(
            sampler=sampler.name, gamma=settings.gamma, configured_n_beta=configured, chains=settings.chains,
            burn_in=schedule.burn_in, draws=schedule.draws, n=len(data[0]), dimension=problem.d, data=settings.data,
            melting_loss=melting_loss,
        )  # fmt: skip

    def seconds(self, trial: Trajectory, settings: TemperatureSettings, checkpoints: int, context: Context) -> float:
        """Predict core-seconds from a few updates at the configured setting."""
        settings = settings.adaptive()
        once = seconds_of_updates(trial, settings, settings.schedule.updates)
        return self.checkpoints_of(settings, checkpoints) * settings.rungs * once

    def figures(self) -> Sequence[Drawing]:
        """List the figure: the LLC against n_beta and against excess loss."""
        from slt_grok import plots

        caption = (
            "The LLC against nβ (left) and against the chains' excess loss (right), one line per checkpoint, with 95% "
            "intervals. At equal nβ, checkpoints are measured at different excess losses; vertical lines on the right "
            "mark the losses at which they are compared. Hollow points in the shaded region have melted: their chains "
            "have lost what the network learned. The dotted line on the left is the configured nβ."
        )
        return (Drawing("temperature", plots.temperature_ladder, caption),)

    def tables(self, data: Data) -> Sequence[Table]:
        """Tabulate the plateau, the LLC at equal excess loss, and the evidence of each checkpoint."""
        found, rows = data[self.name], []
        configured = found.attrs["configured_n_beta"]
        for seed, step in product(found.seed.values.tolist(), found.step.values.tolist()):
            one = found.sel(seed=seed, step=step)
            start = plateau_of(one)
            at = one.sel(n_beta=configured)
            at_loss = [
                "–" if np.isnan(each.llc_at_loss) else
                f"{each.llc_at_loss:.4g} ({each.llc_at_loss_low:.4g} to {each.llc_at_loss_high:.4g})"
                for each in (one.sel(at_loss=tolerance) for tolerance in found.at_loss.values)
            ]  # fmt: skip
            rows.append(
                [
                    str(seed), f"{step:,}", estimate_text(at), number(at.excess_loss.item()),
                    "none" if np.isnan(start) else number(start), *at_loss,
                    plus_minus(one.log_evidence.item(), one.log_evidence_se.item()),
                    number(one.log_evidence_bennett.item()),
                ]
            )  # fmt: skip
        units = found.excess_loss.attrs.get("units", "")
        tolerances = [f"LLC at {f'{tolerance:g} {units}'.strip()} (95%)" for tolerance in found.at_loss.values]
        header = ["Seed", "Step", "LLC", "Excess loss", "Plateau from nβ", *tolerances, "Log evidence", "by Bennett"]
        return (Table(f"The ladder of temperatures; LLC at nβ = {number(configured)}", header, rows),)

    def notes(self, data: Data) -> Sequence[str]:
        """Count the checkpoints with a plateau, and compare the drop at equal n_beta with that at equal loss."""
        found = data[self.name]
        networks = product(found.step.values.tolist(), found.seed.values.tolist())
        plateaus = [np.isfinite(plateau_of(found.sel(step=step, seed=seed))) for step, seed in networks]
        notes = [
            f"{sum(plateaus)} of {len(plateaus)} checkpoints have a plateau: over at least a factor 3 below the "
            "configured nβ, the LLC changes by less than 5% per factor 3."
        ]
        for seed in found.seed.values.tolist():
            which = f" (seed {seed})" if found.sizes["seed"] > 1 else ""
            notes += [f"{sentence}{which}." for sentence in drops(found.sel(seed=seed))]
        return [*notes, status_counts(found), *melted_note(found.sel(n_beta=found.attrs["configured_n_beta"]))]

    def columns(self, dataset: xr.Dataset) -> dict[str, Any]:
        """Report the last checkpoint's LLC at equal excess loss."""
        return final_numbers(dataset[["llc_at_loss"]], f"final.{self.name}", "at_loss")


def _row(
    rungs: Sequence[ChainStatistics],
    descents: Sequence[float],
    noise: np.ndarray,
    *,
    configured: float,
    finite_minimizer: bool,
    melting_loss: float,
    seed: int,
) -> dict[str, Any]:
    """Compute the variables of one network from its chains at each rung, the coldest first."""
    averages = [average(rung) for rung in rungs]
    statuses = [
        assess(estimate, rung, finite_minimizer, melting_loss=melting_loss, descent=gain)
        for estimate, rung, gain in zip(averages, rungs, descents, strict=True)
    ]
    row: dict[str, Any] = {name: np.array([getattr(a, name) for a in averages]) for name in OF_RUNG}
    row |= {"llc_status": [str(s.status) for s in statuses], "llc_status_reason": [s.reason for s in statuses]}
    n_betas, llc, se = np.array([rung.n_beta for rung in rungs]), row["llc"], row["llc_se"]
    usable = ~np.isin(row["llc_status"], UNUSABLE)
    at_loss = at_tolerances(n_betas[usable], llc[usable], se[usable], seed)
    hotter = [rung for rung in reversed(rungs) if rung.n_beta <= configured * (1 + 1e-9)]
    return (
        row
        | at_loss
        | {"baseline_loss": rungs[0].baseline, "excess_loss": llc / n_betas, **evidence(hotter, configured, noise)}
    )


def plateau_of(one: xr.Dataset) -> float:
    """Find where the plateau of one network starts, among the rungs that describe its minimum."""
    kept = one.isel(n_beta=~one.llc_status.isin(UNUSABLE).values)
    return plateau(kept.n_beta.values, kept.llc.values, one.attrs["configured_n_beta"])


def drops(one: xr.Dataset) -> list[str]:
    """Compare one seed's drop from the largest value to the last, at the configured n_beta and at equal loss."""
    at, units = one.sel(n_beta=one.attrs["configured_n_beta"]), one.excess_loss.attrs.get("units", "")
    curves = [("equal nβ", at.llc.where(of_the_network(at)), at.llc_se)]  # the others have only usable rungs
    for e in TOLERANCES:
        here = one.sel(at_loss=e)
        error = (here.llc_at_loss_high - here.llc_at_loss_low) / (2 * QUANTILE)
        curves.append((f"an equal excess loss of {e:g} {units}".strip(), here.llc_at_loss, error))
    sentences = []
    for where, curve, error in curves:
        fall, last = drop_of(curve, error), int(one.step[-1])
        if curve.count() < 2 or np.isnan(fall.last):
            continue
        if fall.step == last:
            sentences.append(f"At {where}, the LLC is largest at the last checkpoint, {number(fall.last.item())}")
            continue
        doubts = doubts_at(at, [int(fall.step), last]) if where == curves[0][0] else ""
        sentences.append(
            f"At {where}, the LLC falls from {number(fall.first.item())} at step {int(fall.step):,} to "
            f"{number(fall.last.item())} at step {last:,}, a factor of "
            f"{plus_minus(fall.factor.item(), fall.factor_se.item())}" + (f" ({doubts})" if doubts else "")
        )
    return sentences

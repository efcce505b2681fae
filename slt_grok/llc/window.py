"""How the LLC depends on its window: a map over n_beta and gamma at a few checkpoints, with its limits and its null.

Without a minimum that is isolated in most directions, an LLC at finite gamma counts what matters within |w - w*| =
sqrt(d / gamma), the window. Three questions follow. Does the value tend to anything as the window opens or closes, that
is, does d log LLC / d log gamma go to 0? How much of a drop over training, and of its time, is the window's? And does
the value differ from what Gaussian noise of the window's size alone adds to the loss?

Every setting is sampled on the full batch by `AdaptiveLangevin`, which finds a stable step for each chain. Half of the
chains start at w* and half in the window's noise, where the loss is high: a setting whose chains do not meet has no
value, whatever the length of a one-sided chain suggests.
"""

import math
from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import xarray as xr
from pydantic import Field

from slt_grok.errors import SltGrokError
from slt_grok.format import number, plus_minus, step_interval
from slt_grok.llc import restrictions
from slt_grok.llc.measurement import seconds_of_updates, status_counts, subspace_of, weight_norms
from slt_grok.llc.milestones import at_milestones
from slt_grok.llc.problem import Problem
from slt_grok.llc.sample import SAMPLED
from slt_grok.llc.sensitivity import at_temperatures
from slt_grok.llc.settings import WindowedSettings
from slt_grok.llc.variables import VARIABLES
from slt_grok.llc.window_limits import ENDS, drops, limit_note, range_note, slopes
from slt_grok.llc.window_noise import window_noise
from slt_grok.measurement import Context, Data, Drawing, Measurement, Table, Variable, final_numbers
from slt_grok.progress import ProgressCallback
from slt_grok.trajectories import Trajectory

TEMPERATURES = (1 / 9, 1 / 3, 1.0)  # x the configured n_beta
RATIO = math.sqrt(10)  # of neighboring gammas
REACH = 10  # factor on both sides of the configured gamma
RADII = (0.05, 0.7)  # of |w*|, which every checkpoint's gammas cover
NULL = ("window_noise", "window_noise_se")
MAP = ("n_beta", "gamma")
RULE = "the rules of slt_grok.llc.window_limits"


class WindowSettings(WindowedSettings):
    """Settings of `llc`, for fewer checkpoints; the sampler and the batch size are not used."""

    checkpoints: int = Field(default=6, ge=2, description="number of checkpoints, starting at memorization")


class Window(Measurement):
    """The LLC over n_beta and gamma at a few checkpoints."""

    name, title, position = "window", "The window of the LLC", 23
    Settings = WindowSettings
    default, inherits = False, "llc"
    variables = {name: VARIABLES[name]._replace(dims=MAP) for name in (*SAMPLED, *NULL)} | {
        "weight_norm": Variable((), "norm of the weights", "|w*| of the weights that move"),
        "radius": Variable(
            ("gamma",), "radius of the window relative to the weights", "sqrt(d / gamma) / |w*|"
        ),
        "slope": Variable(
            ("n_beta", "end"),
            "slope of log LLC against log gamma",
            "between the outermost two neighboring gammas with well-sampled values, at either end; 0 at a limit",
            RULE,
        ),
        "slope_se": Variable(("n_beta", "end"), "standard error of the slope", "from both standard errors", RULE),
        "slope_gamma": Variable(("n_beta", "end"), "localization of the slope", "geometric mean of both gammas", RULE),
        "drop_factor": Variable(
            MAP, "factor by which the LLC drops", "llc at drop_from / llc at the last checkpoint", RULE
        ),
        "drop_factor_se": Variable(MAP, "standard error of the factor", "from both standard errors", RULE),
        "drop_from": Variable(
            (), "step at which the drop starts", "step of the largest llc at the configured setting", RULE,
            "training steps",
        ),
        "half_way_step": Variable(
            MAP, "step half way through the drop", "the middle by slt_grok.change", RULE, "training steps"
        ),
        "half_way_low": Variable(MAP, "lower end of the half-way step", "by slt_grok.change", RULE, "training steps"),
        "half_way_high": Variable(MAP, "upper end of the half-way step", "by slt_grok.change", RULE, "training steps"),
    }  # fmt: skip

    def measure(self, trajectory: Trajectory, settings: WindowSettings, context: Context) -> xr.Dataset:
        """Sample the map at each milestone, then its limits, and the drop between the checkpoints."""
        selected = at_milestones(trajectory, context, settings.checkpoints)
        gammas = window_gammas(
            settings.gamma, subspace_of(settings, trajectory).dimension, weight_norms(settings, selected)
        )
        maps = context.in_shards(
            selected,
            lambda shard, on_progress: self.map_of(shard, settings, gammas, on_progress),
            size=1,
            local=settings.device is not None,
        )
        return maps.assign(slopes(maps) | drops(maps))

    def map_of(
        self, shard: Trajectory, settings: WindowSettings, gammas: Sequence[float], on_progress: ProgressCallback
    ) -> xr.Dataset:
        """Estimate the LLC of some networks at every pair of n_beta and gamma, all pairs in one batch."""
        settings = settings.adaptive()
        data = restrictions.split(shard.task, settings.data)
        problem = Problem.from_inputs(shard, data, subspace=subspace_of(settings, shard), dtype=settings.dtype)
        n_betas = [settings.n_beta_of(len(data[0])) * factor for factor in TEMPERATURES]
        pairs = list(product(n_betas, gammas))
        sampler, schedule = settings.sampler, settings.schedule
        found = at_temperatures(
            problem,
            sampler,
            [n_beta for n_beta, _ in pairs],
            [gamma for _, gamma in pairs],
            schedule,
            chains=settings.chains,
            seed=settings.seed,
            scattered=True,
            melting_loss=settings.melting_loss,
            device=settings.device,
            on_progress=on_progress,
        )
        shape = (len(shard), len(n_betas), len(gammas))
        noise = [window_noise(problem, n_betas, gamma, seed=settings.seed) for gamma in gammas]
        norm = weight_norms(settings, shard)
        values = {name: found[name].values.reshape(shape) for name in SAMPLED} | {
            "window_noise": np.stack([each.llc for each in noise], -1),
            "window_noise_se": np.stack([each.llc_se for each in noise], -1),
            "weight_norm": norm,
            "radius": np.sqrt(problem.d / np.array(gammas)) / norm[:, None],
        }
        attrs = {
            "sampler": sampler.name,
            "n_beta": n_betas[-1],
            "gamma": settings.gamma,
            "chains": settings.chains,
            "burn_in": schedule.burn_in,
            "draws": schedule.draws,
            "thinning": schedule.thinning,
            "dimension": problem.d,
            "n": len(data[0]),
            "data": settings.data,
        }
        return self.dataset(shard, values, n_beta=n_betas, gamma=gammas).assign_attrs(attrs)

    def seconds(self, trial: Trajectory, settings: WindowSettings, checkpoints: int, context: Context) -> float:
        """Predict core-seconds from a few updates at the configured setting."""
        gammas = window_gammas(settings.gamma, subspace_of(settings, trial).dimension, weight_norms(settings, trial))
        settings = settings.adaptive()
        once = seconds_of_updates(trial, settings, settings.schedule.updates)
        return self.checkpoints_of(settings, checkpoints) * len(TEMPERATURES) * len(gammas) * once

    def figures(self) -> Sequence[Drawing]:
        """List the figure: the map, the drop and its half-way step."""
        from slt_grok import plots

        caption = (
            "The LLC against the localization γ at three temperatures, one line per checkpoint, with 95% intervals. "
            "Dotted: what Gaussian noise of the window's size alone would give. Bottom: against the window's radius "
            "relative to the weights; the factor of the drop between the same two checkpoints; the step half way "
            "through the drop. Hollow points: chains from w* and chains from the noise do not meet, the chains melted, "
            "or the value is not well sampled for another reason. The vertical line is the configured γ."
        )
        return (Drawing("window", plots.llc_window, caption),)

    def tables(self, data: Data) -> Sequence[Table]:
        """Tabulate the map at the configured n_beta, and the drop at every gamma."""
        found = data[self.name].isel(n_beta=-1)
        maps, falls = [], []
        for seed, gamma in product(found.seed.values.tolist(), found.gamma.values.tolist()):
            at = found.sel(seed=seed, gamma=gamma)
            for step in at.step.values.tolist():
                here = at.sel(step=step)
                maps.append(
                    [
                        str(seed), f"{step:,}", number(gamma), number(here.radius.item()),
                        plus_minus(here.llc.item(), here.llc_se.item()),
                        plus_minus(here.window_noise.item(), here.window_noise_se.item()), str(here.llc_status.item()),
                    ]
                )  # fmt: skip
            half = step_interval(at.half_way_step.item(), at.half_way_low.item(), at.half_way_high.item())
            factor = plus_minus(at.drop_factor.item(), at.drop_factor_se.item())
            falls.append([str(seed), number(gamma), factor, half])
        n_beta = number(found.n_beta.item())
        header = ["Seed", "Step", "γ", "Radius / |w*|", "LLC", "LLC of the noise alone", "Status"]
        return (
            Table(f"Drop of the LLC at each γ, nβ = {n_beta}", ["Seed", "γ", "Factor", "Half-way step"], falls),
            Table(f"The LLC and its null at nβ = {n_beta}", header, maps, folded=True),
        )

    def notes(self, data: Data) -> Sequence[str]:
        """State whether the value has a limit at either end, the range of the drop, and the counts of statuses."""
        found = data[self.name]
        notes = []
        for seed in found.seed.values.tolist():
            one, which = found.sel(seed=seed), f" (seed {seed})" if found.sizes["seed"] > 1 else ""
            notes += [limit_note(one, end) + which + "." for end in ENDS] + [range_note(one) + which + "."]
        return [*notes, status_counts(found)]

    def columns(self, dataset: xr.Dataset) -> dict[str, Any]:
        """Report the last checkpoint, and the range of the drop's factor and half-way step over gamma."""
        at = dataset.isel(n_beta=-1)
        ranges = {
            f"{self.name}.{name}_{end}": float(getattr(at[name], end)())
            for name in ("drop_factor", "half_way_step")
            for end in ("min", "max")
        }
        return final_numbers(dataset[["weight_norm"]], f"final.{self.name}") | ranges


def window_gammas(gamma: float, dimension: int, norms: np.ndarray) -> list[float]:
    """Choose the gammas of the map: the configured one times powers of sqrt(10).

    They reach a factor 10 below and above it, and further until radii sqrt(d / gamma) of 5% to 70% of |w*| are covered
    at every checkpoint.

    Raises
    ------
    SltGrokError
        gamma is 0, or all weights of a checkpoint are.
    """
    if not gamma > 0:
        raise SltGrokError(f"gamma ({gamma:g}) must be above 0: the map is over multiples of it")
    if not norms.min() > 0:
        raise SltGrokError(
            "weights: expected some that are not 0 at every checkpoint, since radii are relative to |w*|"
        )
    small, large = RADII
    lowest = min(gamma / REACH, dimension / (large * norms.max()) ** 2)
    highest = max(gamma * REACH, dimension / (small * norms.min()) ** 2)
    below, above = (math.ceil(round(math.log(ratio, RATIO), 9)) for ratio in (gamma / lowest, highest / gamma))
    return [float(f"{gamma * RATIO**k:.4g}") if k else gamma for k in range(-below, above + 1)]

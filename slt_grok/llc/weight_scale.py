"""The LLC of a grokking run under three treatments of its weight scale.

`fixed_gamma` is the LLC as measured along a trajectory (Lau et al. 2308.12108). Weights shrink while a network groks,
so at fixed gamma the neighborhood grows relative to them: `relative_gamma` uses gamma = d / (rho |w*|^2) at each
checkpoint, and `rescaled_weights` rescales the weights of each checkpoint to the last one's norm, at fixed gamma. A
rescaled network computes a different function and need not be at a minimum, so its loss is also reported.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import xarray as xr
from pydantic import Field

from slt_grok.format import plus_minus, step_interval
from slt_grok.llc.drop import HALF_WAY, drop_of, half_ways
from slt_grok.llc.measurement import LLC, estimate_by, setting_note, status_counts, subspace_of, weight_norms
from slt_grok.llc.settings import RestrictedSettings
from slt_grok.llc.tables import doubt_of
from slt_grok.llc.variables import LAU, VARIABLES, of_the_network
from slt_grok.measurement import Context, Data, Drawing, Measurement, Table, Variable, evenly_spaced
from slt_grok.progress import ProgressCallback, portion
from slt_grok.rules import RHO
from slt_grok.trajectories import Trajectory

TREATMENTS = {
    "fixed_gamma": "fixed γ",
    "relative_gamma": "γ = d/(ρ|w*|²)",
    "rescaled_weights": "all weights scaled to the last norm",
}
KEPT = (
    "llc", "llc_se", "llc_low", "llc_high", "rhat", "ess", "drift", "virial", "llc_status", "llc_status_reason",
    "baseline_loss",
)  # fmt: skip
RULE = "this package; gamma by the rules of slt_grok.llc.calibration"
MIDDLE = "the middle by slt_grok.change, among the checkpoints measured here"


class WeightScaleSettings(RestrictedSettings):
    """Settings of `llc`, for fewer checkpoints."""

    checkpoints: int = Field(default=10, ge=2, description="number of checkpoints, starting at memorization")


class WeightScale(Measurement):
    """The LLC under each treatment after memorization, and the fraction of its drop that remains."""

    name, title, position = "confound", "LLC and weight scale", 22
    Settings = WeightScaleSettings
    default, inherits = False, "llc"
    variables = {name: VARIABLES[name]._replace(dims=("treatment",)) for name in KEPT} | {
        "gamma": Variable(("treatment",), "localization", "gamma of the treatment", LAU),
        "weight_norm": Variable(("treatment",), "norm of the weights", "|w*| of the network that was sampled"),
        "drop": Variable(("treatment",), "drop of the LLC", "llc at drop_from minus llc at the last checkpoint", RULE),
        "drop_se": Variable(
            ("treatment",), "standard error of the drop", "root of the sum of llc_se^2 at both ends", RULE
        ),
        "drop_share": Variable(
            ("treatment",), "drop relative to the LLC at its start", "drop / llc at drop_from", RULE
        ),
        "drop_left": Variable(
            ("treatment",), "fraction of the drop at fixed gamma that remains", "drop / drop under fixed_gamma", RULE
        ),
        "drop_left_se": Variable(
            ("treatment",), "standard error of the remaining fraction", "from the standard errors of both drops", RULE
        ),
        "half_way_step": Variable(("treatment",), "step half way through the drop", MIDDLE, RULE, "training steps"),
        "half_way_low": Variable(("treatment",), "lower end of the half-way step", MIDDLE, RULE, "training steps"),
        "half_way_high": Variable(("treatment",), "upper end of the half-way step", MIDDLE, RULE, "training steps"),
        "drop_from": Variable(
            (), "step at which the drop starts", "step of the largest llc under fixed_gamma", RULE, "training steps"
        ),
    }

    def measure(self, trajectory: Trajectory, settings: WeightScaleSettings, context: Context) -> xr.Dataset:
        """Estimate the LLC under each treatment at several checkpoints, and the drop between two of them."""
        steps, seeds = trajectory.coords["step"], trajectory.coords["seed"].tolist()
        memorized = [step for step in (context.milestones(seed)[0] for seed in seeds) if step <= steps[-1]]  # not NaN
        late = steps[steps >= min(memorized, default=steps[len(steps) // 3])]
        chosen = late[evenly_spaced(late, settings.checkpoints)]
        last_norms = weight_norms(settings, trajectory.isel(step=-1)).tolist()  # one per seed

        def measure_shard(shard: Trajectory, on_progress: ProgressCallback) -> xr.Dataset:
            networks: list[xr.Dataset] = []
            for i, last_norm in enumerate(last_norms):
                part = portion(on_progress, i, len(last_norms))
                networks.append(treated(shard.isel(seed=[i]), settings, last_norm, part))
            return xr.concat(networks, "seed")

        selected = trajectory.isel(step=np.flatnonzero(np.isin(steps, chosen)).tolist())
        llcs = context.in_shards(selected, measure_shard, size=1, local=settings.device is not None)
        return llcs.assign(drops(llcs))

    def seconds(self, trial: Trajectory, settings: WeightScaleSettings, checkpoints: int, context: Context) -> float:
        """Predict core-seconds from a few updates."""
        return len(TREATMENTS) * LLC().seconds(trial, settings, checkpoints, context)

    def figures(self) -> Sequence[Drawing]:
        """List the figures: the LLC under each treatment."""
        from slt_grok import plots

        caption = (
            "The LLC under three treatments of the weight scale, with 95% bands. Bottom: train loss of the "
            "networks as trained and with all weights rescaled to the last norm. Hollow points have an "
            "untrusted status."
        )
        return (Drawing("confound", plots.confound, caption),)

    def tables(self, data: Data) -> Sequence[Table]:
        """Tabulate the drop under each treatment."""
        rows = []
        for seed, (treatment, label) in product(data[self.name].seed.values.tolist(), TREATMENTS.items()):
            values = data[self.name].sel(seed=seed, treatment=treatment)
            start, end = int(values.drop_from), int(values.step[-1])
            ends = [values.sel(step=start), values.sel(step=end)]
            rows.append(
                {
                    "Seed": str(seed),
                    "Treatment": label,
                    "Steps": f"{start:,} to {end:,}",
                    "Drop of the LLC": plus_minus(values["drop"].item(), values.drop_se.item()),
                    "Half way (step)": step_interval(*(values[name].item() for name in HALF_WAY)),
                    "Relative drop": f"{float(values.drop_share):.1%}",
                    "Fraction of the drop at fixed γ": plus_minus(values.drop_left.item(), values.drop_left_se.item()),
                    "Loss at the start": f"{float(values.baseline_loss.sel(step=start)):.3g}",
                    "Status": ", ".join(dict.fromkeys(doubt_of(at) or str(at.llc_status.item()) for at in ends)),
                }
            )
        return (Table("Drop of the LLC under each treatment", list(rows[0]), [list(row.values()) for row in rows]),)

    def notes(self, data: Data) -> Sequence[str]:
        """Report the counts of statuses, the setting, and where rescaling changes the function."""
        llcs = data[self.name]
        start = llcs.baseline_loss.sel(step=llcs.drop_from)
        trained, scaled = (start.sel(treatment=name).values for name in ("fixed_gamma", "rescaled_weights"))
        notes = [status_counts(llcs), setting_note(llcs)]
        if (scaled > np.maximum(10 * trained, 0.1)).any():
            notes.append("Rescaled weights no longer compute the learned function: that treatment measures another.")
        return notes


def treated(
    network: Trajectory, settings: WeightScaleSettings, last_norm: float, on_progress: ProgressCallback
) -> xr.Dataset:
    """Estimate the LLC of one network under the three treatments."""
    trained_norm = weight_norms(settings, network).item()
    scale = last_norm / trained_norm
    scaled = {name: network.parameters[name] * scale for name in network.network.moving}
    rescaled = replace(network, parameters=network.parameters | scaled)
    gamma, relative = settings.gamma, subspace_of(settings, network).dimension / (RHO * trained_norm**2)
    treatments = (network, gamma, trained_norm), (network, relative, trained_norm), (rescaled, gamma, last_norm)
    results = []
    for i, (treated_network, gamma, weight_norm) in enumerate(treatments):
        part = portion(on_progress, i, len(treatments))
        result = estimate_by(settings.model_copy(update={"gamma": gamma}), treated_network, part)[list(KEPT)]
        results.append(result.assign(gamma=(network.dims, [[gamma]]), weight_norm=(network.dims, [[weight_norm]])))
    joined = xr.concat(results, xr.Variable("treatment", list(TREATMENTS)), combine_attrs="drop_conflicts")
    return joined.transpose("step", "seed", "treatment", ...)


def drops(llcs: xr.Dataset) -> xr.Dataset:
    """Compute the drop under each treatment, between the same two checkpoints.

    Parameters
    ----------
    llcs : xarray.Dataset
        `llc` and `llc_se` over (step, seed, treatment), with a treatment `fixed_gamma`; estimates that melted or
        diverged, by `llc_status`, are omitted.

    Returns
    -------
    xarray.Dataset
        `drop_from` (seed), the step of the largest LLC under `fixed_gamma`, and over (seed, treatment) `drop`,
        `drop_se`, `drop_share`, `drop_left`, `drop_left_se`, and `half_way_step` with `half_way_low` and
        `half_way_high`. NaN if an end was not measured, or without a drop.
    """
    llc, se = llcs.llc.where(of_the_network(llcs)), llcs.llc_se
    fall = drop_of(llc, se, llc.sel(treatment="fixed_gamma", drop=True))
    drop, drop_se = fall.size, fall.size_se
    fixed, fixed_se = (values.sel(treatment="fixed_gamma", drop=True) for values in (drop, drop_se))
    left = drop / fixed
    left_se = abs(left) * np.hypot(drop_se / drop, fixed_se / fixed)
    left_se = left_se.where(left.treatment != "fixed_gamma", 0.0)  # the ratio is 1 exactly
    values = {"drop_share": drop / fall.first, "drop_left": left, "drop_left_se": left_se, "drop_from": fall.step}
    return xr.Dataset({"drop": drop, "drop_se": drop_se, **values, **half_ways(llc, se)})

"""How the LLC depends on the choice of weights for one and the same function: networks moved along their rescalings.

Scaling the input side of a ReLU neuron by s and its output side by 1/s changes no output, nor does V by s against O by
1/s, or Q against K, for each head. A learning coefficient would not change either, but an LLC at finite gamma does: the
window is a ball in the weights. Its range over representatives of one function is an error that no single estimate
reports. Weight decay keeps trained networks near the balanced representative, that of least norm, but not at it.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import torch
import xarray as xr
from pydantic import Field
from torch import Tensor

from slt_grok.change import SIGNIFICANCE
from slt_grok.errors import SltGrokError
from slt_grok.format import number, percent, plus_minus
from slt_grok.llc import restrictions
from slt_grok.llc.diagnostics import TRUSTED
from slt_grok.llc.drop import drop_of
from slt_grok.llc.measurement import LLC, estimate_by, setting_note, status_counts, subspace_of
from slt_grok.llc.milestones import at_milestones
from slt_grok.llc.settings import RestrictedSettings
from slt_grok.llc.tables import doubts_at, estimate_text
from slt_grok.llc.variables import VARIABLES
from slt_grok.measurement import Context, Data, Drawing, Measurement, Table, Variable, final_numbers
from slt_grok.models import Network
from slt_grok.models.model import Model
from slt_grok.models.rescaling import balanced, stretched
from slt_grok.progress import ProgressCallback
from slt_grok.trajectories import Trajectory

STRETCHES = {"stretched_2": 2.0, "stretched_4": 4.0}
REPRESENTATIVES = {
    "trained": "as trained",
    "balanced": "both sides of equal norm",
    **{name: f"input sides times {factor:g}" for name, factor in STRETCHES.items()},
}
ROUNDING = 1e-9  # change of the outputs in float64, relative to the largest one
KEPT = (
    "llc", "llc_se", "llc_low", "llc_high", "rhat", "ess", "virial", "llc_status", "llc_status_reason", "baseline_loss",
    "window_noise", "window_noise_se",
)  # fmt: skip
EACH = ("representative",)
COUNTED = (
    f"The range is over the estimates with a trusted status ({', '.join(TRUSTED[:-1])} or {TRUSTED[-1]}); others have "
    "their status in parentheses."
)


class GaugeSettings(RestrictedSettings):
    """Settings of `llc`, for fewer checkpoints."""

    checkpoints: int = Field(default=4, ge=2, description="number of checkpoints, starting at memorization")


class Gauge(Measurement):
    """The LLC of several representatives of the same function, at a few checkpoints."""

    name, title, position = "gauge", "The gauge of the LLC", 24
    Settings = GaugeSettings
    default, inherits = False, "llc"
    variables = {name: VARIABLES[name]._replace(dims=EACH) for name in KEPT} | {
        "weight_norm": Variable(EACH, "norm of the weights", "|w| of the weights that move"),
        "output_change": Variable(
            (), "change of the outputs", "largest change of an output in float64 over the largest output"
        ),
        "gauge_range": Variable(
            (), "range of the LLC over representatives", "largest llc minus smallest, over the well-sampled ones"
        ),
        "gauge_range_se": Variable((), "standard error of the range", "from those of the two extremes"),
        "gauge_share": Variable(
            (), "range relative to the drop",
            "gauge_range / drop of the network as trained; NaN unless that exceeds 3 of its standard errors",
        ),
        "drop": Variable(EACH, "drop of the LLC", "llc at drop_from minus llc at the last checkpoint"),
        "drop_se": Variable(EACH, "standard error of the drop", "from both standard errors"),
        "drop_factor": Variable(
            EACH, "factor by which the LLC drops", "llc at drop_from / llc at the last checkpoint"
        ),
        "drop_from": Variable(
            (), "step at which the drop starts", "step of the largest llc of the networks as trained",
            units="training steps",
        ),
    }  # fmt: skip

    def unmeasurable(self, network: Network) -> str | None:
        """Explain why a network has no rescalings: its model declares none."""
        if not isinstance(network.module, Model) or not network.module.rescalable():
            return (
                f"{type(network.module).__name__} declares no neurons or heads that can be rescaled: its activation is "
                "not positively homogeneous and it has no attention, or it has no `rescalable`"
            )
        return None

    def measure(self, trajectory: Trajectory, settings: GaugeSettings, context: Context) -> xr.Dataset:
        """Sample every representative of each milestone, then compare them."""
        llcs = context.in_shards(
            at_milestones(trajectory, context, settings.checkpoints),
            lambda shard, on_progress: self.sampled(shard, settings, on_progress),
            size=1,
            local=settings.device is not None,
        )
        return llcs.assign(comparison(llcs))

    def sampled(self, shard: Trajectory, settings: GaugeSettings, on_progress: ProgressCallback) -> xr.Dataset:
        """Estimate the LLC of every representative of some networks, in one batch."""
        moved = representatives(shard)
        data, subspace = restrictions.split(shard.task, settings.data), subspace_of(settings, shard)
        change = output_change(moved, data[0])
        if change.max() > ROUNDING:
            raise SltGrokError(
                f"{type(shard.network.module).__name__}.rescalable: expected pairs whose rescaling changes no output, "
                f"got a relative change of {change.max():.2g}"
            )
        llcs = estimate_by(settings, moved, on_progress)
        norm = subspace.coordinates(moved.stacked()).norm(dim=1).numpy().reshape(len(shard), -1)
        own = {"weight_norm": norm, "output_change": change.max(1)}
        own = self.dataset(shard, own, representative=list(REPRESENTATIVES))
        return llcs[list(KEPT)].merge(own).assign_attrs(llcs.attrs)

    def seconds(self, trial: Trajectory, settings: GaugeSettings, checkpoints: int, context: Context) -> float:
        """Predict core-seconds from a few updates."""
        return len(REPRESENTATIVES) * LLC().seconds(trial, settings, checkpoints, context)

    def figures(self) -> Sequence[Drawing]:
        """List the figure: the LLC of every representative."""
        from slt_grok import plots

        caption = (
            "The LLC of networks with the same outputs and other weights: as trained, with both sides of every neuron "
            "and head of equal norm, and with the input sides multiplied by 2 and 4. Bars are 95% intervals, hollow "
            "points have an untrusted status and count neither in the range nor in a drop. Right: norm of the weights."
        )
        return (Drawing("gauge", plots.llc_gauge, caption),)

    def tables(self, data: Data) -> Sequence[Table]:
        """Tabulate the LLC of each representative, and the range relative to the drop."""
        found, rows = data[self.name], []
        for seed, step in product(found.seed.values.tolist(), found.step.values.tolist()):
            here = found.sel(seed=seed, step=step)
            values = [here.sel(representative=name) for name in REPRESENTATIVES]
            rows.append(
                [
                    str(seed), f"{step:,}", *map(estimate_text, values),
                    plus_minus(here.gauge_range.item(), here.gauge_range_se.item()),
                    "no clear drop" if has_no_clear_drop(here) else percent(here.gauge_share.item()),
                ]
            )  # fmt: skip
        header = ["Seed", "Step", *map(str.capitalize, REPRESENTATIVES.values()), "Range", "Range / drop"]
        falls = []
        for seed, (name, text) in product(found.seed.values.tolist(), REPRESENTATIVES.items()):
            at = found.sel(seed=seed, representative=name)
            ends = [int(at.drop_from), int(at.step[-1])]
            drop, factor = plus_minus(at["drop"].item(), at.drop_se.item()), number(at.drop_factor.item())
            if doubts := doubts_at(at, ends):
                drop, factor = f"not given ({doubts})", "not given"
            weight_norm = number(at.weight_norm.isel(step=-1).item())
            falls.append([str(seed), text, f"{ends[0]:,} to {ends[1]:,}", drop, factor, weight_norm])
        return (
            Table(f"The LLC of each representative of the same function. {COUNTED}", header, rows),
            Table(
                "Drop of the LLC for each representative, given if both ends have a trusted status",
                ["Seed", "Weights", "Steps", "Drop", "Factor", "|w| at the end"], falls,
            ),
        )  # fmt: skip

    def notes(self, data: Data) -> Sequence[str]:
        """State the largest range relative to the drop, drops that are not clear, the statuses and the setting."""
        found, notes = data[self.name], []
        share = found.gauge_share.where(~has_no_clear_drop(found))
        if np.isfinite(share).any():
            at = share.isel(share.fillna(-np.inf).argmax(...))
            notes.append(
                f"Rescaling that changes no output (by more than {found.output_change.max().item():.1g} in relative "
                f"terms) moves the LLC by up to {percent(at.item())} of the drop, at step {int(at.step):,}. Only "
                "estimates with a trusted status count."
            )
        for seed in found.seed.values.tolist():
            one = found.sel(seed=seed, representative="trained")
            if has_no_clear_drop(found.sel(seed=seed)):
                which = f" (seed {seed})" if found.sizes["seed"] > 1 else ""
                notes.append(
                    f"As trained, the LLC falls from step {int(one.drop_from):,} to the end by "
                    f"{plus_minus(one['drop'].item(), one.drop_se.item())}, not by more than {SIGNIFICANCE:g} standard "
                    f"errors, so its range is not given relative to the drop{which}."
                )
        return [*notes, status_counts(found), setting_note(found)]

    def columns(self, dataset: xr.Dataset) -> dict[str, Any]:
        """Report every representative at the last checkpoint, the largest share, and each drop."""
        falls = {
            f"{self.name}.{name}.{each}": dataset[name].sel(representative=each).item()
            for name in ("drop", "drop_factor")
            for each in REPRESENTATIVES
        }
        final = final_numbers(dataset, f"final.{self.name}", *EACH)
        return final | falls | {f"{self.name}.largest_share": float(dataset.gauge_share.max())}


def representatives(trajectory: Trajectory) -> Trajectory:
    """Move each network along its rescalings, in float64: a trajectory with the further coordinate `representative`.

    Raises
    ------
    SltGrokError
        The model declares no rescalings.
    """
    module = trajectory.network.module
    pairs = module.rescalable() if isinstance(module, Model) else ()
    if not pairs:
        raise SltGrokError(
            f"gauge: expected a model that declares rescalings, got {type(module).__name__}, which does not"
        )
    stack = trajectory.stacked(torch.float64)
    moved = [stack, balanced(stack, pairs), *(stretched(stack, pairs, factor) for factor in STRETCHES.values())]
    parameters = {
        name: torch.stack([each[name] for each in moved], 1).reshape(*trajectory.shape, len(moved), *tensor.shape[1:])
        for name, tensor in stack.items()
    }
    coords = trajectory.coords | {EACH[0]: np.array(list(REPRESENTATIVES))}
    return replace(trajectory, parameters=parameters, dims=(*trajectory.dims, *EACH), coords=coords)


def output_change(moved: Trajectory, inputs: Tensor) -> np.ndarray:
    """Compute the largest change of an output from the first representative, relative to its largest, (N, R)."""
    with torch.no_grad():
        outputs = moved.network.stacked_outputs(moved.stacked(), inputs).unflatten(0, (-1, len(REPRESENTATIVES)))
    change = (outputs - outputs[:, :1]).flatten(2).abs().amax(-1)
    return (change / outputs[:, 0].flatten(1).abs().amax(-1, keepdim=True)).numpy()


def comparison(llcs: xr.Dataset) -> dict[str, Any]:
    """Compute the range over representatives at each checkpoint, and the drop of each representative.

    Parameters
    ----------
    llcs : xarray.Dataset
        `llc`, `llc_se` and `llc_status` over (step, seed, representative), the first representative as trained.

    Returns
    -------
    dict
        `gauge_range`, `gauge_range_se` and `gauge_share` over (step, seed), `drop`, `drop_se` and `drop_factor` over
        (seed, representative), and `drop_from` over seed. Values that are not well sampled, or not at a minimum, are
        omitted: their distance from the others is not the gauge's.
    """
    known = llcs.llc_status.isin(TRUSTED)
    llc, se = llcs.llc.where(known), llcs.llc_se.where(known)
    fall = drop_of(llc, se, llc.sel(representative="trained", drop=True))
    trained = fall.size.sel(representative="trained", drop=True)
    unclear = has_no_clear_drop(xr.Dataset({"drop": fall.size, "drop_se": fall.size_se}))
    several = np.isfinite(llc).sum("representative") > 1
    top, bottom = (llc.fillna(-sign * np.inf) * sign for sign in (1, -1))
    ends = [se.isel(representative=side.argmax("representative"), drop=True) for side in (top, bottom)]
    spread = (llc.max("representative") - llc.min("representative")).where(several)
    return {
        "gauge_range": spread,
        "gauge_range_se": np.hypot(*ends).where(several),
        "gauge_share": (spread / trained).where(~unclear),
        "drop": fall.size,
        "drop_se": fall.size_se,
        "drop_factor": fall.factor,
        "drop_from": fall.step,
    }


def has_no_clear_drop(found: xr.Dataset) -> Any:
    """Mask known drops of networks as trained that are not above 3 standard errors, by which nothing can be divided."""
    trained = found[["drop", "drop_se"]].sel(representative="trained", drop=True)
    return trained["drop"] <= SIGNIFICANCE * trained.drop_se

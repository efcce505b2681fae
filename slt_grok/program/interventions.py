"""The LLC, loss and accuracy of a run's checkpoints after interventions on their weights, with matched controls.

Every checkpoint is measured as trained; with the circuit of the last checkpoint kept or removed, in its tables over the
tokens, in its neurons or in both; with an equal number of random non-key frequencies, a random subspace of the same
dimension, or an equal number of random neurons in place of the circuit's; and with one part of its weights taken from
the last checkpoint, or from the first that has memorized (if the two checkpoints coincide nothing changes, which is the
null of all these differences). See `slt_grok.interventions.weights` for each of these. Every variant has separate
random streams, seeded by its name, so the differences between two variants include the errors of both.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
import xarray as xr
from pydantic import Field
from torch import Tensor

from slt_grok import circuits
from slt_grok.circuits.measure import lacks
from slt_grok.format import number, percent, plus_minus
from slt_grok.format import step as format_step
from slt_grok.groups import Group
from slt_grok.interventions import weights
from slt_grok.interventions.weights import VARIANT
from slt_grok.llc.measurement import estimate_by, seconds_of_updates, shard_chains
from slt_grok.llc.settings import LLCSettings
from slt_grok.llc.variables import VARIABLES
from slt_grok.measurement import Context, Data, Drawing, Measurement, Table, Variable, evenly_spaced
from slt_grok.models import Network
from slt_grok.progress import ProgressCallback
from slt_grok.settings import Positive
from slt_grok.tasks import SPLITS
from slt_grok.trajectories import Trajectory

AS_TRAINED = "as trained"
ACTS = {
    "kept": (weights.keep_directions, weights.keep_neurons),
    "removed": (weights.remove_directions, weights.remove_neurons),
}
SITES = {  # site -> controls of the circuit there
    "tables": ("random frequencies", "random planes"),
    "neurons": ("random neurons",),
    "tables and neurons": ("random",),
}
ORIGINS = ("from the end", "from memorization")  # of swapped parts
UNAVAILABLE = "this seed has no circuit, no control frequencies, or no checkpoint that has memorized"
LLC_VARIABLES = ("llc", "llc_se", "llc_low", "llc_high", "rhat", "ess", "drift", "llc_status", "llc_status_reason")
MEASURED = {
    **{name: VARIABLES[name]._replace(dims=(VARIANT,), where="") for name in LLC_VARIABLES},
    "loss": Variable((VARIANT, "split"), "loss", "mean loss over the split in float64", of_loss=True),
    "accuracy": Variable((VARIANT, "split"), "accuracy", "fraction of pairs whose largest logit is the label"),
    "distance": Variable(
        (VARIANT,), "relative change of the weights", "|w - w_as_trained| / |w_as_trained| over all weights"
    ),
}
MISSING = {"llc_status": "", "llc_status_reason": UNAVAILABLE}  # of unavailable variants; NaN in all other variables


class InterventionSettings(LLCSettings):
    """Settings of the measurement `interventions`; omitted keys are inherited from `llc`."""

    checkpoints: int = Field(default=4, ge=2, description="number of checkpoints, starting at memorization")
    controls: Positive = Field(default=2, description="number of random controls per intervention")


class Interventions(Measurement):
    """The LLC after interventions on the weights."""

    name, title, position, default, inherits = "interventions", "Interventions on the weights", 50, False, "llc"
    Settings = InterventionSettings
    variables = MEASURED | {
        "llc_change": Variable((VARIANT,), "change of the LLC", "llc minus the llc as trained at the same step"),
        "llc_change_se": Variable((VARIANT,), "standard error of the change of the LLC", "sqrt(sum of both llc_se^2)"),
    }

    def unmeasurable(self, network: Network) -> str | None:
        """Explain why the weights cannot be intervened on; None if they can."""
        return None if network.declares("units") else "the model does not declare the units of its weights"

    def measure(self, trajectory: Trajectory, settings: InterventionSettings, context: Context) -> xr.Dataset:
        """Measure every variant at several checkpoints after memorization.

        The coordinates `act`, `site`, `control` and `draw` identify a variant. Variants that a seed cannot provide
        (without a circuit or a memorizing checkpoint) are NaN, with the reason in `llc_status_reason`.
        """
        steps, seeds = trajectory.coords["step"], trajectory.coords["seed"].tolist()
        planned = variants(trajectory, settings.controls)
        memorized = [next(iter(trajectory.first_from(context.milestones(seed)[0])), None) for seed in seeds]
        first = min((index for index in memorized if index is not None), default=len(steps) // 3)
        chosen = trajectory.isel(step=[first + i for i in evenly_spaced(steps[first:], settings.checkpoints)])
        sources = [
            Source(trajectory.isel(seed=[i]), circuit, index, settings)
            for i, (circuit, index) in enumerate(zip(_circuits(trajectory), memorized, strict=True))
        ]
        size = max(1, shard_chains(trajectory) // settings.chains)
        results = [
            context.in_shards(
                chosen,
                partial(_measured, sources=sources, variants=planned[start : start + size]),
                1,
                part=f"variants_{start:03d}",
                span=(start / len(planned), min(start + size, len(planned)) / len(planned)),
                local=settings.device is not None,
            )
            for start in range(0, len(planned), size)
        ]
        fields = {field: (VARIANT, [getattr(variant, field) for variant in planned]) for field in Variant._fields}
        return with_changes(xr.concat(results, VARIANT, combine_attrs="drop_conflicts")).assign_coords(fields)

    def seconds(self, trial: Trajectory, settings: InterventionSettings, checkpoints: int, context: Context) -> float:
        """Predict core-seconds from a few updates."""
        count = min(settings.checkpoints, checkpoints) * len(variants(trial, settings.controls))
        return count * seconds_of_updates(trial, settings, settings.schedule.updates)

    def figures(self) -> Sequence[Drawing]:
        """List the figures: the variants over training."""
        from slt_grok import plots

        return (
            Drawing(
                "interventions",
                plots.interventions,
                "Checkpoints after interventions on their weights, each re-measured: with the last checkpoint's "
                "circuit alone or without it, in the tables over tokens and answers (planes of the key frequencies), "
                "in the neurons (those of one key frequency) or in both; and with one part of the weights from another "
                "checkpoint. Dashed lines: the mean over equal numbers of random frequencies, neurons or planes. "
                "The LLC's axis is linear between -10 and 10, bars are 95% intervals, and hollow points have an "
                "untrusted status.",
            ),
        )

    def notes(self, data: Data) -> Sequence[str]:
        """Explain how to read an LLC after an intervention."""
        return (
            "An intervened network need not be at a minimum of the loss: its LLC can be negative, and a positive one "
            "describes how the loss rises around a point, not the degeneracy of a solution. Read it with its loss.",
        )

    def tables(self, data: Data) -> Sequence[Table]:
        """Tabulate all variants at the first and the last checkpoint of each seed."""
        dataset, tables = data[self.name], []
        header = ["Variant", "LLC", "Status", "Train loss", "Train accuracy", "Test accuracy", "Change of weights"]
        for seed in dataset.seed.values.tolist():
            for index in dict.fromkeys((0, dataset.sizes["step"] - 1)):
                network = dataset.sel(seed=seed).isel(step=index)
                rows = [_cells(network.sel({VARIANT: name})) for name in network[VARIANT].values.tolist()]
                caption = f"Interventions at step {format_step(int(network.step))}, seed {seed}"
                tables.append(Table(caption, header, rows, folded=True))
        return tables


class Variant(NamedTuple):
    """An intervention: the act, its site, the control in place of the circuit, and the control's draw.

    Parameters
    ----------
    act : str
        `as trained`, `kept`, `removed`, or `from the end` and `from memorization` for swapped parts.
    site : str, optional
        What is changed: one of `SITES` or a part of the weights.
    control : str, optional
        `circuit`, or what replaces it; empty for swapped parts.
    draw : int, optional
        Draw of a random control, starting at 1.
    """

    act: str
    site: str = ""
    control: str = ""
    draw: int = 0

    @property
    def name(self) -> str:
        """A readable name, unique among all variants."""
        if self.act not in ACTS:
            return f"{self.site} {self.act}".strip()
        draw = f" {self.draw}" if self.draw else ""
        return f"{self.control}{draw} {self.act} in {self.site}"


class Circuit(NamedTuple):
    """A circuit or its control.

    Parameters
    ----------
    keys : list of int
        Frequencies.
    directions : Tensor
        Orthonormal functions of a token, (count, n).
    neurons : ndarray
        Bool mask, (d_mlp,).
    """

    keys: list[int]
    directions: Tensor
    neurons: np.ndarray


class Source(NamedTuple):
    """What the variants of one seed are built from.

    Parameters
    ----------
    trajectory : Trajectory
        All checkpoints of the seed.
    circuit : Circuit or None
        Circuit of the last checkpoint; None without a circuit.
    memorized : int or None
        Index of the first checkpoint that has memorized.
    settings : LLCSettings
        Settings of the LLC, whose seed is also that of the random controls.
    """

    trajectory: Trajectory
    circuit: Circuit | None
    memorized: int | None
    settings: LLCSettings

    def intervene(self, network: Trajectory, variant: Variant) -> Trajectory | None:
        """Build a variant of a checkpoint; None if the seed lacks what it requires."""
        if variant.act == AS_TRAINED:
            return network
        if variant.act in ORIGINS:
            index = -1 if variant.act == ORIGINS[0] else self.memorized
            names = weights.parts(network)[variant.site]
            return None if index is None else weights.exchange(network, self.trajectory.isel(step=[index]), names)
        circuit = self.circuit
        if circuit is not None and variant.control != "circuit":
            circuit = control(circuit, variant, weights.group_of(network), self.settings.seed)
        if circuit is None:
            return None
        on_tables, on_neurons = ACTS[variant.act]
        if "tables" in variant.site:
            network = on_tables(network, circuit.directions)
        return on_neurons(network, circuit.neurons) if "neurons" in variant.site else network

    def measure(self, network: Trajectory, variants: Sequence[Variant]) -> xr.Dataset:
        """Measure LLC, losses, accuracies and distance of a checkpoint's variants; `MISSING` where unavailable."""
        intervened = {variant.name: self.intervene(network, variant) for variant in variants}
        available = {name: variant for name, variant in intervened.items() if variant is not None}
        result = xr.Dataset(coords={**network.coords, VARIANT: list(intervened), "split": list(SPLITS)})
        for name, variable in MEASURED.items():
            dims = (*network.dims, *variable.dims)
            missing = np.full([result.sizes[dim] for dim in dims], MISSING.get(name, np.nan), dtype=object)
            result[name] = (dims, missing if name in MISSING else missing.astype(float))
        if available:
            llc = estimate_by(self.settings, _stacked(network, available))
            for name in LLC_VARIABLES:
                result[name].loc[{VARIANT: list(available)}] = llc[name].transpose(*result[name].dims).values
            before = _flat(network)
            for name, variant in available.items():
                result["distance"].loc[{VARIANT: name}] = float((_flat(variant) - before).norm() / before.norm())
                values = weights.evaluate(variant)
                for variable in ("loss", "accuracy"):
                    result[variable].loc[{VARIANT: name}] = values[variable]
            result.attrs = llc.attrs
        return result.assign({name: result[name].astype(str) for name in MISSING})


def variants(trajectory: Trajectory, controls: int) -> list[Variant]:
    """List all variants of a network of this shape; the circuit only if there can be one."""
    planned = [Variant(AS_TRAINED)]
    if _can_have_a_circuit(trajectory.network):
        for act, (site, randoms) in product(ACTS, SITES.items()):
            planned.append(Variant(act, site, "circuit"))
            planned += [Variant(act, site, name, draw) for name in randoms for draw in range(1, controls + 1)]
    return planned + [Variant(origin, part) for origin, part in product(ORIGINS, weights.parts(trajectory))]


def _can_have_a_circuit(network: Network) -> bool:
    return not lacks(network, ("group", "token_roles", "units", "neurons_post"))


def _circuits(trajectory: Trajectory) -> list[Circuit | None]:
    """Find the circuit of each seed's last checkpoint."""
    if not _can_have_a_circuit(trajectory.network):
        return [None] * trajectory.shape[1]
    group, results = weights.group_of(trajectory), []
    neurons = circuits.circuit_neurons(trajectory).values
    for mask, in_circuit in zip(circuits.key_frequencies(trajectory), neurons, strict=True):
        keys = mask.frequency.values[mask.values].tolist()
        results.append(Circuit(keys, weights.frequency_directions(group, keys), in_circuit) if keys else None)
    return results


def control(circuit: Circuit, variant: Variant, group: Group, seed: int) -> Circuit | None:
    """Draw an equally large random control; None if there are not enough other frequencies.

    Random frequencies are not key; random neurons are drawn from all, since most may belong to the circuit.
    """
    keys, neurons = circuit.keys, circuit.neurons
    generator = np.random.default_rng(np.random.SeedSequence([seed, variant.draw]))
    others = generator.permutation(np.setdiff1d(group.frequencies, keys))[: len(keys)].tolist()
    chosen = np.isin(np.arange(len(neurons)), generator.permutation(len(neurons))[: neurons.sum()])
    if variant.control == "random planes":
        return Circuit([], weights.random_directions(group, len(circuit.directions), generator), chosen)
    return Circuit(others, weights.frequency_directions(group, others), chosen) if len(others) == len(keys) else None


def _measured(
    shard: Trajectory, on_progress: ProgressCallback, sources: Sequence[Source], variants: Sequence[Variant]
) -> xr.Dataset:
    """Measure some variants of one checkpoint of every seed."""
    results: list[xr.Dataset] = []
    for i, source in enumerate(sources):
        results.append(source.measure(shard.isel(seed=[i]), variants))
        on_progress((i + 1) / len(sources), f"{len(variants)} variants")
    return xr.concat(results, "seed", combine_attrs="drop_conflicts")


def _stacked(network: Trajectory, variants: Mapping[str, Trajectory]) -> Trajectory:
    """Stack variants of a checkpoint along a last leading dimension `variant`."""
    parameters = {
        name: torch.stack([variant.parameters[name] for variant in variants.values()], len(network.dims))
        for name in network.parameters
    }
    coords = {**network.coords, VARIANT: np.array(list(variants))}
    return replace(network, parameters=parameters, dims=(*network.dims, VARIANT), coords=coords)


def with_changes(dataset: xr.Dataset) -> xr.Dataset:
    """Add the LLC minus that of the network as trained, at the same step and seed."""
    trained = dataset.sel({VARIANT: AS_TRAINED}, drop=True)
    others = dataset[VARIANT] != AS_TRAINED
    change, error = dataset.llc - trained.llc, np.hypot(dataset.llc_se, trained.llc_se)
    return dataset.assign(llc_change=change.where(others), llc_change_se=error.where(others))


def _flat(network: Trajectory) -> Tensor:
    return torch.cat([tensor.double().flatten() for tensor in network.parameters.values()])


def _cells(variant: xr.Dataset) -> list[str]:
    name, status, reason = (str(variant[key].values) for key in (VARIANT, *MISSING))
    if not np.isfinite(variant.llc) and not status:
        return [name, "–", reason, "–", "–", "–", "–"]
    accuracies = [percent(float(variant.accuracy.sel(split=split))) for split in ("train", "test")]
    loss, distance = number(float(variant.loss.sel(split="train"))), percent(float(variant.distance))
    return [name, plus_minus(float(variant.llc), float(variant.llc_se)), status, loss, *accuracies, distance]

"""The LLC, loss and accuracy of a run's checkpoints after interventions on their weights, beside matched controls.

Every checkpoint is measured as it was trained; with the circuit of the last checkpoint kept or removed, in its tables
over Z_p, in its neurons or in both; with as many random frequencies that are not key, a random subspace of as many
dimensions, or as many random neurons in place of the circuit's; and with one part of its weights from the last
checkpoint, or from the one that has memorized (where both are the same checkpoint nothing changes: the null of all
these differences). See `slt_grok.interventions.weights` for what each of these is.
Every variant has random streams of its own, by its name, so that differences between two have the errors of both.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from slt_grok.interventions import weights
from slt_grok.llc_settings import IntervenedSettings
from slt_grok.progress import ProgressCallback
from slt_grok.store import RunDirectory
from slt_grok.studies.llc import estimate_by, shard_chains
from slt_grok.studies.milestones import evenly_spaced, milestones
from slt_grok.studies.shards import measure_in_shards
from slt_grok.tasks import is_prime
from slt_grok.tasks import SPLITS
from slt_grok.trajectories import Trajectory

AS_TRAINED = "as trained"
KEPT = (
    "llc", "llc_se", "llc_low", "llc_high", "rhat", "ess", "drift", "llc_status", "llc_status_reason",
)  # fmt: skip
ACTS = {"kept": (weights.keep_directions, weights.keep_neurons),
        "removed": (weights.remove_directions, weights.remove_neurons)}  # fmt: skip
SITES = {  # site -> controls of the circuit there
    "tables": ("random frequencies", "random planes"),
    "neurons": ("random neurons",),
    "tables and neurons": ("random",),
}
ORIGINS = ("from the end", "from memorization")  # of exchanged parts
UNMADE = "this seed has no circuit, no other frequencies to compare with, or no checkpoint that has memorized"
ATTRS = {
    "loss": {"long_name": "loss", "units": "nats", "definition": "mean cross-entropy over the split in float64"},
    "accuracy": {
        "long_name": "accuracy",
        "units": "1",
        "definition": "share of pairs whose largest logit is the label",
    },
    "distance": {
        "long_name": "relative change of the weights",
        "units": "1",
        "definition": "|w - w_as_trained| / |w_as_trained| over all weights",
    },
    "llc_change": {"long_name": "change of the LLC", "definition": "llc minus the llc as trained at the same step"},
    "llc_change_se": {"long_name": "its standard error", "definition": "llc_se of both, in squares"},
}


class Variant(NamedTuple):
    """An intervention by what is done, where, with what in the circuit's place, and in which draw of it.

    Parameters
    ----------
    act : str
        `as trained`, `kept`, `removed`, or `from the end` and `from memorization` for exchanged parts.
    site : str, optional
        What is changed, one of `SITES` or a part of the weights.
    control : str, optional
        `circuit`, or what stands in its place; empty for exchanged parts.
    draw : int, optional
        Of a random control, from 1 on.
    """

    act: str
    site: str = ""
    control: str = ""
    draw: int = 0

    @property
    def name(self) -> str:
        """In words, different for all variants."""
        if self.act not in ACTS:
            return f"{self.site} {self.act}".strip()
        number = f" {self.draw}" if self.draw else ""
        return f"{self.control}{number} {self.act} in {self.site}"


def variants(trajectory: Trajectory, controls: int) -> list[Variant]:
    """Everything that is done to a network of this shape; the circuit only for p an odd prime."""
    found = [Variant(AS_TRAINED)]
    if trajectory.task.modulus > 2 and is_prime(trajectory.task.modulus):
        for act in ACTS:
            for site, randoms in SITES.items():
                found.append(Variant(act, site, "circuit"))
                found += [Variant(act, site, name, draw) for name in randoms for draw in range(1, controls + 1)]
    return found + [Variant(origin, part) for origin in ORIGINS for part in weights.parts(trajectory)]


class Circuit(NamedTuple):
    """What takes the circuit's place in an intervention: functions of t (count, p), and neurons (d_mlp,)."""

    directions: Tensor
    neurons: np.ndarray


def circuit_of(variant: Variant, keys: Sequence[int], neurons: np.ndarray, modulus: int, seed: int) -> Circuit | None:
    """Return the circuit, or as much of what is random; None where there is no circuit or no other frequency.

    Random frequencies are not key; random neurons are drawn among all, since the circuit can have most of them.
    """
    if not len(keys):
        return None
    if variant.control == "circuit":
        return Circuit(weights.frequency_directions(modulus, keys), neurons)
    generator = np.random.default_rng(np.random.SeedSequence([seed, variant.draw]))
    others = generator.permutation(np.setdiff1d(np.arange(1, (modulus + 1) // 2), keys))[: len(keys)]
    chosen = np.isin(np.arange(len(neurons)), generator.permutation(len(neurons))[: neurons.sum()])
    if variant.control == "random planes":
        return Circuit(weights.random_directions(modulus, 2 * len(keys), generator), chosen)
    return Circuit(weights.frequency_directions(modulus, others.tolist()), chosen) if len(others) == len(keys) else None


def intervene(one: Trajectory, variant: Variant, circuit: Circuit | None, donor: Trajectory | None) -> Trajectory:
    """One variant of the networks."""
    if variant.act == AS_TRAINED:
        return one
    if variant.act in ACTS:
        assert circuit is not None
        in_tables, in_neurons = ACTS[variant.act]
        changed = in_tables(one, circuit.directions) if "tables" in variant.site else one
        return in_neurons(changed, circuit.neurons) if "neurons" in variant.site else changed
    assert donor is not None
    return weights.exchange(one, donor, weights.parts(one)[variant.site])


def measure_interventions(
    run: RunDirectory, label: str, s: IntervenedSettings, trajectory: Trajectory, content: Any, report: ProgressCallback
) -> xr.Dataset:
    """Return what every variant measures at some checkpoints from memorization on.

    Returns
    -------
    xarray.Dataset
        Over (step, seed, variant) what `slt_grok.llc.estimate` gives, `llc_change`, `llc_change_se` and `distance`;
        with `split` also `loss` and `accuracy`. The coordinates `act`, `site`, `control` and `draw` say what a variant
        is. What a seed has not (a circuit, a memorizing checkpoint) is NaN, with the reason in `llc_status_reason`.
    """
    from slt_grok import circuits

    steps, seeds = trajectory.coords["step"], trajectory.coords["seed"].tolist()
    todo = variants(trajectory, s.controls)
    keys, neurons = [[] for _ in seeds], [np.zeros(0, dtype=bool) for _ in seeds]
    if any(variant.act in ACTS for variant in todo):
        keys = [mask.frequency.values[mask.values].tolist() for mask in circuits.key_frequencies(trajectory)]
        neurons = list(circuits.circuit_neurons(trajectory).values)
    memorized = [_memorized(run, steps, seed) for seed in seeds]
    late = steps[min((place for place in memorized if place is not None), default=len(steps) // 3) :]
    chosen = trajectory.isel(step=np.flatnonzero(np.isin(steps, evenly_spaced(late, s.checkpoints))).tolist())
    group = max(1, shard_chains(trajectory) // s.chains)
    results: list[xr.Dataset] = []
    for start in range(0, len(todo), group):
        some = todo[start : start + group]

        def measure(shard: Trajectory, done: Any, some: list[Variant] = some) -> xr.Dataset:
            networks: list[xr.Dataset] = []
            for i, (own, mine) in enumerate(zip(keys, neurons, strict=True)):
                place = memorized[i]
                donors = {
                    ORIGINS[0]: trajectory.isel(step=[-1], seed=[i]),
                    ORIGINS[1]: None if place is None else trajectory.isel(step=[place], seed=[i]),
                }
                made = {}
                for variant in some:
                    circuit = circuit_of(variant, own, mine, trajectory.task.modulus, s.seed)
                    donor = donors.get(variant.act)
                    if variant.act == AS_TRAINED or (circuit if variant.act in ACTS else donor) is not None:
                        made[variant.name] = partial(intervene, variant=variant, circuit=circuit, donor=donor)
                networks.append(measured(shard.isel(seed=[i]), made, s, [variant.name for variant in some]))
                done((i + 1) / len(seeds))
            return xr.concat(networks, "seed")

        def on_progress(checkpoints: float, among: int, facts: str, start: int = start, count: int = len(some)) -> None:
            share = (start + count * checkpoints / among) / len(todo)
            report(int(share * len(trajectory)), f"{share:.0%} of {len(todo)} variants at {among} checkpoints")

        name = f"{label}/variants_{start:03d}"
        found = measure_in_shards(
            run, name, chosen, measure, content, size=1, here=s.device is not None, on_progress=on_progress
        )
        results.append(found)
    found = xr.concat(results, weights.VARIANT, combine_attrs="drop_conflicts")
    return with_changes(found).assign_coords(
        {field: (weights.VARIANT, [getattr(variant, field) for variant in todo]) for field in Variant._fields}
    )


def measured(
    one: Trajectory, made: dict[str, Callable[[Trajectory], Trajectory]], s: IntervenedSettings, names: list[str]
) -> xr.Dataset:
    """LLC, losses, accuracies and distance of one network's variants; those not made are NaN."""
    dims = (*one.dims, weights.VARIANT)
    if not made:
        shape = (*one.shape, len(names))
        empty = {name: (dims, np.full(shape, np.nan)) for name in KEPT if "status" not in name}
        words = {"llc_status": (dims, np.full(shape, "")), "llc_status_reason": (dims, np.full(shape, UNMADE))}
        nothing = np.full((*shape, len(SPLITS)), np.nan)
        more = {"loss": ((*dims, "split"), nothing, ATTRS["loss"]),
                "accuracy": ((*dims, "split"), nothing, ATTRS["accuracy"]),
                "distance": (dims, np.full(shape, np.nan), ATTRS["distance"])}  # fmt: skip
        coords = {**one.coords, weights.VARIANT: names, "split": list(SPLITS)}
        return xr.Dataset({**empty, **words, **more}, coords=coords)
    stacked = weights.stack_variants({name: make(one) for name, make in made.items()})
    found = estimate_by(s, stacked)[list(KEPT)]
    before = torch.cat([tensor.double().flatten() for tensor in one.parameters.values()])
    pairs = [evaluated(stacked, place) for place in range(len(made))]
    values = np.array(pairs)  # (variant, loss or accuracy, split)
    after = [torch.cat([t[i].double().flatten() for t in stacked.stacked().values()]) for i in range(len(made))]
    distance = [float((w - before).norm() / before.norm()) for w in after]
    more = stacked.dataset(
        {
            "loss": (("split",), values[:, 0], ATTRS["loss"]),
            "accuracy": (("split",), values[:, 1], ATTRS["accuracy"]),
            "distance": ((), distance, ATTRS["distance"]),
        },
        split=list(SPLITS),
    )
    fill: dict[Any, Any] = dict.fromkeys([*KEPT, *more.data_vars], np.nan)
    fill |= {"llc_status": "", "llc_status_reason": UNMADE}
    return found.merge(more).reindex({weights.VARIANT: names}, fill_value=fill).assign_attrs(found.attrs)


def evaluated(stacked: Trajectory, place: int) -> tuple[list[float], list[float]]:
    """Loss and accuracy on each split of one network of a trajectory, in float64; NaN on a split without pairs."""
    parameters = {name: tensor[place].double() for name, tensor in stacked.stacked().items()}
    losses, accuracies = [], []
    with torch.no_grad():
        for split in SPLITS:
            inputs, labels = stacked.task.data(split)
            logits = stacked.network.outputs(parameters, inputs)
            losses.append(float(stacked.network.loss(logits, labels).mean()))
            accuracies.append(float((logits.argmax(-1) == labels).double().mean()))
    return losses, accuracies


def with_changes(found: xr.Dataset) -> xr.Dataset:
    """With the LLC minus that of the network as trained, at the same step and seed."""
    plain = found.sel({weights.VARIANT: AS_TRAINED}, drop=True)
    other = found[weights.VARIANT] != AS_TRAINED
    change = (found.llc - plain.llc).where(other).transpose(*found.llc.dims).assign_attrs(ATTRS["llc_change"])
    error = (np.hypot(found.llc_se, plain.llc_se)).where(other).transpose(*found.llc.dims)
    return found.assign(llc_change=change, llc_change_se=error.assign_attrs(ATTRS["llc_change_se"]))


def _memorized(run: RunDirectory, steps: np.ndarray, seed: int) -> int | None:
    """Place of the first checkpoint from memorization on; None where there is none."""
    later = np.flatnonzero(steps >= milestones(run, seed)[0])  # NaN: never
    return int(later[0]) if len(later) else None

"""All circuit measures of a trajectory in one dataset, batched over its checkpoints."""

import json
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
import xarray as xr
from pydantic import Field
from torch import Tensor

from slt_grok.batching import at_a_time
from slt_grok.circuits import spectrum
from slt_grok.circuits.chunk import Chunk
from slt_grok.circuits.gradient_symmetricity import number_of_triples
from slt_grok.circuits.measure import NANDA, ON_TASK, CircuitMeasure, lacks
from slt_grok.errors import SltGrokError
from slt_grok.groups import Group
from slt_grok.measurement import Context, Data, Drawing, Measurement, Variable
from slt_grok.models import Network
from slt_grok.progress import ProgressCallback, ignore
from slt_grok.settings import Settings
from slt_grok.tasks import SPLITS
from slt_grok.trajectories import Trajectory

# Number of doubles in memory: computations hold activations about eight times, logits about ten times.
CHUNK_BYTES = 2**29
GRADIENT_TRIPLES = 6000  # standard error at most 0.005
SHARD = 8  # checkpoints per shard
FREQUENCY_OF_CIRCUIT = Variable(
    ("frequency",),
    "frequency of the circuit",
    "used by the restricted, excluded and trig losses at every step; unless given, key_frequency at the last step",
    NANDA,
    where="a task whose tokens form a group",
)


class CircuitsSettings(Settings):
    """Settings of the measurement `circuits`."""

    gradient_triples: int | None = Field(
        default=GRADIENT_TRIPLES, ge=2, description="triples to average gradient symmetricity over; null: all n^3"
    )


class CircuitMeasurement(Measurement):
    """A measurement of networks that meet its requirements."""

    needs: ClassVar[tuple[str, ...]] = ("logits",)
    """As for a `CircuitMeasure`."""

    def unmeasurable(self, network: Network) -> str | None:
        """See `Measurement`."""
        return _reason(network, self.needs)


class Circuits(CircuitMeasurement):
    """Every registered circuit measure over training."""

    name = "circuits"
    title = "Fourier circuit"
    position = 30
    Settings = CircuitsSettings

    @property
    def variables(self) -> dict[str, Variable]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Variables of all circuit measures, and the frequencies of the circuit."""
        declared = {"circuit_frequency": FREQUENCY_OF_CIRCUIT}
        for kind in CircuitMeasure.all():
            where = ", ".join(ON_TASK[need][1] if need in ON_TASK else f"models with {need}" for need in kind.needs)
            declared |= {name: v._replace(where=v.where or where) for name, v in kind.variables.items()}
        return declared

    def measure(self, trajectory: Trajectory, settings: CircuitsSettings, context: Context) -> xr.Dataset:
        """See `Measurement`; the circuit's frequencies at the last step are used at every step."""
        keys = key_frequencies(trajectory) if trajectory.task.group else None
        return context.in_shards(
            trajectory,
            lambda shard, on_progress: measure(shard, keys, settings.gradient_triples, on_progress),
            size=SHARD,
        )

    def figures(self) -> Sequence[Drawing]:
        """See `Result`."""
        from slt_grok import plots

        return [
            Drawing(
                "spectrum",
                plots.spectrum,
                "Top: fraction of the squared norm of the embedding (W_E) and the neuron-logit map (W_L) at each "
                "Fourier frequency; numbers at the edge name the key frequencies of the last checkpoint. Bottom: "
                "number of neurons with more than 85% of their variance at a frequency, key frequencies in the same "
                "colors.",
                ("embedding_spectrum", "neuron_logit_map_spectrum", "neuron_cluster_size"),
            ),
            Drawing(
                "clock_pizza_plane",
                lambda circuits: plots.clock_pizza_plane({"this run": circuits}),
                "Checkpoints between pizza (equal gradients for both tokens, logits that depend on their "
                "distance) and clock, from the first (hollow) to the last (filled). Dashed: the published boundaries "
                "(arXiv:2306.17844). Bars: 95% intervals of the sampled gradient symmetricity, mostly smaller than the "
                "points.",
                ("gradient_symmetricity", "distance_irrelevance_top_wrong"),
                by_seed=False,
            ),
            Drawing(
                "phase_alignment",
                plots.phase_alignment,
                "Left: where each neuron peaks, on the grid of its frequency. On the diagonal (for addition) "
                "both tokens have the same phase and the cluster is a disc; independent phases fill the grid, a "
                "torus. Right: the distance from the diagonal, compared with independent phases.",
                ("neuron_alignment_left", "neuron_torus_distance"),
                folded=True,
            ),
        ]

    def notes(self, data: Data) -> Sequence[str]:
        """See `Result`."""
        dataset = data[self.name]
        omitted = json.loads(dataset.attrs.get("omitted", "{}"))
        needed = [f"{name.replace('_', ' ')} (needs {what})" for name, what in omitted.items()]
        notes = [f"Not measured: {'; '.join(needed)}."] if needed else []
        if "circuit_frequency" in dataset and not dataset.circuit_frequency.any():
            notes.append(
                "No frequency is a key frequency at the last checkpoint: the restricted and trig losses are those of "
                "the mean logits, and the excluded loss is the plain loss."
            )
        return notes


def measure(
    trajectory: Trajectory,
    circuit_frequency: xr.DataArray | np.ndarray | None = None,
    gradient_triples: int | None = GRADIENT_TRIPLES,
    on_progress: ProgressCallback = ignore,
) -> xr.Dataset:
    """Measure the circuits of every network in a trajectory.

    Parameters
    ----------
    trajectory : Trajectory
        Networks on a task, whose model declares its sites.
    circuit_frequency : xarray.DataArray or ndarray or None, optional
        Frequencies used for the restricted, excluded and trig losses at every step: a bool mask over `frequency`, or
        over the leading dimensions without `step`, then `frequency`. The default is `key_frequencies(trajectory)`; pass
        the mask explicitly when measuring a trajectory in shards.
    gradient_triples : int or None, optional
        Number of triples (a, b, c) to average gradient symmetricity over, see `gradient_symmetricity.triples`; at most
        n^3. None uses all n^3, at a cost of about one core-second per 30,000 triples (7 s at n = 59, a minute at n =
        113).
    on_progress : callable, optional
        Called with the completed fraction after each chunk.

    Returns
    -------
    xarray.Dataset
        A dataset over the leading dimensions of the trajectory with the variables of every `CircuitMeasure`, whose
        attributes give the formula, unit and source of each; losses in nats, float64. Measures with unmet requirements
        are omitted; the attribute `omitted` (JSON) lists them with reasons. If no frequency is used, the restricted and
        trig losses are those of the mean logits and the excluded loss is the plain loss. Test values are NaN if all
        pairs are in the train set.

    Raises
    ------
    SltGrokError
        A model that does not declare its sites, no task, a mask of the wrong shape, or fewer than two triples.
    """
    require(trajectory.network, Circuits.needs)
    mask, kept = broadcast(trajectory, circuit_frequency) if trajectory.task.group else (None, None)
    measures, omitted = _measurable(trajectory.network)
    pieces: list[dict[str, Tensor]] = []
    for chunk in chunks(trajectory, kept, gradient_triples):
        for kind in measures:
            values = kind().compute(chunk)
            if undeclared := set(values) - set(kind.variables):
                raise SltGrokError(f"circuit measure {kind.name}: {min(undeclared)} is computed and not declared")
            chunk.values.update(values)
        pieces.append(chunk.values)
        on_progress(sum(len(piece["loss"]) for piece in pieces) / len(trajectory))
    values = {name: torch.cat([piece[name] for piece in pieces]).numpy() for name in pieces[0]}
    coords = {dim: list(labels) for kind in measures for dim, labels in kind.coords.items()}
    dataset = Circuits().dataset(trajectory, values, split=list(SPLITS), **coords)
    dataset.attrs = {"classes": trajectory.task.classes, "omitted": json.dumps(omitted)}
    if "gradient_symmetricity" in values:
        dataset.attrs["gradient_triples"] = number_of_triples(trajectory.network.module, gradient_triples)  # pyright: ignore[reportArgumentType]
    return Circuits().check(dataset if mask is None else dataset.assign(circuit_frequency=mask))


def key_frequencies(trajectory: Trajectory) -> xr.DataArray:
    """Find the key frequencies at the last step: those with at least one neuron, see `neurons`.

    For a model without neurons, these are the frequencies with the most power in the embedding, see
    `spectrum.key_by_power`.

    Returns
    -------
    xarray.DataArray
        A bool mask over the leading dimensions without `step`, then `frequency`.

    Raises
    ------
    SltGrokError
        See `measure`; also a task without a group.
    """
    require(trajectory.network, ("group", "logits"))
    last = at_last_step(trajectory)
    return _over_seeds(last, [_key(chunk) for chunk in chunks(last)], "frequency", group_of(trajectory).frequencies)


def _key(chunk: Chunk) -> Tensor:
    """Mask of the key frequencies, bool (N, K)."""
    if chunk.module.declares("neurons_post"):
        return chunk.cluster_size > 0
    return spectrum.key_by_power(spectrum.power_fraction(chunk.embedding, chunk.group), chunk.group)


def circuit_neurons(trajectory: Trajectory) -> xr.DataArray:
    """Find the neurons that compute with one key frequency at the last step, see `neurons.in_cluster`.

    Returns
    -------
    xarray.DataArray
        A bool mask over the leading dimensions without `step`, then `neuron`.

    Raises
    ------
    SltGrokError
        See `key_frequencies`; also a model without neurons.
    """
    require(trajectory.network, ("group", "neurons_post"))
    last = at_last_step(trajectory)
    return _over_seeds(last, [chunk.belongs for chunk in chunks(last)], "neuron")


# -- parts that other circuit measurements share ----------------------------------------------------------------------


def require(network: Network, needs: Sequence[str]) -> None:
    """Raise an error unless a network meets all requirements.

    Raises
    ------
    SltGrokError
        A requirement is not met; the message names it.
    """
    if reason := _reason(network, needs):
        raise SltGrokError(f"circuits: {reason}")


def _reason(network: Network, needs: Sequence[str]) -> str | None:
    if lacking := lacks(network, [need for need in needs if need in ON_TASK]):
        task = network.task
        got = "none" if task is None else f"a {getattr(task, 'name', type(task).__name__)} task"
        return f"expected {lacking}, got {got}"
    if lacking := lacks(network, needs):
        how = "name the sites of your own network by slt-grok import --sites"
        return f"expected {lacking}, got {type(network.module).__name__}; {how}"
    return None


def group_of(trajectory: Trajectory) -> Group:
    """Get the group of the tokens, for a network already checked to have one."""
    group = trajectory.task.group
    assert group is not None
    return group


def at_last_step(trajectory: Trajectory) -> Trajectory:
    """Select the networks of the last step, keeping a `step` dimension of length 1 if there is one."""
    return trajectory.isel(step=[-1]) if "step" in trajectory.dims else trajectory


def chunks(
    trajectory: Trajectory, kept: Tensor | None = None, gradient_triples: int | None = None, size: int | None = None
) -> Iterator[Chunk]:
    """Yield the networks in float64, `size` at a time; by default as many as `CHUNK_BYTES` allows.

    Parameters
    ----------
    trajectory : Trajectory
        The networks.
    kept : Tensor or None, optional
        Circuit frequencies of each network, (N, K).
    gradient_triples : int or None, optional
        See `Chunk`.
    size : int or None, optional
        Number of networks per chunk.
    """
    stack, task, network = trajectory.stacked(), trajectory.task, trajectory.network
    declared = network.declares("neuron_logit_map") and network.module.neuron_logit_map(stack).shape[-2]  # pyright: ignore[reportCallIssue]
    size = size or at_a_time(8 * len(task.inputs) * (8 * declared + 10 * task.classes), CHUNK_BYTES)
    kept = torch.zeros(len(trajectory), 0, dtype=torch.bool) if kept is None else kept
    for start in range(0, len(trajectory), size):
        part = {name: tensor[start : start + size].double() for name, tensor in stack.items()}
        yield Chunk.of(network, part, kept[start : start + size], gradient_triples)


def broadcast(trajectory: Trajectory, circuit_frequency: Any = None) -> tuple[xr.DataArray, Tensor]:
    """Broadcast the mask, by default `key_frequencies`, to (other dims, frequency), and to each of the N networks."""
    coords = {dim: trajectory.coords[dim] for dim in trajectory.dims if dim != "step"}
    coords["frequency"] = group_of(trajectory).frequencies
    values = np.asarray(key_frequencies(trajectory) if circuit_frequency is None else circuit_frequency)
    shape = tuple(map(len, coords.values()))
    if values.shape not in (shape, shape[-1:]) or values.dtype != bool:
        raise SltGrokError(
            f"circuit_frequency: expected a bool mask of shape {shape} or {shape[-1:]}, "
            f"got {values.dtype} of shape {values.shape}"
        )
    mask = xr.DataArray(np.broadcast_to(values, shape).copy(), coords, tuple(coords))
    return mask, torch.from_numpy(for_each_network(trajectory, mask))


def for_each_network(trajectory: Trajectory, values: xr.DataArray) -> np.ndarray:
    """Repeat values over the leading dimensions without `step` at each step: (other dims, K) -> (N, K)."""
    whole = values.expand_dims(step=len(trajectory.coords["step"])) if "step" in trajectory.dims else values
    return whole.transpose(*trajectory.dims, ...).values.reshape(len(trajectory), -1).copy()


def _measurable(network: Network) -> tuple[list[type[CircuitMeasure]], dict[str, str]]:
    """List the measures whose requirements a network meets, and the reason for omitting each of the others."""
    measures, omitted = [], {}
    for kind in CircuitMeasure.in_order():
        reason = lacks(network, kind.needs)
        first = next((name for name in kind.after if name in omitted), None)
        if reason or first:
            omitted[kind.name] = reason or f"the circuit measure {first}"
        else:
            measures.append(kind)
    return measures, omitted


def _over_seeds(last: Trajectory, values: list[Tensor], dim: str, coord: Any = None) -> xr.DataArray:
    """Arrange values of the networks at the last step over the leading dimensions without `step`, and one more."""
    dataset = last.dataset({"value": ((dim,), torch.cat(values), {})}, **({} if coord is None else {dim: coord}))
    return dataset["value"].isel(step=0, drop=True) if "step" in last.dims else dataset["value"]

"""All circuit measures of a trajectory in one dataset, batched over its checkpoints."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from slt_grok import fourier
from slt_grok.circuits import neurons, progress, spectrum
from slt_grok.circuits.variables import VARIABLES
from slt_grok.errors import SltGrokError
from slt_grok.interventions import relabel
from slt_grok.models import ModularNetwork
from slt_grok.tasks import ModularTask
from slt_grok.trajectories import Network, Trajectory

SPLITS = ("train", "test", "all")
# Doubles held at once: activations are copied some six times on the way, logits some ten times.
CHUNK_BYTES = 2**29

OnProgress = Callable[[int, int], None]


def measure(
    trajectory: Trajectory,
    circuit_frequency: xr.DataArray | np.ndarray | None = None,
    on_progress: OnProgress | None = None,
) -> xr.Dataset:
    """Fourier circuit measures of every network of a trajectory.

    Parameters
    ----------
    trajectory : networks of this package on a modular task, p an odd prime.
    circuit_frequency : the frequencies used for the restricted, excluded and trig losses at every step: a bool mask
        over `frequency`, or over the leading dimensions without `step`, then `frequency`. Left out, it is
        `key_frequencies(trajectory)`; give it when a trajectory is measured in shards.
    on_progress : called with (networks done, networks in all) after each chunk.

    Returns
    -------
    A dataset over the leading dimensions of the trajectory with the variables of `circuits.variables`, whose
    attributes hold the formula, unit and source of each; losses in nats, float64. Where no frequency is used, the
    restricted and trig losses are those of the mean logits and the excluded loss is the plain one. Test values are
    NaN where everything is trained on.

    Raises
    ------
    SltGrokError : a network that is not of this package or has no task, p not an odd prime, or a mask of another
        shape.
    """
    module, task = _circuit_parts(trajectory.network)
    frequencies = fourier.frequencies(task.modulus)
    if circuit_frequency is None:
        circuit_frequency = key_frequencies(trajectory)
    mask, on_networks = _broadcast(trajectory, circuit_frequency)
    pieces: list[dict[str, Tensor]] = []
    done = 0
    for chunk in _chunks(trajectory, module):
        size = len(next(iter(chunk.values())))
        pieces.append(_measure_chunk(trajectory.network, chunk, on_networks[done : done + size]))
        done += size
        if on_progress is not None:
            on_progress(done, len(trajectory))
    variables = {
        name: (dims, torch.cat([piece[name] for piece in pieces]).numpy(), attrs)
        for name, (dims, attrs) in VARIABLES.items()
        if name != "circuit_frequency"
    }
    dataset = trajectory.dataset(variables, frequency=frequencies, split=list(SPLITS))
    return dataset.assign(circuit_frequency=mask.assign_attrs(VARIABLES["circuit_frequency"][1]))


def key_frequencies(trajectory: Trajectory) -> xr.DataArray:
    """Key frequencies by the neuron rule at the last step: those with a neuron of their own.

    Returns
    -------
    A bool mask over the leading dimensions without `step`, then `frequency`.

    Raises
    ------
    SltGrokError : as `measure`.
    """
    module, task = _circuit_parts(trajectory.network)
    last = trajectory.isel(step=-1) if "step" in trajectory.dims else trajectory
    inputs, sizes = task.inputs, []
    for chunk in _chunks(last, module):
        sites = last.network.stacked_sites(chunk, inputs, "neurons_post")
        fve = neurons.fraction_of_variance_explained(sites["neurons_post"])
        sizes.append(neurons.cluster_sizes(fve, neurons.in_cluster(fve, module.activation is torch.square)))
    found = last.dataset(
        {"key": (("frequency",), (torch.cat(sizes) > 0).numpy(), {})}, frequency=fourier.frequencies(task.modulus)
    )["key"]
    return found.isel(step=0, drop=True) if "step" in trajectory.dims else found


def null(trajectory: Trajectory, seed: int = 0, on_progress: OnProgress | None = None) -> xr.Dataset:
    """The same measurement after a random renaming of the tokens: what the measures say without Fourier structure.

    Inputs, answers, labels and the split are renamed together, so that losses and accuracies of the whole network
    are unchanged; what depends on the order of Z_p (spectra, clusters, key frequencies, restricted, excluded and trig
    losses) takes its chance value. One draw of the permutation serves all networks.

    Raises
    ------
    SltGrokError : as `measure`.
    """
    _, task = _circuit_parts(trajectory.network)
    permutation = np.random.default_rng(np.random.SeedSequence(seed)).permutation(task.modulus)
    return measure(relabel(trajectory, permutation), on_progress=on_progress)


def _circuit_parts(network: Network) -> tuple[ModularNetwork, ModularTask]:
    if not isinstance(network.module, ModularNetwork):
        raise SltGrokError(
            f"circuits: expected a model of slt_grok.models, whose sites and weights have known roles, "
            f"got {type(network.module).__name__}"
        )
    if network.task is None:
        raise SltGrokError("circuits: expected a network with a modular task, this one has none")
    fourier.frequencies(network.task.modulus)
    return network.module, network.task


def _chunks(trajectory: Trajectory, module: ModularNetwork) -> Iterator[dict[str, Tensor]]:
    """The stacked parameters in float64, so many networks at a time as `CHUNK_BYTES` allows."""
    stack = trajectory.stacked()
    p, width = module.modulus, module.neuron_logit_map(stack).shape[-2]
    size = max(1, CHUNK_BYTES // (8 * p**2 * (6 * width + 10 * p)))
    for start in range(0, len(trajectory), size):
        yield {name: tensor[start : start + size].double() for name, tensor in stack.items()}


def _broadcast(trajectory: Trajectory, given: Any) -> tuple[xr.DataArray, Tensor]:
    """The mask as (other dims, frequency), and for each of the N networks."""
    frequencies = fourier.frequencies(trajectory.task.modulus)
    others = {dim: trajectory.coords[dim] for dim in trajectory.dims if dim != "step"}
    values, sizes = np.asarray(given), tuple(map(len, others.values()))
    shape = (*sizes, len(frequencies))
    if values.shape not in (shape, shape[-1:]) or values.dtype != bool:
        raise SltGrokError(
            f"circuit_frequency: expected a bool mask of shape {shape} or {shape[-1:]}, "
            f"got {values.dtype} of shape {values.shape}"
        )
    mask = xr.DataArray(
        np.broadcast_to(values, shape).copy(),
        coords={**{d: (d, v) for d, v in others.items()}, "frequency": frequencies},
        dims=(*others, "frequency"),
    )
    whole = mask.expand_dims(step=len(trajectory.coords["step"])) if "step" in trajectory.dims else mask
    on_networks = whole.transpose(*trajectory.dims, "frequency").values.reshape(-1, len(frequencies))
    return mask, torch.from_numpy(on_networks.copy())


def _measure_chunk(network: Network, stack: dict[str, Tensor], kept: Tensor) -> dict[str, Tensor]:
    """Every variable but `circuit_frequency` for a stack of networks."""
    module, task = _circuit_parts(network)
    sign = -1 if task.operation == "subtraction" else 1
    sums, labels = fourier.grid_sum(task.modulus, sign), task.labels
    rows = [task.indices("train"), task.indices("test"), task.indices("all")]

    def by_split(per_sample: Tensor) -> Tensor:
        return torch.stack([per_sample[:, index].double().mean(-1) for index in rows], -1)

    def split_losses(logits: Tensor) -> Tensor:
        return by_split(progress.sample_losses(logits, labels))

    sites = network.stacked_sites(stack, task.inputs, "neurons_post", "logits")
    fve = neurons.fraction_of_variance_explained(sites.pop("neurons_post"))
    belongs = neurons.in_cluster(fve, module.activation is torch.square)
    sizes = neurons.cluster_sizes(fve, belongs)
    embedding = module.token_embedding(stack)
    neuron_logit_map = module.neuron_logit_map(stack).mT
    embedding_share = spectrum.power_share(embedding)
    masks = (
        sizes > 0,
        spectrum.key_by_power(embedding_share),
        spectrum.key_by_power(spectrum.power_share(neuron_logit_map)),
    )
    logits = sites["logits"]
    table = fourier.sum_table(logits, sign)
    fitted, clock_fve = progress.clock_fit(logits, table, kept)
    train = task.indices("train")
    return {
        "accuracy": by_split(logits.argmax(-1) == labels),
        "loss": split_losses(logits),
        "embedding_spectrum": embedding_share,
        "neuron_cluster_size": sizes,
        "neuron_share": belongs.double().mean(-1),
        "key_frequency": masks[0],
        "key_frequency_embedding": masks[1],
        "key_frequency_neuron_logit_map": masks[2],
        "key_frequency_agreement": spectrum.agreement(*masks),
        "restricted_loss_sum": split_losses(progress.restricted_sum(table, kept)[:, sums]),
        "restricted_loss_2x2": split_losses(progress.restricted_blocks(logits, kept, 2)),
        "restricted_loss_3x3": split_losses(progress.restricted_blocks(logits, kept, 3)),
        "excluded_loss": split_losses(logits - progress.project(table, kept)[:, sums]),
        "excluded_loss_by_frequency": progress.excluded_by_frequency(
            logits[:, train], table, sums[train], labels[train]
        ),
        "trig_loss": split_losses(fitted[:, sums]),
        "clock_fve": clock_fve,
        "gini_embedding": spectrum.gini_of_components(embedding),
        "gini_neuron_logit_map": spectrum.gini_of_components(neuron_logit_map),
        "sum_of_squared_weights": torch.stack([w.flatten(1).square().sum(-1) for w in stack.values()]).sum(0),
    }

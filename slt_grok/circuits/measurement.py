"""All circuit measures of a trajectory in one dataset, batched over its checkpoints."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from slt_grok import fourier
from slt_grok.circuits import geometry, neurons
from slt_grok.circuits.chunk import CIRCLES, measure_chunk
from slt_grok.circuits.variables import VARIABLES
from slt_grok.errors import SltGrokError
from slt_grok.interventions import relabel
from slt_grok.models import Model
from slt_grok.tasks import ModularTask
from slt_grok.tasks import SPLITS
from slt_grok.trajectories import Network, Trajectory

# Doubles held at once: activations are held some eight times on the way, logits some ten times.
CHUNK_BYTES = 2**29
GRADIENT_TRIPLES = 6000  # standard error 0.005 where the cosines spread most

OnProgress = Callable[[int, int], None]


def measure(
    trajectory: Trajectory,
    circuit_frequency: xr.DataArray | np.ndarray | None = None,
    on_progress: OnProgress | None = None,
    gradient_triples: int | None = GRADIENT_TRIPLES,
) -> xr.Dataset:
    """Circuit measures of every network of a trajectory.

    Parameters
    ----------
    trajectory : Trajectory
        Networks of this package on a modular task, p an odd prime.
    circuit_frequency : xarray.DataArray or ndarray or None, optional
        The frequencies used for the restricted, excluded and trig losses at every step: a bool mask over `frequency`,
        or over the leading dimensions without `step`, then `frequency`. Left out, it is `key_frequencies(trajectory)`;
        give it when a trajectory is measured in shards.
    on_progress : OnProgress or None, optional
        Called with (networks done, networks in all) after each chunk.
    gradient_triples : int or None, optional
        How many of the p^3 triples (a, b, c) gradient symmetricity is the mean over, see
        `gradient_symmetricity.triples`; at most p^3 are taken, None takes all of them, which costs about a core-second
        for each 30,000 triples (7 s at p = 59, a minute at p = 113).

    Returns
    -------
    xarray.Dataset
        A dataset over the leading dimensions of the trajectory with the variables of `circuits.variables`, whose
        attributes hold the formula, unit and source of each; losses in nats, float64. Those of attention heads, of the
        OV circuit and of the normalized margin are there for networks that have such a thing. Where no frequency is
        used, the restricted and trig losses are those of the mean logits and the excluded loss is the plain one. Test
        values are NaN where everything is trained on.

    Raises
    ------
    SltGrokError
        A network that is not of this package or has no task, p not an odd prime, a mask of another shape, or fewer than
        two triples.
    """
    module, task = circuit_parts(trajectory.network)
    frequencies = fourier.frequencies(task.modulus)
    if circuit_frequency is None:
        circuit_frequency = key_frequencies(trajectory)
    mask, on_networks = broadcast(trajectory, circuit_frequency)
    triples = task.modulus**3 if gradient_triples is None else min(gradient_triples, task.modulus**3)
    pieces: list[dict[str, Tensor]] = []
    done = 0
    for chunk in _chunks(trajectory, module):
        size = len(next(iter(chunk.values())))
        pieces.append(measure_chunk(trajectory.network, chunk, on_networks[done : done + size], triples))
        done += size
        if on_progress is not None:
            on_progress(done, len(trajectory))
    variables = {
        name: (dims, torch.cat([piece[name] for piece in pieces]).numpy(), attrs)
        for name, (dims, attrs) in VARIABLES.items()
        if name in pieces[0]
    }
    coords = {
        "frequency": frequencies,
        "split": list(SPLITS),
        "part": ["cosine", "sine"],
        "circle": list(range(1, CIRCLES + 1)),
        "site": list(geometry.SITES),
        "cloud": list(geometry.CLOUDS),
        "rank": list(geometry.RANKS),
    }
    dataset = trajectory.dataset(variables, **coords)
    dataset["gradient_symmetricity"].attrs["triples"] = triples
    return dataset.assign(circuit_frequency=mask.assign_attrs(VARIABLES["circuit_frequency"][1]))


def key_frequencies(trajectory: Trajectory) -> xr.DataArray:
    """Key frequencies by the neuron rule at the last step: those with a neuron of their own.

    Returns
    -------
    xarray.DataArray
        A bool mask over the leading dimensions without `step`, then `frequency`.

    Raises
    ------
    SltGrokError
        As `measure`.
    """
    module, task = circuit_parts(trajectory.network)
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


def circuit_neurons(trajectory: Trajectory) -> xr.DataArray:
    """Return the neurons that compute with one key frequency at the last step, see `neurons.in_cluster`.

    Returns
    -------
    xarray.DataArray
        A bool mask over the leading dimensions without `step`, then `neuron`.

    Raises
    ------
    SltGrokError
        As `measure`.
    """
    module, task = circuit_parts(trajectory.network)
    last = trajectory.isel(step=-1) if "step" in trajectory.dims else trajectory
    belong = []
    for chunk in _chunks(last, module):
        fve = neurons.fraction_of_variance_explained(
            last.network.stacked_sites(chunk, task.inputs, "neurons_post")["neurons_post"]
        )
        belong.append(neurons.in_cluster(fve, module.activation is torch.square))
    found = last.dataset({"belongs": (("neuron",), torch.cat(belong).numpy(), {})})["belongs"]
    return found.isel(step=0, drop=True) if "step" in trajectory.dims else found


def null(trajectory: Trajectory, seed: int = 0, on_progress: OnProgress | None = None) -> xr.Dataset:
    """Return the same measurement after a random renaming of the tokens.

    What the measures say without Fourier structure.

    Inputs, answers, labels and the split are renamed together, so that losses and accuracies of the whole network
    are unchanged; what depends on the order of Z_p (spectra, clusters, key frequencies, restricted, excluded and trig
    losses) takes its chance value. One draw of the permutation serves all networks.

    Raises
    ------
    SltGrokError
        As `measure`.
    """
    _, task = circuit_parts(trajectory.network)
    permutation = np.random.default_rng(np.random.SeedSequence(seed)).permutation(task.modulus)
    return measure(relabel(trajectory, permutation), on_progress=on_progress)


def circuit_parts(network: Network) -> tuple[Model, ModularTask]:
    """Return the module and the task of a network that circuits can be measured of.

    Raises
    ------
    SltGrokError
        A network that is not of this package or has no task, or p not an odd prime.
    """
    if not isinstance(network.module, Model):
        raise SltGrokError(
            f"circuits: expected a model of slt_grok.models, whose sites and weights have known roles, "
            f"got {type(network.module).__name__}"
        )
    if network.task is None:
        raise SltGrokError("circuits: expected a network with a modular task, this one has none")
    fourier.frequencies(network.task.modulus)
    return network.module, network.task


def _chunks(trajectory: Trajectory, module: Model) -> Iterator[dict[str, Tensor]]:
    """Yield the stacked parameters in float64, so many networks at a time as `CHUNK_BYTES` allows."""
    stack = trajectory.stacked()
    p, width = module.tokens, module.neuron_logit_map(stack).shape[-2]
    size = max(1, CHUNK_BYTES // (8 * p**2 * (8 * width + 10 * p)))
    for start in range(0, len(trajectory), size):
        yield {name: tensor[start : start + size].double() for name, tensor in stack.items()}


def broadcast(trajectory: Trajectory, given: Any) -> tuple[xr.DataArray, Tensor]:
    """Return the mask as (other dims, frequency), and for each of the N networks."""
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

"""The circuit as a paper draws it: embedding circles, activation grids and the logits' two-dimensional spectrum.

After the figures of Nanda et al. 2301.05217, sections 4.1, 4.2 and 4.4. Numbers of the same circuit are in
`slt_grok.circuits.measure`.
"""

import math

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from torch.nn.functional import pad

from slt_grok import fourier
from slt_grok.circuits import neurons
from slt_grok.circuits.measurement import broadcast, circuit_parts, key_frequencies
from slt_grok.circuits.variables import VARIABLES
from slt_grok.circuits.variables.maps import MAPS
from slt_grok.trajectories import Trajectory

EXAMPLES = 3  # neurons of a frequency
MOST_FREQUENCIES = 5  # that examples are kept of

Examples = list[tuple[int, int]]  # neuron and frequency


def measure(trajectory: Trajectory, circuit_frequency: xr.DataArray | np.ndarray | None = None) -> xr.Dataset:
    """Embedding planes, activations of a few neurons and Fourier components of the logits of every network.

    Parameters
    ----------
    trajectory : Trajectory
        Networks of this package on a modular task, p an odd prime.
    circuit_frequency : xarray.DataArray or ndarray or None, optional
        As for `slt_grok.circuits.measure`.

    Returns
    -------
    xarray.Dataset
        A dataset over the leading dimensions of the trajectory with the variables of `circuits.variables.maps`, in
        single precision: some 0.7 MB a network at p = 113 and four frequencies. The examples are left out where no
        frequency of the circuit has a neuron.

    Raises
    ------
    SltGrokError
        A network that is not of this package or has no task, p not an odd prime, or a mask of another shape.
    """
    module, task = circuit_parts(trajectory.network)
    if circuit_frequency is None:
        circuit_frequency = key_frequencies(trajectory)
    mask, _ = broadcast(trajectory, circuit_frequency)
    examples = _examples(trajectory, mask)
    count = max(map(len, examples))
    pieces: list[dict[str, Tensor]] = []
    for one, own in zip(_each(trajectory), _for_each_step(trajectory, examples), strict=True):
        stack = one.stacked(torch.float64)
        sites = one.network.stacked_sites(stack, task.inputs, "neurons_post", "logits")
        found = embedding_planes(module.token_embedding(stack))
        found["logit_fourier_norm"] = logit_fourier_norm(sites["logits"])
        if count:
            found |= _activations(sites["neurons_post"], own, count)
        pieces.append({name: values.float() for name, values in found.items()})
    variables = {
        name: (MAPS[name][0], torch.cat([piece[name] for piece in pieces]).numpy(), MAPS[name][1]) for name in pieces[0]
    }
    components = component_names(task.modulus)
    dataset = trajectory.dataset(
        variables,
        frequency=fourier.frequencies(task.modulus),
        part=["cosine", "sine"],
        component_a=components,
        component_b=components,
    )
    mask = mask.assign_attrs(VARIABLES["circuit_frequency"][1])
    return dataset.assign({"circuit_frequency": mask} | _named(mask, examples, count))


def embedding_planes(table: Tensor) -> dict[str, Tensor]:
    """Rows of the embedding in the plane of each frequency, and the share of squared norm there.

    With c_k and s_k the cosine and sine components of W_E, vectors in the space of the embedding, the axes are the
    polar factor of (c_k, s_k): orthonormal, and such that an exact circle has token t at the angle w_k t.

    Parameters
    ----------
    table : Tensor
        W_E, (N, p, d).

    Returns
    -------
    dict[str, Tensor]
        `embedding_plane` (N, (p-1)/2, p, 2), `embedding_plane_share` and `embedding_plane_fve` (N, (p-1)/2), both in
        [0, 1]; NaN where c_k and s_k span no plane.
    """
    rows = pad(table - table.mean(-2, keepdim=True), (0, max(0, 2 - table.shape[-1])))
    pairs = fourier.transform(rows)[:, 1:].unflatten(1, (-1, 2)).mT  # (N, k, d, 2)
    left, size, right = torch.linalg.svd(pairs, full_matrices=False)
    power = rows.square().sum((-1, -2))[:, None]
    flat = size[..., 1].square() <= 1e-24 * power  # rounding, not a plane
    plane = (rows[:, None] @ (left @ right)).masked_fill(flat[..., None, None], torch.nan)
    within = plane.square().sum((-1, -2))
    return {
        "embedding_plane": plane,
        "embedding_plane_share": within / power,
        "embedding_plane_fve": size.square().sum(-1) / within,
    }


def logit_fourier_norm(logits: Tensor) -> Tensor:
    """Norm over the answers of each two-dimensional Fourier component: logits (N, p^2, p) -> (N, p, p).

    The mean over the answers, which changes no probability, is taken away before. The order is that of the rows of
    `fourier.basis`, see `component_names`.
    """
    p = logits.shape[-1]
    grid = (logits - logits.mean(-1, keepdim=True)).mT.unflatten(-1, (p, p))
    return fourier.transform_grid(grid).norm(dim=1)


def component_names(modulus: int) -> list[str]:
    """Names of the rows of `fourier.basis`: 1, cos 1, sin 1, cos 2, ..."""
    return ["1", *(f"{wave} {k}" for k in fourier.frequencies(modulus) for wave in ("cos", "sin"))]


# -- examples of neurons --------------------------------------------------------------------------------------------


def _each(trajectory: Trajectory) -> list[Trajectory]:
    """Return the networks one by one, without leading dimensions, in the order of `stacked`."""
    stack = trajectory.stacked()
    return [
        Trajectory(trajectory.network, {name: tensor[i] for name, tensor in stack.items()})
        for i in range(len(trajectory))
    ]


def _examples(trajectory: Trajectory, mask: xr.DataArray) -> list[Examples]:
    """Neurons to show of each network of the last step."""
    last = trajectory.isel(step=[-1]) if "step" in trajectory.dims else trajectory
    module, task = circuit_parts(trajectory.network)
    found: list[Examples] = []
    for one, kept in zip(_each(last), mask.values.reshape(-1, mask.sizes["frequency"]), strict=True):
        post = one.network.stacked_sites(one.stacked(torch.float64), task.inputs, "neurons_post")["neurons_post"]
        fve = neurons.fraction_of_variance_explained(post)
        belongs = neurons.in_cluster(fve, module.activation is torch.square)[0]
        spread = post[0].std(0)
        belongs &= spread > neurons.SILENT * spread.amax()
        found.append(choose(fve[0], belongs, torch.from_numpy(kept)))
    return found


def choose(fve: Tensor, belongs: Tensor, kept: Tensor) -> Examples:
    """Of each of the frequencies with most neurons those of the largest, the middle and the least FVE.

    Parameters
    ----------
    fve : Tensor
        (d_mlp, (p-1)/2).
    belongs : Tensor
        Which neurons may be chosen, bool (d_mlp,).
    kept : Tensor
        The frequencies to choose from, bool ((p-1)/2,).

    Returns
    -------
    list[tuple[int, int]]
        Pairs of neuron and frequency, at most `MOST_FREQUENCIES` frequencies in ascending order with at most `EXAMPLES`
        neurons each, of descending FVE.
    """
    own = fve.argmax(-1)
    sizes = torch.bincount(own[belongs], minlength=len(kept)) * kept
    largest = sizes.argsort(descending=True, stable=True)[:MOST_FREQUENCIES]
    found: Examples = []
    for k in sorted(int(k) for k in largest if sizes[k]):
        members = ((own == k) & belongs).nonzero()[:, 0]
        ordered = members[fve[members, k].argsort(descending=True, stable=True)]
        places = np.unique(np.linspace(0, len(ordered) - 1, EXAMPLES).round().astype(int))
        found += [(int(ordered[place]), k + 1) for place in places]
    return found


def _for_each_step(trajectory: Trajectory, examples: list[Examples]) -> list[Examples]:
    """Return the examples of each network: those of its last step."""
    if "step" not in trajectory.dims:
        return examples
    other = [i for i, dim in enumerate(trajectory.dims) if dim != "step"]
    shape = [trajectory.shape[i] for i in other]
    return [
        examples[np.ravel_multi_index([index[i] for i in other], shape) if other else 0]
        for index in np.ndindex(*trajectory.shape)
    ]


def _activations(post: Tensor, examples: Examples, count: int) -> dict[str, Tensor]:
    """Activations (1, count, p, p) and FVE (1, count) of one network's examples, NaN beyond them."""
    p = math.isqrt(post.shape[1])
    activation, fve = torch.full((1, count, p, p), torch.nan), torch.full((1, count), torch.nan)
    if examples:
        chosen, k = (torch.tensor(each) for each in zip(*examples, strict=True))
        values = post[..., chosen]
        activation[0, : len(chosen)] = values[0].T.unflatten(-1, (p, p)).float()
        of_each = neurons.fraction_of_variance_explained(values)[0]
        fve[0, : len(chosen)] = of_each.gather(-1, k[:, None] - 1)[:, 0].float()
    return {"example_activation": activation, "example_fve": fve}


def _named(mask: xr.DataArray, examples: list[Examples], count: int) -> dict[str, xr.DataArray]:
    """Neuron and frequency of each example, over the dimensions of the mask but `frequency`."""
    if not count:
        return {}
    filled = np.array([own + [(-1, 0)] * (count - len(own)) for own in examples])
    without = mask.isel(frequency=0, drop=True)
    shape = (*without.shape, count)
    return {
        name: xr.DataArray(
            filled[..., i].reshape(shape), without.coords, (*without.dims, "example"), attrs=MAPS[name][1]
        )
        for i, name in enumerate(("example_neuron", "example_frequency"))
    }

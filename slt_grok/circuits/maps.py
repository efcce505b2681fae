"""Maps of the circuit: embedding circles, activation grids and the logits' two-dimensional spectrum.

After the figures of Nanda et al. 2301.05217, sections 4.1, 4.2 and 4.4. See `slt_grok.circuits.measure` for scalar
measures of the same circuit.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from torch.nn.functional import pad

from slt_grok.circuits import neurons
from slt_grok.circuits.measure import NANDA
from slt_grok.circuits.measurement import (
    FREQUENCY_OF_CIRCUIT,
    CircuitMeasurement,
    at_last_step,
    broadcast,
    chunks,
    for_each_network,
    require,
)
from slt_grok.groups import Group, cyclic
from slt_grok.measurement import Context, Drawing, Variable
from slt_grok.settings import Settings
from slt_grok.trajectories import Trajectory

EXAMPLES = 3  # neurons per frequency
MOST_FREQUENCIES = 5  # frequencies with examples
PLANE = "the plane that its cosine and its sine component span"
WITH_NEURONS = "networks with a neuron at a frequency of the circuit"

Examples = list[tuple[int, int]]  # neuron and frequency


class CircuitMaps(CircuitMeasurement):
    """Maps of a circuit after memorization, after generalization, and at the end of training."""

    name = "circuit_maps"
    title = "The circuit in pictures"
    position = 32
    needs = ("cyclic", "logits", "neurons_post", "token_embedding")
    variables = {
        "embedding_plane": Variable(("frequency", "token", "part"), "embedding in the plane of the frequency",
            f"coordinates of the rows of W_E, their mean removed, in {PLANE}; the axes are the orthonormal pair "
            "nearest to the two. Components at k alone always form an ellipse; these are entire rows. NaN "
            "if a component vanishes", f"{NANDA}, section 4.1"),
        "embedding_plane_share": Variable(("frequency",), "fraction of norm in the plane",
            f"squared norm of W_E, the rows' mean removed, in {PLANE} / squared norm in all; random rows have about "
            "2/d + 2/n. The planes are not orthogonal, so their sum can exceed 1",
            f"{NANDA}, section 4.1"),
        "embedding_plane_fve": Variable(("frequency",), "variance in the plane at its frequency",
            "fraction of the squared norm of embedding_plane that is at k: 1 is an ellipse with the tokens arranged "
            "in the order of k t mod n; random rows have about d/(d + n), so a wide embedding always shows some "
            "circle", f"{NANDA}, section 4.1"),
        "logit_fourier_norm": Variable(("component_a", "component_b"), "norm of the logits' Fourier component",
            "norm over the answers of F[i, j], F the transform over a and b of the logits less their mean over the "
            "answers", f"{NANDA}, section 4.4"),
        "example_fve": Variable(("example",), "FVE of the neuron",
            "FVE at example_frequency, see neuron_cluster_size of the circuit", f"{NANDA}, section 4.2",
            where=WITH_NEURONS),
        "example_activation": Variable(("example", "a", "b"), "activation of the neuron",
            "post-activation of example_neuron at (a, b)", f"{NANDA}, section 4.2", where=WITH_NEURONS),
        "example_neuron": Variable(("example",), "neuron",
            "the active neurons of a circuit frequency (neuron_cluster_size) at the last step with "
            "the largest, the median and the smallest FVE, tracked through all steps; for the five "
            "frequencies with the most neurons; -1 if there are fewer", where=WITH_NEURONS),
        "example_frequency": Variable(("example",), "frequency of the neuron",
            "k of the largest FVE at the last step; 0: none", where=WITH_NEURONS),
        "circuit_frequency": FREQUENCY_OF_CIRCUIT,
    }  # fmt: skip

    def measure(self, trajectory: Trajectory, settings: Settings, context: Context) -> xr.Dataset:
        """See `Measurement`; with several seeds, checkpoints are chosen by the median milestones."""
        return measure(trajectory.at_milestones(context.milestones))

    def seconds(self, trial: Trajectory, settings: Settings, checkpoints: int, context: Context) -> float:
        """See `Measurement`."""
        return super().seconds(trial, settings, min(checkpoints, 3), context)

    def columns(self, dataset: xr.Dataset) -> dict[str, float]:
        """Report no columns: maps are for figures."""
        return {}

    def figures(self) -> Sequence[Drawing]:
        """See `Result`."""
        from slt_grok import plots

        return [
            Drawing(
                "embedding_circles",
                plots.embedding_circles,
                "Tokens in the plane of the embedding that belongs to a key frequency k, connected and colored in the "
                "order of k t mod n, when the train set is memorized, when the network generalizes, and at the end. On "
                "a circle, the embedding encodes angles. Percentages: fraction of the embedding's squared norm "
                "in the plane; FVE: fraction of that at frequency k; control: a frequency that the circuit does not "
                "use.",
                ("embedding_plane",),
            ),
            Drawing(
                "activation_grids",
                plots.activation_grids,
                "Activations of three neurons of each key frequency on all pairs of tokens at the last checkpoint: "
                "from left to right, the largest, median and smallest fraction of variance at that "
                "frequency (FVE).",
                ("example_activation",),
            ),
            Drawing(
                "logit_spectrum",
                plots.logit_spectrum,
                "Size of each product of a wave of a and a wave of b in the logits of the last checkpoint. Waves of a "
                "+ b (or a - b) lie in the 2 × 2 blocks where both have the same frequency.",
                ("logit_fourier_norm",),
            ),
        ]


def measure(trajectory: Trajectory, circuit_frequency: xr.DataArray | np.ndarray | None = None) -> xr.Dataset:
    """Compute embedding planes, activations of a few neurons and Fourier components of the logits of every network.

    Parameters
    ----------
    trajectory : Trajectory
        Networks whose model declares its embedding and neurons, on a task on Z_n.
    circuit_frequency : xarray.DataArray or ndarray or None, optional
        See `slt_grok.circuits.measure`.

    Returns
    -------
    xarray.Dataset
        A dataset over the leading dimensions of the trajectory with the variables of `CircuitMaps`, in single
        precision: about 0.7 MB per network at n = 113 with four frequencies. The examples are omitted if no frequency
        of the circuit has a neuron.

    Raises
    ------
    SltGrokError
        A network that cannot be measured, or a mask of the wrong shape.
    """
    require(trajectory.network, CircuitMaps.needs)
    mask, _ = broadcast(trajectory, circuit_frequency)
    group, examples = cyclic(trajectory.task.classes), _examples(trajectory, mask)
    chosen = [for_each_network(trajectory, examples[name]) for name in ("example_neuron", "example_frequency")]
    pieces: list[dict[str, Tensor]] = []
    for chunk, *example in zip(chunks(trajectory, size=1), *map(torch.from_numpy, chosen), strict=True):
        maps = embedding_planes(chunk.embedding)
        maps["logit_fourier_norm"] = logit_fourier_norm(chunk.sites["logits"], group)
        if examples.sizes["example"]:
            maps |= _activations(chunk.sites["neurons_post"], *example)
        pieces.append({name: values.float() for name, values in maps.items()})
    values = {name: torch.cat([piece[name] for piece in pieces]).numpy() for name in pieces[0]}
    names = component_names(group.order)
    coords = {"part": ["cosine", "sine"], "component_a": names, "component_b": names}
    dataset = CircuitMaps().dataset(trajectory, values, **coords).assign(circuit_frequency=mask)
    return CircuitMaps().check(dataset.assign(examples) if examples.sizes["example"] else dataset)


def embedding_planes(table: Tensor) -> dict[str, Tensor]:
    """Project the embedding's rows on the plane of each frequency, and compute the fraction of squared norm there.

    With c_k and s_k the cosine and sine components of W_E, vectors in the space of the embedding, the axes are the
    polar factor of (c_k, s_k): orthonormal, and such that an exact circle has token t at the angle w_k t.

    Parameters
    ----------
    table : Tensor
        Token embedding W_E, (N, n, d).

    Returns
    -------
    dict of str to Tensor
        `embedding_plane` (N, K, n, 2), `embedding_plane_share` and `embedding_plane_fve` (N, K), both in [0, 1]; NaN if
        c_k and s_k do not span a plane, as at k = n/2.
    """
    rows = pad(table - table.mean(-2, keepdim=True), (0, max(0, 2 - table.shape[-1])))
    group = cyclic(table.shape[1])
    pairs = group.padded(group.transform(rows)).mT  # (N, k, d, 2)
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


def logit_fourier_norm(logits: Tensor, group: Group) -> Tensor:
    """Compute the norm over the answers of each two-dimensional Fourier component: (N, n^2, n) -> (N, n, n).

    The mean over the answers, which does not affect the probabilities, is removed first. Rows are ordered as in
    `Group.basis`; see `component_names`.
    """
    grid = (logits - logits.mean(-1, keepdim=True)).mT.unflatten(-1, (group.order, -1))
    return group.transform_grid(grid).norm(dim=1)


def component_names(order: int) -> list[str]:
    """List the names of the rows of the basis of Z_n: 1, cos 1, sin 1, cos 2, ..."""
    return ["1", *(f"{wave} {k}" for k in range(1, order // 2 + 1) for wave in ("cos", "sin"))][:order]


# -- examples of neurons --------------------------------------------------------------------------------------------


def _examples(trajectory: Trajectory, mask: xr.DataArray) -> xr.Dataset:
    """Choose neurons and their frequencies at the last step, over the dimensions of the mask except `frequency`."""
    chosen, masks = [], torch.from_numpy(mask.values.reshape(-1, mask.sizes["frequency"]))
    for chunk, kept in zip(chunks(at_last_step(trajectory), size=1), masks, strict=True):
        spread = chunk.sites["neurons_post"][0].std(0)
        active = spread > neurons.SILENT * spread.amax()
        chosen.append(choose(chunk.fve[0], chunk.belongs[0] & active, kept))
    count = max(map(len, chosen))
    filled = np.array([examples + [(-1, 0)] * (count - len(examples)) for examples in chosen], dtype=np.int64)
    filled = filled.reshape(*mask.shape[:-1], count, 2)
    dims = (*mask.dims[:-1], "example")
    values = {"example_neuron": (dims, filled[..., 0]), "example_frequency": (dims, filled[..., 1])}
    return xr.Dataset(values, mask.drop_vars("frequency").coords)


def choose(fve: Tensor, belongs: Tensor, kept: Tensor) -> Examples:
    """Choose the neurons with the largest, median and smallest FVE at each of the frequencies with the most neurons.

    Parameters
    ----------
    fve : Tensor
        Fraction of variance explained, (d_mlp, K).
    belongs : Tensor
        Mask of the neurons that may be chosen, bool (d_mlp,).
    kept : Tensor
        Mask of the frequencies to choose from, bool (K,).

    Returns
    -------
    list of tuple
        Pairs of neuron and frequency: at most `MOST_FREQUENCIES` frequencies in ascending order, each with at most
        `EXAMPLES` neurons in descending order of FVE.
    """
    frequency = fve.argmax(-1)
    sizes = torch.bincount(frequency[belongs], minlength=len(kept)) * kept
    largest = sizes.argsort(descending=True, stable=True)[:MOST_FREQUENCIES]
    examples: Examples = []
    for k in sorted(int(k) for k in largest if sizes[k]):
        members = ((frequency == k) & belongs).nonzero()[:, 0]
        ordered = members[fve[members, k].argsort(descending=True, stable=True)]
        places = np.unique(np.linspace(0, len(ordered) - 1, EXAMPLES).round().astype(int))
        examples += [(int(ordered[place]), k + 1) for place in places]
    return examples


def _activations(post: Tensor, neuron: Tensor, frequency: Tensor) -> dict[str, Tensor]:
    """Activations (1, count, n, n) and FVE (1, count) of one network's examples, (count,); NaN for neuron -1."""
    n, absent = math.isqrt(post.shape[1]), neuron < 0
    activation, index = post[..., neuron], (frequency - 1).clamp(min=0)
    fve = neurons.Lines.of(activation).fraction_of_variance_explained().gather(-1, index[None, :, None])
    return {
        "example_activation": activation.mT.unflatten(-1, (n, n)).masked_fill(absent[:, None, None], torch.nan),
        "example_fve": fve[..., 0].masked_fill(absent, torch.nan),
    }

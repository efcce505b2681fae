"""Interventions on the weights: a circuit kept or removed, parts exchanged between checkpoints.

A Fourier circuit in the weights is what the field reads off there (Nanda et al. 2301.05217, sections 4.1 and 4.2):

    tables     every table over Z_p (W_E and W_U; U, V and W) lies in the planes {cos w_k t, sin w_k t : k in K} along
               its axis of tokens or answers; P_K projects it there. Those of W_U are those of the neuron-logit map
               W_L = W_out W_U
    neurons    the neurons that compute with one frequency of K; the others take no part

Keeping the circuit leaves P_K T and the mean over tokens of every table T (that of W_U changes no probability), and
sets the weights into and out of all other neurons to zero; removing it leaves T - P_K T, and zero for its own neurons.
Rows of other tokens (the '=' sign), positions, attention and the biases behind the neurons stay. W_in and W_out have
no axis over Z_p: what reaches the neurons of a token and what is read off them lies in the planes once the tables do.
As a control the planes can be any others: those of other frequencies, or a random subspace as large.

Unlike values changed on their way through a network (`planes`), these are networks of their own: everything can be
measured at them, though none needs to be at a minimum of the loss. Exchanging parts is this package's.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from slt_grok import fourier
from slt_grok.errors import SltGrokError
from slt_grok.models import Model
from slt_grok.models.units import SITE, unit_groups
from slt_grok.trajectories import Trajectory

VARIANT = "variant"


def frequency_directions(modulus: int, frequencies: Sequence[int]) -> Tensor:
    """Return the orthonormal sqrt(2/p) cos w_k t and sqrt(2/p) sin w_k t, (2 len(frequencies), p), float64."""
    return fourier.basis(modulus)[[row for k in frequencies for row in (2 * k - 1, 2 * k)]]


def random_directions(modulus: int, count: int, generator: np.random.Generator) -> Tensor:
    """Orthonormal functions of t whose span is uniform among those orthogonal to the constant, (count, p), float64.

    Raises
    ------
    SltGrokError
        More than p - 1 directions.
    """
    if not 0 <= count < modulus:
        raise SltGrokError(f"directions: expected at most {modulus - 1}, got {count}")
    span, _ = np.linalg.qr(generator.normal(size=(modulus - 1, count)))
    return torch.from_numpy(span).T @ fourier.basis(modulus)[1:]


def keep_directions(trajectory: Trajectory, directions: Tensor) -> Trajectory:
    """Every table over Z_p on some directions of its token axis: its mean and P T alone.

    Parameters
    ----------
    trajectory : Trajectory
        Networks of this package.
    directions : Tensor
        Orthonormal functions of t, orthogonal to the constant, (count, p).

    Raises
    ------
    SltGrokError
        A network that is not of this package, or directions of another length.
    """
    return _tables(trajectory, directions, lambda table, inside: table.mean(-1, keepdim=True) + inside)


def remove_directions(trajectory: Trajectory, directions: Tensor) -> Trajectory:
    """Every table over Z_p without some directions of its token axis, T - P T; see `keep_directions`."""
    return _tables(trajectory, directions, lambda table, inside: table - inside)


def keep_neurons(trajectory: Trajectory, neurons: np.ndarray) -> Trajectory:
    """Zero the weights into and out of all neurons but some.

    Parameters
    ----------
    trajectory : Trajectory
        Networks of this package with named weights.
    neurons : ndarray
        Which ones stay, a bool mask (d_mlp,); of several layers those of the site `neurons_post`.

    Raises
    ------
    SltGrokError
        A network whose neurons are not known, or a mask of another shape.
    """
    axes = unit_groups(trajectory.network.module)[SITE]
    name, axis = next(iter(axes.items()))
    size, mask = trajectory.network.shapes[name][axis], torch.from_numpy(np.array(neurons))
    if mask.shape != (size,) or mask.dtype != torch.bool:
        raise SltGrokError(f"neurons: expected a bool mask of shape ({size},), got {mask.dtype} of {tuple(mask.shape)}")
    parameters = dict(trajectory.parameters)
    for name, axis in axes.items():
        parameters[name] = (parameters[name].movedim(axis, -1) * mask).movedim(-1, axis)
    return replace(trajectory, parameters=parameters)


def remove_neurons(trajectory: Trajectory, neurons: np.ndarray) -> Trajectory:
    """Zero the weights into and out of some neurons; see `keep_neurons`."""
    return keep_neurons(trajectory, ~np.asarray(neurons))


def parts(trajectory: Trajectory) -> dict[str, list[str]]:
    """Return what can be exchanged.

    Embedding (with positions), attention, MLP (with its biases), unembedding -> parameters.

    A part that the network does not have is left out.

    Raises
    ------
    SltGrokError
        A network whose parts are not known.
    """
    module, names = trajectory.network.module, list(trajectory.network.shapes)
    groups = unit_groups(module)
    assert isinstance(module, Model)
    roles = {name: role for role, (name, _) in module.token_roles().items()}
    in_heads = {name for units, axes in groups.items() if units.startswith("heads") for name in axes}
    found: dict[str, list[str]] = {"embedding": [], "attention": [], "MLP": [], "unembedding": []}
    for name in names:
        if name in roles:
            found["unembedding" if roles[name].startswith("output") else "embedding"].append(name)
        elif name == "W_pos":
            found["embedding"].append(name)
        else:
            found["attention" if name in in_heads else "MLP"].append(name)
    return {part: inside for part, inside in found.items() if inside}


def exchange(trajectory: Trajectory, donor: Trajectory, names: Sequence[str]) -> Trajectory:
    """Every network with some parameters of another checkpoint.

    Parameters
    ----------
    trajectory : Trajectory
        Over any leading dimensions.
    donor : Trajectory
        Networks of the same shapes, over the same dimensions, each as long or of length 1.
    names : Sequence[str]
        The parameters that are taken from the donor.

    Raises
    ------
    SltGrokError
        A donor of other shapes or dimensions, or a name that is no parameter.
    """
    fits = len(donor.shape) == len(trajectory.shape) and all(
        d in (1, n) for d, n in zip(donor.shape, trajectory.shape, strict=True)
    )
    if donor.network.shapes != trajectory.network.shapes or donor.dims != trajectory.dims or not fits:
        raise SltGrokError("donor: expected networks of the same shapes and dimensions, each as long or of length 1")
    for name in names:
        if name not in trajectory.parameters:
            raise SltGrokError(f"parts: expected some of {', '.join(trajectory.parameters)}, got {name}")
    taken = {name: donor.parameters[name].expand_as(trajectory.parameters[name]).clone() for name in names}
    return replace(trajectory, parameters={**trajectory.parameters, **taken})


def stack_variants(variants: Mapping[str, Trajectory]) -> Trajectory:
    """Variants of the same networks side by side: one trajectory with a last leading dimension `variant`.

    Raises
    ------
    SltGrokError
        None, or variants over different coordinates.
    """
    if not variants:
        raise SltGrokError("variants: expected at least one")
    first, *others = variants.values()
    for other in others:
        same = other.dims == first.dims and all(np.array_equal(other.coords[d], first.coords[d]) for d in first.dims)
        if not same or other.network.shapes != first.network.shapes:
            raise SltGrokError("variants: expected variants of the same networks, over the same coordinates")
    place = len(first.dims)
    stacked = {
        name: torch.stack([variant.parameters[name] for variant in variants.values()], place)
        for name in first.parameters
    }
    coords = {**first.coords, VARIANT: np.array(list(variants))}
    return replace(first, parameters=stacked, dims=(*first.dims, VARIANT), coords=coords)


def _tables(trajectory: Trajectory, directions: Tensor, change: Callable[[Tensor, Tensor], Tensor]) -> Trajectory:
    """Return the tables after change(table, its part in the span of the directions), token axis last."""
    module = trajectory.network.module
    if not isinstance(module, Model):
        raise SltGrokError(f"intervention: expected a model of slt_grok.models, got {type(module).__name__}")
    p, parameters = module.tokens, dict(trajectory.parameters)
    if directions.ndim != 2 or directions.shape[1] != p:
        raise SltGrokError(f"directions: expected functions of {p} tokens, got shape {tuple(directions.shape)}")
    for name, axis in module.token_roles().values():
        if name in parameters:
            tokens, rest = parameters[name].movedim(axis, -1).tensor_split([p], -1)
            table = tokens.double()
            inside = (table @ directions.T) @ directions
            parameters[name] = torch.cat([change(table, inside).to(tokens.dtype), rest], -1).movedim(-1, axis)
    return replace(trajectory, parameters=parameters)

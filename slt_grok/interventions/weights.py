"""Interventions on the weights: keeping or removing a circuit, swapping parts between checkpoints.

The weights of a Fourier circuit are identified as in the literature (Nanda et al. 2301.05217, sections 4.1 and 4.2):

    tables     every table over the tokens (W_E and W_U; U, V and W) is in the planes of the key frequencies K along its
               axis of tokens or answers, on which P_K projects. The frequencies of W_U are those of the neuron-logit
               map W_L = W_out W_U
    neurons    the neurons that compute with one frequency of K; the others do not contribute

Keeping the circuit retains P_K T and the mean over tokens of every table T (the mean of W_U does not affect the
probabilities), and zeros the weights into and out of all other neurons; removing it retains T - P_K T and zeros the
circuit's neurons. Rows of other tokens (the '=' sign), positions, attention and the biases after the neurons are
unchanged. W_in and W_out have no token axis: a token's input to the neurons and their output lie in the planes once the
tables do. As a control, the planes can be any others: those of other frequencies, or a random subspace of the same
dimension.

Unlike values changed during the forward pass (`planes`), these are networks in their own right: every measure applies
to them, though none needs to be at a minimum of the loss. Swapping parts is ours.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from slt_grok.errors import SltGrokError
from slt_grok.groups import Group
from slt_grok.models import Model
from slt_grok.tasks import SPLITS
from slt_grok.trajectories import Trajectory

VARIANT = "variant"


def model_of(trajectory: Trajectory) -> Model:
    """Get the module, checking that it is a model of this package.

    Raises
    ------
    SltGrokError
        It is not a model of this package, so it declares no parts.
    """
    module = trajectory.network.module
    if not isinstance(module, Model):
        raise SltGrokError(f"intervention: expected a model of slt_grok.models, got {type(module).__name__}")
    return module


def group_of(trajectory: Trajectory) -> Group:
    """Get the group of the task's tokens.

    Raises
    ------
    SltGrokError
        The tokens do not form a group.
    """
    if trajectory.task.group is None:
        raise SltGrokError("intervention: expected a task whose tokens form a group, got none")
    return trajectory.task.group


def frequency_directions(group: Group, frequencies: Sequence[int]) -> Tensor:
    """Construct the orthonormal functions of a token in the planes of some frequencies, (count, n), float64."""
    return torch.cat([group.planes[k - 1] for k in frequencies])


def random_directions(group: Group, count: int, generator: np.random.Generator) -> Tensor:
    """Draw orthonormal functions of a token with a uniformly random span orthogonal to the constant, (count, n).

    Raises
    ------
    SltGrokError
        More than n - 1 directions are requested.
    """
    if not 0 <= count < group.order:
        raise SltGrokError(f"directions: expected at most {group.order - 1}, got {count}")
    span, _ = np.linalg.qr(generator.normal(size=(group.order - 1, count)))
    return torch.from_numpy(span).T @ group.basis[1:]


def keep_directions(trajectory: Trajectory, directions: Tensor) -> Trajectory:
    """Keep only the mean over the tokens of every table and its component along some directions of the token axis.

    Parameters
    ----------
    trajectory : Trajectory
        Networks of this package.
    directions : Tensor
        Orthonormal functions of a token, orthogonal to the constant, (count, n).

    Raises
    ------
    SltGrokError
        A network not from this package, or directions of the wrong length.
    """
    return change_tables(trajectory, lambda table: table.mean(-1, keepdim=True) + _along(table, directions))


def remove_directions(trajectory: Trajectory, directions: Tensor) -> Trajectory:
    """Remove from every table its component along some directions of the token axis; see `keep_directions`."""
    return change_tables(trajectory, lambda table: table - _along(table, directions))


def _along(table: Tensor, directions: Tensor) -> Tensor:
    if directions.ndim != 2 or directions.shape[1] != table.shape[-1]:
        raise SltGrokError(
            f"directions: expected functions of {table.shape[-1]} tokens, got shape {tuple(directions.shape)}"
        )
    return (table @ directions.T) @ directions


def change_tables(trajectory: Trajectory, change: Callable[[Tensor], Tensor]) -> Trajectory:
    """Change every table over the tokens, passed in float64 with the token axis last; other rows are unchanged.

    Raises
    ------
    SltGrokError
        A network not from this package.
    """
    module, parameters = model_of(trajectory), dict(trajectory.parameters)
    for name, axis in module.token_roles().values():
        if name in parameters:
            table, rest = parameters[name].movedim(axis, -1).tensor_split([module.tokens], -1)
            parameters[name] = torch.cat([change(table.double()).to(table.dtype), rest], -1).movedim(-1, axis)
    return replace(trajectory, parameters=parameters)


def neuron_axes(model: Model) -> Mapping[str, int]:
    """Map parameters to the axis of the first hidden layer's neurons; empty if not declared."""
    units = model.units()
    return units.get("neurons_post") or units.get("neurons_post.0") or {}


def keep_neurons(trajectory: Trajectory, neurons: np.ndarray) -> Trajectory:
    """Zero the weights into and out of all but some neurons.

    Parameters
    ----------
    trajectory : Trajectory
        Networks of this package whose model declares its units.
    neurons : ndarray
        Neurons to keep, a bool mask (d_mlp,); with several layers, those of the site `neurons_post`.

    Raises
    ------
    SltGrokError
        A network that does not declare its neurons, or a mask of the wrong shape.
    """
    axes = neuron_axes(model_of(trajectory))
    if not axes:
        raise SltGrokError("neurons: expected a model that declares its units")
    name, axis = next(iter(axes.items()))
    size, mask = trajectory.network.shapes[name][axis], torch.from_numpy(np.array(neurons))
    if mask.shape != (size,) or mask.dtype != torch.bool:
        raise SltGrokError(f"neurons: expected a bool mask of shape ({size},), got {mask.dtype} of {tuple(mask.shape)}")
    kept = dict(trajectory.parameters)
    for name, axis in axes.items():
        kept[name] = (kept[name].movedim(axis, -1) * mask).movedim(-1, axis)
    return replace(trajectory, parameters=kept)


def remove_neurons(trajectory: Trajectory, neurons: np.ndarray) -> Trajectory:
    """Zero the weights into and out of some neurons; see `keep_neurons`."""
    return keep_neurons(trajectory, ~np.asarray(neurons))


def parts(trajectory: Trajectory) -> dict[str, list[str]]:
    """List what can be swapped: part -> parameters, for the parts that the network has.

    The parts are embedding (with positions), attention, MLP (with its biases) and unembedding.

    Raises
    ------
    SltGrokError
        A network not from this package.
    """
    module = model_of(trajectory)
    roles = {name: role for role, (name, _) in module.token_roles().items()}
    in_heads = {name for units, axes in module.units().items() if units.startswith("heads") for name in axes}
    names: dict[str, list[str]] = {"embedding": [], "attention": [], "MLP": [], "unembedding": []}
    for name in trajectory.network.shapes:
        if roles.get(name, "").startswith("output"):
            part = "unembedding"
        elif name in roles or name == module.positions:
            part = "embedding"
        else:
            part = "attention" if name in in_heads else "MLP"
        names[part].append(name)
    return {part: parameters for part, parameters in names.items() if parameters}


def exchange(trajectory: Trajectory, donor: Trajectory, names: Sequence[str]) -> Trajectory:
    """Replace some parameters of every network by those of another checkpoint.

    Parameters
    ----------
    trajectory : Trajectory
        Networks over any leading dimensions.
    donor : Trajectory
        Networks with the same shapes and dimensions, each of the same length or of length 1.
    names : sequence of str
        Parameters to take from the donor.

    Raises
    ------
    SltGrokError
        A donor with other shapes or dimensions, or a name that is not a parameter.
    """
    alike = (donor.dims, donor.network.shapes) == (trajectory.dims, trajectory.network.shapes)
    if not alike or not all(d in (1, n) for d, n in zip(donor.shape, trajectory.shape, strict=True)):
        raise SltGrokError("donor: expected the same shapes and dimensions, each of the same length or length 1")
    for name in names:
        if name not in trajectory.parameters:
            raise SltGrokError(f"parts: expected some of {', '.join(trajectory.parameters)}, got {name}")
    taken = {name: donor.parameters[name].expand_as(trajectory.parameters[name]).clone() for name in names}
    return replace(trajectory, parameters={**trajectory.parameters, **taken})


def evaluate(network: Trajectory) -> dict[str, Any]:
    """Evaluate a single network on all inputs, its weights in float64.

    Parameters
    ----------
    network : Trajectory
        A single network with a task.

    Returns
    -------
    dict of str to object
        `accuracy` and `loss` by split (NaN for an empty split), `worst_margin` (the smallest correct logit minus the
        largest wrong one), `weight_norm` and `parameters`, the number of weights.
    """
    task, parameters = network.task, {name: tensor[0].double() for name, tensor in network.stacked().items()}
    with torch.no_grad():
        logits = network.network.outputs(parameters, task.inputs).double()
    splits = [(logits[task.indices(split)], task.data(split)[1]) for split in SPLITS]
    correct = torch.nn.functional.one_hot(task.labels, logits.shape[-1]).bool()
    margins = logits[correct] - logits.masked_fill(correct, -torch.inf).max(-1).values
    weights = torch.cat([tensor.flatten() for tensor in parameters.values()])
    return {
        "accuracy": [float((outputs.argmax(-1) == labels).double().mean()) for outputs, labels in splits],
        "loss": [float(network.network.loss(outputs, labels).mean()) for outputs, labels in splits],
        "worst_margin": float(margins.min()),
        "weight_norm": float(weights.norm()),
        "parameters": len(weights),
    }

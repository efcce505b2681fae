"""Alignment of networks: permutations of units that leave a network's function unchanged, matched to another network.

Units of a hidden layer have no order: applying a permutation P to the weights into a layer and its inverse to the
weights out of it changes nothing. Two networks are compared after permutations that bring one closest to
the other (Entezari et al. 2110.06296, conjecture 1; Ainsworth et al. 2209.04836):

    weights        max over all P_l of the sum over parameters <A, P(B)>, one layer at a time as a linear assignment
                   with the others fixed, until convergence (2209.04836, algorithm 1): a local maximum, never worse
                   than the original order
    activations    max over P of sum_i <z_i^A, z_P(i)^B> over the neurons' activations on the same inputs, a linear
                   assignment for each layer (2209.04836, section 3.1); embedding dimensions and heads then by weights.
                   Neurons that are silent on all inputs are interchangeable
    random         random permutations: the null without any matching

Interchangeable units are those that a model declares by `units`. Other symmetries are not covered: rotations of
the residual stream, maps inside a head, the scale of a ReLU neuron. A barrier after alignment is therefore an upper
bound of the barrier modulo all symmetries.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal, get_args

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from slt_grok.errors import SltGrokError
from slt_grok.trajectories import Network, Parameters, Trajectory

Method = Literal["weights", "activations", "random"]
Groups = Mapping[str, Mapping[str, int]]  # units -> {parameter: its axis of units, counted from the end}
Permutations = Mapping[str, np.ndarray]  # units -> old index at each new position

SITE = "neurons_post"  # groups of neurons are named after the sites of their activations
SWEEPS = 50  # limit on sweeps over the groups; a handful usually suffices


def check_same_shapes(first: Trajectory, second: Trajectory) -> None:
    """Check that networks of two trajectories have matching parameter shapes.

    Raises
    ------
    SltGrokError
        Parameters of other names or shapes, or neither as many networks as the first nor one.
    """
    one, other = first.network.shapes, second.network.shapes
    odd = [name for name in {**one, **other} if one.get(name) != other.get(name)]
    if odd:
        mine, theirs = (tuple(shapes[odd[0]]) if odd[0] in shapes else "none" for shapes in (one, other))
        raise SltGrokError(f"line between networks: expected equal shapes, but {odd[0]} has {mine} and {theirs}")
    if len(second) not in (1, len(first)):
        raise SltGrokError(
            f"line between networks: expected as many second networks as first ({len(first)}) or one, got {len(second)}"
        )


def unit_groups(network: Network) -> Groups:
    """Get the groups of interchangeable units that the network declares.

    Raises
    ------
    SltGrokError
        The model declares none.
    """
    if not network.declares("units"):
        raise SltGrokError(
            f"alignment: expected a model that declares its interchangeable units, "
            f"got {type(network.module).__name__}, which has no `units`"
        )
    return network.module.units()  # pyright: ignore[reportCallIssue]


def permute(parameters: Parameters, groups: Groups, permutations: Permutations) -> dict[str, Tensor]:
    """Permute the units of each group in the parameters, which may have leading axes."""
    moved = dict(parameters)
    for units, order in permutations.items():
        index = torch.from_numpy(np.asarray(order))
        for name, axis in groups[units].items():
            moved[name] = moved[name].index_select(axis, index.to(moved[name].device))
    return moved


def random_permutations(parameters: Parameters, groups: Groups, seed: int) -> dict[str, np.ndarray]:
    """Draw a uniformly random permutation of every group."""
    generator = np.random.default_rng(seed)
    return {units: generator.permutation(_size(parameters, axes)) for units, axes in groups.items()}


def match_weights(
    reference: Parameters, other: Parameters, groups: Groups, held: Permutations | None = None
) -> dict[str, np.ndarray]:
    """Find permutations of `other` that bring its weights close to the reference's (2209.04836, algorithm 1).

    Parameters
    ----------
    reference, other : Parameters
        Parameters of one network each.
    groups : Groups
        Groups of units.
    held : Permutations, optional
        Known permutations, which stay fixed.

    Returns
    -------
    dict of str to ndarray
        Units -> old index at each new position, for `permute`.
    """
    fixed = {name: tensor.double() for name, tensor in reference.items()}
    free = {name: tensor.double() for name, tensor in other.items()}
    found = {units: np.arange(_size(free, axes)) for units, axes in groups.items()} | dict(held or {})
    moving = [units for units in groups if units not in (held or {})]
    for _ in range(SWEEPS):
        changed = False
        for units in moving:
            rest = permute(free, groups, {name: order for name, order in found.items() if name != units})
            gain = torch.zeros(len(found[units]), len(found[units]), dtype=torch.float64)
            for name, axis in groups[units].items():
                one, other_one = (w[name].movedim(axis, 0).reshape(len(gain), -1) for w in (fixed, rest))
                gain += one @ other_one.T
            order = _assignment(gain)
            before, after = (gain[range(len(order)), o].sum() for o in (found[units], order))
            if after > before + 1e-12 * abs(before):
                found[units], changed = order, True
        if not changed:
            break
    return found


def match_activations(
    network: Network, reference: Parameters, other: Parameters, groups: Groups, inputs: Tensor
) -> dict[str, np.ndarray]:
    """Find permutations of the neurons of `other` that bring their activations close to the reference's."""
    sites = [units for units in groups if units.startswith(SITE)]
    both = {name: torch.stack([tensor, other[name]]) for name, tensor in reference.items()}
    with torch.no_grad():
        values = network.stacked_sites(both, inputs, *sites)
    found = {}
    for site in sites:
        first, second = values[site].double().flatten(1, -2)
        found[site] = _assignment(first.T @ second)
    return found


def aligned(
    network: Network, reference: Parameters, others: Parameters, method: Method, inputs: Tensor, seed: int = 0
) -> dict[str, Tensor]:
    """Permute several networks to match their units to those of a reference.

    Parameters
    ----------
    network : Network
        The network whose parameters are matched.
    reference : Parameters
        Parameters of one network.
    others : Parameters
        As `reference`, with a leading N.
    method : Method
        Matching method; see the module docstring.
    inputs : Tensor
        Inputs on which activations are compared.
    seed : int, optional
        Seed of the random permutations, which are the same for all N.

    Raises
    ------
    SltGrokError
        The model does not declare its units.
    """
    groups = unit_groups(network)
    moved = []
    for i in range(len(next(iter(others.values())))):
        other = {name: tensor[i] for name, tensor in others.items()}
        if method == "random":
            permutations = random_permutations(other, groups, seed)
        else:
            held = match_activations(network, reference, other, groups, inputs) if method == "activations" else {}
            permutations = match_weights(reference, other, groups, held)
        moved.append(permute(other, groups, permutations))
    return {name: torch.stack([m[name] for m in moved]) if moved else tensor for name, tensor in others.items()}


def align(trajectory: Trajectory, reference: Trajectory, method: Method = "weights", seed: int = 0) -> Trajectory:
    """Permute the units of each network to match those of its partner, without changing its function.

    Parameters
    ----------
    trajectory : Trajectory
        Networks whose model declares its units.
    reference : Trajectory
        One network, or as many as in `trajectory`.
    method : Method, optional
        `weights`, `activations` (on the train inputs) or `random`.
    seed : int, optional
        Seed of the random permutations.

    Raises
    ------
    SltGrokError
        Shapes or numbers of networks differ, the method is unknown, or the model does not declare its units.
    """
    if method not in get_args(Method):
        raise SltGrokError(f"alignment: expected one of {', '.join(get_args(Method))}, got {method!r}")
    check_same_shapes(trajectory, reference)
    stack, partners = trajectory.stacked(), reference.stacked()
    inputs = trajectory.task.data("train")[0] if method == "activations" else torch.empty(0)
    moved = []
    for i in range(len(trajectory)):
        j = i if len(reference) > 1 else 0
        one = {name: tensor[i : i + 1] for name, tensor in stack.items()}
        partner = {name: tensor[j] for name, tensor in partners.items()}
        moved.append(aligned(trajectory.network, partner, one, method, inputs, seed))
    parameters = {
        name: torch.cat([m[name] for m in moved]).reshape(t.shape) for name, t in trajectory.parameters.items()
    }
    return replace(trajectory, parameters=parameters)


def _size(parameters: Parameters, axes: Mapping[str, int]) -> int:
    name, axis = next(iter(axes.items()))
    return parameters[name].shape[axis]


def _assignment(gain: Tensor) -> np.ndarray:
    """Assign to each unit of the reference a unit of the other network, maximizing the sum of gains."""
    return linear_sum_assignment(gain.numpy(force=True), maximize=True)[1]

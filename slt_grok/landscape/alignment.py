"""Alignment of networks: permutations of units that leave a network's function unchanged, matched to another network.

Units of a hidden layer have no order: applying a permutation P to the weights into a layer and its inverse to the
weights out of it changes nothing. Two networks are compared after the permutations that bring one closest to the other
(Entezari et al. 2110.06296, conjecture 1): max over all P_l of the sum over parameters <A, P(B)>, one layer at a time
as a linear assignment with the others fixed, until convergence (Ainsworth et al. 2209.04836, algorithm 1). This is a
local maximum, never worse than the original order.

Interchangeable units are those that a model declares by `units`. Other symmetries are not covered: rotations of
the residual stream, maps inside a head, the scale of a ReLU neuron. A barrier after alignment is therefore an upper
bound of the barrier modulo all symmetries.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from slt_grok.errors import SltGrokError
from slt_grok.landscape.common import paired_stacks
from slt_grok.trajectories import Network, Parameters, Trajectory

Groups = Mapping[str, Mapping[str, int]]  # units -> {parameter: its axis of units, counted from the end}
Permutations = Mapping[str, np.ndarray]  # units -> old index at each new position

SWEEPS = 50  # limit on sweeps over the groups; a handful usually suffices


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
    """Draw a uniformly random permutation of each group."""
    generator = np.random.default_rng(seed)
    sizes = {units: parameters[name].shape[axis] for units, axes in groups.items() for name, axis in axes.items()}
    return {units: generator.permutation(size) for units, size in sizes.items()}


def match_weights(reference: Parameters, other: Parameters, groups: Groups) -> dict[str, np.ndarray]:
    """Find permutations of `other` that bring its weights close to the reference's (2209.04836, algorithm 1).

    Parameters
    ----------
    reference, other : Parameters
        Parameters of one network each.
    groups : Groups
        Groups of units.

    Returns
    -------
    dict of str to ndarray
        Units -> old index at each new position, for `permute`.
    """
    fixed = {name: tensor.double() for name, tensor in reference.items()}
    free = {name: tensor.double() for name, tensor in other.items()}
    sizes = {units: free[name].shape[axis] for units, axes in groups.items() for name, axis in axes.items()}
    orders = {units: np.arange(size) for units, size in sizes.items()}
    for _ in range(SWEEPS):
        changed = False
        for units, axes in groups.items():
            rest = permute(free, groups, {name: order for name, order in orders.items() if name != units})
            gain = torch.zeros(sizes[units], sizes[units], dtype=torch.float64)
            for name, axis in axes.items():
                target, source = (weights[name].movedim(axis, 0).reshape(sizes[units], -1) for weights in (fixed, rest))
                gain += target @ source.T
            order = linear_sum_assignment(gain.numpy(force=True), maximize=True)[1]
            before, after = (gain[range(len(gain)), columns].sum() for columns in (orders[units], order))
            if after > before + 1e-12 * abs(before):
                orders[units], changed = order, True
        if not changed:
            break
    return orders


def aligned(network: Network, reference: Parameters, other: Parameters) -> dict[str, Tensor]:
    """Permute the units of one network to match those of a reference.

    Raises
    ------
    SltGrokError
        The model does not declare its units.
    """
    groups = unit_groups(network)
    return permute(other, groups, match_weights(reference, other, groups))


def align(trajectory: Trajectory, reference: Trajectory) -> Trajectory:
    """Permute the units of each network to match those of its partner, without changing its function.

    Parameters
    ----------
    trajectory : Trajectory
        Networks whose model declares its units.
    reference : Trajectory
        As many networks as in `trajectory`, of the same shapes.

    Raises
    ------
    SltGrokError
        The model does not declare its units, or the trajectories have different numbers of networks.
    """
    stacks = paired_stacks(reference, trajectory)
    pairs = [[{name: tensor[i] for name, tensor in stack.items()} for stack in stacks] for i in range(len(trajectory))]
    networks = [aligned(trajectory.network, *pair) for pair in pairs]
    parameters = {
        name: torch.stack([weights[name] for weights in networks]).reshape(tensor.shape)
        for name, tensor in trajectory.parameters.items()
    }
    return replace(trajectory, parameters=parameters)


def shuffle(trajectory: Trajectory, seed: int = 0) -> Trajectory:
    """Permute the units at random, equally in all networks: the null of an alignment.

    Raises
    ------
    SltGrokError
        The model does not declare its units.
    """
    groups = unit_groups(trajectory.network)
    orders = random_permutations(trajectory.parameters, groups, seed)
    return replace(trajectory, parameters=permute(trajectory.parameters, groups, orders))

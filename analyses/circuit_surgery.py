"""Surgery on a circuit: its frequencies moved to others, or the circuit moved to another network.

Every table over Z_p (W_E and W_U; U, V and W) is a sum over the planes {cos w_k t, sin w_k t} along its axis of tokens
or answers. Moving k to k' maps the coefficients of cos w_k t, sin w_k t to cos w_k' t, sin w_k' t, in all tables: a
rotation of the functions of t that changes no norm and nothing else in the network. Planes that are taken move to those
that were vacated, so the moves form a permutation of planes. A k' beyond (p-1)/2 is p - k', with the sine's sign
flipped. For t -> m t on all of Z_p, every k goes to m^-1 k, and the network is the relabeled one: the same function
under other names. Moving single frequencies gives a different function: correct if the network's logits are a sum over
single frequencies and the new set separates the answers. Harmonics of a moved frequency that the network also uses (2k,
3k, ...) are not moved.

A transplanted circuit consists of what `slt_grok.interventions.weights` keeps: the planes of its frequencies and the
mean over tokens in every table over Z_p, and its neurons. Tables with an axis of neurons (U, V, W; the W_U of an MLP)
are exchanged neuron by neuron, all others plane by plane. Everything else belongs to the receiver, including attention
unless it is transplanted too. If the two networks share a basis (checkpoints of one run, or networks without a hidden
basis such as quadratic ones on one-hot tokens), the donor's neurons read from the planes that came with them. Networks
of different seeds have different bases of embedding and residual stream: a neuron of the donor then also reads the
receiver's remaining planes, in directions with a different meaning. Both operations are ours, based on the circuits of
Nanda et al. 2301.05217.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from slt_grok.errors import SltGrokError
from slt_grok.groups import cyclic
from slt_grok.interventions import weights
from slt_grok.trajectories import Trajectory


def move_frequencies(trajectory: Trajectory, moves: Mapping[int, int]) -> Trajectory:
    """Move frequencies in every table over Z_p of every network.

    Parameters
    ----------
    trajectory : Trajectory
        Networks of this package on Z_p, p an odd prime.
    moves : mapping of int to int
        k -> k', k in 1..(p-1)/2, k' in 1..p-1, with distinct target planes (k' and p - k' are the same).

    Raises
    ------
    SltGrokError
        A network not from this package, p not an odd prime, or impossible moves.
    """
    turn = rotation(weights.model_of(trajectory).tokens, moves)
    return weights.change_tables(trajectory, lambda table: table @ turn.T)


def rotation(p: int, moves: Mapping[int, int]) -> Tensor:
    """Construct the orthogonal matrix (p, p), float64, that moves functions of t as columns: f -> rotation @ f.

    Raises
    ------
    SltGrokError
        The modulus p is not an odd prime, or the moves are impossible.
    """
    group, half = cyclic(p), (p - 1) // 2
    if not group.is_odd_prime:
        raise SltGrokError(f"moves: expected an odd prime p, got {p}")
    planes = {k: min(to, p - to) for k, to in moves.items()}
    if not all(1 <= k <= half and 1 <= to <= half for k, to in planes.items()) or len({*planes.values()}) < len(planes):
        raise SltGrokError(
            f"moves: expected frequencies 1..{half} to distinct ones of 1..{p - 1}, k' and {p} - k' being the same, "
            f"got {dict(moves)}"
        )
    vacated = [k for k in planes if k not in planes.values()]
    taken = [to for to in planes.values() if to not in planes]
    planes |= dict(zip(taken, vacated, strict=True))  # a single move swaps two planes
    image = group.basis.clone()
    for k, to in planes.items():
        sign = -1 if k in moves and moves[k] > half else 1
        image[2 * k - 1], image[2 * k] = group.basis[2 * to - 1], sign * group.basis[2 * to]
    return image.T @ group.basis


def transplant_circuit(
    receiver: Trajectory,
    donor: Trajectory,
    frequencies: Sequence[int],
    neurons: np.ndarray,
    *,
    removed: Sequence[int] = (),
    attention: bool = False,
) -> Trajectory:
    """Replace the receiver's circuit by the donor's.

    Parameters
    ----------
    receiver, donor : Trajectory
        Networks of this package on Z_p, with the same shapes, dimensions and lengths.
    frequencies : sequence of int
        Frequencies of the donor's circuit.
    neurons : ndarray
        Neurons of the donor's circuit, a bool mask (d_mlp,); the receiver's neurons at these indices are lost.
    removed : sequence of int, optional
        Frequencies of the receiver's circuit to remove as well.
    attention : bool, optional
        Whether to transplant the donor's attention as well.

    Raises
    ------
    SltGrokError
        Networks that are incompatible, frequencies that do not exist, or a mask of the wrong shape.
    """
    module = weights.model_of(receiver)
    p, half = module.tokens, (module.tokens - 1) // 2
    whole = weights.exchange(receiver, donor, weights.parts(receiver).get("attention", []) if attention else [])
    if not len(frequencies) or not all(1 <= k <= half for k in (*frequencies, *removed)):
        raise SltGrokError(f"frequencies: expected some of 1..{half}, got {[*frequencies, *removed]}")
    inside = weights.frequency_directions(cyclic(p), sorted({*frequencies}))
    others = weights.remove_neurons(whole, neurons)
    if len(removed):
        others = weights.remove_directions(others, weights.frequency_directions(cyclic(p), sorted({*removed})))
    rest = weights.remove_directions(others, inside).parameters
    planes, donated = weights.keep_directions(donor, inside).parameters, weights.keep_neurons(donor, neurons).parameters
    parameters = dict(whole.parameters)
    for name, axis in module.token_roles().values():
        if name in rest:
            tokens, other = rest[name].movedim(axis, -1).tensor_split([p], -1)
            tokens = tokens - tokens.mean(-1, keepdim=True) + planes[name].movedim(axis, -1)[..., :p]
            parameters[name] = torch.cat([tokens, other], -1).movedim(-1, axis)
    parameters |= {name: others.parameters[name] + donated[name] for name in weights.neuron_axes(module)}
    return replace(receiver, parameters=parameters)

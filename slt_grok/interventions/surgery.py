"""Surgery on a circuit: its frequencies moved to others, or the circuit moved into another network.

Every table over Z_p (W_E and W_U; U, V and W) is a sum over the planes {cos w_k t, sin w_k t} along its axis of tokens
or answers. Moving k to k' puts what stood on cos w_k t, sin w_k t on cos w_k' t, sin w_k' t, in all tables alike: a
rotation of the functions of t, which changes no norm and nothing else in the network. What stood in a plane that is
taken goes to one that was vacated, so that moves become a permutation of planes. A k' beyond (p-1)/2 is p - k', with
the sine's sign turned. For t -> m t on all of Z_p every k goes to m^-1 k, and the network is the relabeled one: the
same function under other names. Moving single frequencies is another function: right where the network's logits are a
sum over frequencies, one each, and as far as the new set separates the answers. Harmonics of a moved frequency that the
network also uses (2k, 3k, ..) stay where they are.

A transplanted circuit is what `slt_grok.interventions.weights` keeps: the planes of its frequencies and the mean over
tokens in every table over Z_p, and its neurons. Tables with an axis of neurons (U, V, W; the W_U of an MLP) are
exchanged neuron by neuron, all others plane by plane. All the rest is the receiver's; attention too, unless it is taken
along. Where the two networks share a basis (checkpoints of one run, networks without hidden basis such as quadratic
ones on one-hot tokens) the donor's neurons read from the planes that came with them. Networks of different seeds have
different bases of embedding and residual stream: there a neuron of the donor also reads the receiver's remaining
planes, in directions that mean something else. Both operations are this package's, after the circuits of Nanda et al.
2301.05217.
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
        k -> k', k in 1..(p-1)/2, k' in 1..p-1, no two of them to the same plane (k' and p - k' are one).

    Raises
    ------
    SltGrokError
        A network that is not of this package, p not an odd prime, or impossible moves.
    """
    turn = rotation(weights.model_of(trajectory).tokens, moves)
    return weights.on_tables(trajectory, lambda table: table @ turn.T)


def rotation(p: int, moves: Mapping[int, int]) -> Tensor:
    """Return the orthogonal matrix (p, p), float64, that moves functions of t as a column: f -> rotation @ f.

    Raises
    ------
    SltGrokError
        p not an odd prime, or impossible moves.
    """
    group, half = cyclic(p), (p - 1) // 2
    if not group.is_odd_prime:
        raise SltGrokError(f"moves: expected an odd prime p, got {p}")
    planes = {k: min(to, p - to) for k, to in moves.items()}
    if not all(1 <= k <= half and 1 <= to <= half for k, to in planes.items()) or len({*planes.values()}) < len(planes):
        raise SltGrokError(
            f"moves: expected frequencies 1..{half} to different ones of 1..{p - 1}, k' and {p} - k' being the same, "
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
    """Return the receiver with the donor's circuit in the circuit's place.

    Parameters
    ----------
    receiver, donor : Trajectory
        Networks of this package on Z_p, the same shapes, dimensions and lengths.
    frequencies : sequence of int
        Of the donor's circuit.
    neurons : ndarray
        Of the donor's circuit, a bool mask (d_mlp,); the receiver's neurons at these places are lost.
    removed : sequence of int, optional
        Frequencies of the receiver's own circuit that are also taken out.
    attention : bool, optional
        Whether the donor's attention comes with it.

    Raises
    ------
    SltGrokError
        Networks that do not fit each other, frequencies that do not exist, or a mask of another shape.
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
    circuit, own = weights.keep_directions(donor, inside).parameters, weights.keep_neurons(donor, neurons).parameters
    found = dict(whole.parameters)
    for name, axis in module.token_roles().values():
        if name in rest:
            tokens, other = rest[name].movedim(axis, -1).tensor_split([p], -1)
            placed = circuit[name].movedim(axis, -1)[..., :p]
            tokens = tokens - tokens.mean(-1, keepdim=True) + placed
            found[name] = torch.cat([tokens, other], -1).movedim(-1, axis)
    found |= {name: others.parameters[name] + own[name] for name in weights.neuron_axes(module)}
    return replace(receiver, parameters=found)

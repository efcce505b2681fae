"""A circuit's frequency moved to another one, in trained weights.

Every table over Z_p (W_E and W_U; U, V and W) is a sum over the planes {cos w_k t, sin w_k t} along its axis of tokens
or answers. Moving k to k' puts what stood on cos w_k t, sin w_k t on cos w_k' t, sin w_k' t, in all tables alike: a
rotation of the functions of t, which changes no norm and nothing else in the network. What stood in a plane that is
taken goes to one that was left, so that moves become a permutation of planes. A k' beyond (p-1)/2 is p - k', with the
sine's sign turned.

For t -> m t on all of Z_p every k goes to m^-1 k, and the network is the relabeled one (`slt_grok.interventions`): the
same function under other names. Moving single frequencies is another function: right where the network's logits are a
sum over frequencies, one each, and as far as the new set separates the answers. Harmonics of a moved frequency that the
network also uses (2k, 3k, ..) stay where they are. This package's, after the circuits of Nanda et al. 2301.05217.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from slt_grok import fourier
from slt_grok.errors import SltGrokError
from slt_grok.models import Model
from slt_grok.trajectories import Trajectory


def move_frequencies(trajectory: Trajectory, moves: Mapping[int, int]) -> Trajectory:
    """Move frequencies in every table over Z_p of every network.

    Parameters
    ----------
    trajectory : Trajectory
        Networks of this package on Z_p, p an odd prime.
    moves : Mapping[int, int]
        k -> k', k in 1..(p-1)/2, k' in 1..p-1, no two of them to the same plane (k' and p - k' are one).

    Returns
    -------
    Trajectory
        A trajectory with the same leading coordinates. Rows of other tokens (the '=' sign) and everything that has no
        axis over Z_p stay.

    Raises
    ------
    SltGrokError
        A network that is not of this package, p not an odd prime, or moves that are none.
    """
    module, parameters = trajectory.network.module, dict(trajectory.parameters)
    if not isinstance(module, Model):
        raise SltGrokError(f"surgery: expected a model of slt_grok.models, got {type(module).__name__}")
    turn = rotation(module.tokens, moves)
    for name, axis in module.token_roles().values():
        if name in parameters:
            tokens, rest = parameters[name].movedim(axis, -1).tensor_split([module.tokens], -1)
            moved = (tokens.double() @ turn.T).to(tokens.dtype)
            parameters[name] = torch.cat([moved, rest], -1).movedim(-1, axis)
    return replace(trajectory, parameters=parameters)


def rotation(modulus: int, moves: Mapping[int, int]) -> Tensor:
    """Return the orthogonal matrix (p, p), float64, that moves functions of t as a column: f -> rotation @ f.

    Raises
    ------
    SltGrokError
        p not an odd prime, or moves that are none.
    """
    half = len(fourier.frequencies(modulus))
    planes = {k: min(to, modulus - to) for k, to in moves.items()}
    if not all(1 <= k <= half and 1 <= to <= half for k, to in planes.items()) or len({*planes.values()}) < len(planes):
        raise SltGrokError(
            f"moves: expected frequencies 1..{half} to different ones of 1..{modulus - 1}, k' and {modulus} - k' being "
            f"the same, got {dict(moves)}"
        )
    left = [k for k in planes if k not in planes.values()]
    taken = [to for to in planes.values() if to not in planes]
    planes |= dict(zip(taken, left, strict=True))  # a single move swaps two planes
    basis = fourier.basis(modulus)
    image = basis.clone()
    for k, to in planes.items():
        sign = -1 if k in moves and moves[k] > half else 1
        image[2 * k - 1], image[2 * k] = basis[2 * to - 1], sign * basis[2 * to]
    return image.T @ basis

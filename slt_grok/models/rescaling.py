"""Other weights of the same function: the two sides of a neuron or head, rescaled against each other."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

DEGREES = {nn.functional.relu: 1, torch.square: 2}
"""Degree k of each positively homogeneous activation, act(s x) = s^k act(x) for s > 0."""
SWEEPS, BALANCED = 500, 1e-9  # until every factor is 1 to this accuracy; layers that share weights affect each other


class Rescaling(NamedTuple):
    """Units whose two sides can be rescaled against each other without changing the function.

    Parameters
    ----------
    inside, outside : mapping of str to int
        Parameter -> its axis over the units, from the end: `inside` times s and `outside` times s^(-degree) leave the
        function unchanged, with any s > 0 for each unit.
    degree : int, optional
        Degree of homogeneity of what is between the two sides.
    """

    inside: Mapping[str, int]
    outside: Mapping[str, int]
    degree: int = 1


def rescalable_neurons(
    activation: Callable[[Tensor], Tensor], inside: Mapping[str, int], outside: Mapping[str, int]
) -> list[Rescaling]:
    """Declare the two sides of a layer of neurons; empty unless its activation is positively homogeneous."""
    degree = DEGREES.get(activation)
    return [] if degree is None else [Rescaling(inside, outside, degree)]


def rescaled(stack: Mapping[str, Tensor], pair: Rescaling, factors: Tensor) -> dict[str, Tensor]:
    """Multiply the input side of every unit by its factor, and its output side by factor^(-degree).

    Parameters
    ----------
    stack : mapping of str to Tensor
        Parameters of N networks, (N, ...).
    pair : Rescaling
        The two sides.
    factors : Tensor
        Positive factors, (N, units).
    """
    moved = dict(stack)
    for side, scale in ((pair.inside, factors), (pair.outside, factors**-pair.degree)):
        for name, axis in side.items():
            tensor = moved[name].movedim(axis, -1)
            one_per_unit = scale.reshape(len(scale), *[1] * (tensor.ndim - 2), -1)
            moved[name] = (tensor * one_per_unit).movedim(-1, axis)
    return moved


def stretched(stack: Mapping[str, Tensor], pairs: Sequence[Rescaling], factor: float) -> dict[str, Tensor]:
    """Multiply the input sides of all units by one factor, and their output sides accordingly."""
    for pair in pairs:
        stack = rescaled(stack, pair, torch.full_like(_norms(stack, pair.inside), factor))
    return dict(stack)


def balanced(stack: Mapping[str, Tensor], pairs: Sequence[Rescaling]) -> dict[str, Tensor]:
    """Give the two sides of every unit equal norms; units with a side of norm zero stay.

    This minimizes |w|^2 along the orbit for degree 1. Layers that share weights are balanced in turn until none
    changes.
    """
    for _ in range(SWEEPS):
        largest = 0.0
        for pair in pairs:
            inside, outside = _norms(stack, pair.inside), _norms(stack, pair.outside)
            alive = (inside > 0) & (outside > 0)
            ratio = torch.where(alive, outside, 1.0) / torch.where(alive, inside, 1.0)
            factors = ratio ** (1 / (1 + pair.degree))
            stack, largest = rescaled(stack, pair, factors), max(largest, factors.log().abs().max().item())
        if largest < BALANCED:
            break
    return dict(stack)


def _norms(stack: Mapping[str, Tensor], side: Mapping[str, int]) -> Tensor:
    """Compute the norm of one side of every unit, (N, units)."""
    moved = [stack[name].movedim(axis, 1) for name, axis in side.items()]
    squares = [tensor.reshape(*tensor.shape[:2], -1).square().sum(-1) for tensor in moved]
    return torch.stack(squares).sum(0).sqrt()

"""Quadratic networks with random phases: all answers are correct above a known width.

Source: Gromov 2301.02679, section 3; the bounds are ours.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from slt_grok.models.quadratic import QuadraticNetwork


def gromov(p: int, frequencies: Sequence[int], width: int, seed: int = 0, sign: int = 1) -> QuadraticNetwork:
    """Construct U = cos(w_n a + f_n), V = cos(w_n b + g_n), W = cos(w_n c + f_n + g_n), n = 1..width.

    Neurons cycle through the frequencies, with independent uniform phases. Each neuron contributes cos w_n(a + b - c) /
    2 to (U + V)^2 W; everything else has a random phase and averages out, so the margin grows like width times
    `smallest_gap`, and the noise like the square root of the width.

    Parameters
    ----------
    p : int
        Number of tokens, an odd prime.
    frequencies : Sequence[int]
        Frequencies of the neurons.
    width : int
        Number of neurons; above `sufficient_width`, all answers are correct.
    seed : int, optional
        Seed of the phases.
    sign : int, optional
        1 for a + b, -1 for a - b.
    """
    drawn = np.random.default_rng(np.random.SeedSequence(seed)).uniform(0, 2 * math.pi, (2, width))
    first, second = torch.from_numpy(drawn)
    angle = angles(p, torch.tensor(np.resize(frequencies, width)))  # (token, neuron)
    network = QuadraticNetwork(p, width)
    weights = {"U": (angle + first).cos(), "V": (sign * angle + second).cos(), "W": (angle + first + second).cos().T}
    network.double().load_state_dict(weights)
    return network


def smallest_gap(p: int, frequencies: Sequence[int]) -> float:
    """Compute the minimum over d = 1..p-1 of the mean over frequencies of sin^2(w_k d / 2), in (0, 1).

    Half of it is the gap between the correct answer and the next one in the mean of cos w_k(a + b - c).
    """
    turns = angles(p, torch.tensor(frequencies))[1:]
    return (turns / 2).sin().square().mean(-1).min().item()


def sufficient_width(p: int, frequencies: Sequence[int], failure: float = 1e-3) -> int:
    """Compute a width above which `gromov` answers all pairs correctly with probability at least 1 - failure.

    It is 16.5 (3 log p + log 1/failure) / m with m from `smallest_gap`, rounded up to equal shares. For a wrong answer
    at distance d, the difference of the two logits is a sum of independent terms, one per neuron, 2 sin(w d/2) (cos x +
    cos y)^2 sin(..): each has mean sin^2(w d/2), variance at most 5.25 times that, and is at most 9 below its mean, so
    Bernstein's inequality bounds the probability of a sum <= 0 by exp(-width m / 16.5). There are fewer than p^3 wrong
    answers.
    """
    gap = smallest_gap(p, frequencies)
    need = 16.5 * (3 * math.log(p) + math.log(1 / failure)) / gap
    return math.ceil(need / len(frequencies)) * len(frequencies)


def angles(p: int, frequencies: Tensor) -> Tensor:
    """Compute w_k t, (token, frequency), reduced in integers so that no digits are lost."""
    return 2 * math.pi / p * (torch.arange(p)[:, None] * frequencies % p).double()

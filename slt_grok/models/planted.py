"""Networks with a hand-constructed circuit: known answers for every measure.

All are in float64; measurements take `Trajectory.of(network, ModularTask(p))`. Here w_k = 2 pi k / p, with frequencies
k in 1..(p-1)/2 and p an odd prime.

    clock              logits sum_k A_k cos w_k(a + b - c), exactly, on one embedding
    quadratic_clock    the same logits as a quadratic network on one-hot tokens
    pizza              logits sum_k A_k |cos(w_k(a - b)/2)| cos w_k(a + b - c), up to a known residual
    lookup_table       any table of logits, with one neuron per pair

Source: Zhong et al. 2306.17844, sections 3 and 4 (clock, pizza).
The evenly spaced phases and the bounds are ours.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from slt_grok.errors import SltGrokError
from slt_grok.models.mlp import EmbeddingMLP
from slt_grok.models.quadratic import QuadraticNetwork
from slt_grok.tasks import is_prime

M = TypeVar("M", EmbeddingMLP, QuadraticNetwork)

PHASES = 4  # smallest number of evenly spaced phases for which every unwanted product of the clock cancels exactly


def clock(p: int, amplitudes: Mapping[int, float], sign: int = 1) -> EmbeddingMLP:
    """Construct a network with logits sum_k A_k cos w_k(a + sign b - c), up to rounding.

    The embedding has a circle for each k, see `_circles`. Each frequency has 16 neurons (cos(w_k a + f) + cos(sign w_k
    b + g))^2 with output cos(w_k c + f + g), where f and g each take 4 evenly spaced phases, so that everything but the
    wanted product cancels. Everywhere, even off the circles, Q_c is bilinear in E_a and E_b, so gradient symmetricity
    is 0 over all triples.

    Parameters
    ----------
    p : int
        Number of tokens, an odd prime.
    amplitudes : Mapping[int, float]
        Frequency -> A_k.
    sign : int, optional
        1 for a + b, -1 for a - b.

    Raises
    ------
    SltGrokError
        The modulus p is not an odd prime, or there is no frequency or one outside 1..(p-1)/2.
    """
    keys = list(amplitudes)
    _check(p, keys)
    phases = 2 * math.pi / PHASES * torch.cartesian_prod(*[torch.arange(PHASES, dtype=torch.float64)] * 2)
    first, second = phases.T
    network = EmbeddingMLP(p, 2 * len(keys), PHASES**2 * len(keys), "concatenation", "quadratic")
    return _with(
        network,
        W_E=_circles(p, keys),
        W_left=_from_circles([first.cos(), -first.sin()], len(keys)),
        W_right=_from_circles([second.cos(), -sign * second.sin()], len(keys)),
        W_U=_answers(p, amplitudes, first + second, 2 / PHASES**2),
    )


def quadratic_clock(p: int, amplitudes: Mapping[int, float], sign: int = 1) -> QuadraticNetwork:
    """Construct `clock` with its embedding multiplied into U and V: the same logits up to rounding."""
    weights = dict(clock(p, amplitudes, sign).named_parameters())
    network = QuadraticNetwork(p, len(weights["W_U"]))
    return _with(network, U=weights["W_E"] @ weights["W_left"], V=weights["W_E"] @ weights["W_right"], W=weights["W_U"])


def pizza(p: int, amplitudes: Mapping[int, float], directions: int = 32) -> EmbeddingMLP:
    """Construct logits sum_k A_k |cos(w_k(a - b)/2)| (cos w_k(a + b - c) + r), |r| <= `pizza_residual(directions)`.

    The embedding has a circle for each k, see `_circles`. On the unit circle, E_a + E_b is 2 cos(w_k(a - b)/2) times
    the unit vector at the angle w_k(a + b)/2; for each j = 0..J-1, a pair of ReLU neurons computes the absolute value
    of its component along the angle phi_j = pi j / J, with output cos(w_k c - 2 phi_j). The second harmonic of |cos| is
    wanted; others contribute to cos(w_k c - 2 phi_j) only from order J-1 on.

    Parameters
    ----------
    p : int
        Number of tokens, an odd prime.
    amplitudes : Mapping[int, float]
        Frequency -> A_k.
    directions : int, optional
        Number J of directions, at least 3; a frequency has 2 J neurons.

    Raises
    ------
    SltGrokError
        The modulus p is not an odd prime, there is no frequency or one outside 1..(p-1)/2, or fewer than 3 directions.
    """
    keys = list(amplitudes)
    _check(p, keys)
    if directions < 3:
        raise SltGrokError(f"pizza: expected at least 3 directions, got {directions}")
    phi = math.pi / directions * torch.arange(2 * directions, dtype=torch.float64)
    network = EmbeddingMLP(p, 2 * len(keys), 2 * directions * len(keys), "sum", "relu")
    return _with(
        network,
        W_E=_circles(p, keys),
        W_in=_from_circles([phi.cos(), phi.sin()], len(keys)),
        W_U=_answers(p, amplitudes, -2 * phi, 3 * math.pi / (4 * directions)),
    )


def pizza_residual(directions: int) -> float:
    """Compute pi^2 / (4 (J-1)^2 - 1), the bound on what `pizza` adds to each cosine of the answer.

    |cos x| = (2/pi) + (4/pi) sum_m (-1)^(m+1) cos(2 m x) / (4 m^2 - 1). In addition to m = 1, the orders i J - 1 and i
    J + 1 remain, i >= 1, each at most 3 / (4 m^2 - 1) relative to the wanted one.
    """
    return math.pi**2 / (4 * (directions - 1) ** 2 - 1)


def lookup_table(logits: Tensor) -> EmbeddingMLP:
    """Construct a network that memorizes any table: relu(1[a = i] + 1[b = j] - 1) is 1 only for the pair (i, j).

    Parameters
    ----------
    logits : Tensor
        Logits of each pair, (p, p, p). For labels, use `margin * one_hot(labels)`.

    Raises
    ------
    SltGrokError
        The logits have another shape.
    """
    p = len(logits)
    if logits.shape != (p, p, p):
        raise SltGrokError(f"lookup_table: expected logits of shape (p, p, p), got {tuple(logits.shape)}")
    tokens = torch.eye(p, dtype=torch.float64)
    return _with(
        EmbeddingMLP(p, p, p**2, "concatenation", "relu"),
        W_E=tokens,
        W_left=tokens.repeat_interleave(p, 1),
        W_right=tokens.repeat(1, p),
        b_in=-torch.ones(p**2),
        W_U=logits.flatten(0, 1),
    )


def _check(p: int, frequencies: Sequence[int]) -> None:
    if p < 3 or not is_prime(p):
        raise SltGrokError(f"p: expected an odd prime, got {p}")
    if not frequencies or not all(1 <= k <= (p - 1) // 2 for k in frequencies):
        raise SltGrokError(f"frequencies: expected some of 1..{(p - 1) // 2}, got {list(frequencies)}")


def _angles(p: int, frequencies: Tensor) -> Tensor:
    """Compute w_k t, (token, frequency), reduced in integers so that no digits are lost."""
    return 2 * math.pi / p * (torch.arange(p)[:, None] * frequencies % p).double()


def _radii(count: int) -> Tensor:
    """Radii 1, 1 - 1/(2 n), ..., over 1/2: all different, so that principal components separate the n circles."""
    return 1 - torch.arange(count, dtype=torch.float64) / (2 * count)


def _circles(p: int, frequencies: Sequence[int]) -> Tensor:
    """Compute r_k (cos w_k t, sin w_k t) for each k in turn, r_k from `_radii`, (token, 2 frequencies)."""
    angle = _angles(p, torch.tensor(frequencies))
    return (torch.stack([angle.cos(), angle.sin()], -1) * _radii(len(frequencies))[:, None]).flatten(1)


def _from_circles(rows: Sequence[Tensor], count: int) -> Tensor:
    """Apply the same map (2, neurons) to each circle, dividing by its radius, (2 circles, neurons)."""
    return torch.block_diag(*[torch.stack(list(rows)) / radius for radius in _radii(count)])


def _answers(p: int, amplitudes: Mapping[int, float], phases: Tensor, scale: float) -> Tensor:
    """Compute scale A_k cos(w_k c + phase) for each k in turn, (frequency and phase, answer)."""
    waves = [scale * a * (_angles(p, torch.tensor([k])) + phases).cos().T for k, a in amplitudes.items()]
    return torch.cat(waves)


def _with(network: M, **weights: Tensor) -> M:
    """Fill a network with these weights in float64; others stay zero."""
    network.double().load_state_dict({**network.state_dict(), **weights})
    return network

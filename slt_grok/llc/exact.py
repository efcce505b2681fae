"""Known learning coefficients in closed form.

There are two kinds. `regular`, `normal_crossing`, `deep_linear`, `deep_linear_generic`, `polynomial` and half the rank
of the Jacobian (`slt_grok.operators.jacobian`) give the learning coefficient lambda itself, a property of the minimum.
`quadratic` and `quadratic_sgld` give the expected result of a sampler at finite n_beta, gamma and step, which differs
from lambda by a known bias.
"""

import math
from collections.abc import Sequence
from fractions import Fraction
from itertools import accumulate
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from slt_grok.errors import SltGrokError


class LearningCoefficient(NamedTuple):
    """A learning coefficient: F_n = n L_n(w*) + lambda log n - (m - 1) log log n (Watanabe 2009).

    Parameters
    ----------
    value : float
        Learning coefficient lambda.
    multiplicity : int
        Multiplicity m.
    """

    value: float
    multiplicity: int


def regular(rank: int) -> LearningCoefficient:
    """Compute rank / 2, multiplicity 1: a minimum whose Hessian has that rank along a smooth set of minima."""
    return LearningCoefficient(rank / 2, 1)


def quadratic(eigenvalues: ArrayLike, n_beta: float, gamma: float) -> float:
    """Compute n_beta (E L - L(w*)) = 1/2 sum_i n_beta h_i / (n_beta h_i + gamma) for L = 1/2 sum_i h_i w_i^2.

    This is the mean over p(w) ~ exp(-n_beta L - gamma/2 |w - w*|^2), as given by an exact sampler; it is between 0 and
    rank / 2, and approaches the latter as n_beta h / gamma goes to infinity in every direction.

    Parameters
    ----------
    eigenvalues : ArrayLike
        Eigenvalues h_i >= 0 of the Hessian of L, (d,).
    n_beta, gamma : float
        n times the inverse temperature, and the localization.
    """
    scaled = n_beta * np.asarray(eigenvalues, dtype=float)
    total = scaled + gamma
    return float(0.5 * np.divide(scaled, total, out=np.zeros_like(scaled), where=total > 0).sum())


def quadratic_sgld(
    eigenvalues: ArrayLike, n_beta: float, gamma: float, step_size: float, updates: int | None = None
) -> float:
    """Compute `quadratic` for full-batch SGLD with a finite step, when stationary or after some updates from w*.

    It is 1/2 sum_i n_beta h_i / (A_i (1 - epsilon A_i / 4)) [1 - (1 - epsilon A_i / 2)^(2 t)], A_i = n_beta h_i +
    gamma, from the variance of the linear recursion w <- (1 - epsilon A/2) w + sqrt(epsilon) N(0, 1).

    Parameters
    ----------
    eigenvalues, n_beta, gamma : ArrayLike, float, float
        See `quadratic`.
    step_size : float
        Step size epsilon.
    updates : int or None, optional
        Number of updates t; None for the stationary state.

    Raises
    ------
    SltGrokError
        The recursion diverges because epsilon A_i >= 4 for some i.
    """
    h = np.asarray(eigenvalues, dtype=float)
    a = n_beta * h + gamma
    if step_size * a.max() >= 4:
        raise SltGrokError(
            f"step_size: expected below 4 / (n_beta h + gamma) = {4 / a.max():.3g}, where SGLD is stable, "
            f"got {step_size:.3g}"
        )
    h, a = h[h > 0], a[h > 0]
    filled = 1.0 if updates is None else 1 - (1 - step_size * a / 2) ** (2 * updates)
    return float((0.5 * n_beta * h / (a * (1 - step_size * a / 4)) * filled).sum())


def normal_crossing(exponents: Sequence[int]) -> LearningCoefficient:
    """Compute lambda = 1 / (2 max k) for L = prod_i w_i^(2 k_i) at 0; m counts the maxima (Watanabe 2009).

    Parameters
    ----------
    exponents : Sequence[int]
        Exponents k_i >= 0, at least one of them above 0.

    Raises
    ------
    SltGrokError
        A negative exponent, or none above 0.
    """
    if not exponents or min(exponents) < 0 or max(exponents) == 0:
        raise SltGrokError(f"exponents: expected integers k >= 0, at least one of them above 0, got {list(exponents)}")
    largest = max(exponents)
    return LearningCoefficient(1 / (2 * largest), list(exponents).count(largest))


def multiplicity_correction(multiplicity: int, n_beta: float) -> float:
    """Compute (m - 1) / log(n_beta), which n_beta (E L - L(w*)) lacks of lambda because of the multiplicity.

    This is -d log Z / d log n_beta of Z ~ n_beta^-lambda (log n_beta)^(m-1), to leading order: the unit of n_beta (the
    loss at the border of the neighborhood) adds an unknown constant to the logarithm.

    Parameters
    ----------
    multiplicity : int
        Multiplicity m >= 1.
    n_beta : float
        Inverse temperature times n, above 1.
    """
    return (multiplicity - 1) / math.log(n_beta) if multiplicity > 1 else 0.0


def deep_linear(widths: Sequence[int], rank: int) -> LearningCoefficient:
    """Compute lambda and m of a deep linear network with a true map of given rank, at its most singular minimum.

    The network is W_1 ... W_L (Aoyagi 2023).

    With M_s = H_s - r let S be the set of some l + 1 smallest M with max_S M < min_rest M and
    l max_S M <= s < l min_rest M, s = sum_S M. With a = s - (ceil(s/l) - 1) l,
    lambda = (r (H_0 + H_L) - r^2) / 2 + a (l - a) / (4 l) - l (l - 1) / 4 (s / l)^2 + 1/2 sum_{i<j in S} M_i M_j
    and m = a (l - a) + 1. The value holds at the point where each layer has rank exactly r; see `deep_linear_generic`
    for the opposite extreme on the fiber.

    Parameters
    ----------
    widths : Sequence[int]
        Widths H_0, ..., H_L, at least two.
    rank : int
        Rank r, from 0 to the smallest width.

    Raises
    ------
    SltGrokError
        The rank is impossible for these widths, or there are fewer than two widths.
    """
    _check_deep_linear(widths, rank)
    m = sorted(width - rank for width in widths)
    border = [*m[1:], math.inf]  # the smallest M not in S, if S ended here
    size, s = next(
        (size, s)
        for size, s in enumerate(accumulate(m))
        if size and m[size] < border[size] and size * m[size] <= s < size * border[size]
    )
    a = s - (-(-s // size) - 1) * size
    pairs = Fraction(s**2 - sum(x**2 for x in m[: size + 1]), 2)
    value = (
        Fraction(rank * (widths[0] + widths[-1]) - rank**2, 2)
        + Fraction(a * (size - a), 4 * size)
        - Fraction((size - 1) * s**2, 4 * size)
        + pairs / 2
    )
    return LearningCoefficient(float(value), a * (size - a) + 1)


def deep_linear_generic(widths: Sequence[int], rank: int) -> LearningCoefficient:
    """Compute lambda and m of a deep linear network where all layers but the last have full rank, a smooth point.

    With b = min(H_0, ..., H_{L-1}), the product of these layers has rank b and the last layer has rank r, so the
    Jacobian misses (H_0 - b)(H_L - r) of the H_0 H_L entries: lambda is half of the remainder, m = 1.

    Parameters
    ----------
    widths, rank : Sequence[int], int
        See `deep_linear`.

    Raises
    ------
    SltGrokError
        See `deep_linear`.
    """
    _check_deep_linear(widths, rank)
    bottleneck = min(widths[:-1])
    return regular(widths[0] * widths[-1] - (widths[0] - bottleneck) * (widths[-1] - rank))


def _check_deep_linear(widths: Sequence[int], rank: int) -> None:
    if len(widths) < 2 or min(widths) < 1:
        raise SltGrokError(f"widths: expected at least two positive integers, got {list(widths)}")
    if not 0 <= rank <= min(widths):
        raise SltGrokError(f"rank: expected from 0 to the smallest width {min(widths)}, got {rank}")


def modular_rank(p: int, neurons: int, pairs: int | None = None) -> int:
    """Compute the Jacobian rank of sum_k v_k (w_{k,a} + w'_{k,b})^2 with generic weights on one-hot pairs over Z_p.

    On all p^2 pairs it is min(K (3p - 2), p^3): among a neuron's 3p weights, two directions have no effect, the scale
    of v relative to w and the shift w_a + t, w'_b - t. On N train pairs, min(K (3p - 2), N p) is only an upper bound;
    compute `slt_grok.operators.jacobian.jacobian_rank` at the point instead.

    Parameters
    ----------
    p : int
        Modulus.
    neurons : int
        Number of neurons K.
    pairs : int or None, optional
        Number of pairs N; all p^2 by default.
    """
    return min(neurons * (3 * p - 2), p * (p * p if pairs is None else pairs))


def modular_published(p: int, neurons: int) -> float:
    """Compute K (3p - 1) / 2, published in 2603.01192 for such a network, which omits the shift of each neuron."""
    return neurons * (3 * p - 1) / 2


def polynomial(degree: int) -> LearningCoefficient:
    """Compute (degree + 1) / 2, m = 1, for least squares with the monomials 1, ..., x^degree (regular Gram matrix)."""
    return regular(degree + 1)

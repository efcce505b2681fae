"""Margins of the right answer, and what each frequency gives to them.

Sources: Nanda et al. 2301.05217, section 4.1 (the waves of the key frequencies interfere constructively at the right
answer); Morwani et al. 2311.07568 (networks of largest normalized margin are Fourier circuits); Lyu and Li 1906.05890
(normalized margin of homogeneous networks).

A margin can be compared over the scale of the weights only where the logits are homogeneous, L(s w) = s^degree L(w).
Of the networks of this package those without embedding and biases are, `QuadraticNetwork` with a quadratic activation
or ReLU. The others are not, and have no normalized margin: GELU is not homogeneous; biases scale otherwise than the
products of weights that they are added to (exponents of their own for each parameter would mend that, but they are not
unique); attention has a softmax, and a residual stream adds paths of different degree.
"""

import torch
from torch import Tensor

from slt_grok import fourier

ACTIVATION_DEGREE = {torch.square: 2, torch.nn.functional.relu: 1}  # act(s x) = s^degree act(x) for s > 0


def margins(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Logit of the right answer, the largest wrong one and its class: (N, n, p), (n,) -> three of (N, n)."""
    index = labels.expand(logits.shape[:-1])[..., None]
    right = logits.gather(-1, index)[..., 0]
    wrong, rival = logits.scatter(-1, index, -torch.inf).max(-1)
    return right, wrong, rival


def by_frequency(table: Tensor, rival: Tensor, sums: Tensor, labels: Tensor) -> Tensor:
    """Mean over all pairs of (P_k L)[label] - (P_k L)[rival], P_k the projection of `progress` on cos, sin w_k s.

    The rival is the class of the largest wrong logit of the whole network: summed over k, and with what no P_k holds,
    the values add up to its mean margin.

    Parameters
    ----------
    table : Tensor
        M[s, c] of the logits (`fourier.sum_table`), (N, p, p).
    rival : Tensor
        Class of the largest wrong logit of each pair, (N, p^2).
    sums, labels : Tensor
        s and the right class of each pair, (p^2,).

    Returns
    -------
    Tensor
        (N, (p-1)/2) in the logits' unit.
    """
    n, p, _ = table.shape
    rows = fourier.basis(p)[1:]
    # how often class c is the right answer, less how often it is the rival, among the pairs of sum s
    count = torch.zeros(n, p * p, dtype=table.dtype)
    one = torch.ones(1, dtype=table.dtype)
    count.scatter_add_(1, (sums * p + labels).expand(n, -1), one.expand(n, p * p))
    count.scatter_add_(1, sums * p + rival, -one.expand(n, p * p))
    gain = ((rows @ table) * (rows @ count.unflatten(1, (p, p)))).sum(-1) / p**2
    return gain.unflatten(1, (-1, 2)).sum(-1)


def normalized(margin: Tensor, left: Tensor, right: Tensor, output: Tensor, degree: int) -> tuple[Tensor, Tensor]:
    """Return the smallest margin over a norm of the weights to the power of the network's degree, for two norms.

    For networks L = sum_i act(u_i(a) + v_i(b)) w_i of an activation of `ACTIVATION_DEGREE` r, whose degree is r + 1.

    Parameters
    ----------
    margin : Tensor
        Smallest margin over the pairs, (N,).
    left, right : Tensor
        u and v, (N, p, width).
    output : Tensor
        w, (N, width, p).
    degree : int
        Of the network, 3 for the quadratic activation, 2 for ReLU.

    Returns
    -------
    tuple[Tensor, Tensor]
        Two of (N,): over sum_i ||(u_i, v_i, w_i)||_2^degree, the norm L_{2,degree} of 2311.07568, and over
        ||w||_2^degree of all weights (1906.05890). Of a quadratic network the first is at most sqrt(2/27) / (sqrt(p) (p
        - 1)), reached by Fourier circuits alone (theorem 7 of 2311.07568). At degree 2 the two are the same.
    """
    squares = left.square().sum(1) + right.square().sum(1) + output.square().sum(2)
    return margin / squares.pow(degree / 2).sum(-1), margin / squares.sum(-1).pow(degree / 2)

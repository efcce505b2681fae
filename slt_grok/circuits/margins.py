"""Margins of the right answer, and what each frequency gives to them.

Sources: Nanda et al. 2301.05217, section 4.1 (the waves of the key frequencies interfere constructively at the right
answer); Morwani et al. 2311.07568 (networks of largest normalised margin are Fourier circuits).
"""

import torch
from torch import Tensor

from slt_grok import fourier


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
    table : M[s, c] of the logits (`fourier.sum_table`), (N, p, p).
    rival : class of the largest wrong logit of each pair, (N, p^2).
    sums, labels : s and the right class of each pair, (p^2,).

    Returns
    -------
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


def normalized(margin: Tensor, left: Tensor, right: Tensor, output: Tensor) -> Tensor:
    """The smallest margin over sum_i ||(u_i, v_i, w_i)||_2^3, the cube of the weights' L_{2,3} norm.

    For networks L = sum_i (u_i(a) + v_i(b))^2 w_i, whose margin grows as the cube of the scale of the weights. Over all
    weights its largest value is sqrt(2/27) / (sqrt(p) (p - 1)), reached by Fourier circuits alone (theorem 7 of
    2311.07568).

    Parameters
    ----------
    margin : smallest margin over the pairs, (N,).
    left, right : u and v, (N, p, width).
    output : w, (N, width, p).
    """
    norms = left.square().sum(1) + right.square().sum(1) + output.square().sum(2)
    return margin / norms.pow(1.5).sum(-1)

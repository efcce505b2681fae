"""Losses of the network with parts of its logits' Fourier transform kept or taken away.

Notation: logits L[a, b, c] on the whole grid; s = a + b (a - b for subtraction); K a set of frequencies;
P_k the projection of each class's function of (a, b) on span{cos w_k s, sin w_k s}.
Sources: Nanda et al. 2301.05217, section 5.1 (restricted and excluded loss, `sum` mask); the 2 x 2 and 3 x 3 masks are
those of the ablations of its section 4.4 and of the paper's code; never a block of two different frequencies.

Every function takes logits (N, p^2, p) in float64 and frequencies as a bool mask (N, (p-1)/2).

P_k needs no p^2 x p^2 matrix. With M[s, c] the mean of L[a, b, c] over the p cells with the same s
(`fourier.sum_table`), (P_k L)[a, b, c] = sum_t (2/p) cos(w_k (s - t)) M[t, c]: the component at k of M as a function
of s.
"""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from slt_grok import fourier
from slt_grok.fourier import project

LARGEST_EXPONENT = 300.0  # the product of two such exponentials is still a float64


def sample_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy -log softmax(L)[label] in nats: (N, n, p), (n,) -> (N, n)."""
    losses = cross_entropy(logits.flatten(0, 1), labels.repeat(len(logits)), reduction="none")
    return losses.unflatten(0, (len(logits), -1))


def restricted_sum(table: Tensor, frequencies: Tensor) -> Tensor:
    """mean_ab L + sum_{k in K} P_k L as a table over (s, c), from M (N, s, c)."""
    return table.mean(1, keepdim=True) + project(table, frequencies)


def restricted_blocks(logits: Tensor, frequencies: Tensor, size: int) -> Tensor:
    """mean_ab L and the same-frequency blocks of K of the two-dimensional transform, (N, p^2, p).

    `size` 2 keeps {cos k, sin k} x {cos k, sin k} of each k in K (4 components), 3 also their products with the
    constant (8 components).
    """
    n, cells, p = logits.shape
    used = frequencies.any(0)  # rows of no network's K need not be computed
    rows = fourier.basis(p)[torch.cat([torch.ones(1, dtype=torch.bool), used.repeat_interleave(2)])]
    half = (rows @ logits.reshape(n, p, p * p)).unflatten(-1, (p, p))  # (N, i, b, c)
    components = rows @ half  # (N, i, j, c)
    own = frequencies[:, used].double().repeat_interleave(2, -1)
    same = torch.block_diag(*[torch.ones(2, 2, dtype=torch.float64)] * int(used.sum()))
    mask = torch.zeros(n, len(rows), len(rows), dtype=torch.float64)
    mask[:, 0, 0] = 1
    mask[:, 1:, 1:] = same.reshape(len(rows) - 1, len(rows) - 1) * own[:, None]
    if size == 3:
        mask[:, 0, 1:] = mask[:, 1:, 0] = own
    back = rows.T @ (components * mask[..., None])  # (N, i, b, c)
    return (rows.T @ back.reshape(n, len(rows), p * p)).reshape(n, cells, p)


def excluded_by_frequency(logits: Tensor, table: Tensor, sums: Tensor, labels: Tensor) -> Tensor:
    """Mean loss of L - P_k L, one k at a time, over the given samples.

    With y the label and R = P_k L, a function of s, the loss is log(1 + e^{R_y} sum_{c != y} e^{L_c - L_y} e^{-R_c}):
    the first exponentials are taken once for all k, the second ones for the p values of s, and the sum over c is a
    product of matrices. Where logits are so large that these overflow, it is one frequency after the other.

    Parameters
    ----------
    logits : Tensor
        Of the samples, (N, n, p).
    table : Tensor
        M of the whole grid, (N, s, c).
    sums, labels : Tensor
        s and the right class of each sample, (n,).

    Returns
    -------
    Tensor
        (N, (p-1)/2).
    """
    pairs = fourier.basis(table.shape[-1])[1:].unflatten(0, (-1, 2))
    found = []
    for own, means in zip(logits, table, strict=True):
        removed = pairs.mT @ (pairs @ means)  # (frequency, s, c)
        spread = max((own.amax() - own.amin()).item(), 2 * removed.abs().max().item())
        losses = _excluded_together if spread < LARGEST_EXPONENT else _excluded_one_by_one
        found.append(losses(own, removed, sums, labels))
    return torch.stack(found)


def _excluded_one_by_one(logits: Tensor, removed: Tensor, sums: Tensor, labels: Tensor) -> Tensor:
    """Of one network, (n, p) and (frequency, s, c) -> (frequency,)."""
    return torch.stack([sample_losses((logits - part[sums])[None], labels).mean() for part in removed])


def _excluded_together(logits: Tensor, removed: Tensor, sums: Tensor, labels: Tensor) -> Tensor:
    """Return the same, see `excluded_by_frequency`."""
    ahead = (logits - logits.gather(1, labels[:, None])).exp_().scatter_(1, labels[:, None], 0)
    factors = (-removed).exp_()
    others = logits.new_empty(len(logits), len(removed))
    for s, of_sum in enumerate(factors.unbind(1)):
        rows = (sums == s).nonzero()[:, 0]
        others[rows] = ahead[rows] @ of_sum.T
    return (others.T / factors[:, sums, labels]).log1p_().mean(-1)


def clock_fit(logits: Tensor, table: Tensor, frequencies: Tensor) -> tuple[Tensor, Tensor]:
    """Least squares of the logits, each class's grid mean removed, on cos w_k(s - c) for k in K.

    The functions are orthogonal with squared norm p^3/2, so that alpha_k = 2/p^2 sum_{s,c} M[s, c] cos w_k(s - c).

    Returns
    -------
    tuple[Tensor, Tensor]
        The fitted logits mean_ab L + sum_k alpha_k cos w_k(s - c) as a table (N, s, c), and the share of the variance
        over all p^3 that the fit explains (N,), in [0, 1], NaN where the centered logits vanish.
    """
    p = logits.shape[-1]
    cosines = fourier.clock(p)
    alpha = torch.einsum("nsc,ksc->nk", table, cosines) * (2 / p**2) * frequencies
    mean = table.mean(1, keepdim=True)
    explained = alpha.square().sum(-1) * p**3 / 2
    return mean + torch.einsum("nk,ksc->nsc", alpha, cosines), explained / (logits - mean).square().sum((1, 2))

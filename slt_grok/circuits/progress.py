"""Losses of the network with parts of the Fourier transform of its logits kept or removed.

Notation: logits L[a, b, c] on all pairs; s = a b, or a b^(-1) if the task's sign is -1 (on Z_n, a + b and a - b); K a
set of frequencies, that is, of real irreducible representations; P_k the projection of each class's function of (a, b)
on the functions of s in the plane of k, on Z_n span{cos w_k s, sin w_k s}.
Sources: Nanda et al. 2301.05217, section 5.1 (restricted and excluded loss, `sum` mask); the 2 x 2 and 3 x 3 masks
follow the ablations of its section 4.4 and the paper's code; blocks of two different frequencies are never included.

Functions take logits (N, n^2, n) in float64 and frequencies as a bool mask (N, K).

P_k needs no n^2 x n^2 matrix. With M[s, c] the mean of L[a, b, c] over the n pairs with the same s
(`Group.means_by_product`), P_k L is the component of M in the plane of k as a function of s.
"""

from typing import Any

import torch
import xarray as xr
from torch import Tensor

from slt_grok.circuits.chunk import Chunk, sample_losses
from slt_grok.circuits.measure import NANDA, PLANES, ZHONG, CircuitMeasure, loss
from slt_grok.groups import Group
from slt_grok.measurement import Variable
from slt_grok.rules import LOSS, Change

LARGEST_EXPONENT = 300.0  # the product of two such exponentials is still a float64


def has_circuit(circuits: xr.Dataset) -> Any:
    """Check for a key frequency, without which restricted and excluded loss are undefined."""
    return circuits.circuit_frequency.any() if "circuit_frequency" in circuits else True


class Progress(CircuitMeasure):
    """Restricted, excluded and trig losses."""

    name = "progress"
    needs = ("logits", "group")
    variables = {
        "restricted_loss_sum": loss("restricted loss (sum directions)",
            f"loss of mean_ab L + sum of P_k L over circuit_frequency, P_k the projection on {PLANES}",
            f"{NANDA}, section 5.1")._replace(change=Change(LOSS, "restricted loss", "green", "^",
            ({"split": "test"}, {"split": "all"}), counts=has_circuit, place=5)),
        "restricted_loss_2x2": loss("restricted loss (2 x 2 blocks)",
            "loss of mean_ab L + the components {cos k, sin k} x {cos k, sin k} of L for k in circuit_frequency; on "
            "other groups the rows of the plane of k in place of cos k, sin k", f"{NANDA}, section 4.4"),
        "restricted_loss_3x3": loss("restricted loss (3 x 3 blocks)",
            "loss of mean_ab L + the components {1, cos k, sin k} x {1, cos k, sin k} of L for k in circuit_frequency; "
            "on other groups the rows of the plane of k in place of cos k, sin k", f"{NANDA}, section 4.4"),
        "excluded_loss": loss("excluded loss",
            f"loss of L - sum of P_k L over circuit_frequency, P_k the projection on {PLANES}",
            f"{NANDA}, section 5.1")._replace(change=Change(LOSS._replace(rises=True), "", "vermilion", "v",
            ({"split": "train"},), counts=has_circuit, place=6)),
        "excluded_loss_by_frequency": Variable(("frequency",), "excluded loss of one frequency (train)",
            f"train loss of L - P_k L, one k at a time, P_k the projection on {PLANES}", f"{NANDA}, section 5.1",
            "nats"),
        "excluded_loss_largest": Variable((), "largest excluded loss of one frequency (train)",
            "max over all k of excluded_loss_by_frequency: the excluded loss that needs no choice of key frequencies",
            f"{NANDA}, section 5.1", "nats"),
        "trig_loss": loss("trig loss",
            "loss of mean_ab L + sum over circuit_frequency of alpha_k kappa_k(s, c), alpha by least squares on L - "
            "mean_ab L; kappa_k = cos w_k(s - c) on Z_n, in general the reproducing kernel of the plane of k, 1 where "
            "s = c", f"{NANDA}, section 4.4"),
        "clock_fve": Variable((), "variance explained by the clock",
            "fraction of the squared norm of L - mean_ab L over all pairs and classes that sum of alpha_k kappa_k(s, "
            "c) explains, see trig_loss", f"{ZHONG}, section 4"),
    }  # fmt: skip

    def compute(self, chunk: Chunk) -> dict[str, Tensor]:
        """See `CircuitMeasure`."""
        logits, table, kept, group = chunk.sites["logits"], chunk.table, chunk.kept, chunk.group
        train, products, labels = chunk.task.indices("train"), chunk.products, chunk.task.labels
        fitted, clock_fve = clock_fit(logits, table, kept, group)
        without_one = excluded_by_frequency(logits[:, train], table, products[train], labels[train], group)
        return {
            "restricted_loss_sum": chunk.losses_of_table(restricted_sum(table, kept, group)),
            "restricted_loss_2x2": chunk.losses(restricted_blocks(logits, kept, group)),
            "restricted_loss_3x3": chunk.losses(restricted_blocks(logits, kept, group, with_constant=True)),
            "excluded_loss": chunk.losses(logits - group.project(table, kept)[:, products]),
            "excluded_loss_by_frequency": without_one,
            "excluded_loss_largest": without_one.amax(-1),
            "trig_loss": chunk.losses_of_table(fitted),
            "clock_fve": clock_fve,
        }


def restricted_sum(table: Tensor, frequencies: Tensor, group: Group) -> Tensor:
    """Compute mean_ab L + sum_{k in K} P_k L as a table over (s, c), from M (N, s, c)."""
    return table.mean(1, keepdim=True) + group.project(table, frequencies)


def restricted_blocks(logits: Tensor, frequencies: Tensor, group: Group, with_constant: bool = False) -> Tensor:
    """Compute mean_ab L plus the blocks of K in the two-dimensional transform, (N, n^2, n).

    A block is {cos k, sin k} x {cos k, sin k} for one k in K, on Z_n 2 x 2 = 4 components; `with_constant` adds their
    products with the constant, for a total of 8.
    """
    networks, pairs, n = logits.shape
    used = frequencies.any(0)[group.plane_of_row]  # rows that are in no network's K are not needed
    rows, plane = torch.cat([group.basis[:1], group.basis[1:][used]]), group.plane_of_row[used]
    half = (rows @ logits.reshape(networks, n, n * n)).unflatten(-1, (n, n))  # (N, i, b, c)
    components = rows @ half  # (N, i, j, c)
    kept = frequencies[:, plane].double()
    mask = torch.zeros(networks, len(rows), len(rows), dtype=torch.float64)
    mask[:, 0, 0] = 1
    mask[:, 1:, 1:] = (plane[:, None] == plane) * kept[:, None]
    if with_constant:
        mask[:, 0, 1:] = mask[:, 1:, 0] = kept
    back = rows.T @ (components * mask[..., None])  # (N, i, b, c)
    return (rows.T @ back.reshape(networks, len(rows), n * n)).reshape(networks, pairs, n)


def excluded_by_frequency(logits: Tensor, table: Tensor, products: Tensor, labels: Tensor, group: Group) -> Tensor:
    """Compute the mean loss of L - P_k L, one k at a time, over the given samples.

    With y the label and R = P_k L, a function of s, the loss is log(1 + e^{R_y} sum_{c != y} e^{L_c - L_y} e^{-R_c}):
    the first exponentials are computed once for all k, the second ones for the n values of s, and the sum over c is a
    matrix product. If the logits are so large that these overflow, frequencies are processed one at a time.

    Parameters
    ----------
    logits : Tensor
        Logits of the samples, (N, n, classes).
    table : Tensor
        Table M of the whole grid, (N, s, c).
    products, labels : Tensor
        Product s and correct class of each sample, (n,).
    group : Group
        Group of the tokens.

    Returns
    -------
    Tensor
        Losses, (N, K).
    """
    losses = []
    for network, means in zip(logits, table, strict=True):
        removed = torch.stack([plane.T @ (plane @ means) for plane in group.planes])  # (frequency, s, c)
        spread = max((network.amax() - network.amin()).item(), 2 * removed.abs().max().item())
        excluded = _excluded_together if spread < LARGEST_EXPONENT else _excluded_one_by_one
        losses.append(excluded(network, removed, products, labels))
    return torch.stack(losses)


def _excluded_one_by_one(logits: Tensor, removed: Tensor, products: Tensor, labels: Tensor) -> Tensor:
    """Compute the losses of one network, (n, classes) and (frequency, s, c) -> (frequency,)."""
    return torch.stack([sample_losses((logits - part[products])[None], labels).mean() for part in removed])


def _excluded_together(logits: Tensor, removed: Tensor, products: Tensor, labels: Tensor) -> Tensor:
    """Compute the losses for all frequencies at once, see `excluded_by_frequency`."""
    ahead = (logits - logits.gather(1, labels[:, None])).exp_().scatter_(1, labels[:, None], 0)
    factors = (-removed).exp_()
    others = logits.new_empty(len(logits), len(removed))
    for s, of_product in enumerate(factors.unbind(1)):
        rows = (products == s).nonzero()[:, 0]
        others[rows] = ahead[rows] @ of_product.T
    return (others.T / factors[:, products, labels]).log1p_().mean(-1)


def clock_fit(logits: Tensor, table: Tensor, frequencies: Tensor, group: Group) -> tuple[Tensor, Tensor]:
    """Fit the logits, with each class's mean removed, by least squares on the kernels kappa_k(s, c) for k in K.

    On Z_n these are cos w_k(s - c). They are orthogonal with squared norm n^3/r, with r the number of rows of the plane
    (2 for a cosine and a sine), so alpha_k = r/n^2 sum_{s,c} M[s, c] kappa_k(s, c).

    Returns
    -------
    tuple of Tensor
        The fitted logits mean_ab L + sum_k alpha_k kappa_k(s, c) as a table (N, s, c), and the fraction of the variance
        over all n^3 that the fit explains (N,), in [0, 1], NaN where the centered logits vanish.
    """
    n, rows, kernels = group.order, group.plane_sizes, group.kernels
    alpha = torch.einsum("nsc,ksc->nk", table, kernels) * (rows / n**2) * frequencies
    mean = table.mean(1, keepdim=True)
    explained = (alpha.square() * (n**3 / rows)).sum(-1)
    return mean + torch.einsum("nk,ksc->nsc", alpha, kernels), explained / (logits - mean).square().sum((1, 2))

"""Margins of the correct answer, and the contribution of each frequency.

Sources: Nanda et al. 2301.05217, section 4.1 (the waves of the key frequencies interfere constructively at the correct
answer); Morwani et al. 2311.07568 (networks with the largest normalized margin are Fourier circuits); Lyu and Li
1906.05890 (normalized margin of homogeneous networks).

Margins are comparable across weight scales only if the logits are homogeneous, L(s w) = s^degree L(w). This holds for
networks with one layer and no embedding or biases, with a quadratic or ReLU activation. The others have no normalized
margin: GELU is not homogeneous; biases scale differently from the products of weights they are added to (separate
exponents for each parameter would fix that, but they are not unique); attention has a softmax, and a residual stream
adds paths of different degrees.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from slt_grok.circuits.measure import NANDA, PLANES, CircuitMeasure
from slt_grok.groups import Group
from slt_grok.measurement import Variable

if TYPE_CHECKING:
    from slt_grok.circuits.chunk import Chunk

MORWANI = "Morwani et al. 2311.07568"
HOMOGENEOUS = (
    "for L = sum_i act(u_i(a) + v_i(b)) w_i, n = 3 for the quadratic activation and 2 for ReLU; other networks are not "
    "homogeneous"
)


class Margins(CircuitMeasure):
    """Margins over the pairs."""

    name = "margins"
    needs = ("logits",)
    variables = {
        "margin": Variable(("split",), "margin", "mean over the pairs of L[label] - max over the wrong c of L[c]",
            MORWANI),
        "margin_smallest": Variable((), "smallest margin",
            "min over all pairs of L[label] - max over the wrong c of L[c]", MORWANI),
    }  # fmt: skip

    def compute(self, chunk: "Chunk") -> dict[str, Tensor]:
        """See `CircuitMeasure`."""
        right, wrong, _ = chunk.margins
        return {"margin": chunk.by_split(right - wrong), "margin_smallest": (right - wrong).amin(-1)}


class MarginByFrequency(CircuitMeasure):
    """Contribution of each frequency to the margin."""

    name = "margin_by_frequency"
    needs = ("logits", "group")
    variables = {
        "margin_by_frequency": Variable(("frequency",), "margin from the frequency",
            "mean over all pairs of (P_k L)[label] - (P_k L)[rival], rival the class of the largest wrong logit of L, "
            f"P_k the projection on {PLANES}", f"{NANDA}, section 4.1 (constructive interference)"),
    }  # fmt: skip

    def compute(self, chunk: "Chunk") -> dict[str, Tensor]:
        """See `CircuitMeasure`."""
        rival, labels = chunk.margins[2], chunk.task.labels
        return {"margin_by_frequency": by_frequency(chunk.table, rival, chunk.products, labels, chunk.group)}


class NormalizedMargins(CircuitMeasure):
    """Margins of homogeneous networks relative to the scale of their weights."""

    name = "normalized_margins"
    needs = ("logits", "homogeneous_weights")
    after = ("margins",)
    variables = {
        "normalized_margin": Variable((), "normalized margin",
            f"margin_smallest / sum_i ||(u_i, v_i, w_i)||_2^n {HOMOGENEOUS}; at most sqrt(2/27) / (sqrt(p) (p-1)) for "
            "the quadratic activation", MORWANI),
        "normalized_margin_l2": Variable((), "normalized margin (L2 norm)",
            f"margin_smallest / ||all weights||_2^n {HOMOGENEOUS}", "Lyu and Li 1906.05890"),
    }  # fmt: skip

    def compute(self, chunk: "Chunk") -> dict[str, Tensor]:
        """See `CircuitMeasure`."""
        declared = chunk.module.homogeneous_weights(chunk.stack)
        if declared is None:  # not homogeneous with this activation
            return {}
        (left, right, output), degree = declared
        values = normalized(chunk.values["margin_smallest"], left, right, output, degree)
        return dict(zip(self.variables, values, strict=True))


def margins(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Logit of the correct answer, largest wrong logit and its class: (N, n, p), (n,) -> three of (N, n)."""
    index = labels.expand(logits.shape[:-1])[..., None]
    right = logits.gather(-1, index)[..., 0]
    wrong, rival = logits.scatter(-1, index, -torch.inf).max(-1)
    return right, wrong, rival


def by_frequency(table: Tensor, rival: Tensor, products: Tensor, labels: Tensor, group: Group) -> Tensor:
    """Average (P_k L)[label] - (P_k L)[rival] over all pairs, with P_k the projection of `progress`.

    The rival is the class of the largest wrong logit of the whole network: summed over k, together with the part
    outside every P_k, the values add up to its mean margin.

    Parameters
    ----------
    table : Tensor
        M[s, c] of the logits (`Group.means_by_product`), (N, n, n).
    rival : Tensor
        Class of the largest wrong logit for each pair, (N, n^2).
    products, labels : Tensor
        Product s and correct class of each pair, (n^2,).
    group : Group
        The tokens' group.

    Returns
    -------
    Tensor
        Contributions (N, K) in units of the logits.
    """
    networks, n, _ = table.shape
    # how often class c is the correct answer minus how often it is the rival, among pairs with product s
    count = torch.zeros(networks, n * n, dtype=table.dtype)
    ones = torch.ones_like(count)
    count.scatter_add_(1, (products * n + labels).expand(networks, -1), ones)
    count.scatter_add_(1, products * n + rival, -ones)
    rows = group.basis[1:]
    gain = ((rows @ table) * (rows @ count.unflatten(1, (n, n)))).sum(-1) / n**2
    return group.sum_by_plane(gain)


def normalized(margin: Tensor, left: Tensor, right: Tensor, output: Tensor, degree: int) -> tuple[Tensor, Tensor]:
    """Divide the smallest margin by a norm of the weights to the power of the network's degree, for two norms.

    For networks L = sum_i act(u_i(a) + v_i(b)) w_i with act(s x) = s^r act(x) for s > 0, which have degree r + 1.

    Parameters
    ----------
    margin : Tensor
        Smallest margin over the pairs, (N,).
    left, right : Tensor
        Input weights u and v, (N, p, width).
    output : Tensor
        Output weights w, (N, width, p).
    degree : int
        Degree of the network, 3 for the quadratic activation, 2 for ReLU.

    Returns
    -------
    tuple[Tensor, Tensor]
        Two normalized margins (N,): divided by sum_i ||(u_i, v_i, w_i)||_2^degree, the norm L_{2,degree} of 2311.07568,
        and by ||w||_2^degree of all weights (1906.05890). For a quadratic network the first is at most sqrt(2/27) /
        (sqrt(p) (p - 1)), reached only by Fourier circuits (theorem 7 of 2311.07568). At degree 2 the two are equal.
    """
    squares = left.square().sum(1) + right.square().sum(1) + output.square().sum(2)
    return margin / squares.pow(degree / 2).sum(-1), margin / squares.sum(-1).pow(degree / 2)

"""The shape of a cluster of neurons: disc, torus or clock (2512.25060).

The neurons of one frequency k map the n^2 pairs to a cloud of points. With x = w_k a and y = w_k b (-w_k b for
subtraction), waves cos(x + phi_L) + cos(y + phi_R) form a disc if phi_L = phi_R, and a torus if the phases are
independent:

    disc   (cos x + cos y, sin x + sin y)       rank 2, Betti numbers (1, 0, 0)
    torus  (cos x, sin x, cos y, sin y)         rank 4, (1, 2, 1)
    clock  (cos(x + y), sin(x + y))             rank 2, (1, 1, 0)

A cloud is examined at four sites (`SITES`): the cluster's pre-activations, its post-activations, their projection on
what the unembedding reads, and the logits in the plane of k. The first two are a disc or a torus regardless of what is
computed from them; only the last two affect the answer.
"""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from slt_grok.circuits.chunk import Chunk
from slt_grok.circuits.measure import CircuitMeasure
from slt_grok.groups import cyclic
from slt_grok.measurement import Variable

SITE_NAMES = {
    "neurons_pre": "Pre-activations",
    "neurons_post": "Post-activations",
    "neurons_post_read": "Post-activations, as read",
    "logits": "Logits",
}
SITES = tuple(SITE_NAMES)
CLOUDS = ("disc", "torus", "clock")
RANKS = (2, 4)
# A torus has four dimensions: fewer neurons cannot show one.
LEAST_NEURONS = 4
# The row space of the unembedding is truncated at this fraction of the squared norm; otherwise weights that training
# has nearly removed would count as much as those that write the answer. Clusters of published networks have rank 2
# here.
READ_FRACTION = 0.95

SHAPE = "2512.25060"
SITE = (
    "sites: pre-activations of the cluster; its post-activations; these projected on the row space of the unembedding "
    "(see read_rank); logits projected on cos w_k c, sin w_k c of the answers"
)
CKA = "|X^T Y|^2 / (|X^T X| |Y^T Y|) of centered clouds over the n^2 pairs, Y the ideal disc, torus or clock of k"
CLUSTER = "clusters of at least 4 neurons, see neuron_cluster_size"
OVER_CLUSTERS = "over the clusters, weighted by their numbers of neurons; NaN without one"


class Geometry(CircuitMeasure):
    """CKA of the clusters with ideal clouds, and their dimensions."""

    name = "geometry"
    needs = ("cyclic", "neurons_pre", "neurons_post", "logits", "neuron_logit_map")
    variables = {
        "cka": Variable(("site", "cloud"), "CKA of the clusters",
            f"mean of cka_by_frequency {OVER_CLUSTERS}. Ideal clouds with each other: disc and torus 0.7071, clock "
            "with both 0", SHAPE),
        "cka_by_frequency": Variable(("frequency", "site", "cloud"), "CKA of the cluster", f"{CKA}; {SITE}; {CLUSTER}",
            f"{SHAPE}; Kornblith et al. 1905.00414"),
        "rank_share": Variable(("rank",), "variance fraction of the first principal components",
            f"mean of rank_share_by_frequency {OVER_CLUSTERS}", SHAPE),
        "rank_share_by_frequency": Variable(("frequency", "rank"),
            "variance fraction of the cluster's first principal components",
            "fraction of the variance of the cluster's pre-activations over the grid along their first 2 and 4 "
            f"principal components; {CLUSTER}", SHAPE),
        "read_rank": Variable(("frequency",), "directions of the cluster that the unembedding reads",
            "smallest number of leading singular vectors of W_L of the cluster, mean over the answers removed, that "
            f"hold 95% of its squared norm; the fraction is ours; {CLUSTER}", SHAPE),
    }  # fmt: skip
    coords = {"site": SITES, "cloud": CLOUDS, "rank": RANKS}

    def compute(self, chunk: Chunk) -> dict[str, Tensor]:
        """See `CircuitMeasure`; means over the clusters are the expected value for a randomly drawn neuron."""
        size = torch.where(chunk.cluster_size < LEAST_NEURONS, 0, chunk.cluster_size).double()
        similarity = size.new_full((*size.shape, len(SITES), len(CLOUDS)), torch.nan)
        share, rank = size.new_full((*size.shape, len(RANKS)), torch.nan), torch.full_like(size, torch.nan)
        for (network, index), clouds in clusters(chunk):
            ideal = list(ideal_clouds(chunk.group.order, index + 1, chunk.sign).values())
            similarity[network, index] = torch.stack([cka(cloud, ideal) for cloud in clouds.values()])
            share[network, index] = rank_shares(clouds["neurons_pre"])
            rank[network, index] = clouds["neurons_post_read"].shape[1]
        return {
            "cka_by_frequency": similarity,
            "cka": _over_clusters(similarity, size),
            "rank_share_by_frequency": share,
            "rank_share": _over_clusters(share, size),
            "read_rank": rank,
        }


def clusters(chunk: Chunk) -> Iterator[tuple[tuple[int, int], dict[str, Tensor]]]:
    """Yield each cluster of at least `LEAST_NEURONS` neurons.

    Yields
    ------
    tuple
        Indices of the network and of the frequency, counted from 0; and the points at each of `SITES`, (n^2,
        dimensions).
    """
    for network, index in (chunk.cluster_size >= LEAST_NEURONS).nonzero().tolist():
        members = ((chunk.frequency[network] == index + 1) & chunk.belongs[network]).nonzero()[:, 0]
        pre, post = (chunk.sites[name][network][:, members] for name in ("neurons_pre", "neurons_post"))
        read = post @ row_space(chunk.to_logits[network, members])
        plane = chunk.sites["logits"][network] @ cyclic(chunk.group.order).pairs[index].T
        yield (network, index), dict(zip(SITES, (pre, post, read, plane), strict=True))


def row_space(weights: Tensor) -> Tensor:
    """Compute the directions in neuron space that the unembedding reads.

    These are the leading left singular vectors of W_L - mean over the answers (a constant over the answers leaves the
    probabilities unchanged), as few as hold `READ_FRACTION` of its squared norm.

    Parameters
    ----------
    weights : Tensor
        Rows of W_L for the neurons, (m, n).

    Returns
    -------
    Tensor
        Orthonormal columns, (m, r); r = 0 if nothing is read.
    """
    left, size, _ = torch.linalg.svd(weights - weights.mean(-1, keepdim=True), full_matrices=False)
    held = size.square().cumsum(0)
    return left[:, : int((held < READ_FRACTION * held[-1]).sum()) + 1 if held[-1] > 0 else 0]


def ideal_clouds(order: int, frequency: int, sign: int = 1) -> dict[str, Tensor]:
    """Construct the disc (n^2, 2), torus (n^2, 4) and clock (n^2, 2) of one frequency; see the module docstring.

    Parameters
    ----------
    order, frequency : int
        Order n of the group and frequency k.
    sign : int, optional
        1 for addition, -1 for subtraction.
    """
    group = cyclic(order)
    circle, tokens = group.pairs[frequency - 1].T * math.sqrt(order / 2), torch.arange(order)
    x = circle[tokens.repeat_interleave(order)]
    y = circle[(sign * tokens % order).repeat(order)]
    clouds = (x + y, torch.cat([x, y], -1), circle[group.products(sign)])
    return dict(zip(CLOUDS, clouds, strict=True))


def cka(cloud: Tensor, others: Sequence[Tensor]) -> Tensor:
    """Compute the linear CKA |X^T Y|^2 / (|X^T X| |Y^T Y|) (Frobenius norms, centered) with each of the others.

    Kornblith et al. 1905.00414, section 3. It is invariant to rotations, shifts and a common scale.

    Parameters
    ----------
    cloud : Tensor
        Points X, (points, n).
    others : Sequence[Tensor]
        Clouds Y of the same points, (points, m) each.

    Returns
    -------
    Tensor
        Shape (len(others),), in [0, 1]; NaN if either cloud is a single point. A disc has 2^(-1/2) with the torus of
        its frequency, and 0 with its clock.
    """
    x, y = (values - values.mean(0) for values in (cloud, torch.cat(list(others), -1)))
    widths = [other.shape[-1] for other in others]
    cross = torch.stack([part.sum() for part in (y.T @ x).square().split(widths)])
    sizes = torch.stack([(part.T @ part).norm() for part in y.split(widths, -1)])
    return cross / ((x.T @ x).norm() * sizes)


def rank_shares(cloud: Tensor) -> Tensor:
    """Compute the fraction of the cloud's variance along its first 2 and its first 4 principal components.

    Cloud (points, n >= 4) -> (2,), in [0, 1]; NaN if the cloud is a single point.
    """
    x = cloud - cloud.mean(0)
    variance = torch.linalg.eigvalsh(x.T @ x)
    return torch.stack([variance[-rank:].sum() for rank in RANKS]) / variance.sum()


def _over_clusters(values: Tensor, size: Tensor) -> Tensor:
    """Average over the frequencies (axis 1), weighted by the cluster sizes (N, frequency); NaN without a cluster."""
    weight = size.unflatten(1, (-1, *[1] * (values.ndim - 2)))
    return torch.where(weight > 0, values * weight, 0.0).sum(1) / weight.sum(1)

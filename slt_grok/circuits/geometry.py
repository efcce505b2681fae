"""The shape of a cluster of neurons: disc, torus or clock (2512.25060).

The neurons of one frequency k turn the p^2 pairs into a cloud of points. With x = w_k a and y = w_k b (-w_k b for
subtraction), waves cos(x + phi_L) + cos(y + phi_R) of phi_L = phi_R give a disc, those of independent phases a torus:

    disc   (cos x + cos y, sin x + sin y)       rank 2, Betti numbers (1, 0, 0)
    torus  (cos x, sin x, cos y, sin y)         rank 4, (1, 2, 1)
    clock  (cos(x + y), sin(x + y))             rank 2, (1, 1, 0)

A cloud is looked at in four places (`SITES`): the cluster's pre-activations, its post-activations, these projected on
what the unembedding reads of them, and the logits in the plane of k. The first two are disc or torus before anything
has been computed from them; only the last two are what acts on the answer.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from slt_grok import fourier

SITES = ("neurons_pre", "neurons_post", "neurons_post_read", "logits")
CLOUDS = ("disc", "torus", "clock")
RANKS = (2, 4)
# A torus has four dimensions: fewer neurons could not show one.
LEAST_NEURONS = 4
# The row space of the unembedding is cut where it holds this share of the squared norm: weights that training has all
# but removed would count as much as those that write the answer. Clusters of published networks have rank 2 here.
READ_SHARE = 0.95


@dataclass(frozen=True)
class Cluster:
    """The neurons of one frequency in one network.

    Parameters
    ----------
    network : int
        Its index in the stack.
    frequency : int
        k.
    neurons : Tensor
        Indices of the neurons, int64 (n,).
    clouds : dict[str, Tensor]
        The points at each of `SITES`, (p^2, dimensions).
    """

    network: int
    frequency: int
    neurons: Tensor
    clouds: dict[str, Tensor]


def clusters(
    sites: Mapping[str, Tensor], neuron_logit_map: Tensor, frequency: Tensor, belongs: Tensor
) -> Iterator[Cluster]:
    """Yield the clusters of at least `LEAST_NEURONS` neurons.

    Parameters
    ----------
    sites : Mapping[str, Tensor]
        `neurons_pre` and `neurons_post` (N, p^2, width) and `logits` (N, p^2, p) on the grid.
    neuron_logit_map : Tensor
        W_L, (N, width, p).
    frequency : Tensor
        Of each neuron, int64 (N, width) from 1 on.
    belongs : Tensor
        Which neurons count, bool (N, width).
    """
    rows = fourier.basis(neuron_logit_map.shape[-1])
    for network, (own, counts) in enumerate(zip(frequency, belongs, strict=True)):
        found, sizes = own[counts].unique(return_counts=True)
        for k in found[sizes >= LEAST_NEURONS].tolist():
            neurons = ((own == k) & counts).nonzero()[:, 0]
            pre, post = (sites[name][network][:, neurons] for name in ("neurons_pre", "neurons_post"))
            read = post @ row_space(neuron_logit_map[network, neurons])
            plane = sites["logits"][network] @ rows[2 * k - 1 : 2 * k + 1].T
            yield Cluster(network, k, neurons, dict(zip(SITES, (pre, post, read, plane), strict=True)))


def row_space(weights: Tensor) -> Tensor:
    """Directions in the space of neurons that the unembedding reads.

    The leading left singular vectors of W_L - mean over the answers (a constant over the answers changes no
    probability), as few as hold `READ_SHARE` of its squared norm.

    Parameters
    ----------
    weights : Tensor
        W_L of the neurons, (n, p).

    Returns
    -------
    Tensor
        (n, r), orthonormal columns; r = 0 where nothing is read.
    """
    left, size, _ = torch.linalg.svd(weights - weights.mean(-1, keepdim=True), full_matrices=False)
    held = size.square().cumsum(0)
    return left[:, : int((held < READ_SHARE * held[-1]).sum()) + 1 if held[-1] > 0 else 0]


def ideal_clouds(modulus: int, frequency: int, sign: int = 1) -> dict[str, Tensor]:
    """Disc (p^2, 2), torus (p^2, 4) and clock (p^2, 2) of one frequency, see the module's docstring.

    Parameters
    ----------
    modulus, frequency : int
        p and k.
    sign : int, optional
        1 for addition, -1 for subtraction.
    """
    circle = fourier.basis(modulus)[2 * frequency - 1 : 2 * frequency + 1].T * math.sqrt(modulus / 2)
    tokens = torch.arange(modulus)
    x = circle[tokens.repeat_interleave(modulus)]
    y = circle[(sign * tokens % modulus).repeat(modulus)]
    clouds = (x + y, torch.cat([x, y], -1), circle[fourier.grid_sum(modulus, sign)])
    return dict(zip(CLOUDS, clouds, strict=True))


def cka(cloud: Tensor, others: Sequence[Tensor]) -> Tensor:
    """Linear, centered kernel alignment |X^T Y|^2 / (|X^T X| |Y^T Y|) (Frobenius norms) with each of the others.

    Kornblith et al. 1905.00414, section 3. It does not see rotations, shifts and a common scale.

    Parameters
    ----------
    cloud : Tensor
        X, (points, n).
    others : Sequence[Tensor]
        Clouds Y of the same points, (points, m) each.

    Returns
    -------
    Tensor
        (len(others),), in [0, 1]; NaN where one of the two is a single point. A disc has 2^(-1/2) with the torus of its
        frequency, and 0 with its clock.
    """
    x, y = (values - values.mean(0) for values in (cloud, torch.cat(list(others), -1)))
    widths = [other.shape[-1] for other in others]
    cross = torch.stack([part.sum() for part in (y.T @ x).square().split(widths)])
    sizes = torch.stack([(part.T @ part).norm() for part in y.split(widths, -1)])
    return cross / ((x.T @ x).norm() * sizes)


def rank_shares(cloud: Tensor) -> Tensor:
    """Share of the cloud's variance along its first 2 and its first 4 principal components.

    Cloud (points, n >= 4) -> (2,), in [0, 1]; NaN where the cloud is a single point.
    """
    x = cloud - cloud.mean(0)
    variance = torch.linalg.eigvalsh(x.T @ x)
    return torch.stack([variance[-rank:].sum() for rank in RANKS]) / variance.sum()


def phase_alignment(pre: Tensor, frequency: Tensor) -> tuple[Tensor, Tensor]:
    """Where a neuron is largest: (k a, k b) mod p at the pair (a, b) of its largest pre-activation.

    In these coordinates neurons of all frequencies share one grid, and the relabeling t -> m t changes nothing but
    the common sign, which belongs to the choice of k or p - k. Their law over the neurons is the phase alignment
    distribution of 2512.25060.

    Parameters
    ----------
    pre : Tensor
        Pre-activations on the grid, (N, p^2, width).
    frequency : Tensor
        k of each neuron, int64 (N, width).

    Returns
    -------
    tuple[Tensor, Tensor]
        k a and k b, int64 (N, width) each, in 0..p-1.
    """
    p = math.isqrt(pre.shape[1])
    grid = pre.unflatten(1, (p, p))
    # the largest number is found much faster than its place: first in each line of the grid, then the line, then it
    first = grid.amax(2).argmax(1)
    line = grid.gather(1, first[:, None, None].expand(-1, 1, p, -1))[:, 0]
    return frequency * first % p, frequency * line.argmax(1) % p


def shapes(
    sites: Mapping[str, Tensor], neuron_logit_map: Tensor, frequency: Tensor, belongs: Tensor, sign: int = 1
) -> dict[str, Tensor]:
    """CKA with the ideal clouds and shares of ranks 2 and 4, for every cluster and on average over a network's neurons.

    See `clusters` for the arguments.

    Returns
    -------
    dict[str, Tensor]
        `cka_by_frequency` (N, (p-1)/2, site, cloud), `rank_share_by_frequency` (N, (p-1)/2, rank), of the
        pre-activations, and `read_rank` (N, (p-1)/2), the dimension of `row_space`: NaN where there is no cluster.
        `cka` (N, site, cloud) and `rank_share` (N, rank) are means over the clusters, weighted by their numbers of
        neurons: what a neuron drawn at random belongs to.
    """
    networks, p = len(frequency), neuron_logit_map.shape[-1]
    places = (networks, (p - 1) // 2)
    size = torch.zeros(places, dtype=torch.float64)
    similarity = torch.full((*places, len(SITES), len(CLOUDS)), torch.nan, dtype=torch.float64)
    share = torch.full((*places, len(RANKS)), torch.nan, dtype=torch.float64)
    rank = torch.full(places, torch.nan, dtype=torch.float64)
    for cluster in clusters(sites, neuron_logit_map, frequency, belongs):
        at = cluster.network, cluster.frequency - 1
        ideal = list(ideal_clouds(p, cluster.frequency, sign).values())
        size[at] = len(cluster.neurons)
        similarity[at] = torch.stack([cka(cloud, ideal) for cloud in cluster.clouds.values()])
        share[at] = rank_shares(cluster.clouds["neurons_pre"])
        rank[at] = cluster.clouds["neurons_post_read"].shape[1]
    return {
        "cka_by_frequency": similarity,
        "cka": _over_clusters(similarity, size),
        "rank_share_by_frequency": share,
        "rank_share": _over_clusters(share, size),
        "read_rank": rank,
    }


def _over_clusters(values: Tensor, size: Tensor) -> Tensor:
    """Mean over the frequencies (axis 1) weighted by the clusters' sizes (N, frequency); NaN without a cluster."""
    weight = size.unflatten(1, (-1, *[1] * (values.ndim - 2)))
    return torch.where(weight > 0, values * weight, 0.0).sum(1) / weight.sum(1)

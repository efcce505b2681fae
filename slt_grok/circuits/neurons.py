"""Which neurons compute with one frequency.

Nanda et al. 2301.05217, section 4.2: the post-activation of a neuron, centred over the grid, is compared with its
part in the 3 x 3 block {1, cos w_k, sin w_k} x {1, cos w_k, sin w_k} of the two-dimensional Fourier transform: the
polynomials of degree 2 in cosine and sine of w_k a and w_k b. The directions in which the neuron-logit map W_L reads
the neurons are compared with cos w_k s and sin w_k s.
"""

import math

import torch
from torch import Tensor

from slt_grok import fourier

# A neuron belongs to the frequency that explains more than this of its variance (2301.05217, section 4.2), as a
# share of what a neuron of one frequency can reach: (cos x + cos y)^2 = 1 + cos(x + y) + cos(x - y)
# + cos(2x)/2 + cos(2y)/2 has only 4/5 of its variance in the block of its own frequency.
CLUSTER_FVE = 0.85
QUADRATIC_REACH = 0.8
# Weight decay leaves neurons that vary by less than this share of what the most active one does: they are no part of
# the network any more, and their shape is that of rounding and of the last gradients.
SILENT = 1e-5


def fraction_of_variance_explained(neurons: Tensor) -> Tensor:
    """FVE_k = sum of F[i, j]^2 over i, j in {0, cos k, sin k} / sum of F^2, F the transform of the centred neuron.

    Parameters
    ----------
    neurons : post-activations on the grid, (N, p^2, d_mlp) in float64.

    Returns
    -------
    (N, d_mlp, (p-1)/2), in [0, 1]; 0 for a neuron that is constant on the grid.
    """
    p = math.isqrt(neurons.shape[1])
    grid = neurons.unflatten(1, (p, p))
    # {cos a, sin a} x {cos b, sin b} spans cos and sin of w_k(a + b) and of w_k(a - b): with the products with the
    # constant, the block is the component at k of four functions of one variable
    lines = [grid.mean(2), grid.mean(1), fourier.sum_table(neurons, 1), fourier.sum_table(neurons, -1)]
    components = (fourier.transform(line)[:, 1:] for line in lines)
    power = p * sum(component.square().unflatten(1, (-1, 2)).sum(2) for component in components)
    variance = neurons.var(1, correction=0) * p**2
    constant = variance <= 1e-24 * neurons.square().sum(1)  # rounding of a constant, not a signal
    fve = power / torch.where(constant, 1.0, variance)[:, None]
    return fve.masked_fill(constant[:, None], 0.0).transpose(1, 2)


def in_cluster(fve: Tensor, quadratic: bool = False) -> Tensor:
    """Which neurons belong to a frequency: largest FVE over 0.85, or 0.68 for the quadratic activation.

    FVE (N, d_mlp, (p-1)/2) -> bool (N, d_mlp).
    """
    return fve.amax(-1) > CLUSTER_FVE * (QUADRATIC_REACH if quadratic else 1)


def share_in_cluster(neurons: Tensor, belongs: Tensor) -> Tensor:
    """Share of the neurons of `in_cluster` among those that are not silent (`SILENT`).

    Post-activations (N, p^2, d_mlp), bool (N, d_mlp) -> (N,), in [0, 1]; 0 where no neuron varies.
    """
    spread = neurons.std(1)
    active = spread > SILENT * spread.amax(-1, keepdim=True)
    return (belongs & active).sum(-1) / active.sum(-1).clamp(min=1).double()


def cluster_sizes(fve: Tensor, belongs: Tensor) -> Tensor:
    """Number of neurons at each frequency: those of `in_cluster`, at the frequency of their largest FVE.

    FVE (N, d_mlp, (p-1)/2), bool (N, d_mlp) -> int64 (N, (p-1)/2).
    """
    sizes = torch.zeros(fve.shape[0], fve.shape[-1], dtype=torch.int64)
    return sizes.scatter_add_(1, fve.argmax(-1), belongs.long())


def polynomials(neurons: Tensor, frequency: Tensor) -> Tensor:
    """The neurons' projections on the 3 x 3 block of one frequency each, the constant among them.

    Parameters
    ----------
    neurons : post-activations on the grid, (N, p^2, d_mlp) in float64.
    frequency : of each neuron, int64 (N, d_mlp) from 1 on.

    Returns
    -------
    (N, p^2, d_mlp).
    """
    p = math.isqrt(neurons.shape[1])
    basis = fourier.basis(p)
    first = torch.zeros_like(frequency)
    rows = basis[torch.stack([first, 2 * frequency - 1, 2 * frequency], -1)]  # (N, d_mlp, 3, p)
    components = rows @ neurons.mT.unflatten(-1, (p, p)) @ rows.mT
    return (rows.mT @ components @ rows).flatten(-2).mT


def direction_fve(neurons: Tensor, neuron_logit_map: Tensor, sign: int = 1) -> Tensor:
    """Share of the variance of u^T MLP that cos w_k s explains, and of v^T MLP that sin w_k s does.

    u and v are the components of W_L along cos w_k c and sin w_k c of the answer, so that the part at k of the logits
    that the neurons write is u^T MLP cos w_k c + v^T MLP sin w_k c.

    Parameters
    ----------
    neurons : post-activations on the grid, (N, p^2, d_mlp) in float64.
    neuron_logit_map : W_L, (N, d_mlp, p).
    sign : 1 for addition (s = a + b), -1 for subtraction.

    Returns
    -------
    (N, (p-1)/2, 2), cosine and sine, in [0, 1]; NaN where the direction reads a constant.
    """
    p = neuron_logit_map.shape[-1]
    rows = fourier.basis(p)[1:]
    read = neurons @ (neuron_logit_map @ rows.T)  # (N, p^2, 2 (p-1)/2)
    along = (fourier.sum_table(read, sign) * rows.T).sum(1)  # over sqrt(p), the component along the wave on the grid
    return (along.square() / (p * read.var(1, correction=0))).unflatten(-1, (-1, 2))

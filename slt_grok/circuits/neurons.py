"""Which neurons compute with one frequency.

Nanda et al. 2301.05217, section 4.2: the post-activation of a neuron, centred over the grid, is compared with its
part in the 3 x 3 block {1, cos w_k, sin w_k} x {1, cos w_k, sin w_k} of the two-dimensional Fourier transform.
"""

import torch
from torch import Tensor

from slt_grok import fourier

# A neuron belongs to the frequency that explains more than this of its variance (2301.05217, section 4.2).
CLUSTER_FVE = 0.85


def fraction_of_variance_explained(neurons: Tensor) -> Tensor:
    """FVE_k = sum of F[i, j]^2 over i, j in {0, cos k, sin k} / sum of F^2, F the transform of the centred neuron.

    Parameters
    ----------
    neurons : post-activations on the grid, (N, p^2, d_mlp) in float64.

    Returns
    -------
    (N, d_mlp, (p-1)/2), in [0, 1]; 0 for a neuron that is constant on the grid.
    """
    p = round(neurons.shape[1] ** 0.5)
    rows = fourier.basis(p)
    n, _, width = neurons.shape
    # rows of the transform over a; of its columns only the three of each frequency are needed
    by_row = (rows @ neurons.reshape(n, p, p * width)).unflatten(-1, (p, width))
    with_constant = [rows[1:] @ by_row[:, 0], torch.einsum("b,nibd->nid", rows[0], by_row[:, 1:])]
    power = sum(component.square().unflatten(1, (-1, 2)).sum(2) for component in with_constant)
    pairs = rows[1:].unflatten(0, (-1, 1, 2))  # (frequency, 1, cos or sin, b)
    power = power + (pairs @ by_row[:, 1:].unflatten(1, (-1, 2))).square().sum((2, 3))
    variance = neurons.var(1, correction=0) * p**2
    constant = variance <= 1e-24 * neurons.square().sum(1)  # rounding of a constant, not a signal
    fve = power / torch.where(constant, 1.0, variance)[:, None]
    return fve.masked_fill(constant[:, None], 0.0).transpose(1, 2)


def cluster_sizes(fve: Tensor) -> Tensor:
    """Number of neurons whose largest FVE is over `CLUSTER_FVE`, at the frequency of the largest.

    FVE (N, d_mlp, (p-1)/2) -> int64 (N, (p-1)/2).
    """
    largest, frequency = fve.max(-1)
    sizes = torch.zeros(fve.shape[0], fve.shape[-1], dtype=torch.int64)
    return sizes.scatter_add_(1, frequency, (largest > CLUSTER_FVE).long())

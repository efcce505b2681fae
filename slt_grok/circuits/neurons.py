"""Which neurons compute with one frequency.

Nanda et al. 2301.05217, section 4.2: the post-activation of a neuron, centered over the grid, is compared with its
part in the 3 x 3 block {1, cos w_k, sin w_k} x {1, cos w_k, sin w_k} of the two-dimensional Fourier transform: the
polynomials of degree 2 in cosine and sine of w_k a and w_k b. The directions in which the neuron-logit map W_L reads
the neurons are compared with cos w_k s and sin w_k s.
"""

import math
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Lines:
    """Functions on the grid by their means along its lines.

    {cos a, sin a} x {cos b, sin b} spans cos and sin of w_k(a + b) and of w_k(a - b): with the products with the
    constant, the 3 x 3 block of frequency k is the component at k of four functions of one variable.

    Parameters
    ----------
    lines : Tensor
        Means over the pairs with the same a, b, a + b and a - b, (N, 4, p, n).
    mean, variance : Tensor
        Over the grid, (N, n).
    """

    lines: Tensor
    mean: Tensor
    variance: Tensor

    @classmethod
    def of(cls, values: Tensor) -> "Lines":
        """From functions on the grid, (N, p^2, n) in float64."""
        p = math.isqrt(values.shape[1])
        grid = values.unflatten(1, (p, p))
        lines = [grid.mean(2), grid.mean(1), fourier.sum_table(values, 1), fourier.sum_table(values, -1)]
        mean = lines[0].mean(1)
        return cls(torch.stack(lines, 1), mean, variance(values, mean))

    @property
    def constant(self) -> Tensor:
        """Functions whose variance is the rounding of a constant, no signal: bool (N, n)."""
        return self.variance <= 1e-24 * (self.variance + self.mean.square())

    def fraction_of_variance_explained(self) -> Tensor:
        """See the function of that name."""
        p = self.lines.shape[2]
        power = p * fourier.transform(self.lines)[:, :, 1:].square().sum(1).unflatten(1, (-1, 2)).sum(2)
        fve = power / torch.where(self.constant, 1.0, self.variance * p**2)[:, None]
        return fve.masked_fill(self.constant[:, None], 0.0).transpose(1, 2)

    def waves(self, frequency: Tensor) -> Tensor:
        """Return the part of each line at one frequency a function, int64 (N, n) from 1 on -> (N, 4, p, n).

        The projection on the 3 x 3 block of that frequency is the mean and the sum of these four.
        """
        rows = fourier.basis(self.lines.shape[2])
        pairs = torch.stack([rows[2 * frequency - 1], rows[2 * frequency]], 1)[:, :, None].movedim(
            -1, 3
        )  # (N, 2, 1, p, n)
        return (pairs * (pairs * self.lines[:, None]).sum(3, keepdim=True)).sum(1)


def variance(values: Tensor, mean: Tensor) -> Tensor:
    """Return the population variance over axis 1 of values (N, n, ...) with that mean, (N, ...).

    torch's own goes down the columns of a long table one number after the other, and takes three times as long.
    """
    return (values - mean[:, None]).square_().mean(1)


def fraction_of_variance_explained(neurons: Tensor) -> Tensor:
    """FVE_k = sum of F[i, j]^2 over i, j in {0, cos k, sin k} / sum of F^2, F the transform of the centered neuron.

    Parameters
    ----------
    neurons : Tensor
        Post-activations on the grid, (N, p^2, d_mlp) in float64.

    Returns
    -------
    Tensor
        (N, d_mlp, (p-1)/2), in [0, 1]; 0 for a neuron that is constant on the grid.
    """
    return Lines.of(neurons).fraction_of_variance_explained()


def in_cluster(fve: Tensor, quadratic: bool = False) -> Tensor:
    """Which neurons belong to a frequency: largest FVE over 0.85, or 0.68 for the quadratic activation.

    FVE (N, d_mlp, (p-1)/2) -> bool (N, d_mlp).
    """
    return fve.amax(-1) > CLUSTER_FVE * (QUADRATIC_REACH if quadratic else 1)


def share_in_cluster(variance: Tensor, belongs: Tensor) -> Tensor:
    """Share of the neurons of `in_cluster` among those that are not silent (`SILENT`).

    Variances of the post-activations over the grid (N, d_mlp), bool (N, d_mlp) -> (N,), in [0, 1]; 0 where no neuron
    varies.
    """
    spread = variance.sqrt()
    active = spread > SILENT * spread.amax(-1, keepdim=True)
    return (belongs & active).sum(-1) / active.sum(-1).clamp(min=1).double()


def cluster_sizes(fve: Tensor, belongs: Tensor) -> Tensor:
    """Return the number of neurons at each frequency: those of `in_cluster`, at the frequency of their largest FVE.

    FVE (N, d_mlp, (p-1)/2), bool (N, d_mlp) -> int64 (N, (p-1)/2).
    """
    sizes = torch.zeros(fve.shape[0], fve.shape[-1], dtype=torch.int64)
    return sizes.scatter_add_(1, fve.argmax(-1), belongs.long())


def polynomials(neurons: Tensor, frequency: Tensor) -> Tensor:
    """Return the neurons' projections on the 3 x 3 block of one frequency each, the constant among them.

    Parameters
    ----------
    neurons : Tensor
        Post-activations on the grid, (N, p^2, d_mlp) in float64.
    frequency : Tensor
        Of each neuron, int64 (N, d_mlp) from 1 on.

    Returns
    -------
    Tensor
        (N, p^2, d_mlp).
    """
    p = math.isqrt(neurons.shape[1])
    basis = fourier.basis(p)
    first = torch.zeros_like(frequency)
    rows = basis[torch.stack([first, 2 * frequency - 1, 2 * frequency], -1)]  # (N, d_mlp, 3, p)
    components = rows @ neurons.mT.unflatten(-1, (p, p)) @ rows.mT
    return (rows.mT @ components @ rows).flatten(-2).mT


def direction_fve(read: Tensor, sign: int = 1) -> Tensor:
    """Share of the variance of u^T MLP that cos w_k s explains, and of v^T MLP that sin w_k s does.

    u and v are the components of W_L along cos w_k c and sin w_k c of the answer, so that the part at k of the logits
    that the neurons write is u^T MLP cos w_k c + v^T MLP sin w_k c.

    Parameters
    ----------
    read : Tensor
        What the neurons write into the logits, their post-activations times W_L, (N, p^2, p) in float64.
    sign : int, optional
        1 for addition (s = a + b), -1 for subtraction.

    Returns
    -------
    Tensor
        (N, (p-1)/2, 2), cosine and sine, in [0, 1]; NaN where the direction reads a constant.
    """
    p = read.shape[-1]
    rows = fourier.basis(p)[1:]
    directions = read @ rows.T  # (N, p^2, 2 (p-1)/2)
    # over sqrt(p), the component along the wave on the grid
    along = (fourier.sum_table(directions, sign) * rows.T).sum(1)
    return (along.square() / (p * variance(directions, directions.mean(1)))).unflatten(-1, (-1, 2))

"""Neurons that compute with a single frequency.

Nanda et al. 2301.05217, section 4.2: the post-activation of a neuron, centered over the grid, is compared with its
component in the 3 x 3 block {1, cos w_k, sin w_k} x {1, cos w_k, sin w_k} of the two-dimensional Fourier transform: the
polynomials of degree 2 in cosine and sine of w_k a and w_k b. On other groups the rows of the plane of k replace cosine
and sine. The directions in which the neuron-logit map W_L reads the neurons are compared with cos w_k s and sin w_k s.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from slt_grok.circuits.measure import NANDA, CircuitMeasure, accuracy, loss
from slt_grok.groups import CyclicGroup, Group, cyclic
from slt_grok.measurement import Variable
from slt_grok.rules import ACCURACY, Change

if TYPE_CHECKING:
    from slt_grok.circuits.chunk import Chunk

# A neuron belongs to the frequency that explains more than this fraction of its variance (2301.05217, section 4.2),
# relative to the largest fraction that a single-frequency neuron can reach: (cos x + cos y)^2 = 1 + cos(x + y) + cos(x
# - y) + cos(2x)/2 + cos(2y)/2 has only 4/5 of its variance in the block of its frequency.
CLUSTER_FVE = 0.85
QUADRATIC_REACH = 0.8
# Weight decay leaves neurons whose variation is below this fraction of the most active one's: they no longer contribute
# to the network, and their shape reflects rounding and the last gradients.
SILENT = 1e-5
POLYNOMIAL = (
    "with every neuron replaced by its projection on {1, cos, sin} x {1, cos, sin} of w_k a and w_k b, k its "
    "neuron_frequency"
)
SOURCE = f"{NANDA}, section 4.2"


class Neurons(CircuitMeasure):
    """Clusters of neurons, and the key frequencies they define."""

    name = "neurons"
    needs = ("group", "neurons_post")
    variables = {
        "neuron_cluster_size": Variable(("frequency",), "neurons of the frequency",
            "number of neurons whose largest FVE is at k and over 0.85 (0.68 for the quadratic activation, where a "
            "neuron of one frequency reaches 0.8); FVE_k = sum of F[i,j]^2 over i, j in {0, cos k, sin k} / sum of "
            "F^2, F the transform of the centered post-activation; on other groups the rows of the plane of k in place "
            "of cos k, sin k", SOURCE, "neurons"),
        "neuron_share": Variable((), "fraction of one-frequency neurons",
            "fraction of the neurons counted in neuron_cluster_size among all whose standard deviation over the grid "
            "is over 1e-5 of the largest one's; that threshold is ours", NANDA,
            change=Change(ACCURACY, "neuron share", "purple", "P", place=7)),
        "key_frequency": Variable(("frequency",), "key frequency (neurons)", "neuron_cluster_size > 0", NANDA),
        "neuron_frequency": Variable(("neuron",), "frequency of the neuron",
            "k with the largest FVE, see neuron_cluster_size; meaningless for a neuron with neuron_fve 0", SOURCE),
        "neuron_fve": Variable(("neuron",), "largest FVE of the neuron", "max over k of FVE_k, see neuron_cluster_size",
            SOURCE),
    }  # fmt: skip

    def compute(self, chunk: "Chunk") -> dict[str, Tensor]:
        """See `CircuitMeasure`."""
        post = chunk.sites["neurons_post"]
        spread = chunk.lines.variance if isinstance(chunk.group, CyclicGroup) else variance(post, post.mean(1))
        return {
            "neuron_cluster_size": chunk.cluster_size,
            "neuron_share": share_in_cluster(spread, chunk.belongs),
            "key_frequency": chunk.cluster_size > 0,
            "neuron_frequency": chunk.frequency,
            "neuron_fve": chunk.fve.amax(-1),
        }


class DirectionFve(CircuitMeasure):
    """Closeness of the directions that the unembedding reads to a single wave."""

    name = "neuron_logit_directions"
    needs = ("cyclic", "neurons_post", "neuron_logit_map")
    variables = {
        "neuron_logit_direction_fve": Variable(("frequency", "part"),
            "variance of W_L's direction explained by one wave",
            "fraction of the variance over the grid of u^T MLP that cos w_k s explains, u the component of W_L along "
            "cos w_k c (part cosine); the same with sines (part sine)", SOURCE),
    }  # fmt: skip
    coords = {"part": ("cosine", "sine")}

    def compute(self, chunk: "Chunk") -> dict[str, Tensor]:
        """See `CircuitMeasure`."""
        return {"neuron_logit_direction_fve": direction_fve(chunk.sites["neurons_read"], chunk.sign)}


class PolynomialNeurons(CircuitMeasure):
    """The network with its neurons replaced by polynomials of one frequency."""

    name = "polynomial_neurons"
    needs = ("cyclic", "neurons_post", "neuron_logit_map")
    variables = {
        "polynomial_neurons_loss": loss("loss with polynomial neurons", f"mean of -log softmax(L)[label], {POLYNOMIAL}",
            f"{NANDA}, section 4.3"),
        "polynomial_neurons_accuracy": accuracy("accuracy with polynomial neurons", POLYNOMIAL,
            f"{NANDA}, section 4.3"),
    }  # fmt: skip

    def compute(self, chunk: "Chunk") -> dict[str, Tensor]:
        """See `CircuitMeasure`."""
        logits = chunk.with_polynomials(chunk.lines, chunk.frequency)
        return dict(zip(self.variables, (chunk.losses(logits), chunk.accuracies(logits)), strict=True))


@dataclass(frozen=True)
class Lines:
    """Functions on the grid, represented by their means along its lines.

    {cos a, sin a} x {cos b, sin b} spans cos and sin of w_k(a + b) and of w_k(a - b): together with the products with
    the constant, the 3 x 3 block of frequency k is the component at k of four functions of one variable. The sign
    character (k = n/2 for even n) of a - b equals that of a + b and counts only toward the latter.

    Parameters
    ----------
    lines : Tensor
        Means over the pairs with the same a, b, a + b and a - b, (N, 4, n, width).
    mean, variance : Tensor
        Mean and variance over the grid, (N, width).
    """

    lines: Tensor
    mean: Tensor
    variance: Tensor

    @classmethod
    def of(cls, values: Tensor) -> "Lines":
        """Compute the means of functions on the grid, (N, n^2, width) in float64."""
        n = math.isqrt(values.shape[1])
        group, grid = cyclic(n), values.unflatten(1, (n, n))
        lines = [grid.mean(2), grid.mean(1), *(group.means_by_product(values, sign) for sign in (1, -1))]
        if n % 2 == 0:
            lines[3] = lines[3] - group.project(lines[3], group.plane_sizes == 1)
        mean = lines[0].mean(1)
        return cls(torch.stack(lines, 1), mean, variance(values, mean))

    @property
    def constant(self) -> Tensor:
        """Mask of functions that are constant up to rounding: bool (N, width)."""
        return is_constant(self.mean, self.variance)

    def fraction_of_variance_explained(self) -> Tensor:
        """See the function with the same name."""
        n = self.lines.shape[2]
        group = cyclic(n)
        squares = group.transform(self.lines)[:, :, 1:].square().sum(1)
        power = n * group.sum_by_plane(squares.mT).mT
        fve = power / torch.where(self.constant, 1.0, self.variance * n**2)[:, None]
        return fve.masked_fill(self.constant[:, None], 0.0).transpose(1, 2)

    def waves(self, frequency: Tensor) -> Tensor:
        """Project each line on one frequency per function, int64 (N, width) starting at 1 -> (N, 4, n, width).

        The projection on the 3 x 3 block of that frequency is the mean plus the sum of these four.
        """
        pairs = cyclic(self.lines.shape[2]).pairs[frequency - 1].movedim(1, 3)  # (N, 2, n, width)
        pairs = pairs[:, :, None]
        return (pairs * (pairs * self.lines[:, None]).sum(3, keepdim=True)).sum(1)


def variance(values: Tensor, mean: Tensor) -> Tensor:
    """Compute the population variance over axis 1 of values (N, n, ...), given their mean, (N, ...).

    torch.var traverses the columns of a long table one element at a time, and takes three times as long.
    """
    return (values - mean[:, None]).square_().mean(1)


def is_constant(mean: Tensor, variance: Tensor) -> Tensor:
    """Flag variances that are rounding errors of a constant."""
    return variance <= 1e-24 * (variance + mean.square())


def fraction_of_variance_explained(neurons: Tensor, group: Group) -> Tensor:
    """FVE_k = sum of F[i, j]^2 over i, j in {0, cos k, sin k} / sum of F^2, F the transform of the centered neuron.

    Parameters
    ----------
    neurons : Tensor
        Post-activations on the grid, (N, n^2, d_mlp) in float64.
    group : Group
        Group of the tokens.

    Returns
    -------
    Tensor
        Fractions (N, d_mlp, K), in [0, 1]; 0 for a neuron that is constant on the grid.
    """
    if isinstance(group, CyclicGroup):
        return Lines.of(neurons).fraction_of_variance_explained()
    mean = neurons.mean(1, keepdim=True)
    squares = group.transform_grid((neurons - mean).mT.unflatten(-1, (group.order, -1))).square()
    along_one = group.sum_by_plane(squares[..., 0, 1:] + squares[..., 1:, 0])
    within = group.sum_by_plane(squares[..., 1:, 1:]).mT  # rows of the planes of b by planes of a
    both = group.sum_by_plane(within).diagonal(dim1=-2, dim2=-1)
    constant = is_constant(mean[:, 0], squares.mean((-1, -2)))
    fve = (along_one + both) / torch.where(constant, 1.0, squares.sum((-1, -2)))[..., None]
    return fve.masked_fill(constant[..., None], 0.0)


def in_cluster(fve: Tensor, quadratic: bool = False) -> Tensor:
    """Flag the neurons that belong to a frequency: largest FVE over 0.85, or 0.68 for the quadratic activation.

    FVE (N, d_mlp, K) -> bool (N, d_mlp).
    """
    return fve.amax(-1) > CLUSTER_FVE * (QUADRATIC_REACH if quadratic else 1)


def share_in_cluster(variance: Tensor, belongs: Tensor) -> Tensor:
    """Compute the fraction of active neurons (see `SILENT`) that are flagged by `in_cluster`.

    Variances of the post-activations over the grid (N, d_mlp), bool (N, d_mlp) -> (N,), in [0, 1]; 0 if no neuron
    varies.
    """
    spread = variance.sqrt()
    active = spread > SILENT * spread.amax(-1, keepdim=True)
    return (belongs & active).sum(-1) / active.sum(-1).clamp(min=1).double()


def cluster_sizes(fve: Tensor, belongs: Tensor) -> Tensor:
    """Count the neurons at each frequency: those flagged by `in_cluster`, at the frequency of their largest FVE.

    FVE (N, d_mlp, K), bool (N, d_mlp) -> int64 (N, K).
    """
    sizes = torch.zeros(fve.shape[0], fve.shape[-1], dtype=torch.int64)
    return sizes.scatter_add_(1, fve.argmax(-1), belongs.long())


def polynomials(neurons: Tensor, frequency: Tensor) -> Tensor:
    """Project the neurons on the 3 x 3 block of one frequency each, including the constant.

    Parameters
    ----------
    neurons : Tensor
        Post-activations on the grid, (N, n^2, d_mlp) in float64.
    frequency : Tensor
        Frequency of each neuron, int64 (N, d_mlp) starting at 1.

    Returns
    -------
    Tensor
        Projections, (N, n^2, d_mlp).
    """
    n = math.isqrt(neurons.shape[1])
    group = cyclic(n)
    constant = group.basis[0].expand(*frequency.shape, 1, n)
    rows = torch.cat([constant, group.pairs[frequency - 1]], -2)  # (N, d_mlp, 3, n)
    components = rows @ neurons.mT.unflatten(-1, (n, n)) @ rows.mT
    return (rows.mT @ components @ rows).flatten(-2).mT


def direction_fve(read: Tensor, sign: int = 1) -> Tensor:
    """Compute the fraction of the variance of u^T MLP explained by cos w_k s, and of v^T MLP by sin w_k s.

    Here u and v are the components of W_L along cos w_k c and sin w_k c of the answer, so the component at k of the
    neurons' contribution to the logits is u^T MLP cos w_k c + v^T MLP sin w_k c.

    Parameters
    ----------
    read : Tensor
        Contribution of the neurons to the logits, their post-activations times W_L, (N, n^2, n) in float64.
    sign : int, optional
        1 for addition (s = a + b), -1 for subtraction.

    Returns
    -------
    Tensor
        Fractions (N, K, 2), cosine and sine, in [0, 1]; NaN if the direction reads a constant.
    """
    group = cyclic(read.shape[-1])
    rows = group.pairs.flatten(0, 1)
    directions = read @ rows.T  # (N, n^2, 2 K)
    # divided by sqrt(n), the component along the wave on the grid
    along = (group.means_by_product(directions, sign) * rows.T).sum(1)
    return (along.square() / (group.order * variance(directions, directions.mean(1)))).unflatten(-1, (-1, 2))

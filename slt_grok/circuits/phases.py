"""Neurons as sums of two waves: frequencies, phases, fits, and the alignment of the phases.

A simple neuron has the pre-activation A_L cos(w_f a + phi_L) + A_R cos(w_f b + phi_R) and the output weights cos(w_f c
+ psi). Sources: McCracken et al. 2505.18266 (simple neurons, accuracy with the fits in place of the neurons); Gromov
2301.02679 (with psi = phi_L + phi_R, or psi = phi_L - phi_R for subtraction, the neurons of a frequency add up at the
correct answer); 2512.25060 (torus distance); Doshi et al. 2310.13061 (inverse participation ratio).

Everything is computed from the lines of a neuron, its means over one token, which determine both waves.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from slt_grok.circuits.measure import CircuitMeasure, accuracy, loss
from slt_grok.circuits.neurons import is_constant, variance
from slt_grok.groups import CyclicGroup, cyclic
from slt_grok.measurement import Variable

if TYPE_CHECKING:
    from slt_grok.circuits.chunk import Chunk

GROMOV = "Gromov 2301.02679"
MCCRACKEN = "McCracken et al. 2505.18266"
TOPOLOGY = "2512.25060"
SIMPLE = (
    "with every pre-activation replaced by its mean + A_L cos(w_f a + phi_L) + A_R cos(w_f b + phi_R), fitted by least "
    "squares, f the frequency with the largest R^2"
)


def _phase(name: str, of: str) -> Variable:
    definition = f"phi in A cos(w_k t + phi), the part of {of} at k = neuron_frequency"
    return Variable(("neuron",), f"phase {name}", definition, GROMOV, "radians")


def _ratio(convention: str, range_: str, cosine: str) -> Variable:
    return Variable(
        ("neuron",),
        f"inverse participation ratio ({convention})",
        f"mean over the neuron's input lines of both tokens (means of the pre-activation over the other one) and its "
        f"output weights of sum_k |x_k|^4 / (sum_k |x_k|^2)^2, {range_}; the constant omitted; a cosine has {cosine}",
        "Doshi et al. 2310.13061",
    )


class Phases(CircuitMeasure):
    """Phases of the neurons' waves and how they align."""

    name = "phases"
    needs = ("cyclic", "neurons_pre", "neurons_post", "neuron_logit_map")
    variables = {
        "neuron_phase_left": _phase("phi_L", "the line of the means of the pre-activation over b"),
        "neuron_phase_right": _phase("phi_R", "the line of the means of the pre-activation over a"),
        "neuron_phase_output": _phase("psi", "the neuron's row of W_L over the answers"),
        "phase_alignment_residual_by_frequency": Variable(("frequency",), "phase alignment of the frequency",
            "R_k = |mean of e^{i Delta}| over the neurons counted in neuron_cluster_size, Delta = psi - phi_L - phi_R "
            "(+ phi_R for subtraction); 1 if aligned, as a single neuron always is; n random phases give about "
            "n^(-1/2); NaN without a neuron", GROMOV),
        "phase_alignment_residual": Variable((), "phase alignment",
            "mean of R_k weighted by neuron_cluster_size", GROMOV),
        "inverse_participation_ratio_rfft": _ratio("rfft", "k = 1..floor(n/2)", "1"),
        "inverse_participation_ratio_dft": _ratio("full DFT", "k = 1..n-1", "1/2"),
    }  # fmt: skip

    def compute(self, chunk: "Chunk") -> dict[str, Tensor]:
        """See `CircuitMeasure`."""
        left, right, output = chunk.waves.phases(chunk.frequency)
        frequency, sizes = chunk.frequency[:, None], chunk.cluster_size
        members = (frequency == torch.arange(1, sizes.shape[-1] + 1)[:, None]) & chunk.belongs[:, None]
        residual = alignment_residual((left, right, output), members, chunk.sign)
        return {
            "neuron_phase_left": left,
            "neuron_phase_right": right,
            "neuron_phase_output": output,
            "phase_alignment_residual_by_frequency": residual,
            "phase_alignment_residual": (residual * sizes).nansum(-1) / sizes.sum(-1),
            "inverse_participation_ratio_rfft": inverse_participation_ratio(chunk.waves),
            "inverse_participation_ratio_dft": inverse_participation_ratio(chunk.waves, full=True),
        }


class SimpleNeurons(CircuitMeasure):
    """The network with its pre-activations replaced by sums of two cosines."""

    name = "simple_neurons"
    needs = ("cyclic", "neurons_pre", "neurons_post", "neuron_logit_map")
    variables = {
        "simple_neuron_r2": Variable(("neuron",), "R^2 of the neuron's fit by two cosines",
            "fraction of the variance of the pre-activation over the grid that A_L cos(w_f a + phi_L) + A_R cos(w_f b "
            "+ phi_R) explains, f the best frequency", MCCRACKEN),
        "simple_neurons_loss": loss("loss with simple neurons", f"mean of -log softmax(L)[label], {SIMPLE}", MCCRACKEN),
        "simple_neurons_accuracy": accuracy("accuracy with simple neurons", SIMPLE, MCCRACKEN),
    }  # fmt: skip

    def compute(self, chunk: "Chunk") -> dict[str, Tensor]:
        """See `CircuitMeasure`."""
        r2, index = chunk.waves.power_fractions().max(1)
        logits = chunk.with_pre(chunk.waves.fitted(index + 1))
        return dict(zip(self.variables, (r2, chunk.losses(logits), chunk.accuracies(logits)), strict=True))


class PeakPositions(CircuitMeasure):
    """Position of each neuron's maximum on the grid of its frequency."""

    name = "peak_positions"
    needs = ("cyclic", "neurons_pre", "neurons_post")
    variables = {
        "neuron_alignment_left": Variable(("neuron",), "peak position of the neuron, first token",
            "k a mod n at the pair with the largest pre-activation, k = neuron_frequency; NaN for neurons that "
            "neuron_cluster_size does not count; the law of (k a, k b) over the others is the phase alignment "
            "distribution", TOPOLOGY, "tokens"),
        "neuron_alignment_right": Variable(("neuron",), "peak position of the neuron, second token",
            "k b mod n at the same pair", TOPOLOGY, "tokens"),
        "neuron_torus_distance": Variable(("neuron",), "torus distance of the neuron",
            "min(|d|, n - |d|), d = k (a - b) mod n (a + b for subtraction) at the pair where the pre-activation is "
            "largest, k = neuron_frequency", TOPOLOGY, "tokens"),
        "torus_distance": Variable((), "torus distance",
            "mean of neuron_torus_distance over the neurons in neuron_cluster_size; NaN if none; (p^2 - 1)/(4p) "
            "for independent uniform phases and an odd prime n = p", TOPOLOGY, "tokens"),
    }  # fmt: skip

    def compute(self, chunk: "Chunk") -> dict[str, Tensor]:
        """See `CircuitMeasure`."""
        aligned = phase_alignment(chunk.sites["neurons_pre"], chunk.frequency)
        distance = torus_distance(aligned, chunk.group.order, chunk.sign)
        left, right, clustered = (x.double().masked_fill(~chunk.belongs, torch.nan) for x in (*aligned, distance))
        return {
            "neuron_alignment_left": left,
            "neuron_alignment_right": right,
            "neuron_torus_distance": distance,
            "torus_distance": clustered.nanmean(-1),
        }


@dataclass(frozen=True)
class Waves:
    """Complex amplitudes A e^{i phi} of the cosines in three functions of one token, for every neuron.

    Parameters
    ----------
    group : CyclicGroup
        Group of the tokens.
    amplitudes : Tensor
        A_k e^{i phi_k} with line(t) = mean + sum_k A_k cos(w_k t + phi_k) for three lines: the means of the
        pre-activation over b and over a, and the output weights over the answers, (3, N, K, width).
    mean, variance : Tensor
        Mean and variance of the pre-activation over the grid, (N, width).
    """

    group: CyclicGroup
    amplitudes: Tensor
    mean: Tensor
    variance: Tensor

    @classmethod
    def of(cls, pre: Tensor, neuron_logit_map: Tensor) -> "Waves":
        """Compute the waves of pre-activations (N, n^2, width) on the grid and of W_L (N, width, n)."""
        n = math.isqrt(pre.shape[1])
        group, grid = cyclic(n), pre.unflatten(1, (n, n))
        lines = torch.stack([grid.mean(2), grid.mean(1), neuron_logit_map.mT])
        amplitudes = torch.fft.rfft(lines, dim=2)[:, :, 1:] * group.plane_sizes[:, None] / n
        mean = lines[0].mean(1)
        return cls(group, amplitudes, mean, variance(pre, mean))

    def power_fractions(self) -> Tensor:
        """Compute the fraction of the pre-activation's variance in both waves of each frequency: (N, K, width).

        It is 0 for a neuron that is constant on the grid.
        """
        power = self.amplitudes[:2].abs().square().sum(0) / self.group.plane_sizes[:, None]
        constant = is_constant(self.mean, self.variance)
        return (power / torch.where(constant, 1.0, self.variance)[:, None]).masked_fill(constant[:, None], 0.0)

    def phases(self, frequency: Tensor) -> Tensor:
        """Compute phi_L, phi_R and psi at one frequency per neuron: int64 (N, width) -> (3, N, width) in (-pi, pi]."""
        return self._at(frequency)[:, :, 0].angle()

    def fitted(self, frequency: Tensor) -> Tensor:
        """Evaluate mean + A_L cos(w_f a + phi_L) + A_R cos(w_f b + phi_R) on the grid, (N, n^2, width).

        This is the least-squares fit at f.
        """
        n = self.group.order
        turns = (torch.arange(n)[:, None] * frequency[:, None]) % n  # (N, n, width)
        unit = torch.polar(torch.ones((), dtype=torch.float64), 2 * math.pi / n * turns.double())
        left, right = (self._at(frequency)[:2] * unit).real
        return (self.mean[:, None, None] + left[:, :, None] + right[:, None]).flatten(1, 2)

    def _at(self, frequency: Tensor) -> Tensor:
        """Select the amplitudes at one frequency per neuron, (3, N, 1, width)."""
        return self.amplitudes.gather(2, (frequency[:, None] - 1).expand(3, -1, -1, -1))


def phase_alignment(pre: Tensor, frequency: Tensor) -> tuple[Tensor, Tensor]:
    """Locate the peak of each neuron: (k a, k b) mod n at the pair (a, b) with the largest pre-activation.

    In these coordinates neurons of all frequencies share one grid, and the relabeling t -> m t changes only the common
    sign, which depends on the choice between k and n - k. Their distribution over the neurons is the phase alignment
    distribution of 2512.25060.

    Parameters
    ----------
    pre : Tensor
        Pre-activations on the grid, (N, n^2, width).
    frequency : Tensor
        Frequency k of each neuron, int64 (N, width).

    Returns
    -------
    tuple of Tensor
        k a and k b, int64 (N, width) each, in 0..n-1.
    """
    n = math.isqrt(pre.shape[1])
    grid = pre.unflatten(1, (n, n))
    # finding the maximum is much faster than its index: first the maxima of the lines, then the line, then the pair
    first = grid.amax(2).argmax(1)
    line = grid.gather(1, first[:, None, None].expand(-1, 1, n, -1))[:, 0]
    return frequency * first % n, frequency * line.argmax(1) % n


def alignment_residual(phases: tuple[Tensor, Tensor, Tensor], members: Tensor, sign: int = 1) -> Tensor:
    """Compute R_k = |mean of e^{i Delta}| over the neurons of frequency k, Delta = psi - phi_L - sign phi_R.

    This is done one frequency at a time because cos w_k and cos w_{n-k} are the same function: the choice between the
    two names of a frequency determines the sign of its phases, and a mean over several frequencies would depend on it.

    Parameters
    ----------
    phases : tuple of Tensor
        Phases phi_L, phi_R and psi, (N, width) each.
    members : Tensor
        Mask of the neurons with frequency k, bool (N, K, width).
    sign : int, optional
        1 for addition, -1 for subtraction.

    Returns
    -------
    Tensor
        Shape (N, K), in [0, 1]: 1 if all are aligned (a single neuron always is), about n^(-1/2) for n neurons with
        random phases, NaN without a neuron.
    """
    left, right, output = phases
    turns = torch.polar(torch.ones_like(left), output - left - sign * right)
    return (members * turns[:, None]).sum(-1).abs() / members.sum(-1)


def torus_distance(alignment: tuple[Tensor, Tensor], order: int, sign: int = 1) -> Tensor:
    """Compute min(|d|, n - |d|), d = f (a - sign b) mod n, at the pair (a, b) with a neuron's largest pre-activation.

    Parameters
    ----------
    alignment : tuple of Tensor
        Peak positions f a and f b, int64 (N, width) each (`phase_alignment`).
    order : int
        Order n of the group.
    sign : int, optional
        1 for addition, -1 for subtraction.

    Returns
    -------
    Tensor
        Shape (N, width) in tokens, in [0, n/2]: 0 if both waves have the same phase; independent uniform phases have
        mean (p^2 - 1)/(4p) for an odd prime n = p.
    """
    distance = (alignment[0] - sign * alignment[1]) % order
    return distance.minimum(order - distance)


def inverse_participation_ratio(waves: Waves, full: bool = False) -> Tensor:
    """Average sum_k |x_k|^4 / (sum_k |x_k|^2)^2 over the three lines that give phi_L, phi_R and psi.

    Doshi et al. 2310.13061, k = 1..floor(n/2) (rfft convention): a cosine has 1, equal amplitudes have 2/(n-1). With
    `full`, k = 1..n-1: the full discrete Fourier transform counts each amplitude twice, at k and n - k, except k = n/2,
    and gives half of this for odd n. The constant is omitted.

    Returns
    -------
    Tensor
        Shape (N, width), in (0, 1]; NaN for a neuron with a line that vanishes.
    """
    rows = waves.group.plane_sizes[:, None]
    power, count = (waves.amplitudes.abs() / rows).square(), rows if full else 1
    return ((count * power.square()).sum(2) / (count * power).sum(2).square()).mean(0)

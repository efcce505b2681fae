"""Neurons as sums of two waves: their frequencies, phases, fits, and how the phases align.

A simple neuron has the pre-activation A_L cos(w_f a + phi_L) + A_R cos(w_f b + phi_R) and the output weights
cos(w_f c + psi). Sources: McCracken et al. 2505.18266 (simple neurons, accuracy with the fits in place of the neurons);
Gromov 2301.02679 (psi = phi_L + phi_R, or psi = phi_L - phi_R for subtraction, makes the neurons of a frequency add
up at the right answer); 2512.25060 (torus distance).

Everything is read from the lines of a neuron, its means over one token, which hold all of both waves.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from slt_grok.circuits.neurons import variance


@dataclass(frozen=True)
class Waves:
    """Complex amplitudes A e^{i phi} of the cosines in three functions of one token, for every neuron.

    Parameters
    ----------
    left, right : Tensor
        Of the means of the pre-activation over b and over a, (N, (p-1)/2, width).
    output : Tensor
        Of the output weights over the answers, (N, (p-1)/2, width).
    mean, variance : Tensor
        Of the pre-activation over the grid, (N, width).
    """

    left: Tensor
    right: Tensor
    output: Tensor
    mean: Tensor
    variance: Tensor

    @classmethod
    def of(cls, pre: Tensor, neuron_logit_map: Tensor) -> "Waves":
        """From pre-activations (N, p^2, width) on the grid and W_L (N, width, p)."""
        p = math.isqrt(pre.shape[1])
        grid = pre.unflatten(1, (p, p))
        of_a, of_b = grid.mean(2), grid.mean(1)
        left, right, output = (_amplitudes(line) for line in (of_a, of_b, neuron_logit_map.mT))
        mean = of_a.mean(1)
        return cls(left, right, output, mean, variance(pre, mean))

    def power_shares(self) -> Tensor:
        """Share of the pre-activation's variance in both waves of each frequency: (N, (p-1)/2, width), in [0, 1].

        0 for a neuron that is constant on the grid.
        """
        power = (self.left.abs().square() + self.right.abs().square()) / 2
        constant = self.variance <= 1e-24 * (self.variance + self.mean.square())  # rounding of a constant, no signal
        return (power / torch.where(constant, 1.0, self.variance)[:, None]).masked_fill(constant[:, None], 0.0)

    def phases(self, frequency: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """phi_L, phi_R and psi at one frequency a neuron, int64 (N, width) from 1 on -> (N, width) in (-pi, pi]."""
        index = frequency[:, None] - 1
        left, right, output = (wave.gather(1, index)[:, 0].angle() for wave in (self.left, self.right, self.output))
        return left, right, output

    def fitted(self, frequency: Tensor) -> Tensor:
        """Return mean + A_L cos(w_f a + phi_L) + A_R cos(w_f b + phi_R) on the grid, (N, p^2, width).

        Least squares at f.
        """
        p, index = 2 * self.left.shape[1] + 1, frequency[:, None] - 1
        turns = (torch.arange(p)[:, None] * frequency[:, None]) % p  # (N, p, width)
        unit = torch.polar(torch.ones((), dtype=torch.float64), 2 * math.pi / p * turns.double())
        left, right = ((wave.gather(1, index) * unit).real for wave in (self.left, self.right))
        return (self.mean[:, None, None] + left[:, :, None] + right[:, None]).flatten(1, 2)


def _amplitudes(line: Tensor) -> Tensor:
    """Return a e^{i phi} with line(t) = mean + sum_k A_k cos(w_k t + phi_k): (N, p, width) -> (N, (p-1)/2, width)."""
    return torch.fft.rfft(line, dim=1)[:, 1:] * (2 / line.shape[1])


def alignment_residual(phases: tuple[Tensor, Tensor, Tensor], members: Tensor, sign: int = 1) -> Tensor:
    """R_k = |mean of e^{i Delta}| over the neurons of frequency k, Delta = psi - phi_L - sign phi_R.

    One frequency at a time, because cos w_k and cos w_{p-k} are one function: which of the two names a frequency has
    is the sign of its phases, and a mean over several frequencies would depend on it.

    Parameters
    ----------
    phases : tuple[Tensor, Tensor, Tensor]
        phi_L, phi_R, psi, (N, width) each.
    members : Tensor
        Which neurons are of frequency k, bool (N, (p-1)/2, width).
    sign : int, optional
        1 for addition, -1 for subtraction.

    Returns
    -------
    Tensor
        (N, (p-1)/2), in [0, 1]: 1 where all are aligned (a single neuron always is), about n^(-1/2) for n neurons of
        random phases, NaN without a neuron.
    """
    left, right, output = phases
    turns = torch.polar(torch.ones_like(left), output - left - sign * right)
    return (members * turns[:, None]).sum(-1).abs() / members.sum(-1)


def torus_distance(alignment: tuple[Tensor, Tensor], modulus: int, sign: int = 1) -> Tensor:
    """min(|d|, p - |d|) with d = f (a - sign b) mod p at the pair (a, b) where a neuron's pre-activation is largest.

    Parameters
    ----------
    alignment : tuple[Tensor, Tensor]
        f a and f b, int64 (N, width) each (`geometry.phase_alignment`).
    modulus : int
        p.
    sign : int, optional
        1 for addition, -1 for subtraction.

    Returns
    -------
    Tensor
        (N, width) in tokens, in [0, (p-1)/2]: 0 where both waves have the same phase; (p^2 - 1)/(4p) is the mean of
        independent uniform phases.
    """
    distance = (alignment[0] - sign * alignment[1]) % modulus
    return distance.minimum(modulus - distance)


def inverse_participation_ratio(waves: Waves) -> Tensor:
    """Mean over phi_L's, phi_R's and psi's line of sum_k |x_k|^4 / (sum_k |x_k|^2)^2, k = 1..(p-1)/2 (rfft convention).

    Doshi et al. 2310.13061. A cosine has 1, equal amplitudes 2/(p-1). The full discrete Fourier transform has each
    amplitude twice, at k and p - k, and gives half of this. The constant is left out.

    Returns
    -------
    Tensor
        (N, width), in (0, 1]; NaN for a neuron with a line that vanishes.
    """
    ratios = []
    for wave in (waves.left, waves.right, waves.output):
        power = wave.abs().square()
        ratios.append(power.square().sum(1) / power.sum(1).square())
    return torch.stack(ratios).mean(0)

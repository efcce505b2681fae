"""Networks with two nearly equal neurons: regular points close to a singular one."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from slt_grok.errors import SltGrokError
from slt_grok.llc import exact
from slt_grok.zoo.problem import KnownProblem, normal

POINTS = 60


class TanhNetwork(nn.Module):
    """f(x) = sum_k a_k tanh(b_k x + c_k): (n, 1) -> (n, 1)."""

    def __init__(self, a: Tensor, b: Tensor, c: Tensor) -> None:
        super().__init__()
        self.a, self.b, self.c = (nn.Parameter(part) for part in (a, b, c))

    def forward(self, inputs: Tensor) -> Tensor:
        """Compute the outputs."""
        return (torch.tanh(inputs * self.b + self.c) @ self.a)[:, None]


@dataclass(frozen=True)
class Twins:
    """Regression of a tanh network, whose last two neurons differ by `gap`, on itself, at 60 even points in [-2, 2].

    No two neurons are equal up to sign and none is constant, so the network is irreducible, and derivatives by all 3 K
    weights are linearly independent (Sussmann 1992, doi:10.1016/S0893-6080(05)80037-1; Fukumizu 1996,
    doi:10.1016/0893-6080(95)00119-0): the point is regular with lambda = 3 K / 2.

    Parameters
    ----------
    neurons : int
        Number of neurons K.
    gap : float
        Difference of the last two neurons' slopes and thresholds.
    """

    neurons: int
    gap: float

    family = "nearly equal neurons"

    def __post_init__(self) -> None:
        if self.neurons < 2 or not self.gap > 0:
            raise SltGrokError(f"neurons, gap: expected at least 2 and above 0, got {self.neurons} and {self.gap}")

    def problem(self, generator: Generator) -> KnownProblem:
        """Draw a random problem."""
        a, b, c = (normal((self.neurons,), generator) for _ in range(3))
        a, b = a.sign() * (0.5 + a.abs()), b.sign() * (0.5 + b.abs())
        b[-1], c[-1] = b[-2] + self.gap, c[-2] - self.gap
        inputs = torch.linspace(-2, 2, POINTS, dtype=torch.float64)[:, None]
        return KnownProblem(TanhNetwork(a, b, c), inputs, exact.regular(3 * self.neurons))

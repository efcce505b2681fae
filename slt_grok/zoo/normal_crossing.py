"""Normal crossings (Watanabe 2009), rotated so that no axis is a coordinate."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from slt_grok.llc import exact
from slt_grok.zoo.problem import KnownProblem, normal, orthonormal


class CrossingModel(nn.Module):
    """f(x) = x prod_i u_i^(k_i) with u = Q (w - w*): (n, 1) -> (n, 1)."""

    def __init__(self, exponents: tuple[int, ...], rotation: Tensor, center: Tensor) -> None:
        super().__init__()
        self.exponents = exponents
        self.rotation, self.center = rotation, center
        self.w = nn.Parameter(center.clone())

    def forward(self, inputs: Tensor) -> Tensor:
        """Compute the outputs."""
        u = self.rotation @ (self.w - self.center)
        for factor, exponent in zip(u.unbind(), self.exponents, strict=True):
            inputs = inputs * factor**exponent
        return inputs


@dataclass(frozen=True)
class NormalCrossing:
    """L = prod_i u_i^(2 k_i), u = Q (w - w*), with a random rotation Q and |w*|^2 = d.

    Parameters
    ----------
    exponents : tuple[int, ...]
        Exponents k_i >= 0, at least one of them above 0.
    """

    exponents: tuple[int, ...]

    family = "normal crossing"

    def __post_init__(self) -> None:
        exact.normal_crossing(self.exponents)  # rejects exponents without a crossing

    def problem(self, generator: Generator) -> KnownProblem:
        """Draw a random problem."""
        d = len(self.exponents)
        center = normal((d,), generator)
        module = CrossingModel(self.exponents, orthonormal(d, d, generator), center * (d**0.5 / center.norm()))
        # half the squared error at input sqrt(2) is the square
        inputs = torch.full((1, 1), 2**0.5, dtype=torch.float64)
        return KnownProblem(module, inputs, exact.normal_crossing(self.exponents))

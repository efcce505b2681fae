"""Steep, shallow and singular directions in one minimum."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from slt_grok.errors import SltGrokError
from slt_grok.llc import exact
from slt_grok.zoo.problem import KnownProblem, normal, orthonormal


class MixedModel(nn.Module):
    """f(x) = x (sqrt(h_1) q_1, ..., sqrt(h_r) q_r, sqrt(2) prod_i u_i^(k_i)) with (q, u) = Q (w - w*)."""

    def __init__(self, curvatures: Tensor, exponents: tuple[int, ...], rotation: Tensor, center: Tensor) -> None:
        super().__init__()
        self.curvatures, self.exponents = curvatures, exponents
        self.rotation, self.center = rotation, center
        self.w = nn.Parameter(center.clone())

    def forward(self, inputs: Tensor) -> Tensor:
        """Compute the outputs, (n, 1) -> (n, r + 1)."""
        turned = self.rotation @ (self.w - self.center)
        count = len(self.curvatures)
        product = turned.new_tensor(2**0.5)
        for factor, exponent in zip(turned[count:].unbind(), self.exponents, strict=True):
            product = product * factor**exponent
        return inputs * torch.cat([self.curvatures.sqrt() * turned[:count], product[None]])


@dataclass(frozen=True)
class Mixed:
    """L = 1/2 sum q_i^2 + 1/2 sum h p_j^2 + prod_i u_i^(2 k_i), randomly rotated, with |w*|^2 = d.

    Parameters
    ----------
    steep, shallow : int
        Numbers of directions q of curvature 1 and p of curvature h.
    curvature : float
        Curvature h.
    exponents : tuple[int, ...]
        Exponents k_i of the singular directions.
    """

    steep: int
    shallow: int
    curvature: float
    exponents: tuple[int, ...]

    family = "mixed curvature"

    def __post_init__(self) -> None:
        exact.normal_crossing(self.exponents)  # rejects exponents without a crossing
        if not self.curvature > 0:
            raise SltGrokError(f"curvature: expected a number above 0, got {self.curvature}")

    def problem(self, generator: Generator) -> KnownProblem:
        """Draw a random problem; its lambda is the sum of those of independent variables."""
        curvatures = torch.tensor([1.0] * self.steep + [self.curvature] * self.shallow, dtype=torch.float64)
        d = len(curvatures) + len(self.exponents)
        center = normal((d,), generator)
        rotation = orthonormal(d, d, generator)
        module = MixedModel(curvatures, self.exponents, rotation, center * (d**0.5 / center.norm()))
        singular = exact.normal_crossing(self.exponents)
        truth = singular._replace(value=singular.value + exact.regular(len(curvatures)).value)
        return KnownProblem(module, torch.ones(1, 1, dtype=torch.float64), truth)

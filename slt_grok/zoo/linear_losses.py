"""Linear regression with losses that are not smooth, or that saturate."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from slt_grok.errors import SltGrokError
from slt_grok.llc.exact import LearningCoefficient
from slt_grok.zoo.least_squares import LinearModel
from slt_grok.zoo.problem import KnownProblem, normal, orthonormal


def absolute_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Compute |f(x) - y| for each sample, (n, 1) and (n, 1) -> (n,)."""
    return (outputs - targets).abs().flatten(1).sum(1)


def saturating_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Compute 1 - exp(-(f(x) - y)^2 / 2) for each sample, (n, 1) and (n, 1) -> (n,); at most 1."""
    return -torch.expm1(-0.5 * (outputs - targets).square().flatten(1).sum(1))


LOSSES: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], int]] = {
    "absolute": (absolute_error, 1),
    "saturating": (saturating_error, 2),
}
"""Losses with their order k at 0: the integral of exp(-n |u|^k) du falls as n^(-1/k), so each direction adds 1/k."""


@dataclass(frozen=True)
class LinearRegression:
    """L = mean_i l(x_i . (w - w*)) with orthonormal x_i sqrt(rank) and a loss l of its own; w* is standard normal.

    Parameters
    ----------
    loss : str
        A key of `LOSSES`.
    dimension, rank : int
        Number of weights and of samples.
    """

    loss: str
    dimension: int
    rank: int

    def __post_init__(self) -> None:
        if not 1 <= self.rank <= self.dimension:
            raise SltGrokError(f"rank: expected from 1 to the dimension {self.dimension}, got {self.rank}")

    @property
    def family(self) -> str:
        """Family name, by the loss."""
        return f"{self.loss} loss"

    def problem(self, generator: Generator) -> KnownProblem:
        """Draw a random problem."""
        features = self.rank**0.5 * orthonormal(self.dimension, self.rank, generator).T
        loss, order = LOSSES[self.loss]
        truth = LearningCoefficient(self.rank / order, 1)
        return KnownProblem(LinearModel(normal((self.dimension,), generator)), features, truth, loss)

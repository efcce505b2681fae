"""Least squares: a quadratic loss with a chosen spectrum, and polynomial regression (2512.00686)."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor, nn

from slt_grok.errors import SltGrokError
from slt_grok.llc import exact
from slt_grok.zoo.problem import KnownProblem, normal, orthonormal


class LinearModel(nn.Module):
    """f(x) = x . w: features (n, d) -> (n, 1)."""

    def __init__(self, w: Tensor) -> None:
        super().__init__()
        self.w = nn.Parameter(w)

    def forward(self, features: Tensor) -> Tensor:
        """Compute the outputs."""
        return (features @ self.w)[:, None]


@dataclass(frozen=True)
class Quadratic:
    """L = 1/2 (w - w*)^T H (w - w*); `rank` eigenvalues of H are log-spaced over `decades` powers of ten, up to 1.

    The eigenvectors are random, and w* is standard normal.

    Parameters
    ----------
    dimension : int
        Number of weights.
    rank : int
        Rank of H, from 1 to the dimension.
    decades : float
        Powers of ten that the nonzero eigenvalues span.
    """

    dimension: int
    rank: int
    decades: float

    family = "regular"

    def __post_init__(self) -> None:
        if not 1 <= self.rank <= self.dimension:
            raise SltGrokError(f"rank: expected from 1 to the dimension {self.dimension}, got {self.rank}")

    def problem(self, generator: Generator) -> KnownProblem:
        """Draw a random problem."""
        eigenvalues = torch.logspace(-self.decades, 0, self.rank, dtype=torch.float64)
        vectors = orthonormal(self.dimension, self.rank, generator)
        features = (vectors * (self.rank * eigenvalues).sqrt()).T
        return KnownProblem(LinearModel(normal((self.dimension,), generator)), features, exact.regular(self.rank))


@dataclass(frozen=True)
class Polynomial:
    """Least squares with the monomials 1, x, ..., x^degree, x uniform on [-1, 1], w* standard normal.

    The features are evaluated at the Gauss-Legendre nodes with their weights, so the mean over them is the mean over x.

    Parameters
    ----------
    degree : int
        Largest exponent of the monomials.
    """

    degree: int

    family = "polynomial"

    def problem(self, generator: Generator) -> KnownProblem:
        """Draw a random problem."""
        nodes, weights = np.polynomial.legendre.leggauss(self.degree + 1)
        features = np.sqrt(len(nodes) * weights / 2)[:, None] * np.vander(nodes, self.degree + 1, increasing=True)
        w = normal((self.degree + 1,), generator)
        return KnownProblem(LinearModel(w), torch.from_numpy(features), exact.polynomial(self.degree))

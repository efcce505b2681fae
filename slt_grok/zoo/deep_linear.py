"""Deep linear networks at two kinds of minima: the most singular one (Aoyagi 2023), and a generic one."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise

import torch
from torch import Generator, Tensor, nn

from slt_grok.llc import exact
from slt_grok.zoo.problem import KnownProblem, normal, orthonormal

LARGE = 2000  # weights


class DeepLinear(nn.Module):
    """f(x) = x W_1 ... W_L: (n, H_0) -> (n, H_L)."""

    def __init__(self, layers: Sequence[Tensor]) -> None:
        super().__init__()
        self.layers = nn.ParameterList([nn.Parameter(layer) for layer in layers])

    def forward(self, inputs: Tensor) -> Tensor:
        """Compute the outputs."""
        for layer in self.layers:
            inputs = inputs @ layer
        return inputs


@dataclass(frozen=True)
class DeepLinearNetwork:
    """Least squares with inputs of covariance I: L = |W_1 ... W_L - W|^2 / 2, with W of given rank.

    Parameters
    ----------
    widths : tuple[int, ...]
        Widths H_0, ..., H_L.
    rank : int
        Rank of W.
    generic : bool, optional
        Whether only the last layer has reduced rank and the others are random of full rank; otherwise each layer has
        exactly this rank, the most singular point of the fiber.
    """

    widths: tuple[int, ...]
    rank: int
    generic: bool = False

    def __post_init__(self) -> None:
        exact.deep_linear(self.widths, self.rank)  # rejects impossible widths and ranks

    @property
    def family(self) -> str:
        """Family name, by the number of layers, or if there are more than 2,000 weights."""
        size = sum(rows * columns for rows, columns in pairwise(self.widths))
        return "large deep linear" if size > LARGE else f"deep linear, {len(self.widths) - 1} layers"

    def problem(self, generator: Generator) -> KnownProblem:
        """Draw a random problem."""
        inputs = self.widths[0] ** 0.5 * torch.eye(self.widths[0], dtype=torch.float64)
        if self.generic:
            layers, truth = self._generic(generator), exact.deep_linear_generic(self.widths, self.rank)
        else:
            layers, truth = self._most_singular(generator), exact.deep_linear(self.widths, self.rank)
        return KnownProblem(DeepLinear(layers), inputs, truth)

    def _most_singular(self, generator: Generator) -> list[Tensor]:
        """Construct W_i = U_{i-1} C_i U_i^T with orthonormal U and cores C with singular values between 0.7 and 1.5."""
        frames = [orthonormal(width, self.rank, generator) for width in self.widths]
        layers = []
        for before, after in pairwise(frames):
            sizes = 0.7 + 0.8 * torch.rand(self.rank, generator=generator, dtype=torch.float64)
            turns = [orthonormal(self.rank, self.rank, generator) for _ in range(2)]
            layers.append(before @ turns[0] @ torch.diag(sizes) @ turns[1] @ after.T)
        return layers

    def _generic(self, generator: Generator) -> list[Tensor]:
        """Draw normal layers of variance 1 / fan-in, except the last.

        The last layer is P^+ P Q + (1 - P^+ P) Z, with P the product of the others.

        P Q of rank r is the learned map; the second term is annihilated by P and arbitrary.
        """
        *shapes, (width, outputs) = pairwise(self.widths)
        layers = [normal(shape, generator) / shape[0] ** 0.5 for shape in shapes]
        product = reduce(torch.matmul, layers, torch.eye(self.widths[0], dtype=torch.float64))
        seen = torch.linalg.pinv(product) @ product
        low_rank = normal((width, self.rank), generator) @ normal((self.rank, outputs), generator)
        low_rank /= (width * max(self.rank, 1)) ** 0.5
        free = normal((width, outputs), generator) / width**0.5
        return [*layers, seen @ low_rank + free - seen @ free]

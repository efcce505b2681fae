"""A minimum whose learning coefficient is known, as a module with data."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from slt_grok.llc.exact import LearningCoefficient


@dataclass(frozen=True)
class KnownProblem:
    """A module at a minimum w* of loss 0, and its learning coefficient there.

    Parameters
    ----------
    module : torch.nn.Module
        At w*, in float64.
    inputs : Tensor
        Such that the mean over them is the mean over the population, or over the train set where that is the loss.
    truth : LearningCoefficient
        lambda and its multiplicity at w*.
    """

    module: nn.Module
    inputs: Tensor
    truth: LearningCoefficient

    @property
    def data(self) -> tuple[Tensor, Tensor]:
        """Inputs, and the module's own outputs as targets: no residual, so that L(w*) = 0."""
        return self.inputs, self.module(self.inputs).detach()


def half_squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """|f(x) - y|^2 / 2 for each sample: (n, ...) and (n, ...) -> (n,); the loss of every problem of the zoo."""
    return 0.5 * (outputs - targets).square().flatten(1).sum(1)


def normal(shape: tuple[int, ...], generator: Generator) -> Tensor:
    """Return standard normal numbers in float64."""
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def orthonormal(rows: int, columns: int, generator: Generator) -> Tensor:
    """Random orthonormal columns, (rows, columns) with columns <= rows."""
    return torch.linalg.qr(normal((rows, columns), generator))[0]

"""A minimum with a known learning coefficient, as a module with data."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from slt_grok.llc.exact import LearningCoefficient
from slt_grok.trajectories import Loss


def half_squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Compute |f(x) - y|^2 / 2 for each sample: (n, ...) and (n, ...) -> (n,); the loss of most problems of the zoo."""
    return 0.5 * (outputs - targets).square().flatten(1).sum(1)


@dataclass(frozen=True)
class KnownProblem:
    """A module at a minimum w* with loss 0, and its learning coefficient there.

    Parameters
    ----------
    module : torch.nn.Module
        The module at w*, in float64.
    inputs : Tensor
        Inputs whose mean equals that over the population, or over the train set if the loss is defined on it.
    truth : LearningCoefficient
        Learning coefficient lambda and its multiplicity at w*.
    loss : callable, optional
        Losses of the samples, half the squared error by default.
    """

    module: nn.Module
    inputs: Tensor
    truth: LearningCoefficient
    loss: Loss = half_squared_error

    @property
    def data(self) -> tuple[Tensor, Tensor]:
        """Inputs, and the module's outputs as targets: no residual, so L(w*) = 0."""
        return self.inputs, self.module(self.inputs).detach()


def normal(shape: tuple[int, ...], generator: Generator) -> Tensor:
    """Draw standard normal numbers in float64."""
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def orthonormal(rows: int, columns: int, generator: Generator) -> Tensor:
    """Draw random orthonormal columns, (rows, columns) with columns <= rows."""
    return torch.linalg.qr(normal((rows, columns), generator))[0]

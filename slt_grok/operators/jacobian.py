"""The Jacobian of all outputs by the parameters, and its numerical rank.

Where all residuals are 0 and the rank does not change nearby, the set of minima is smooth and half the rank is the
learning coefficient, with multiplicity 1.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev

from slt_grok.operators.objective import as_floats

CHUNK = 256  # rows of the Jacobian at a time


class NumericalRank(NamedTuple):
    """The rank of a matrix, and how clear it is.

    Parameters
    ----------
    rank : int
        Number of singular values above max(rows, columns) eps s_1.
    gap : float
        The smallest singular value that counts over the largest that does not; infinite where that is 0 or missing.
        Far below 1e6 the rank is a matter of the threshold.
    singular_values : ndarray
        All singular values, descending.
    """

    rank: int
    gap: float
    singular_values: np.ndarray


def jacobian(module: nn.Module, inputs: Tensor) -> Tensor:
    """Return d outputs / d parameters at the module's parameters, float64 (all outputs of all inputs, parameters)."""
    parameters = {name: value.detach().double() for name, value in module.named_parameters()}
    inputs = as_floats(inputs, torch.float64)
    blocks = jacrev(lambda free: functional_call(module, free, (inputs,)).flatten(), chunk_size=CHUNK)(parameters)
    return torch.cat([block.flatten(1) for block in blocks.values()], 1)


def numerical_rank(matrix: Tensor) -> NumericalRank:
    """Return the rank of a matrix by its singular values in float64, with its gap."""
    values = torch.linalg.svdvals(matrix.double()).numpy(force=True)
    threshold = max(matrix.shape) * np.finfo(float).eps * values.max(initial=0.0)
    rank = int((values > threshold).sum())
    rest = values[rank] if rank < len(values) else 0.0
    return NumericalRank(rank, float(values[rank - 1] / rest) if rank and rest else math.inf, values)


def jacobian_rank(module: nn.Module, inputs: Tensor) -> NumericalRank:
    """Return the rank of the Jacobian of a module's outputs on the inputs."""
    return numerical_rank(jacobian(module, inputs))

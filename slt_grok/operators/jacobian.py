"""The Jacobian of all outputs with respect to the parameters, and its numerical rank.

If all residuals are 0 and the rank is constant nearby, the set of minima is smooth and half the rank is the
learning coefficient, with multiplicity 1.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import jacrev

from slt_grok.models.network import Network
from slt_grok.operators.objective import as_floats

CHUNK = 256  # number of rows of the Jacobian at a time


class NumericalRank(NamedTuple):
    """The rank of a matrix, and how well determined it is.

    Parameters
    ----------
    rank : int
        Number of singular values above max(rows, columns) eps s_1.
    gap : float
        The smallest singular value above the threshold over the largest one below it; infinite if the latter is 0 or
        missing. Far below 1e6, the rank depends on the threshold.
    singular_values : ndarray
        All singular values, descending.
    """

    rank: int
    gap: float
    singular_values: np.ndarray


def jacobian(module: nn.Module, inputs: Tensor) -> Tensor:
    """Compute d outputs / d parameters in float64, (all outputs of all inputs, parameters)."""
    network, inputs = Network(module), as_floats(inputs, torch.float64)
    state = {name: tensor.double() for name, tensor in network.copy_state(module).items()}
    free = {name: state[name] for name in network.moving}
    blocks = jacrev(lambda free: network.outputs(state | free, inputs).flatten(), chunk_size=CHUNK)(free)
    return torch.cat([block.reshape(len(block), -1) for block in blocks.values()], 1)


def numerical_rank(matrix: Tensor) -> NumericalRank:
    """Determine the rank of a matrix from its singular values in float64, with its gap."""
    values = torch.linalg.svdvals(matrix.double()).numpy(force=True)
    threshold = max(matrix.shape) * np.finfo(float).eps * values.max(initial=0.0)
    rank = int((values > threshold).sum())
    rest = values[rank] if rank < len(values) else 0.0
    return NumericalRank(rank, float(values[rank - 1] / rest) if rank and rest else math.inf, values)


def jacobian_rank(module: nn.Module, inputs: Tensor) -> NumericalRank:
    """Determine the rank of the Jacobian of a module's outputs on the inputs."""
    return numerical_rank(jacobian(module, inputs))

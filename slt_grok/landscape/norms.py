"""Norms of the weights and of the gradient of the train loss, and ranks of the weight matrices.

The squared weight norm is the regularizer whose fall marks the cleanup phase in Nanda et al. 2301.05217, section
5.1; the gradient norm says how far a checkpoint is from a critical point, where an LLC is defined.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from slt_grok.operators.objective import ROWS, Objective, batches
from slt_grok.trajectories import Parameters

# networks x samples x widest layer that one backward pass may hold: some 300 MB of float64 activations
BUDGET = 2**21


def weight_norm(stack: Parameters) -> dict[str, np.ndarray]:
    """Euclidean norm |w| of each parameter, and of all together as `total`.

    Parameters
    ----------
    stack : Parameters
        Every parameter with a leading N.

    Returns
    -------
    dict[str, ndarray]
        Name -> norms (N,), float64, at least 0; total = sqrt(sum of the squares).
    """
    squares = {name: tensor.double().square().flatten(1).sum(1) for name, tensor in stack.items()}
    squares["total"] = torch.stack(list(squares.values())).sum(0)
    return {name: square.sqrt().numpy(force=True) for name, square in squares.items()}


class MatrixRanks(NamedTuple):
    """Of each weight matrix, (N, matrix), float64; NaN for the ranks of a zero matrix.

    names : a parameter with more than two axes is a stack of matrices, `W_Q[0]`, `W_Q[1]`, ..
    spectral_norm : s_1, the largest singular value.
    stable_rank : sum s^2 / s_1^2 (Rudelson and Vershynin 2007, doi:10.1145/1255443.1255449), from 1 to the rank.
    effective_rank : exp(-sum q log q) with q = s / sum s (Roy and Vetterli 2007, EUSIPCO), from 1 to the rank.
    """

    names: list[str]
    spectral_norm: np.ndarray
    stable_rank: np.ndarray
    effective_rank: np.ndarray


def matrix_ranks(stack: Parameters) -> MatrixRanks:
    """Spectral norm, stable rank and effective rank of each weight matrix.

    Parameters
    ----------
    stack : Parameters
        Every parameter with a leading N. Vectors and scalars are passed over.
    """
    names, norms, stable, effective = [], [], [], []
    for name, tensor in stack.items():
        if tensor.ndim < 3:
            continue
        for place in np.ndindex(*tensor.shape[1:-2]):
            values = torch.linalg.svdvals(tensor[:, *place].double())
            share = values / values.sum(1, keepdim=True)
            names.append(name + (f"[{','.join(map(str, place))}]" if place else ""))
            norms.append(values[:, 0])
            stable.append(values.square().sum(1) / values[:, 0].square())
            effective.append(torch.special.entr(share).sum(1).exp())
    empty = np.empty((len(next(iter(stack.values()))), 0))
    spectral, stable, effective = (
        torch.stack(part, 1).numpy(force=True) if part else empty for part in (norms, stable, effective)
    )
    return MatrixRanks(names, spectral, stable, effective)


def gradient_norm(objective: Objective) -> np.ndarray:
    """Euclidean norm |dL/dw| of the full train set's gradient, all parameters together.

    Returns
    -------
    ndarray
        Norms (N,), float64, at least 0, in nats per unit of weight for cross-entropy.
    """
    network, stack = objective.network, objective.stack
    total = len(objective.data[0])
    widest = max(size for shape in network.shapes.values() for size in (*shape, 1))
    pieces = batches(objective.data, ROWS)
    chunk = max(1, BUDGET // (len(pieces[0][0]) * widest))

    def norms(part: dict[str, Tensor]) -> Tensor:
        sums = {name: torch.zeros_like(tensor) for name, tensor in part.items()}
        for inputs, targets in pieces:
            slopes = network.stacked_loss_and_gradient(part, inputs, targets, own_data=False, wanted=part)[1]
            for name, value in slopes.items():
                sums[name] += value * (len(inputs) / total)
        return torch.stack([value.square().flatten(1).sum(1) for value in sums.values()]).sum(0).sqrt()

    parts = [{name: tensor[i : i + chunk] for name, tensor in stack.items()} for i in range(0, len(objective), chunk)]
    return torch.cat([norms(part) for part in parts]).numpy(force=True)

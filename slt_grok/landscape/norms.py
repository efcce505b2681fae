"""Norms of the weights and of the gradient of the train loss.

The squared weight norm is the regulariser whose fall marks the cleanup phase in Nanda et al. 2301.05217, section
5.1; the gradient norm says how far a checkpoint is from a critical point, where an LLC is defined.
"""

import numpy as np
import torch
from torch import Tensor
from torch.func import grad, vmap

from slt_grok.landscape.objective import ROWS, Objective, batches
from slt_grok.trajectories import Parameters

# networks x samples x widest layer that one backward pass may hold: some 300 MB of float64 activations
BUDGET = 2**21


def weight_norm(stack: Parameters) -> dict[str, np.ndarray]:
    """Euclidean norm |w| of each parameter, and of all together as `total`.

    Parameters
    ----------
    stack : every parameter with a leading N.

    Returns
    -------
    Name -> norms (N,), float64, at least 0; total = sqrt(sum of the squares).
    """
    squares = {name: tensor.double().square().flatten(1).sum(1) for name, tensor in stack.items()}
    squares["total"] = torch.stack(list(squares.values())).sum(0)
    return {name: square.sqrt().numpy(force=True) for name, square in squares.items()}


def gradient_norm(objective: Objective) -> np.ndarray:
    """Euclidean norm |dL/dw| of the full train set's gradient, all parameters together.

    Returns
    -------
    Norms (N,), float64, at least 0, in nats per unit of weight for cross-entropy.
    """
    network, stack = objective.network, objective.stack
    total = len(objective.data[0])
    widest = max(size for shape in network.shapes.values() for size in (*shape, 1))
    pieces = batches(objective.data, ROWS)
    chunk = max(1, BUDGET // (len(pieces[0][0]) * widest))
    gradient = vmap(grad(network.mean_loss), in_dims=(0, None, None))

    def norms(part: dict[str, Tensor]) -> Tensor:
        sums = {name: torch.zeros_like(tensor) for name, tensor in part.items()}
        for inputs, targets in pieces:
            for name, value in gradient(part, inputs, targets).items():
                sums[name] += value * (len(inputs) / total)
        return torch.stack([value.square().flatten(1).sum(1) for value in sums.values()]).sum(0).sqrt()

    parts = [{name: tensor[i : i + chunk] for name, tensor in stack.items()} for i in range(0, len(objective), chunk)]
    return torch.cat([norms(part) for part in parts]).numpy(force=True)

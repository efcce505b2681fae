"""The scale of the logits, and the loss at unit scale.

Scaling up the unembedding sends the loss of a network that fits its train set to 0, and all curvature with it, while
the network's predictions stay the same. The loss of z / s, with s the standard deviation of the logits z at a
checkpoint, held fixed as a temperature (Guo et al. 1706.04599, section 4.2), does not depend on that scale.
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from slt_grok.operators.objective import ROWS, Objective, batches


def logit_standard_deviation(objective: Objective, index: int) -> float:
    """Compute s = sqrt(mean over samples and classes of (z - mean over classes of z)^2).

    A shift common to all logits of a sample does not count, since cross-entropy does not depend on it. NaN if the
    targets are not class labels or a sample has fewer than two outputs.
    """
    parameters = objective.weights(index)
    total = count = 0.0
    for inputs, targets in batches(objective.data, ROWS):
        with torch.no_grad():
            outputs = objective.network.outputs(parameters, inputs)
        if targets.is_floating_point() or outputs.ndim < 2 or outputs.shape[1] < 2:
            return np.nan
        total += (outputs - outputs.mean(1, keepdim=True)).square().sum().item()
        count += outputs.numel()
    return (total / count) ** 0.5


def at_temperature(objective: Objective, temperature: float) -> Objective:
    """Divide the outputs of an objective by a temperature before the loss."""
    network = objective.network

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return network.loss(outputs / temperature, targets)

    return replace(objective, network=replace(network, loss=loss))

"""The scale of the logits, and the loss at unit scale.

Scaling the unembedding up sends the loss of a network that fits its train set to 0 and all curvature with it, and
leaves what the network answers as it is. The loss of z / s, with s the standard deviation of the logits z at a
checkpoint, held fixed as a temperature (Guo et al. 1706.04599, section 4.2), is free of that.
"""

from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from slt_grok.errors import SltGrokError
from slt_grok.operators.objective import ROWS, Objective, batches
from slt_grok.trajectories import Network

LogitScale = Literal["own", "unit"]


def logit_standard_deviation(objective: Objective, index: int) -> float:
    """Return s = sqrt(mean over samples and classes of (z - mean over classes of z)^2) on the train set.

    What all logits of a sample share does not count, since cross-entropy does not see it. NaN where the targets are no
    class labels or there are not two outputs a sample.
    """
    parameters = {name: tensor[index] for name, tensor in objective.stack.items()}
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
    """Return the objective with outputs divided by a temperature before the loss."""
    given = objective.network

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return given.loss(outputs / temperature, targets)

    return replace(objective, network=Network(given.module, given.task, loss, given.call))


def at_logit_scale(objective: Objective, index: int, scale: LogitScale) -> Objective | None:
    """Return the objective at its own logit scale, or at the unit scale of the network `index`.

    None where that is not there.

    Raises
    ------
    SltGrokError
        A scale that is neither `own` nor `unit`.
    """
    if scale not in ("own", "unit"):
        raise SltGrokError(f"logit_scales: expected some of own, unit, got {scale}")
    if scale == "own":
        return objective
    deviation = logit_standard_deviation(objective, index)
    return at_temperature(objective, deviation) if deviation > 0 else None

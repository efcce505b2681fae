"""Interventions in training: a penalty on frequencies, a change of weight decay, a planted circuit at the start.

Each is a function of only the settings, the step and the weights, so that a resume needs no additional state. The
penalty is

    c/2 sum over input tables E of |P_K E|^2,    its gradient c P_K E,

where P_K E is the projection of the table's rows onto the planes of the frequencies K (`Group.project`). It is added to
the gradient that the optimizer receives, but not to the recorded losses.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from slt_grok.models import Model
from slt_grok.models.network import Network
from slt_grok.models.planting import plant
from slt_grok.training.settings import FrequencyPenalty, PlantedStart, TrainingSettings


def weight_decay(settings: TrainingSettings, step: int) -> float:
    """Get the weight decay of the update from `step` to the next."""
    past = [change.weight_decay for change in settings.weight_decay_changes if change.step <= step]
    return [settings.weight_decay, *past][-1]


def penalize(
    gradients: dict[str, Tensor],
    network: Network,
    parameters: Mapping[str, Tensor],
    penalty: FrequencyPenalty,
    step: int,
) -> None:
    """Add c P_K E to the gradient of each input table E, replacing the entry.

    Parameters
    ----------
    gradients, parameters : mapping of str to Tensor
        Gradients and parameters by name, with any leading axes.
    network : Network
        A network on a task with a group.
    penalty : FrequencyPenalty
        Frequencies and strength.
    step : int
        The training step; nothing is added before the penalty's first step.
    """
    if step < penalty.from_step:
        return
    module, task = network.module, network.task
    assert isinstance(module, Model)
    assert task is not None
    assert task.group is not None
    group = task.group
    mask = torch.from_numpy(np.isin(group.frequencies, penalty.frequencies))
    for role, (name, axis) in module.token_roles().items():
        if not role.startswith("output"):
            table = parameters[name].detach().movedim(axis, -2)[..., : module.tokens, :]
            gradient = gradients[name].clone()
            gradient.narrow(axis, 0, module.tokens).add_(
                penalty.strength * group.project(table, mask).movedim(-2, axis)
            )
            gradients[name] = gradient


def start(module: Model, planted: PlantedStart | None) -> dict[str, Tensor]:
    """Initialize training from a module's fresh weights, or from a circuit plus noise.

    Raises
    ------
    SltGrokError
        The module cannot hold the circuit.
    """
    fresh = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}
    if planted is None:
        return fresh
    circuit = plant(module, planted.circuit, dict.fromkeys(planted.frequencies, planted.amplitude))
    return {name: circuit[name].to(tensor.dtype) + planted.noise * tensor for name, tensor in fresh.items()}

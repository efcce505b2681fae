"""Interventions in training: a penalty on frequencies, another weight decay from a step on, a planted circuit to start.

Each is a function of the settings, the step and the weights alone, so that a resume needs no more state. The penalty is

    c/2 sum over input tables E of |P_K E|^2,    its gradient c P_K E,

P_K E what the rows of Z_p have in span{cos w_k t, sin w_k t : k in K} (`Group.project`). It is part of the
gradient that the optimizer is given, and not of the losses that are recorded.
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
    """Return the weight decay of the update from `step` to the next."""
    changed = [change.weight_decay for change in settings.weight_decay_changes if change.step <= step]
    return changed[-1] if changed else settings.weight_decay


def penalize(
    gradients: dict[str, Tensor],
    network: Network,
    parameters: Mapping[str, Tensor],
    penalty: FrequencyPenalty,
    step: int,
) -> None:
    """Add c P_K E to the gradient of each input table E, in place of the entry.

    Parameters
    ----------
    gradients, parameters : dict[str, Tensor], Mapping[str, Tensor]
        Name -> tensors with any leading axes.
    network : Network
        Of a model of this package; p an odd prime.
    penalty, step : FrequencyPenalty, int
        Nothing is added before its first step.
    """
    module = network.module
    assert isinstance(module, Model)
    if step < penalty.from_step:
        return
    assert network.task is not None
    group = network.task.group
    assert group is not None
    mask = torch.from_numpy(np.isin(group.frequencies, penalty.frequencies))
    for role, (name, axis) in module.token_roles().items():
        if not role.startswith("output"):
            table = parameters[name].detach().movedim(axis, -2)[..., : module.tokens, :]
            inside = penalty.strength * group.project(table, mask).movedim(-2, axis)
            whole = torch.zeros_like(gradients[name])
            whole.narrow(axis, 0, module.tokens).copy_(inside)
            gradients[name] = gradients[name] + whole


def start(module: Model, planted: PlantedStart | None) -> dict[str, Tensor]:
    """Return the weights that training starts from, of a module with fresh ones.

    These, or a circuit beside their share.

    Raises
    ------
    SltGrokError
        A circuit that the module cannot hold.
    """
    fresh = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}
    if planted is None:
        return fresh
    circuit = plant(module, planted.circuit, dict.fromkeys(planted.frequencies, planted.amplitude))
    return {name: circuit[name].to(tensor.dtype) + planted.noise * tensor for name, tensor in fresh.items()}

"""AdamW, Adam and SGD as torch has them, on the parameters and moments of some of the seeds.

These are torch's own functions; its classes would do the same, and load a compiler that takes longer than many a run.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.sgd import sgd

from slt_grok.training.settings import TrainingSettings

EPSILON = 1e-8  # beside the square root of the second moment


def moments_of(settings: TrainingSettings, parameters: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The moments that the optimiser keeps of each parameter, 0 at the start: moment -> parameter -> its shape."""
    adaptive = settings.optimizer != "sgd"
    names = ("exp_avg", "exp_avg_sq") if adaptive else ("momentum_buffer",) if settings.momentum else ()
    return {moment: {name: torch.zeros_like(tensor) for name, tensor in parameters.items()} for moment in names}


def update(
    settings: TrainingSettings,
    step: int,
    weight_decay: float,
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    moments: Mapping[str, Sequence[Tensor]],
) -> None:
    """The update from `step` to the next, in place, of parameters and their moments.

    Parameters
    ----------
    settings : optimiser, learning rate with its warm-up, betas, momentum.
    step : updates done before.
    parameters, gradients, moments : tensors in the same order, a gradient in any layout.
    """
    weights = list(parameters)
    slopes = [gradient.contiguous() for gradient in gradients]  # the fused kernels go by memory, not by strides
    rate = settings.learning_rate * min(1.0, (step + 1) / max(1, settings.warmup_steps))
    if settings.optimizer == "sgd":
        buffers = list(moments.get("momentum_buffer", [None] * len(weights)))
        sgd(
            weights, slopes, buffers, fused=True, lr=rate, weight_decay=weight_decay, momentum=settings.momentum,
            dampening=0.0, nesterov=False, maximize=False,
        )  # fmt: skip
        return
    steps = list(torch.full((len(weights),), float(step)).unbind())  # the function counts each on
    beta1, beta2 = settings.betas
    adam(
        weights, slopes, list(moments["exp_avg"]), list(moments["exp_avg_sq"]), [], steps, fused=True, lr=rate,
        beta1=beta1, beta2=beta2, eps=EPSILON, weight_decay=weight_decay, amsgrad=False, maximize=False,
        decoupled_weight_decay=settings.optimizer == "adamw",
    )  # fmt: skip

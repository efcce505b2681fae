"""Hand-written losses and derivatives for the models' gradients.

Softmax and its derivative are computed at the precision of the logits and stay accurate even for losses far below its
resolution near 1: with q the total probability of all wrong answers, -log softmax(logits)[label] = -log(1 - q), and its
derivative with respect to the correct logit is -q.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

ACTIVATION_BACKWARD: dict[Callable[[Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]] = {
    nn.functional.relu: lambda gradient, pre: torch.ops.aten.threshold_backward(gradient, pre, 0),
    nn.functional.gelu: torch.ops.aten.gelu_backward,
    torch.square: lambda gradient, pre: 2 * pre * gradient,
}
"""(gradient with respect to an activation's value, its argument) -> gradient with respect to the argument."""


def least_probability(dtype: torch.dtype) -> float:
    """Probability below which a wrong answer counts as 0, 4e-29 in float32.

    A quarter of the range of exponents lies below it.

    If a network is certain of its answers, probabilities and their products with weights would otherwise be subnormal,
    which processors handle many times more slowly.
    """
    return torch.finfo(dtype).tiny ** 0.75


def mean_cross_entropy(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the mean of -log softmax(logits)[label] over n samples for each of N networks, and its gradient.

    Parameters
    ----------
    logits : Tensor
        Logits, (N, classes, n).
    labels : Tensor
        Labels, (N, n).

    Returns
    -------
    tuple[Tensor, Tensor]
        Losses, float64 (N,) in nats, and gradients with respect to the logits, (N, classes, n).
    """
    labels = labels[:, None]
    behind = logits.amax(1, keepdim=True) - logits.gather(1, labels)
    gradient = nn.functional.threshold(logits.softmax(1), least_probability(logits.dtype), 0, inplace=True)
    most_likely = gradient.amax(1, keepdim=True).double()
    gradient.scatter_(1, labels, 0)
    right = -gradient.sum(1, keepdim=True)
    gradient.scatter_(1, labels, right).div_(labels.shape[-1])
    # for a badly wrong sample, use the logits directly, since its probability may underflow
    losses = behind - torch.where(behind > 0, most_likely - 1, right).log1p()
    return losses.mean((1, 2)), gradient

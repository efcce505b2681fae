"""Hand-written losses and derivatives that the models' gradients use.

Softmax and its derivative are computed in the precision of the logits and hold even for losses far below what that
precision resolves next to 1: with q the probability of all wrong answers together, summed over them,
-log softmax(logits)[label] = -log(1 - q), and its derivative by the right logit is -q.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

ACTIVATION_BACKWARD: dict[Callable[[Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]] = {
    nn.functional.relu: lambda gradient, pre: torch.ops.aten.threshold_backward(gradient, pre, 0),
    nn.functional.gelu: torch.ops.aten.gelu_backward,
    torch.square: lambda gradient, pre: 2 * pre * gradient,
}
"""From the gradient by an activation's value, and what it was applied to, to the gradient by the latter."""


def least_probability(dtype: torch.dtype) -> float:
    """Return the probability below which a wrong answer counts as 0, 4e-29 in float32.

    A quarter of the exponents below it.

    Where a network is sure of its answers, probabilities and their products with weights are subnormal else, and a
    processor takes many times as long over each of those.
    """
    return torch.finfo(dtype).tiny ** 0.75


def mean_cross_entropy(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of -log softmax(logits)[label] over n samples for each of N networks, and its gradient by the logits.

    Parameters
    ----------
    logits : Tensor
        (N, classes, n).
    labels : Tensor
        (N, n).

    Returns
    -------
    tuple[Tensor, Tensor]
        float64 (N,) in nats, and (N, classes, n).
    """
    labels = labels[:, None]
    behind = logits.amax(1, keepdim=True) - logits.gather(1, labels)
    gradient = nn.functional.threshold(logits.softmax(1), least_probability(logits.dtype), 0, inplace=True)
    most_likely = gradient.amax(1, keepdim=True).double()
    gradient.scatter_(1, labels, 0)
    right = -gradient.sum(1, keepdim=True)
    gradient.scatter_(1, labels, right).div_(labels.shape[-1])
    # a sample that is lost is as far behind as its logits say, since its probability may underflow
    losses = behind - torch.where(behind > 0, most_likely - 1, right).log1p()
    return losses.mean((1, 2)), gradient

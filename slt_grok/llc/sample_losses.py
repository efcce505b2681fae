"""The loss of each sample on its own."""

import torch
from torch import Tensor

from slt_grok.models.network import Network, as_floats
from slt_grok.models.vectorized import vectorized


def losses_of_outputs(network: Network, outputs: Tensor, targets: Tensor) -> Tensor:
    """Compute each sample's loss, float64 (n,), from outputs (n, ...) by evaluating the network's loss on it alone.

    Their mean over the samples is the network's mean loss, whether its loss returns one number per sample or their
    mean.
    """

    def sample_loss(output: Tensor, target: Tensor) -> Tensor:
        return network.loss(output[None], target[None]).double().mean()

    outputs, targets = outputs.double(), as_floats(targets, torch.float64)
    return vectorized(sample_loss, outputs, targets, in_dims=(0, 0))(outputs, targets)

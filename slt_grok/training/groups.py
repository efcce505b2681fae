"""Seeds in groups side by side: threads that share one operation would wait for each other after each."""

import math
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from slt_grok.models.network import Network

LARGEST_GROUP = 2 << 20  # bytes of the weights of a group: what a step of theirs touches stays near a core


@dataclass(frozen=True)
class Group:
    """Some of the seeds.

    Parameters
    ----------
    seeds : which.
    network : their own, since a call puts its parameters into the module.
    parameters : theirs, as views of all seeds' parameters.
    gradients : as views of the `grad` of all seeds' parameters.
    """

    seeds: slice
    network: Network
    parameters: dict[str, Tensor]
    gradients: dict[str, Tensor]

    def differentiate(self, inputs: Tensor, labels: Tensor, own_data: bool) -> Tensor:
        """Losses of these seeds; their gradients go to `gradients`."""
        losses, found = self.network.stacked_loss_and_gradient(
            self.parameters, inputs, labels, own_data, self.parameters
        )
        for name, gradient in self.gradients.items():
            gradient.copy_(found[name])  # in the parameter's layout, by which the fused optimisers go
        return losses


@contextmanager
def in_groups(
    network: Network, parameters: Mapping[str, Tensor]
) -> Iterator[Callable[[Callable[[Group], Tensor]], list[Tensor]]]:
    """What applies a function to every group of a stack of seeds, and returns its values in the order of the seeds.

    Seeds whose weights have at most `LARGEST_GROUP` bytes together are one group, in which all threads share each
    operation.
    """
    for parameter in parameters.values():
        parameter.grad = torch.zeros_like(parameter)
    seeds = min(len(parameter) for parameter in parameters.values())
    threads = torch.get_num_threads()
    filled = sum(parameter.nbytes for parameter in parameters.values()) / LARGEST_GROUP
    size = seeds if filled <= 1 else math.ceil(seeds / (threads * math.ceil(filled / threads)))
    groups = [_group(network, parameters, slice(i, i + size)) for i in range(0, seeds, size)]
    if len(groups) == 1:
        yield lambda function: [function(groups[0])]
        return
    workers = min(threads, len(groups))
    try:
        with ThreadPoolExecutor(workers, "seeds", torch.set_num_threads, (threads // workers,)) as pool:
            yield lambda function: list(pool.map(function, groups))
    finally:
        torch.set_num_threads(threads)


def _group(network: Network, parameters: Mapping[str, Tensor], seeds: slice) -> Group:
    own = {name: parameter.detach()[seeds] for name, parameter in parameters.items()}
    gradients = {name: parameter.grad[seeds] for name, parameter in parameters.items() if parameter.grad is not None}
    return Group(seeds, replace(network), own, gradients)

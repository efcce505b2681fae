"""Seeds in groups that train in parallel: threads that share one operation would wait for each other after each."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.optim import Optimizer

from slt_grok.devices import CPU
from slt_grok.models.network import Network

LARGEST_GROUP = 2 << 20  # bytes of the weights of a group: what a step touches stays in a core's cache


@dataclass(frozen=True)
class Group:
    """Some of the seeds.

    Parameters
    ----------
    seeds : slice
        Which of them.
    network : Network
        A copy for this group, since a call puts its parameters into the module.
    parameters : dict of str to Tensor
        Views of all seeds' parameters.
    optimizer : Optimizer
        Optimizer of these views.
    """

    seeds: slice
    network: Network
    parameters: dict[str, Tensor]
    optimizer: Optimizer

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(iter(self.parameters.values())).device


def groups_of(
    network: Network, parameters: Mapping[str, Tensor], optimizer: Callable[[dict[str, Tensor]], Optimizer]
) -> list[Group]:
    """Return all seeds as one group, or on the CPU as many for each thread as keep each below `LARGEST_GROUP`."""
    first, threads = next(iter(parameters.values())), torch.get_num_threads()
    filled = sum(parameter.nbytes for parameter in parameters.values()) / LARGEST_GROUP
    seeds = len(first)
    size = seeds if filled <= 1 or first.device != CPU else math.ceil(seeds / (threads * math.ceil(filled / threads)))
    groups = []
    for start in range(0, seeds, size):
        some = slice(start, start + size)
        own = {name: parameter[some] for name, parameter in parameters.items()}
        copy = replace(network)
        copy.module.to(first.device)
        groups.append(Group(some, copy, own, optimizer(own)))
    return groups


@contextmanager
def for_each_group(groups: Sequence[Group]) -> Iterator[Callable[[Callable[[Group], Tensor]], list[Tensor]]]:
    """Yield what applies a function to every group and returns its values in their order; one group has all threads."""
    threads = torch.get_num_threads()
    workers = min(threads, len(groups))
    if workers == 1:
        yield lambda function: [function(group) for group in groups]
        return
    try:
        with ThreadPoolExecutor(workers, "seeds", torch.set_num_threads, (threads // workers,)) as pool:
            yield lambda function: list(pool.map(function, groups))
    finally:
        torch.set_num_threads(threads)

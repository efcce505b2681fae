"""Groups of seeds that train in parallel, which avoids synchronizing threads after every operation."""

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

LARGEST_GROUP = 2 << 20  # bytes of weights per group, so that a step's data stays in a core's cache


@dataclass(frozen=True)
class Group:
    """A group of seeds.

    Parameters
    ----------
    seeds : slice
        Slice of the seeds in this group.
    network : Network
        A separate copy for this group, since a call writes its parameters into the module.
    parameters : dict of str to Tensor
        Views of all seeds' parameters.
    optimizer : Optimizer
        The optimizer of these views.
    """

    seeds: slice
    network: Network
    parameters: dict[str, Tensor]
    optimizer: Optimizer

    @property
    def device(self) -> torch.device:
        """Device of the parameters."""
        return next(iter(self.parameters.values())).device


def groups_of(
    network: Network, parameters: Mapping[str, Tensor], optimizer: Callable[[dict[str, Tensor]], Optimizer]
) -> list[Group]:
    """Put all seeds into one group or, on the CPU, split them evenly over threads, each group below `LARGEST_GROUP`."""
    first, threads = next(iter(parameters.values())), torch.get_num_threads()
    filled = sum(parameter.nbytes for parameter in parameters.values()) / LARGEST_GROUP
    seeds = len(first)
    size = seeds if filled <= 1 or first.device != CPU else math.ceil(seeds / (threads * math.ceil(filled / threads)))
    groups = []
    for start in range(0, seeds, size):
        some = slice(start, start + size)
        views = {name: parameter[some] for name, parameter in parameters.items()}
        copy = replace(network)
        copy.module.to(first.device)
        groups.append(Group(some, copy, views, optimizer(views)))
    return groups


@contextmanager
def for_each_group(groups: Sequence[Group]) -> Iterator[Callable[[Callable[[Group], Tensor]], list[Tensor]]]:
    """Yield a function that applies another one to every group, in order; a single group gets all threads."""
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

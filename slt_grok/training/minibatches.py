"""Minibatches as a function of the step: resuming needs no generator state, and streams are independent."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def generator(stream: np.random.SeedSequence, device: torch.device | str = "cpu") -> torch.Generator:
    """Create a torch generator at the start of a stream; different devices give different numbers."""
    return torch.Generator(device).manual_seed(int(stream.generate_state(1, np.uint64)[0] >> 1))


class Minibatches:
    """Rows of each step's minibatches, one per stream, without replacement within an epoch.

    Each stream permutes the n samples anew every epoch; an incomplete batch at the end of an epoch is dropped.
    """

    def __init__(self, streams: Sequence[np.random.SeedSequence], n: int, batch_size: int) -> None:
        self.streams, self.n, self.batch_size = streams, n, batch_size
        self.epoch, self.orders = -1, torch.empty(0, dtype=torch.int64)

    def rows(self, step: int) -> Tensor:
        """Get the rows (streams, batch_size) of a step, counted from 0."""
        epoch, batch = divmod(step, self.n // self.batch_size)
        if epoch != self.epoch:
            children = [
                np.random.SeedSequence(stream.entropy, spawn_key=(*stream.spawn_key, epoch)) for stream in self.streams
            ]
            self.orders = torch.stack([torch.randperm(self.n, generator=generator(child)) for child in children])
            self.epoch = epoch
        return self.orders[:, batch * self.batch_size : (batch + 1) * self.batch_size]

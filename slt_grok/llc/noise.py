"""Random numbers for chains: one stream per chain, so that its noise depends on nothing else."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from slt_grok.training.minibatches import generator

BLOCK = 8192  # numbers drawn at once per chain; fixed, since it affects the values of a stream


class StreamNoise:
    """Random numbers from one stream per chain."""

    def __init__(self, streams: Sequence[np.random.SeedSequence], dimension: int, like: Tensor) -> None:
        self.normal_streams = [generator(stream, like.device) for stream in streams]
        self.uniform_streams = [generator(stream.spawn(1)[0], like.device) for stream in streams]
        block = max(1, BLOCK // dimension)
        self.dtype = like.dtype  # drawn in float32, which is precise enough for noise and four times as fast
        self.normals = like.new_empty(len(streams), block, dimension, dtype=torch.float32)
        self.uniforms = like.new_empty(len(streams), 256, 1, dtype=torch.float64)
        self.next_normal = self.next_uniform = 0

    def normal(self) -> Tensor:
        """Draw standard normal numbers, (chains, d)."""
        place = self.next_normal % self.normals.shape[1]
        if place == 0:
            for row, stream in zip(self.normals, self.normal_streams, strict=True):
                row.normal_(generator=stream)
        self.next_normal += 1
        return self.normals[:, place].to(self.dtype)

    def uniform(self) -> Tensor:
        """Draw uniform numbers in [0, 1), (chains, 1)."""
        place = self.next_uniform % self.uniforms.shape[1]
        if place == 0:
            for row, stream in zip(self.uniforms, self.uniform_streams, strict=True):
                row.uniform_(generator=stream)
        self.next_uniform += 1
        return self.uniforms[:, place]


class ZeroNoise:
    """No randomness: a chain reset to w* starts at rest."""

    def __init__(self, like: Tensor) -> None:
        self.like = like

    def normal(self) -> Tensor:
        """Generate zeros, (chains, d)."""
        return torch.zeros_like(self.like)

    def uniform(self) -> Tensor:
        """Generate zeros, (chains, 1)."""
        return self.like.new_zeros(len(self.like), 1)

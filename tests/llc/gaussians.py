"""What the samplers are tested on: losses with known posteriors, and noise that is given."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from slt_grok.llc.posterior import LocalPosterior
from slt_grok.llc.samplers.sampler import Evaluate, Sampler

Loss = Callable[[Tensor], Tensor]  # positions (chains, d) -> (chains,)


class SeededNoise:
    """Noise from one generator; as promised by the interface, a call overwrites what the last one gave."""

    def __init__(self, chains: int, d: int, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.normals = torch.empty(chains, d, dtype=torch.float64)
        self.uniforms = torch.empty(chains, 1, dtype=torch.float64)

    def normal(self) -> Tensor:
        return self.normals.normal_(generator=self.generator)

    def uniform(self) -> Tensor:
        return self.uniforms.uniform_(generator=self.generator)


class Rotated:
    """The normal numbers of another source in other coordinates."""

    def __init__(self, noise: SeededNoise, rotation: Tensor) -> None:
        self.noise, self.rotation = noise, rotation

    def normal(self) -> Tensor:
        return self.noise.normal() @ self.rotation.T

    def uniform(self) -> Tensor:
        return self.noise.uniform()


class Stacked:
    """Rows of several sources, one below the other."""

    def __init__(self, sources: Sequence[SeededNoise]) -> None:
        self.sources = sources

    def normal(self) -> Tensor:
        return torch.cat([source.normal() for source in self.sources])

    def uniform(self) -> Tensor:
        return torch.cat([source.uniform() for source in self.sources])


def evaluator(loss: Loss) -> Evaluate:
    """Loss and gradient."""

    def evaluate(position: Tensor) -> tuple[Tensor, Tensor]:
        leaf = position.detach().clone().requires_grad_()
        value = loss(leaf)
        (gradient,) = torch.autograd.grad(value.sum(), leaf)
        return value.detach(), gradient

    return evaluate


def quadratic(h: Tensor, minimum: Tensor) -> Loss:
    return lambda w: 0.5 * (h * (w - minimum) ** 2).sum(1)


def posterior_around(
    center: Tensor, chains: int, n_beta: float | Tensor, gamma: float | Tensor, box: float | None = None
) -> LocalPosterior:
    """The same center for every chain; n_beta and gamma one number, or one a chain (chains, 1)."""
    column = torch.ones(chains, 1, dtype=torch.float64)
    return LocalPosterior(center.expand(chains, -1).clone(), n_beta * column, gamma * column, box)


def run(sampler: Sampler, loss: Loss, posterior: LocalPosterior, updates: int, noise: Any) -> Any:
    """The state after some updates from the center."""
    evaluate = evaluator(loss)
    state = sampler.init(posterior.center.clone(), evaluate, noise)
    for _ in range(updates):
        state = sampler.update(state, evaluate, noise, posterior)
    return state


def orthogonal(d: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(d, d, generator=generator, dtype=torch.float64))[0]

"""Many chains at once: checkpoints x chains as one batch of flat parameter vectors.

Every chain has random streams of its own, spawned from its checkpoint's coordinates and its own number, so that an
estimate depends neither on the other checkpoints nor on how many chains fit into memory together. Chains never share a
minibatch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from slt_grok.llc.posterior import LocalPosterior
from slt_grok.llc.samplers import Sampler
from slt_grok.training.minibatches import Minibatches, generator
from slt_grok.trajectories import Network

WORKING_MEMORY = 1 << 30  # bytes that one batch of chains may take


@dataclass(frozen=True)
class Schedule:
    """How long a chain runs and on which data.

    Parameters
    ----------
    burn_in : steps whose losses are kept apart and never averaged in.
    draws : losses that are averaged.
    thinning : steps from one draw to the next.
    batch_size : samples of a minibatch, drawn without replacement within an epoch; None for the full batch.
    """

    burn_in: int
    draws: int
    thinning: int = 1
    batch_size: int | None = None

    @property
    def steps(self) -> int:
        """Steps of one chain."""
        return self.burn_in + self.draws * self.thinning


def flatten(stack: dict[str, Tensor]) -> Tensor:
    """Named tensors (N, ...) as one tensor (N, d)."""
    return torch.cat([tensor.flatten(1) for tensor in stack.values()], dim=1)


def unflatten(flat: Tensor, shapes: dict[str, torch.Size]) -> dict[str, Tensor]:
    """Views of (N, d) as named tensors (N, ...)."""
    pieces = flat.split([shape.numel() for shape in shapes.values()], dim=1)
    return {name: piece.reshape(-1, *shape) for (name, shape), piece in zip(shapes.items(), pieces, strict=True)}


def chain_bytes(network: Network, parameters: Tensor, inputs: Tensor, targets: Tensor) -> int:
    """Bytes that one chain's step takes: a handful of copies of its parameters and what backward keeps."""
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    leaves = {k: v.detach().requires_grad_() for k, v in unflatten(parameters, network.shapes).items()}
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        network.stacked_mean_loss(leaves, inputs, targets, own_data=False)
    return 6 * parameters.nbytes + 2 * sum(kept.values())


@dataclass(frozen=True)
class Sampling:
    """What is sampled, and how.

    Parameters
    ----------
    network : the function and its loss.
    inputs, targets : the n samples.
    sampler : see `slt_grok.llc.samplers`.
    schedule : length and batch.
    n_beta, gamma : see `LocalPosterior`.
    """

    network: Network
    inputs: Tensor
    targets: Tensor
    sampler: Sampler
    schedule: Schedule
    n_beta: float
    gamma: float


def run_chains(
    sampling: Sampling,
    centers: Tensor,
    streams: Sequence[np.random.SeedSequence],
    on_steps: Callable[[int, float], None],
) -> Tensor:
    """Losses along every chain.

    Parameters
    ----------
    sampling : what is sampled, and how.
    centers : w* of each chain, (chains, d).
    streams : one seed sequence a chain.
    on_steps : called after each step with the chain-steps done and the mean loss, for a progress bar.

    Returns
    -------
    float64 (chains, burn_in + draws * thinning): the loss on the step's batch before the step, so that the first is
    the loss at w*. The values of a chain that leaves every bound are kept as they are, infinite or NaN.
    """
    example = sampling.schedule.batch_size or len(sampling.inputs)
    per_chain = chain_bytes(sampling.network, centers[:1], sampling.inputs[:example], sampling.targets[:example])
    size = max(1, WORKING_MEMORY // per_chain)
    batches = zip(centers.split(size), [streams[i : i + size] for i in range(0, len(streams), size)], strict=True)
    return torch.cat([_run_batch(sampling, *batch, on_steps) for batch in batches])


def _run_batch(
    sampling: Sampling,
    centers: Tensor,
    streams: Sequence[np.random.SeedSequence],
    on_steps: Callable[[int, float], None],
) -> Tensor:
    network, sampler, schedule = sampling.network, sampling.sampler, sampling.schedule
    noise_streams, batch_streams = zip(*(stream.spawn(2) for stream in streams), strict=True)
    generators = [generator(stream) for stream in noise_streams]
    noise = torch.empty_like(centers)

    def draw_noise() -> Tensor:
        for row, own in zip(noise, generators, strict=True):
            row.normal_(generator=own)
        return noise

    posterior = LocalPosterior(centers, sampling.n_beta, sampling.gamma)
    state = sampler.init(centers.clone(), draw_noise())
    minibatches = None
    if schedule.batch_size is not None:
        minibatches = Minibatches(batch_streams, len(sampling.inputs), schedule.batch_size)
    losses = torch.empty(len(centers), schedule.steps, dtype=torch.float64)
    gradient = torch.empty_like(centers)
    for step in range(schedule.steps):
        leaves = {k: v.detach().requires_grad_() for k, v in unflatten(state.position, network.shapes).items()}
        x, y = sampling.inputs, sampling.targets
        if minibatches is not None:
            rows = minibatches.rows(step)
            x, y = x[rows], y[rows]
        loss = network.stacked_mean_loss(leaves, x, y, own_data=minibatches is not None)
        pieces = torch.autograd.grad(loss.sum(), list(leaves.values()))
        torch.cat([piece.flatten(1) for piece in pieces], dim=1, out=gradient)
        losses[:, step] = loss.detach()
        state = sampler.update(state, gradient, draw_noise(), posterior)
        on_steps(len(centers), losses[:, step].mean().item())
    return losses

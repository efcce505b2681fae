"""Batched chains: checkpoints x temperatures x chains, with flat coordinates.

Every chain has its own random streams, spawned from its checkpoint's coordinates and its index, so an estimate does not
depend on the other checkpoints, on the composition of batches, or on the number of threads. Chains never share a
minibatch.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from slt_grok.batching import at_a_time
from slt_grok.devices import CPU
from slt_grok.llc.noise import StreamNoise, ZeroNoise
from slt_grok.llc.posterior import LocalPosterior
from slt_grok.llc.samplers.mala import propose
from slt_grok.llc.samplers.sampler import Sampler, State, like
from slt_grok.llc.sampling import Chains, Observer, Sampling, Starts
from slt_grok.processes import Report, run_parallel
from slt_grok.progress import ProgressCallback, ignore
from slt_grok.training.minibatches import Minibatches

WORKING_MEMORY = 1 << 30  # bytes that all chains may use together
LARGEST_BATCH = 32 << 20  # bytes per batch of chains: the working set of an update stays in a core's cache
SMALLEST_BATCH = 4 << 20  # below this, launching an operation costs more than running it
SNAPSHOTS = 32  # draws per chain at which distance and virial are recorded
PROBES = 4  # draws per chain at which the acceptance of a MALA proposal is recorded


class BatchLoss:
    """The loss and its gradient on the full batch, or on each chain's next minibatch."""

    def __init__(self, sampling: Sampling, starts: Starts, streams: Sequence[np.random.SeedSequence]) -> None:
        self.sampling, self.stack = sampling, starts.stack
        self.data, self.own_data = (sampling.inputs, sampling.targets), False
        size, self.calls = sampling.schedule.batch_size, 0
        self.minibatches = None if size is None else Minibatches(streams, len(sampling.inputs), size)

    def __call__(self, position: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluate on the next batch."""
        if self.minibatches is not None:
            rows = self.minibatches.rows(self.calls).to(self.sampling.inputs.device)
            flat = rows.flatten()  # indexing entire rows is faster than a two-dimensional index
            inputs, targets = self.sampling.inputs.index_select(0, flat), self.sampling.targets.index_select(0, flat)
            self.data, self.own_data = (inputs.unflatten(0, rows.shape), targets.unflatten(0, rows.shape)), True
        self.calls += 1
        return self.again(position)

    def again(self, position: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluate again on the previous batch."""
        subspace, network = self.sampling.subspace, self.sampling.network
        stack = subspace.place(position, self.stack)
        loss, gradients = network.stacked_loss_and_gradient(stack, *self.data, self.own_data, subspace.parts.keys())
        return loss, subspace.coordinates(gradients)  # valid because the coordinates are orthonormal in the weights


def run_chains(
    sampling: Sampling, starts: Starts, on_progress: ProgressCallback = ignore, observers: Sequence[Observer] = ()
) -> Chains:
    """Run all chains.

    Parameters
    ----------
    sampling : Sampling
        What to sample, and how.
    starts : Starts
        Starting point and temperature of each chain.
    on_progress : callable, optional
        Called with the completed fraction of the updates and the mean loss.
    observers : sequence of Observer, optional
        Notified at the start, and given every n-th draw.

    Returns
    -------
    Chains
        The records, in the order of `starts`.
    """
    for observer in observers:
        observer.begin(starts)
    total = len(starts.streams)
    size, workers = _size_and_workers(sampling, starts)
    sampling = sampling.on_device()
    batches = [slice(i, min(i + size, total)) for i in range(0, total, size)]
    done = [0] * len(batches)  # updates

    def on_report(place: int, report: tuple[int, float]) -> None:
        done[place], loss = report
        chains = sum(count * (rows.stop - rows.start) for count, rows in zip(done, batches, strict=True))
        on_progress(chains / (total * sampling.schedule.updates), f"sampled loss {loss:.3g}")

    pieces: dict[int, Chains] = {}
    jobs = [partial(_run_batch, sampling, starts, rows, observers) for rows in batches]
    for place, chains in run_parallel(jobs, on_report, 1 if observers else workers):  # observers need this process
        pieces[place] = chains
        on_report(place, (sampling.schedule.updates, chains.losses[:, -1].mean().item()))
    return Chains(*(torch.cat(piece) for piece in zip(*(pieces[i] for i in sorted(pieces)), strict=True)))


def _size_and_workers(sampling: Sampling, starts: Starts) -> tuple[int, int]:
    """Choose the number of chains per batch, and of concurrent batches."""
    total, bytes_each = len(starts.streams), _chain_bytes(sampling, starts.rows(slice(0, 1)))
    if sampling.device != CPU:  # a GPU needs as many chains at once as fit
        free, _ = torch.cuda.mem_get_info(sampling.device)
        return min(total, at_a_time(2 * bytes_each, free)), 1
    threads = torch.get_num_threads()
    largest, smallest = (at_a_time(bytes_each, min(s, WORKING_MEMORY)) for s in (LARGEST_BATCH, SMALLEST_BATCH))
    rounds = math.ceil(total / (threads * largest))  # the same number of batches for each thread
    size = min(largest, max(smallest, math.ceil(total / (threads * rounds))))
    return size, min(threads, math.ceil(total / size), at_a_time(size * bytes_each, WORKING_MEMORY))


def _run_batch(
    sampling: Sampling, starts: Starts, rows: slice, observers: Sequence[Observer], report: Report
) -> Chains:
    starts, schedule = starts.rows(rows, sampling.device), sampling.schedule
    center = sampling.subspace.coordinates(starts.stack)
    sampler = _rows_of(sampling.sampler, rows, center)
    posterior = LocalPosterior(center, starts.n_beta, starts.gamma, sampling.box)
    noise_streams, batch_streams = zip(*(stream.spawn(2) for stream in starts.streams), strict=True)
    noise = StreamNoise(noise_streams, center.shape[1], center)
    batch_loss = BatchLoss(sampling, starts, batch_streams)

    state = sampler.init((center if starts.position is None else starts.position).clone(), batch_loss, noise)
    losses = center.new_empty(len(center), schedule.updates, dtype=torch.float64)
    resets = center.new_zeros(len(center), dtype=torch.int64)
    snapshots: list[tuple[Tensor, Tensor]] = []
    acceptances: list[Tensor] = []
    snapshot_every = max(1, schedule.draws // SNAPSHOTS)
    probe_every = snapshot_every * max(1, min(SNAPSHOTS, schedule.draws) // PROBES)
    for update in range(schedule.updates):
        state = sampler.update(state, batch_loss, noise, posterior)
        losses[:, update] = state.loss
        broken = ~torch.isfinite(state.loss)
        if broken.any():
            restarted = sampler.init(center.clone(), batch_loss.again, ZeroNoise(center))
            for current, fresh in zip(state, restarted, strict=True):
                if isinstance(current, Tensor):
                    current[broken] = fresh[broken].to(current.dtype)
            resets += broken
        report((update + 1, losses[:, update].mean().item()))
        draw, remainder = divmod(update + 1 - schedule.burn_in, schedule.thinning)
        if draw < 1 or remainder:
            continue
        if draw % snapshot_every == 0:
            snapshots.append(_snapshot(state, posterior))
        if draw % probe_every == 0:
            acceptances.append(_acceptance(state, sampler, batch_loss, noise, posterior))
        for observer in observers:
            if draw % observer.every == 0:
                with torch.no_grad():
                    stack = sampling.subspace.place(state.position, starts.stack)
                    observer.observe(rows, _on_cpu(state), {name: tensor.to(CPU) for name, tensor in stack.items()})
    distance, virial = (torch.stack(values, 1) for values in zip(*snapshots, strict=True))
    return _on_cpu(Chains(losses, resets, distance, virial, torch.stack(acceptances).mean(0)))


def _on_cpu(values: Any) -> Any:
    """Move the tensors of a named tuple to the CPU."""
    return type(values)(*(value.to(CPU) if isinstance(value, Tensor) else value for value in values))


def _snapshot(state: State, posterior: LocalPosterior) -> tuple[Tensor, Tensor]:
    """Compute distance and virial, each (chains,)."""
    offset = state.position - posterior.center
    virial = (offset * posterior.force(state.position, state.gradient)).sum(1) / offset.shape[1]
    return offset.norm(dim=1), virial


def _acceptance(
    state: Any, sampler: Sampler, batch_loss: BatchLoss, noise: StreamNoise, posterior: LocalPosterior
) -> Tensor:
    """Compute the acceptance of a MALA proposal with the sampler's step, on the draw's batch, (chains,)."""
    if sampler.exact:
        return state.acceptance
    step = like(sampler.langevin_step(state), state.position)
    return propose(state, step, batch_loss.again, noise, posterior)[-1]


def _rows_of(sampler: Sampler, rows: slice, position: Tensor) -> Sampler:
    """Slice the sampler to some chains, with its step as a tensor at their precision."""
    sliced = {name: value[rows] for name, value in vars(sampler).items() if isinstance(value, Tensor) and value.ndim}
    step_size = like(sliced.get("step_size", sampler.step_size), position)
    return replace(sampler, **{**sliced, "step_size": step_size})


@contextmanager
def saved_for_backward() -> Iterator[dict[int, int]]:
    """Yield the sizes in bytes, by address, of the tensors that operations in the block save for backward."""
    sizes: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        yield sizes


def _chain_bytes(sampling: Sampling, start: Starts) -> int:
    """Bytes used by one chain's step: several copies of its parameters plus what backward saves."""
    example = sampling.schedule.batch_size or len(sampling.inputs)
    leaf = sampling.subspace.coordinates(start.stack).requires_grad_()
    data = sampling.inputs[:example], sampling.targets[:example]
    with torch.no_grad():  # so that a first call's trial of vmap is not counted
        sampling.network.stacked_mean_loss(start.stack, *data, own_data=False)
    with saved_for_backward() as sizes:
        stack = sampling.subspace.place(leaf, start.stack)
        sampling.network.stacked_mean_loss(stack, *data, own_data=False)
    return 6 * sum(tensor.nbytes for tensor in start.stack.values()) + 2 * sum(sizes.values())

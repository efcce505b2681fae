"""devinterp 2's samplers on our networks with our diagnostics: the LLC as sampled by the field's standard tool.

Every network is run by `devinterp.slt.sampling.sample`, with samples as sequences of tokens and one loss per predicted
token, separate minibatches for each chain, and the baseline in float64 over all samples. devinterp records the loss
*before* each update, so the first one is L(w*).
"""

import io
import random
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from slt_grok.devices import CPU
from slt_grok.errors import SltGrokError
from slt_grok.llc.chains import SNAPSHOTS
from slt_grok.llc.samplers.sampler import Sampler
from slt_grok.llc.sampling import Chains, Observer, Sampling, Starts
from slt_grok.llc.subspaces import Entries, Whole
from slt_grok.models.network import as_floats
from slt_grok.progress import ProgressCallback, stretch

METHODS = {"sgld": "sgmcmc_sgld", "rmsprop_sgld": "rmsprop_sgld"}


@dataclass(frozen=True)
class Devinterp(Sampler):
    """Chains by devinterp's `sgld`, or by its `rmsprop_sgld` with devinterp's alpha 0.99 and eps 0.1.

    They run on the CPU and move entire parameters or entries of them; a box clips instead of reflecting. `acceptance`
    is NaN, since devinterp does not provide it.

    Parameters
    ----------
    step_size : float
        Step size epsilon, devinterp's `lr`.
    method : {"sgld", "rmsprop_sgld"}, optional
        devinterp's sampling method.
    """

    name = "devinterp"

    method: Literal["sgld", "rmsprop_sgld"] = "sgld"

    init = update = None  # pyright: ignore[reportAssignmentType] ; devinterp's own loop replaces them

    def run(
        self, sampling: Sampling, starts: Starts, on_progress: ProgressCallback, observers: Sequence[Observer] = ()
    ) -> Chains:
        """Run all chains, with one call of devinterp per network and temperature.

        Raises
        ------
        SltGrokError
            devinterp cannot be imported, the device is not the CPU, there are observers, chains do not start at w*, or
            the subspace has planes.
        """
        if sampling.device != CPU or observers or starts.position is not None:
            raise SltGrokError("sampler devinterp: expected chains from w* on the CPU, without observers")
        schedule = sampling.schedule
        settings = {
            "lr": self.step_size,
            "bounding_box_size": sampling.box,
            "sampling_method": METHODS[self.method],
            "num_draws": schedule.draws,
            "num_burnin_steps": schedule.burn_in,
            "num_steps_bw_draws": schedule.thinning,
            "batch_size": schedule.batch_size or len(sampling.inputs),
            "num_init_loss_batches": 1,  # the baseline is ours
            "match_sampling_input_ids_across_chains": False,
            "param_masks": _masks(sampling),
            "device": "cpu",
        }
        total, done, records = len(starts.streams), 0, []
        for _, group in groupby(starts.streams, lambda stream: stream.spawn_key[:-1]):
            count = len(list(group))
            progress = stretch(on_progress, done / total, (done + count) / total)
            records.append(_chains(sampling, starts.rows(slice(done, done + count)), settings, progress))
            done += count
        return Chains(*map(torch.cat, zip(*records, strict=True)))


class _SampleLoss:
    """Loss function for devinterp, (model, sequences) -> (batch, 1), which also records the chains.

    It is called with gradients once before each update, and with a new model for each chain, so it can infer the chain
    and update, and records distance and virial as `slt_grok.llc.chains` does.
    """

    def __init__(self, sampling: Sampling, starts: Starts, on_progress: ProgressCallback) -> None:
        self.sampling, self.starts = sampling, starts
        self.on_progress, self.stderr = on_progress, sys.stderr
        self.center = sampling.subspace.coordinates(starts.stack)[0].double()
        self.snapshot_every = max(1, sampling.schedule.draws // SNAPSHOTS)
        self.model: nn.Module | None = None
        self.chain, self.update = -1, 0
        # distance and virial (chain, look, 2); NaN once a chain is abandoned
        shape = len(starts.streams), sampling.schedule.draws // self.snapshot_every, 2
        self.snapshots = torch.full(shape, torch.nan, dtype=torch.float64)

    def __call__(self, model: nn.Module, tokens: Tensor) -> Tensor:
        model.eval()  # devinterp switches to training mode, with dropout
        inputs, targets = self.sampling.inputs[tokens[:, 0]], self.sampling.targets[tokens[:, 0]]
        # the mean for every sample, since the loss may weight them
        loss = self.sampling.network.loss(model(inputs).double(), as_floats(targets, torch.float64)).double().mean()
        if torch.is_grad_enabled():
            self._note(model, loss)
        return loss.expand(len(tokens), 1)

    def _note(self, model: nn.Module, loss: Tensor) -> None:
        schedule = self.sampling.schedule
        if model is not self.model:
            self.model, self.chain, self.update = model, self.chain + 1, 0
        draw, remainder = divmod(self.update + 1 - schedule.burn_in, schedule.thinning)
        if draw >= 1 and not remainder and draw % self.snapshot_every == 0:
            self.snapshots[self.chain, draw // self.snapshot_every - 1] = self._snapshot(model, loss)
        self.update += 1
        chains = self.chain + self.update / schedule.updates
        with redirect_stderr(self.stderr):
            self.on_progress(min(chains / len(self.starts.streams), 1.0), f"sampled loss {loss.item():.3g}")

    def _snapshot(self, model: nn.Module, loss: Tensor) -> Tensor:
        """Compute distance and virial."""
        subspace = self.sampling.subspace
        moving = {name: parameter for name, parameter in model.named_parameters() if name in subspace.parts}
        gradients = torch.autograd.grad(loss, list(moving.values()), retain_graph=True)
        gradient = subspace.coordinates({name: g[None] for name, g in zip(moving, gradients, strict=True)})[0].double()
        position = subspace.coordinates({name: tensor.detach()[None] for name, tensor in moving.items()})[0].double()
        offset = position - self.center
        force = self.starts.n_beta[0].item() * gradient + self.starts.gamma[0].item() * offset
        return torch.stack([offset.norm(), offset @ force / len(offset)])


def _chains(sampling: Sampling, starts: Starts, settings: dict[str, Any], on_progress: ProgressCallback) -> Chains:
    """Run all chains of one network; a chain abandoned by devinterp has NaN losses from then on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            from devinterp.slt import sampling as devinterp
        except ImportError as error:
            raise SltGrokError(f"sampler devinterp: cannot import devinterp ({error}); reinstall it") from error

    model = replace(sampling.network).module.to(next(iter(starts.stack.values())).dtype).requires_grad_(True)
    model.load_state_dict({name: tensor[0] for name, tensor in starts.stack.items()}, strict=False)
    loss = _SampleLoss(sampling, starts, on_progress)
    # a sequence of tokens is a sample's index, twice; devinterp requires nothing else of a dataset
    rows: Any = [{"input_ids": torch.tensor([i, i])} for i in range(len(sampling.inputs))]
    settings = settings | {
        "n_beta": starts.n_beta[0].item(),
        "localization": starts.gamma[0].item(),
        "num_chains": len(starts.streams),
        "init_seed": int(starts.streams[0].generate_state(1)[0]) >> 1,  # devinterp adds the chain's index
    }
    with (
        TemporaryDirectory() as folder,
        _kept_generators(),
        warnings.catch_warnings(),
        redirect_stderr(io.StringIO()),  # suppresses the progress bar, which has no option
    ):
        warnings.simplefilter("ignore")
        tree = devinterp.sample(model, rows, {}, loss_fn=loss, output_path=Path(folder) / "samples.zarr", **settings)
        losses = tree.dataset.sampling_loss_micro.values.astype(np.float64).mean((2, 3))
        tree.close()
    return Chains(
        losses=torch.from_numpy(losses),
        resets=torch.zeros(len(losses), dtype=torch.int64),
        distance=loss.snapshots[..., 0],
        virial=loss.snapshots[..., 1],
        acceptance=torch.full((len(losses),), torch.nan, dtype=torch.float64),
    )


def _masks(sampling: Sampling) -> dict[str, Tensor | None]:
    """Convert the subspace to devinterp's form: name -> mask, None for an entire parameter."""
    masks: dict[str, Tensor | None] = {}
    for name, part in sampling.subspace.parts.items():
        if isinstance(part, Whole):
            masks[name] = None
        elif isinstance(part, Entries):
            shape = sampling.subspace.shapes[name]
            masks[name] = torch.zeros(shape.numel()).index_fill(0, part.index, 1.0).reshape(shape)
        else:
            raise SltGrokError(
                f"sampler devinterp: expected parameters or entries of them to move, got planes of {name}"
            )
    return masks


@contextmanager
def _kept_generators() -> Iterator[None]:
    """Restore the global generators, which devinterp seeds, on exit."""
    ours, theirs = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        yield
    random.setstate(ours)
    np.random.set_state(theirs)

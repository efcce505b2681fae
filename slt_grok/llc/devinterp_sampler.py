"""devinterp 2's own sampler on our networks, read by our diagnostics: the LLC as the field's tool draws it.

Every checkpoint is run by `devinterp.slt.sampling.sample`, with samples as sequences of tokens and one loss a predicted
token, chains on minibatches of their own, and the baseline in float64 over all samples. devinterp records the loss
*before* each update, so that its first one is L(w*).

devinterp is imported on first use; it is no dependency of the package.
"""

import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from functools import partial
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any, Literal
from unittest.mock import patch

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from slt_grok.errors import SltGrokError
from slt_grok.llc.chains import LOOKS
from slt_grok.llc.devinterp_tree import sequences
from slt_grok.llc.problem import Problem
from slt_grok.llc.results import dataset
from slt_grok.llc.sample_losses import losses_of_outputs
from slt_grok.llc.sampling import Chains, Schedule
from slt_grok.llc.subspaces import Entries, Subspace, Whole
from slt_grok.trajectories import Loss, Trajectory

Method = Literal["sgld", "rmsprop_sgld"]
METHODS = {"sgld": "sgmcmc_sgld", "rmsprop_sgld": "rmsprop_sgld"}


def devinterp(name: str) -> ModuleType:
    """Return a module of devinterp 2, such as `slt.llc`.

    Raises
    ------
    SltGrokError
        devinterp cannot be imported.
    """
    try:
        _complete_torchvision()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return import_module(f"devinterp.{name}")
    except ImportError as error:
        raise SltGrokError(
            f"sampler devinterp: expected devinterp 2, which cannot be imported ({error}); "
            f"pip install 'slt-grok[devinterp]'"
        ) from error


def _complete_torchvision() -> None:
    """Give a torchvision that was built for another torch the names that transformers, hence devinterp, looks up.

    Its operators are missing then, and importing it raises a RuntimeError; nobody calls them here.
    """
    try:
        import_module("torchvision")
    except ImportError:
        pass
    except RuntimeError:
        for operator in ("nms", "qnms"):
            torch.library.define(
                f"torchvision::{operator}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            )


def estimate_by_devinterp(
    source: nn.Module | Trajectory,
    data: tuple[Tensor, Tensor] | None = None,
    *,
    step_size: float,
    n_beta: float,
    gamma: float,
    loss: Loss | None = None,
    method: Method = "sgld",
    chains: int = 4,
    draws: int = 200,
    burn_in: int = 0,
    thinning: int = 1,
    batch_size: int | None = None,
    box: float | None = None,
    subspace: Subspace | None = None,
    dtype: torch.dtype | None = None,
    seed: int = 0,
    on_steps: Callable[[int, float], None] = lambda steps, loss: None,
) -> xr.Dataset:
    """Estimate the LLC at each network from the chains of devinterp's sampler.

    Parameters
    ----------
    source : torch.nn.Module or Trajectory
        See `slt_grok.llc.estimate`.
    data : tuple[Tensor, Tensor] or None
        See `slt_grok.llc.estimate`.
    loss : Loss or None, optional
        See `slt_grok.llc.estimate`.
    n_beta, gamma : float
        See `slt_grok.llc.estimate`.
    chains, draws, burn_in, thinning, seed : int, optional
        See `slt_grok.llc.estimate`.
    batch_size : int or None, optional
        See `slt_grok.llc.estimate`.
    dtype : torch.dtype or None, optional
        See `slt_grok.llc.estimate`.
    on_steps : callable, optional
        See `slt_grok.llc.estimate`.
    step_size : float
        devinterp's `lr`, which is epsilon.
    method : Method, optional
        `sgld`, or `rmsprop_sgld` with devinterp's alpha 0.99 and eps 0.1.
    box : float or None, optional
        Half-width of devinterp's bounding box, which clips.
    subspace : Subspace or None, optional
        Parameters as wholes or by entries.

    Returns
    -------
    xarray.Dataset
        The dataset of `slt_grok.llc.estimate`, of one temperature; burn-in is left out. `acceptance` is NaN, which
        devinterp does not offer.

    Raises
    ------
    SltGrokError
        devinterp cannot be imported; a setting out of its range, or a subspace of planes.
    """
    sampling = devinterp("slt.sampling")
    problem = Problem.from_inputs(source, data, loss, subspace, dtype)
    if method not in METHODS:
        raise SltGrokError(f"method: expected one of {', '.join(METHODS)}, got {method!r}")
    if min(step_size, n_beta) <= 0 or gamma < 0:
        raise SltGrokError(
            f"step_size, n_beta, gamma: expected numbers above 0, 0 and at least 0, got {step_size}, {n_beta}, {gamma}"
        )
    if chains < 1 or draws < 4 or burn_in < 0 or thinning < 1:
        raise SltGrokError(
            "chains, draws, burn_in, thinning: expected at least 1, 4, 0 and 1, got "
            f"{chains}, {draws}, {burn_in} and {thinning}"
        )
    if batch_size is not None and not 1 <= batch_size <= len(problem.inputs):
        raise SltGrokError(f"batch_size: expected between 1 and {len(problem.inputs)} samples, got {batch_size}")
    schedule = Schedule(burn_in, draws, thinning, batch_size)
    settings = {
        "lr": step_size,
        "n_beta": n_beta,
        "localization": gamma,
        "bounding_box_size": box,
        "sampling_method": METHODS[method],
        "num_chains": chains,
        "num_draws": draws,
        "num_burnin_steps": burn_in,
        "num_steps_bw_draws": thinning,
        "batch_size": batch_size or len(problem.inputs),
        "num_init_loss_batches": 1,  # the baseline is ours
        "match_sampling_input_ids_across_chains": False,
        "param_masks": _masks(problem),
        "device": "cpu",
    }
    streams = problem.starts([n_beta], gamma, chains, seed).streams
    found = []
    for i in range(len(problem.trajectory)):
        own_seed = int(streams[i * chains].generate_state(1)[0]) >> 1  # devinterp adds the chain's number
        found.append(_run(sampling, problem, i, schedule, {**settings, "init_seed": own_seed}, on_steps))
    together = Chains(*(torch.cat(parts) for parts in zip(*found, strict=True)))
    return dataset(problem, together, schedule, [n_beta], gamma).assign_attrs(
        sampler=f"devinterp {method}",
        step_size=step_size,
        n_beta=n_beta,
        gamma=gamma,
        box=box if box is not None else "none",
        chains=chains,
        burn_in=burn_in,
        draws=draws,
        thinning=thinning,
        batch_size=batch_size if batch_size is not None else "full",
        dtype=str(problem.dtype).removeprefix("torch."),
        seed=seed,
        n=len(problem.inputs),
        dimension=problem.subspace.dimension,
    )


class _SampleLoss:
    """devinterp's loss function, (model, sequences) -> (batch, tokens - 1), and what it sees of the chains.

    It is called with gradients once an update, before it, and with a new model for each chain: so it knows which update
    of which chain it is, and takes distance and virial as `slt_grok.llc.chains` does.
    """

    def __init__(
        self,
        problem: Problem,
        center: Tensor,
        schedule: Schedule,
        settings: dict[str, Any],
        on_steps: Callable[[int, float], None],
    ) -> None:
        self.problem, self.center, self.schedule, self.on_steps = problem, center, schedule, on_steps
        self.n_beta, self.gamma = settings["n_beta"], settings["localization"]
        self.look_every = max(1, schedule.draws // LOOKS)
        self.tokens = sequences(problem.inputs, problem.targets)
        # sequences of tokens are the data themselves; numbers stand for them
        self.is_number = problem.inputs.is_floating_point() or problem.targets.is_floating_point()
        self.model: nn.Module | None = None
        self.update = 0
        self.looks: list[list[tuple[float, float]]] = []

    def __call__(self, model: nn.Module, tokens: Tensor) -> Tensor:
        model.eval()  # devinterp has it in training mode, with dropout
        inputs, targets = self._data(tokens)
        losses = losses_of_outputs(self.problem.trajectory.network, model(inputs), targets)
        if torch.is_grad_enabled():
            self._note(model, losses.mean())
        return losses[:, None].expand(-1, tokens.shape[1] - 1)

    def _data(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        inputs, targets = self.problem.inputs, self.problem.targets
        if self.is_number:
            return inputs[tokens[:, 0]], targets[tokens[:, 0]]
        return tokens[:, :-1].reshape(-1, *inputs.shape[1:]), tokens[:, -1]

    def _note(self, model: nn.Module, loss: Tensor) -> None:
        if model is not self.model:
            self.model, self.update = model, 0
            self.looks.append([])
        draw, rest = divmod(self.update + 1 - self.schedule.burn_in, self.schedule.thinning)
        if draw >= 1 and not rest and draw % self.look_every == 0:
            self.looks[-1].append(self._look(dict(model.named_parameters()), loss))
        self.update += 1
        self.on_steps(1, loss.item())

    def _look(self, parameters: dict[str, nn.Parameter], loss: Tensor) -> tuple[float, float]:
        """Distance and virial."""
        subspace = self.problem.subspace
        moving = {name: parameters[name] for name in subspace.parts}
        gradients = torch.autograd.grad(loss, list(moving.values()), retain_graph=True)
        gradient = subspace.coordinates({name: g[None] for name, g in zip(moving, gradients, strict=True)})[0].double()
        position = subspace.coordinates({name: tensor.detach()[None] for name, tensor in moving.items()})[0].double()
        offset = position - self.center
        force = self.n_beta * gradient + self.gamma * offset
        return offset.norm().item(), (offset @ force).item() / len(offset)

    def looked(self) -> Tensor:
        """Distance and virial at each look of each chain, (chain, look, 2); NaN after devinterp gave a chain up."""
        looks = torch.full((len(self.looks), self.schedule.draws // self.look_every, 2), torch.nan, dtype=torch.float64)
        for row, chain in zip(looks, self.looks, strict=True):
            row[: len(chain)] = torch.tensor(chain, dtype=torch.float64).reshape(-1, 2)
        return looks


def _run(
    sampling: ModuleType,
    problem: Problem,
    index: int,
    schedule: Schedule,
    settings: dict[str, Any],
    on_steps: Callable[[int, float], None],
) -> Chains:
    """All chains of one network; a chain that devinterp gave up has NaN losses from there on."""
    stack = {name: tensor[index : index + 1] for name, tensor in problem.trajectory.stacked(problem.dtype).items()}
    model = deepcopy(problem.trajectory.network.module).to(problem.dtype).requires_grad_(True)
    model.load_state_dict({name: tensor[0] for name, tensor in stack.items()}, strict=False)
    loss = _SampleLoss(problem, problem.subspace.coordinates(stack)[0].double(), schedule, settings, on_steps)
    rows = [{"input_ids": row} for row in loss.tokens]  # all that devinterp asks of a dataset
    sampler = devinterp("slt.sampler")
    with (
        TemporaryDirectory() as folder,
        _kept_generators(),
        warnings.catch_warnings(),
        patch.object(sampler, "trange", partial(sampler.trange, disable=True)),  # the progress is ours
    ):
        warnings.simplefilter("ignore")
        tree = sampling.sample(model, rows, {}, loss_fn=loss, output_path=Path(folder) / "samples.zarr", **settings)
        losses = tree.dataset.sampling_loss_micro.values.astype(np.float64).mean((2, 3))
        tree.close()
    looks = loss.looked()
    return Chains(
        losses=torch.from_numpy(losses),
        resets=torch.zeros(len(losses), dtype=torch.int64),
        distance=looks[..., 0],
        virial=looks[..., 1],
        acceptance=torch.full((len(losses),), torch.nan, dtype=torch.float64),
    )


def _masks(problem: Problem) -> dict[str, Tensor | None]:
    """Return the subspace as devinterp has it: name -> mask, None for a whole parameter."""
    masks: dict[str, Tensor | None] = {}
    for name, part in problem.subspace.parts.items():
        if isinstance(part, Whole):
            masks[name] = None
        elif isinstance(part, Entries):
            shape = problem.subspace.shapes[name]
            masks[name] = torch.zeros(shape.numel()).index_fill(0, part.index, 1.0).reshape(shape)
        else:
            raise SltGrokError(f"subspace: devinterp moves parameters or entries of them, got planes of {name}")
    return masks


@contextmanager
def _kept_generators() -> Iterator[None]:
    """Restore the global generators, which devinterp seeds, afterwards."""
    ours, theirs = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        yield
    random.setstate(ours)
    np.random.set_state(theirs)

"""Training of several seeds as one batch, with checkpoints and bit-exact resuming.

The parameters of all seeds are stacked; the gradient of the summed losses is each seed's own gradient, and torch's
element-wise optimizers act on the stack as they would on each seed separately. Losses are float64 (cast at the logits).
"""

import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from slt_grok.devices import CPU, device_named
from slt_grok.errors import SltGrokError
from slt_grok.models import Model
from slt_grok.models.network import Network
from slt_grok.progress import ProgressCallback, ignore
from slt_grok.store import RunDirectory, read_tensors, write_tensors
from slt_grok.training import interventions
from slt_grok.training.groups import Group, for_each_group, groups_of
from slt_grok.training.minibatches import Minibatches, generator
from slt_grok.training.muon import Muon, hidden_matrices
from slt_grok.training.result import Training
from slt_grok.training.settings import TrainingSettings

SAVE_SECONDS = 15  # maximum training time lost when the process is killed


def train(
    run: RunDirectory,
    network: Network,
    settings: TrainingSettings,
    seeds: Sequence[int],
    on_progress: ProgressCallback = ignore,
) -> xr.Dataset:
    """Train, or resume a killed training run; both end in bit-identical results.

    Parameters
    ----------
    run : RunDirectory
        Where checkpoints and the state for resuming are stored.
    network : Network
        A model with its task.
    settings : TrainingSettings
        Optimizer, length, data order and checkpoint schedule.
    seeds : sequence of int
        One network each; a seed determines the initial weights and the order of minibatches, the task determines the
        split.
    on_progress : callable, optional
        Called with the completed fraction of steps, and the latest losses.

    Returns
    -------
    xarray.Dataset
        `train_loss`, `test_loss` (nats), `train_accuracy`, `test_accuracy` over (step, seed) at every evaluation and
        checkpoint; test values are NaN without a test set.

    Raises
    ------
    SltGrokError
        The loss is not finite, the settings do not fit the network (`TrainingSettings.check_network`), or a file
        cannot be written.
    """
    assert network.task is not None
    settings.check_network(network, "training")
    inputs, labels = network.task.data("train")
    streams = [np.random.SeedSequence(seed).spawn(2) for seed in seeds]
    device = device_named(settings.device, "training.device")
    initial = _initial(network, settings, [init for init, _ in streams])
    parameters = {name: tensor.to(device) for name, tensor in initial.items()}
    inputs, labels = inputs.to(device), labels.to(device)
    groups = groups_of(network, parameters, lambda views: _optimizer(network, views, settings))
    state_file = run.state("training") / "state.safetensors"
    curves: dict[int, Tensor] = {}
    start = _restore(state_file, parameters, groups, curves) if state_file.is_file() else 0
    minibatches = None
    if settings.batch_size is not None:
        minibatches = Minibatches([order for _, order in streams], len(inputs), settings.batch_size)
    checkpoints = set(settings.checkpoints.at(settings.steps))
    saved = time.monotonic()

    with for_each_group(groups) as for_each:
        for step in range(start, settings.steps + 1):
            last = step == settings.steps
            if step not in curves and (step % settings.evaluate_every == 0 or step in checkpoints or last):
                curves[step] = torch.cat(for_each(_evaluate), 1).to(CPU)
                last = last or _stops(settings, curves[step])
            if step in checkpoints or last:
                run.write_checkpoint(step, parameters)
            if step in curves:
                train_loss, test_loss = curves[step][:2].mean(1).tolist()
                on_progress(step / settings.steps, f"train loss {train_loss:.3g}  test loss {test_loss:.3g}")
            if last:
                break
            if step > start and time.monotonic() - saved > SAVE_SECONDS:
                _save(state_file, step, parameters, groups, curves)
                saved = time.monotonic()
            rows = None if minibatches is None else minibatches.rows(step).to(device)
            advance = partial(_advance, settings=settings, step=step, data=(inputs, labels), rows=rows)
            losses = torch.cat(for_each(advance))
            if not torch.isfinite(losses).all():
                raise SltGrokError(
                    f"training: the loss is not finite at step {step}; expected a smaller training.learning_rate"
                )
    return _dataset(curves, seeds)


def _optimizer(network: Network, parameters: Mapping[str, Tensor], settings: TrainingSettings) -> torch.optim.Optimizer:
    tensors = list(parameters.values())
    rate, betas, decay = settings.learning_rate, settings.betas, settings.weight_decay
    match settings.optimizer:
        case "adamw":
            return torch.optim.AdamW(tensors, rate, betas=betas, weight_decay=decay, fused=True)
        case "adam":
            return torch.optim.Adam(tensors, rate, betas=betas, weight_decay=decay, fused=True)
        case "sgd":
            return torch.optim.SGD(tensors, rate, momentum=settings.momentum, weight_decay=decay, fused=True)
        case "muon":
            assert isinstance(network.module, Model)
            names = hidden_matrices(network.module)
            hidden = [parameters[name] for name in names]
            rest = [tensor for name, tensor in parameters.items() if name not in names]
            return Muon(hidden, rest, rate, settings.momentum, betas, decay)


def _initial(
    network: Network, settings: TrainingSettings, streams: Sequence[np.random.SeedSequence]
) -> dict[str, Tensor]:
    module = network.module
    assert isinstance(module, Model)
    states = []
    for stream in streams:
        module.initialize(generator(stream))
        states.append(interventions.start(module, settings.start))
    return {name: torch.stack([s[name] for s in states]) for name in states[0]}


def _evaluate(group: Group) -> Tensor:
    """Compute rows train loss, test loss, train accuracy, test accuracy, with one column per seed."""
    network = group.network
    assert network.task is not None
    losses, accuracies = [], []
    with torch.no_grad():
        for split in ("train", "test"):
            inputs, labels = (part.to(group.device) for part in network.task.data(split))
            logits = network.stacked_outputs(group.parameters, inputs).double()
            losses.append(torch.stack([network.loss(seed, labels).mean() for seed in logits]))
            accuracies.append((logits.argmax(-1) == labels).double().mean(-1))
    return torch.stack(losses + accuracies)  # the mean over an empty test set is NaN


def _advance(
    group: Group, settings: TrainingSettings, step: int, data: tuple[Tensor, Tensor], rows: Tensor | None
) -> Tensor:
    """Update some of the seeds and return their losses before the update, (seeds,).

    `data` is the train set and `rows` (all seeds, batch) selects each seed's minibatch; None for the full batch.
    """
    network, parameters, (inputs, labels) = group.network, group.parameters, data
    if rows is not None:
        inputs, labels = inputs[rows[group.seeds]], labels[rows[group.seeds]]
    losses, gradients = network.stacked_loss_and_gradient(parameters, inputs, labels, rows is not None, parameters)
    if settings.frequency_penalty is not None:
        interventions.penalize(gradients, network, parameters, settings.frequency_penalty, step)
    for name, parameter in parameters.items():
        parameter.grad = gradients[name].contiguous()  # fused optimizers ignore strides
    for options in group.optimizer.param_groups:
        options["lr"] = settings.learning_rate * min(1.0, (step + 1) / max(1, settings.warmup_steps))
        options["weight_decay"] = interventions.weight_decay(settings, step)
    group.optimizer.step()
    return losses


def _stops(settings: TrainingSettings, curve: Tensor) -> bool:
    if settings.stop is None:
        return False
    train_loss, test_loss = curve[0], curve[1]
    return bool((torch.where(test_loss.isnan(), train_loss, test_loss) < settings.stop.loss).all())


def _save(
    path: Path, step: int, parameters: Mapping[str, Tensor], groups: Sequence[Group], curves: Mapping[int, Tensor]
) -> None:
    tensors = {f"parameter.{name}": tensor for name, tensor in parameters.items()}
    states = [group.optimizer.state_dict()["state"] for group in groups]
    for index, state in states[0].items():
        for key, value in state.items():
            if isinstance(value, Tensor):  # a tensor over all seeds, or the number of steps
                whole = torch.cat([other[index][key] for other in states]) if value.ndim else value
                tensors[f"optimizer.{index}.{key}"] = whole
    tensors["curve_steps"] = torch.tensor(list(curves))
    tensors["curves"] = torch.stack(list(curves.values()))
    write_tensors(path, tensors, {"step": str(step)})


def _restore(path: Path, parameters: Mapping[str, Tensor], groups: Sequence[Group], curves: dict[int, Tensor]) -> int:
    """Restore the state before the step that is returned."""
    tensors, metadata = read_tensors(path)
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        kind, *rest = key.split(".")
        if kind == "parameter":
            parameters[".".join(rest)].copy_(tensor)
        elif kind == "optimizer":
            state.setdefault(int(rest[0]), {})[rest[1]] = tensor
    for group in groups:  # each with its own step counter, which its optimizer increments
        states = {
            index: {key: value[group.seeds] if value.ndim else value.clone() for key, value in values.items()}
            for index, values in state.items()
        }
        group.optimizer.load_state_dict({**group.optimizer.state_dict(), "state": states})
    curves.update(zip(tensors["curve_steps"].tolist(), tensors["curves"], strict=True))
    return int(metadata["step"])


def _dataset(curves: Mapping[int, Tensor], seeds: Sequence[int]) -> xr.Dataset:
    steps = sorted(curves)
    values = torch.stack([curves[step] for step in steps]).numpy()
    variables = {
        name: (("step", "seed"), values[:, row], variable.attrs)
        for row, (name, variable) in enumerate(Training.variables.items())
    }
    return xr.Dataset(variables, coords={"step": steps, "seed": list(seeds)})

"""The common result of all importers, and its evaluation."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from slt_grok import models
from slt_grok.models import Model
from slt_grok.tasks import ModularTask


class Curve(NamedTuple):
    """A loss over training.

    Parameters
    ----------
    steps, values : ndarray
        The training steps, and the loss at each, both (n,); in nats for cross-entropy, in the units of a user's loss
        otherwise.
    mean : bool, optional
        Whether a value is the mean over batches since the step before, and not the loss of the weights at its step.
    """

    steps: np.ndarray
    values: np.ndarray
    mean: bool = False


Curves = dict[str, Curve]


@dataclass(frozen=True)
class Imported:
    """One network from a published file, in this package's names and layouts.

    Parameters
    ----------
    path, format : Path, str
        The file and the name of its format.
    config : dict
        `name`, `task` (settings of `ModularTask`), `model` (`kind` and settings).
    step : int or None
        The training step of the network; None if neither the file nor its name states it.
    parameters : dict of str to Tensor
        The tensors of the model in `config`; they are copied as float32 and share no memory with the file's tensors.
    curves : dict of str to Curve, optional
        `train_loss`, `test_loss` over training, if the file holds them.
    settings : dict, optional
        How it was trained, as far as the file states it.
    assumed : dict of str to dict, optional
        Tasks to assume, in words -> settings, if the file does not state operation and split.
    stored : dict of str to float, optional
        `train_loss`, `test_loss` of this network, if the file holds them.
    notes : list of str, optional
        Sentences on what was read, assumed, or contradictory.
    """

    path: Path
    format: str
    config: dict[str, Any]
    step: int | None
    parameters: dict[str, Tensor]
    curves: Curves | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    assumed: dict[str, dict[str, Any]] = field(default_factory=dict)
    stored: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        single, layout = torch.float32, torch.contiguous_format
        copies = {k: t.detach().to(single, copy=True, memory_format=layout) for k, t in self.parameters.items()}
        object.__setattr__(self, "parameters", copies)

    @property
    def task_known(self) -> bool:
        """Whether operation and split come from the file."""
        return not self.assumed

    @property
    def task(self) -> ModularTask:
        """The task of `config`."""
        return ModularTask(**self.config["task"])

    @property
    def module(self) -> Model:
        """The model of `config`, without its weights."""
        return models.build(tokens=self.task.tokens, classes=self.task.classes, **self.config["model"])

    @cached_property
    def per_pair(self) -> tuple[Tensor, Tensor]:
        """The loss of each pair (nats), computed in float64, and whether its answer is right."""
        module, task = self.module, self.task
        logits = functional_call(module, {k: v.double() for k, v in self.parameters.items()}, (task.inputs,)).detach()
        return cross_entropy(logits, task.labels, reduction="none"), (logits.argmax(-1) == task.labels).double()

    def evaluate(self, split: ModularTask | None = None) -> dict[str, float]:
        """Compute losses (nats) and accuracies on the train and test sets; NaN for an empty test set.

        Parameters
        ----------
        split : ModularTask, optional
            A task with the same labels and another split.
        """
        task = split or self.task
        return {
            f"{part}_{name}": values[task.indices(part)].mean().item()
            for part in ("train", "test")
            for name, values in zip(("loss", "accuracy"), self.per_pair, strict=True)
        }

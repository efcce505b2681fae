"""The common result of all importers, and its evaluation."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from slt_grok import models
from slt_grok.models import Model
from slt_grok.tasks import ModularTask

Curves = dict[str, tuple[np.ndarray, np.ndarray]]


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
    curves : dict of str to tuple of ndarray, optional
        `train_loss`, `test_loss` -> (steps, values), if the file holds them.
    settings : dict, optional
        How it was trained, as far as the file states it.
    task_known : bool, optional
        Whether operation and split come from the file; otherwise addition with all pairs is assumed.
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
    task_known: bool = True
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        single, layout = torch.float32, torch.contiguous_format
        copies = {k: t.detach().to(single, copy=True, memory_format=layout) for k, t in self.parameters.items()}
        object.__setattr__(self, "parameters", copies)

    @property
    def task(self) -> ModularTask:
        """The task of `config`."""
        return ModularTask(**self.config["task"])

    @property
    def module(self) -> Model:
        """The model of `config`, without its weights."""
        return models.build(tokens=self.task.tokens, classes=self.task.classes, **self.config["model"])

    def evaluate(self) -> dict[str, float]:
        """Compute losses (nats) and accuracies on the train and test sets in float64; NaN for an empty test set."""
        module, task = self.module, self.task
        logits = functional_call(module, {k: v.double() for k, v in self.parameters.items()}, (task.inputs,)).detach()
        losses = cross_entropy(logits, task.labels, reduction="none")
        right = (logits.argmax(-1) == task.labels).double()
        return {
            f"{split}_{name}": values[task.indices(split)].mean().item()
            for split in ("train", "test")
            for name, values in (("loss", losses), ("accuracy", right))
        }

    def compare(self, stored: Mapping[str, float]) -> None:
        """Note whether the losses stored in the file agree with those computed here."""
        values = self.evaluate()
        for name, loss in stored.items():
            same = math.isclose(loss, values[name], rel_tol=0.05, abs_tol=1e-7)  # 1e-7: float32's noise
            words = "they agree" if same else "they DISAGREE: the split, the task or the layout may differ"
            self.notes.append(f"Stored {name} {loss:.5g}, computed {values[name]:.5g}: {words}.")
        if not stored:
            self.notes.append(
                f"The file holds no loss to check against; on the train set, computed loss {values['train_loss']:.5g}, "
                f"accuracy {values['train_accuracy']:.5g}."
            )

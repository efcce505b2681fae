"""What every importer gives, and what importers have in common: the task, stored losses, names and steps."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from slt_grok import models
from slt_grok.errors import SltGrokError
from slt_grok.models import Model
from slt_grok.tasks import ModularTask

ACTIVATIONS = {"relu": "relu", "gelu": "gelu"}


@dataclass(frozen=True)
class Imported:
    """One network of a published file, in our names and layouts.

    Parameters
    ----------
    path, format : Path, str
        The file and the name of its layout.
    config : dict[str, Any]
        `name`, `task` (settings of `ModularTask`), `model` (`kind` and settings for `models.build`, without the
        modulus).
    step : int or None
        The training step of the network, None where neither the file nor its name says it.
    parameters : dict[str, Tensor]
        Name -> tensor, as the model of `config` has them.
    curves : dict[str, tuple[ndarray, ndarray]] or None, optional
        `train_loss`, `test_loss` -> (steps, values), where the file holds them.
    settings : dict[str, Any], optional
        How it was trained, as far as the file says.
    task_known : bool, optional
        Whether operation and split come from the file; otherwise addition with all pairs is assumed.
    notes : list[str], optional
        Sentences on what was found, assumed or contradictory.
    """

    path: Path
    format: str
    config: dict[str, Any]
    step: int | None
    parameters: dict[str, Tensor]
    curves: dict[str, tuple[np.ndarray, np.ndarray]] | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    task_known: bool = True
    notes: list[str] = field(default_factory=list)

    @property
    def task(self) -> ModularTask:
        """The task of `config`."""
        return ModularTask(**self.config["task"])

    @property
    def module(self) -> Model:
        """The model of `config`, its weights not set."""
        return models.build(modulus=self.config["task"]["modulus"], **self.config["model"])


def evaluate(module: Model, task: ModularTask, parameters: Mapping[str, Tensor]) -> dict[str, float]:
    """Losses (nats) and accuracies on train and test set in float64; NaN for an empty test set."""
    logits = functional_call(module, {k: v.double() for k, v in parameters.items()}, (task.inputs,)).detach()
    losses = cross_entropy(logits, task.labels, reduction="none")
    right = (logits.argmax(-1) == task.labels).double()
    return {
        f"{split}_{name}": values[task.indices(split)].mean().item()
        for split in ("train", "test")
        for name, values in (("loss", losses), ("accuracy", right))
    }


def assumed_task(path: Path, modulus: int, beside: Mapping[str, Any], notes: list[str]) -> dict[str, Any]:
    """Return the settings of addition mod p for a file that does not say what was learned.

    The notes say what is assumed.

    Raises
    ------
    SltGrokError
        `train_indices` in the file that are no different rows of the p^2 pairs.
    """
    task: dict[str, Any] = {"modulus": modulus, "operation": "addition", "train_fraction": 1.0}
    rows = beside.get("train_indices")
    if rows is None:
        notes.append("The file does not say what was learned: addition is assumed, and all pairs as the train set.")
        return task
    notes.append("The file does not say what was learned: addition is assumed; its train_indices are the train set.")
    return task | listed_split(path, torch.as_tensor(rows).tolist(), modulus)


def listed_split(path: Path, rows: Sequence[int], modulus: int) -> dict[str, Any]:
    """Return the settings of a train set given by its rows in the lexicographic list of pairs.

    Raises
    ------
    SltGrokError
        Rows that are not different numbers in 0..p^2 - 1.
    """
    if not rows or len(set(rows)) < len(rows) or not 0 <= min(rows) <= max(rows) < modulus**2:
        raise SltGrokError(f"{path}: expected train_indices to be different numbers in 0..{modulus**2 - 1}")
    return {"train_fraction": len(rows) / modulus**2, "split_rule": "listed", "train_rows": tuple(rows)}


def check_stored_losses(imported: "Imported", beside: Mapping[str, Any]) -> None:
    """Compare the losses that a file holds with those computed here; the notes say what came out.

    Raises
    ------
    SltGrokError
        A stored loss that is no number.
    """
    values = evaluate(imported.module, imported.task, imported.parameters)
    stored = {name: number(imported.path, name, beside[name]) for name in ("train_loss", "test_loss") if name in beside}
    for name, told in stored.items():
        words = agrees(told, values[name])
        imported.notes.append(f"The file says {name} {told:.5g}, computed {values[name]:.5g}: {words}.")
    if not stored:
        imported.notes.append(
            f"The file holds no loss to check against; computed on the train set: loss {values['train_loss']:.5g}, "
            f"accuracy {values['train_accuracy']:.5g}."
        )


def number(path: Path, name: str, value: Any) -> float:
    """Return a number that may be stored as a tensor.

    Raises
    ------
    SltGrokError
        It is something else.
    """
    try:
        return float(value.detach() if isinstance(value, Tensor) else value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise SltGrokError(f"{path}: expected {name} to be a number") from error


def activation_name(path: Path, given: Any) -> str:
    """Our name of an activation function.

    Raises
    ------
    SltGrokError
        One that our models do not have.
    """
    if str(given).lower() not in ACTIVATIONS:
        raise SltGrokError(f"{path}: expected the activation to be one of {list(ACTIVATIONS)}, got {given!r}")
    return ACTIVATIONS[str(given).lower()]


def number_in_name(path: Path) -> int | None:
    """Return the whole number at the end of a file's name, its step; None where there is none."""
    number = re.search(r"\d+$", path.stem)
    return int(number[0]) if number else None


def run_name(text: str) -> str:
    """Return a text as the name of a run: letters, digits, `_`, `.` and `-`, a letter or digit first."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", text).lstrip("_.-") or "imported"


def agrees(stored: float, computed: float) -> str:
    """Whether a stored loss and the one computed here agree, in words (to 5% or 1e-7, float32's noise)."""
    same = math.isclose(stored, computed, rel_tol=0.05, abs_tol=1e-7)
    return "they agree" if same else "they DISAGREE: the split, the task or the layout may be another one"

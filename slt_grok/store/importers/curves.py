"""The losses over training that a file holds."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from slt_grok.store.importers.imported import Curve, Curves
from slt_grok.store.importers.source import SourceFile, whole

LISTS = {"train_loss": ("train_losses", "train_loss", "loss"), "test_loss": ("test_losses", "test_loss")}
LOG = {"train_loss": "loss", "test_loss": "eval_loss"}  # in the log_history of a Hugging Face trainer
RECORDED_EVERY = (1, 10)  # possible epochs between two entries of a list of losses
STEPS = ("checkpoint_steps", "checkpoint_epochs")


def curves_in(file: SourceFile, notes: list[str]) -> Curves | None:
    """Get `train_loss` and `test_loss` over training from a file; None if it holds neither.

    A list `train_losses`, or `train_loss` or `loss`, and a list `test_losses` or `test_loss` has one value per epoch,
    per ten epochs, or per checkpoint. The epochs are those of the entry `epoch`, or as many as the longest list has. A
    list that fits none of them is omitted, with a note.
    """
    if "log_history" in file.extras:
        return _logged(file, file.extras["log_history"], notes)
    lists = _lists(file)
    if not lists:
        return None
    checkpoints = next((file.extras[key] for key in STEPS if key in file.extras), [file.step or 0])
    steps = _values(file, "the checkpoints' steps", checkpoints)
    epochs = max(map(len, lists.values())) if file.epoch is None else file.epoch + 1
    curves = {}
    for name, values in lists.items():
        every = next((n for n in RECORDED_EVERY if len(values) == (epochs - 1) // n + 1), None)
        if len(values) == len(steps):
            order = np.argsort(steps)
            curves[name] = Curve(steps[order].astype(np.int64), values[order])
        elif every is not None and steps.max(initial=0) < epochs + every:
            curves[name] = Curve(np.arange(len(values)) * every, values)
        else:
            notes.append(
                f"The {len(values)} values of {name} fit neither the steps of the checkpoints nor {epochs} epochs and "
                f"are omitted."
            )
    return curves


def recorded_epochs(file: SourceFile) -> int | None:
    """Get the number of losses in the longest list, one per epoch; None if there is no list."""
    return max(map(len, _lists(file).values()), default=None)


def is_list(value: Any) -> bool:
    """Check whether an entry of a file is a list or vector, and not a single number."""
    return value.ndim > 0 if isinstance(value, Tensor) else isinstance(value, Sequence) and not isinstance(value, str)


def _lists(file: SourceFile) -> dict[str, np.ndarray]:
    """Get the lists of losses that are not empty; `train_losses` must be a list, `train_loss` may be a number."""
    lists: dict[str, np.ndarray] = {}
    for name, keys in LISTS.items():
        for key in keys:
            if key in file.extras and (key == keys[0] or is_list(file.extras[key])):
                values = _values(file, key, file.extras[key])
                if len(values):
                    lists.setdefault(name, values)
    return lists


def _values(file: SourceFile, key: str, values: Any) -> np.ndarray:
    if isinstance(values, Tensor):
        values = values.detach().tolist()
    if not is_list(values):
        raise file.error(f"expected {key} to be a list of numbers, got a {type(values).__name__}")
    if all(isinstance(value, float | int) for value in values):
        return np.array(values, dtype=np.float64)
    return np.array([file.number(key, value) for value in values])


def _logged(file: SourceFile, log: Any, notes: list[str]) -> Curves | None:
    if not isinstance(log, Sequence) or not all(isinstance(entry, Mapping) for entry in log):
        raise file.error("expected log_history to be a list of tables")
    curves = {}
    for name, key in LOG.items():
        by_step = {
            whole(file.path, "step", e["step"]): file.number(key, e[key]) for e in log if key in e and "step" in e
        }
        if by_step:
            curves[name] = Curve(np.array(list(by_step)), np.array(list(by_step.values())), mean=key == "loss")
    if "train_loss" in curves:
        notes.append(
            "The training losses of log_history are means over the steps since the previous entry, not the loss of "
            "the weights at a step: they are not compared with it."
        )
    return curves or None

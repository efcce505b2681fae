"""The losses over training that a file holds."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from slt_grok.store.importers.imported import Curves
from slt_grok.store.importers.source import SourceFile, whole

LISTS = {"train_loss": "train_losses", "test_loss": "test_losses"}
LOG = {"train_loss": "loss", "test_loss": "eval_loss"}  # in the log_history of a Hugging Face trainer
RECORDED_EVERY = (1, 10)  # possible epochs between two entries of a list of losses
STEPS = ("checkpoint_steps", "checkpoint_epochs")


def curves_in(file: SourceFile, notes: list[str]) -> Curves | None:
    """Get `train_loss` and `test_loss` over training from a file; None if it holds neither.

    A list `train_losses` or `test_losses` has one value per epoch, per ten epochs, or per checkpoint. The epochs are
    those of the entry `epoch`, or as many as the longest list has. A list that fits none of them is omitted, with a
    note.
    """
    if "log_history" in file.extras:
        return _logged(file, file.extras["log_history"])
    lists = {name: _values(file, key, file.extras[key]) for name, key in LISTS.items() if key in file.extras}
    lists = {name: values for name, values in lists.items() if len(values)}
    if not lists:
        return None
    checkpoints = next((file.extras[key] for key in STEPS if key in file.extras), None)
    steps = np.array([]) if checkpoints is None else _values(file, "the checkpoints' steps", checkpoints)
    epochs = max(map(len, lists.values())) if file.epoch is None else file.epoch + 1
    curves = {}
    for name, values in lists.items():
        every = next((n for n in RECORDED_EVERY if len(values) == (epochs - 1) // n + 1), None)
        if len(values) == len(steps):
            curves[name] = (steps.astype(np.int64), values)
        elif every is not None and (not len(steps) or steps.max() < epochs + every):
            curves[name] = (np.arange(len(values)) * every, values)
        else:
            notes.append(f"The {len(values)} values of {name} fit no known spacing of {epochs} epochs and are omitted.")
    return curves


def recorded_epochs(file: SourceFile) -> int | None:
    """Get the number of losses in the longest list, one per epoch; None if there is no list."""
    lengths = [len(_values(file, key, file.extras[key])) for key in LISTS.values() if key in file.extras]
    return max(lengths, default=0) or None


def _values(file: SourceFile, key: str, values: Any) -> np.ndarray:
    if isinstance(values, Tensor):
        values = values.detach().tolist()
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise file.error(f"expected {key} to be a list of numbers, got a {type(values).__name__}")
    if all(isinstance(value, float | int) for value in values):
        return np.array(values, dtype=np.float64)
    return np.array([file.number(key, value) for value in values])


def _logged(file: SourceFile, log: Any) -> Curves | None:
    if not isinstance(log, Sequence) or not all(isinstance(entry, Mapping) for entry in log):
        raise file.error("expected log_history to be a list of tables")
    curves = {}
    for name, key in LOG.items():
        by_step = {
            whole(file.path, "step", e["step"]): file.number(key, e[key]) for e in log if key in e and "step" in e
        }
        if by_step:
            curves[name] = (np.array(list(by_step)), np.array(list(by_step.values())))
    return curves or None

"""The importer interface: one class in one file reads one format of published files."""

import re
from abc import ABC, abstractmethod
from dataclasses import replace
from numbers import Real
from typing import Any, ClassVar

import torch
from torch import Tensor

from slt_grok.errors import SltGrokError
from slt_grok.format import listing
from slt_grok.registry import Registered
from slt_grok.store.importers.curves import LISTS, is_list, recorded_epochs
from slt_grok.store.importers.imported import Imported
from slt_grok.store.importers.source import SourceFile
from slt_grok.store.importers.splits import ALL, UNSURE, listed_split, whole_numbers
from slt_grok.store.importers.steps import NAME_NOTE
from slt_grok.tasks.modular import OPERATIONS

RESULT = re.compile(r"(?:^|[_/ ])(?:loss|acc|accuracy|error)(?:$|[_/ ])", re.IGNORECASE)


class Importer(Registered, ABC):
    """A reader of one format; subclasses with a `name` are registered under it."""

    packages: ClassVar[tuple[str, ...]] = ("store.importers",)
    layout: ClassVar[str]
    """Description of the expected content, for error messages."""

    @abstractmethod
    def recognizes(self, file: SourceFile) -> bool:
        """Check whether a file has this layout."""

    @abstractmethod
    def convert(self, file: SourceFile) -> Imported:
        """Convert the network in a file of this layout.

        Raises
        ------
        SltGrokError
            The file does not hold a network that this package's models can express; the message says why.
        """

    def read(self, file: SourceFile) -> Imported:
        """Read the network in a file, with the losses stored for it.

        Raises
        ------
        SltGrokError
            As in `convert`, or the file has another layout.
        """
        if not self.recognizes(file):
            raise file.error(f"expected {self.layout}")
        imported = self.convert(file)
        try:
            _ = imported.module
        except SltGrokError as error:
            raise file.error(str(error)) from error
        notes = [note for note in file.notes if note != NAME_NOTE or imported.step == file.step]
        return replace(imported, stored=stored_losses(file, notes), notes=[*notes, *imported.notes])


def stored_losses(file: SourceFile, notes: list[str]) -> dict[str, float]:
    """Get the losses that a file holds for its network: `train_loss` and `test_loss`, or `loss` for the former.

    Other losses and accuracies are named in a note.
    """
    found = [key for key, value in file.extras.items() if RESULT.search(str(key)) and not is_list(value)]
    unsure = "train_loss" not in found and isinstance(file.extras.get(UNSURE), Real | Tensor)
    compared = [*LISTS, UNSURE] if unsure else [*LISTS]
    if others := [str(key) for key in found if key not in compared]:
        notes.append(f"Not compared with the network: {listing(others)}.")
    return {name: file.number(name, file.extras[name]) for name in compared if name in found}


def task_in(file: SourceFile, p: int, notes: list[str]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Get the task of a file whose code has no settings for it, from its `labels` and `train_indices`.

    Returns
    -------
    task, assumed : dict
        Its settings, and what to assume in words -> settings, see `Imported`; nothing if there are `train_indices`.

    Raises
    ------
    SltGrokError
        The labels are those of no known operation, or the rows are not distinct numbers of the p^2 pairs.
    """
    task = {"modulus": p, "operation": _operation(file, p)}
    if "train_indices" not in file.extras:
        task |= {"train_fraction": 1.0}
        return task, {ALL: task}
    if "labels" not in file.extras:
        notes.append("The file does not state its task: addition is assumed, with its train_indices as the train set.")
    rows = whole_numbers(f"{file.path}: train_indices", file.extras["train_indices"])
    return task | listed_split(file.path, rows, p), {}


def _operation(file: SourceFile, p: int) -> str:
    """Find the operation whose answers are the file's `labels` of all pairs; addition without labels."""
    labels = file.extras.get("labels")
    if labels is None:
        return "addition"
    a, b = torch.cartesian_prod(torch.arange(p), torch.arange(p)).T
    for name, operation in OPERATIONS.items():
        if (operation(a, b) % p).tolist() == (labels.tolist() if isinstance(labels, Tensor) else labels):
            return name
    raise file.error(f"expected labels of all {p**2} pairs in lexicographic order, by one of {', '.join(OPERATIONS)}")


def full_batch_step(file: SourceFile) -> int | None:
    """Get the step of a code that trains on the full batch: its epoch, or that of the last recorded loss.

    Raises
    ------
    SltGrokError
        The number in the file's name contradicts the number of recorded losses.
    """
    recorded = recorded_epochs(file)
    if file.step is None and (file.epoch is not None or recorded is None):
        return file.epoch
    if recorded is None or "epoch" in file.extras:
        return file.step
    if file.step is None:
        file.notes.append(f"The training step follows from the {recorded} recorded losses, one per epoch from 0.")
        return recorded - 1
    if NAME_NOTE in file.notes and file.step not in (recorded - 1, recorded):
        raise file.error(
            f"expected the number in its name, {file.step}, to fit its {recorded} recorded losses; rename the file"
        )
    return file.step


def run_name(text: str) -> str:
    """Turn a text into a run name: letters, digits, `_`, `.` and `-`, starting with a letter or digit."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", text).lstrip("_.-") or "imported"

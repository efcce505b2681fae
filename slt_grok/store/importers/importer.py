"""The importer interface: one class in one file reads one format of published files."""

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch

from slt_grok.registry import Registered
from slt_grok.store.importers.imported import Imported
from slt_grok.store.importers.source import SourceFile


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
            The file does not hold a network that our models can express; the message says why.
        """

    def read(self, file: SourceFile) -> Imported:
        """Read the network in a file, and note how its losses compare with the stored ones.

        Raises
        ------
        SltGrokError
            As in `convert`, or the file has another layout.
        """
        if not self.recognizes(file):
            raise file.error(f"expected {self.layout}")
        imported, names = self.convert(file), ("train_loss", "test_loss")
        imported.compare({name: file.number(name, file.extras[name]) for name in names if name in file.extras})
        return imported


def assumed_task(file: SourceFile, p: int, notes: list[str]) -> dict[str, Any]:
    """Get the settings of addition mod p for a file that does not state its task, and add a note that says so.

    Raises
    ------
    SltGrokError
        The file's `train_indices` are not distinct rows of the p^2 pairs.
    """
    rows = file.extras.get("train_indices")
    if rows is None:
        notes.append("The file does not state its task: addition is assumed, with all pairs as the train set.")
        return {"modulus": p, "operation": "addition", "train_fraction": 1.0}
    notes.append("The file does not state its task: addition is assumed, with its train_indices as the train set.")
    return listed_split(file, torch.as_tensor(rows).tolist(), p)


def listed_split(file: SourceFile, rows: Sequence[int], p: int) -> dict[str, Any]:
    """Get the settings of addition mod p with a train set given by rows of the lexicographic list of pairs.

    Raises
    ------
    SltGrokError
        The rows are not distinct numbers in 0..p^2 - 1.
    """
    if not rows or len(set(rows)) < len(rows) or not 0 <= min(rows) <= max(rows) < p**2:
        raise file.error(f"expected train_indices to be distinct numbers in 0..{p**2 - 1}")
    split = {"train_fraction": len(rows) / p**2, "split_rule": "listed", "train_rows": tuple(rows)}
    return {"modulus": p, "operation": "addition", **split}


def run_name(text: str) -> str:
    """Turn a text into a run name: letters, digits, `_`, `.` and `-`, starting with a letter or digit."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", text).lstrip("_.-") or "imported"

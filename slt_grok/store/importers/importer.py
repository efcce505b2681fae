"""What an importer is: one object in one file that knows one layout of published files."""

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch

from slt_grok.registry import Registered
from slt_grok.store.importers.imported import Imported
from slt_grok.store.importers.source import SourceFile


class Importer(Registered, ABC):
    """A reader of one format; a subclass with a `name` is one, and its name is that of the format."""

    packages: ClassVar[tuple[str, ...]] = ("store.importers",)
    layout: ClassVar[str]
    """What its files hold, named in errors."""

    @abstractmethod
    def recognizes(self, file: SourceFile) -> bool:
        """Tell whether a file has this layout."""

    @abstractmethod
    def convert(self, file: SourceFile) -> Imported:
        """Return the network in a file of this layout.

        Raises
        ------
        SltGrokError
            The file does not make a network that our models can express; the sentence says why.
        """

    def read(self, file: SourceFile) -> Imported:
        """Return the network in a file, with notes on how its losses compare with those stored.

        Raises
        ------
        SltGrokError
            As `convert`, or the file has another layout.
        """
        if not self.recognizes(file):
            raise file.error(f"expected {self.layout}")
        imported, names = self.convert(file), ("train_loss", "test_loss")
        imported.compare({name: file.number(name, file.extras[name]) for name in names if name in file.extras})
        return imported


def assumed_task(file: SourceFile, p: int, notes: list[str]) -> dict[str, Any]:
    """Return the settings of addition mod p for a file that does not say what was learned; the notes say so.

    Raises
    ------
    SltGrokError
        `train_indices` in the file that are not distinct rows of the p^2 pairs.
    """
    rows = file.extras.get("train_indices")
    if rows is None:
        notes.append("The file does not say what was learned: addition is assumed, and all pairs as the train set.")
        return {"modulus": p, "operation": "addition", "train_fraction": 1.0}
    notes.append("The file does not say what was learned: addition is assumed; its train_indices are the train set.")
    return listed_split(file, torch.as_tensor(rows).tolist(), p)


def listed_split(file: SourceFile, rows: Sequence[int], p: int) -> dict[str, Any]:
    """Return the settings of addition mod p with a train set given by its rows in the lexicographic list of pairs.

    Raises
    ------
    SltGrokError
        Rows that are not distinct numbers in 0..p^2 - 1.
    """
    if not rows or len(set(rows)) < len(rows) or not 0 <= min(rows) <= max(rows) < p**2:
        raise file.error(f"expected train_indices to be distinct numbers in 0..{p**2 - 1}")
    split = {"train_fraction": len(rows) / p**2, "split_rule": "listed", "train_rows": tuple(rows)}
    return {"modulus": p, "operation": "addition", **split}


def run_name(text: str) -> str:
    """Return a text as the name of a run: letters, digits, `_`, `.` and `-`, a letter or digit first."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", text).lstrip("_.-") or "imported"

"""Binary operations on Z_p as supervised tasks.

Sources: Power et al. 2201.02177 (operations), Nanda et al. 2301.05217 (the split).
"""

import random
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from slt_grok.errors import SltGrokError
from slt_grok.groups import CyclicGroup, cyclic
from slt_grok.memory import require_memory
from slt_grok.settings import NonNegative
from slt_grok.tasks.task import GroupTask

PAIR = 40  # bytes of a pair: two tokens, its label, its entries in the table and in the split

Operation = Literal["addition", "subtraction", "multiplication", "x^2+xy+y^2", "random_table"]

OPERATIONS = {
    "addition": lambda a, b: a + b,
    "subtraction": lambda a, b: a - b,
    "multiplication": lambda a, b: a * b,
    "x^2+xy+y^2": lambda a, b: a * a + a * b + b * b,
}


@dataclass(frozen=True)
class ModularTask(GroupTask):
    """An operation on Z_p with a train/test split of its p^2 pairs; its group is Z_p under addition.

    Parameters
    ----------
    modulus : int
        Modulus p, at least 3; it need not be prime.
    operation : {"addition", "subtraction", "multiplication", "x^2+xy+y^2", "random_table"}, optional
        The label of (a, b) is operation(a, b) mod p. `random_table` draws every label uniformly from Z_p, seeded by
        `table_seed`: there is nothing to generalize, so it is the control for memorization.
    split_rule : {"uniform", "progress_measures", "listed"}, optional
        `uniform` permutes the pairs with numpy's generator; `progress_measures` reproduces the split in the code of
        2301.05217: `random.seed(s)`, shuffle the list of (i, j, p), take the first ones; `listed` uses `train_rows`.
    table_seed : int, optional
        Seed of the random table.
    train_rows : tuple of int, optional
        Rows of `inputs` in the train set, for `listed`: a split made elsewhere.

    Raises
    ------
    SltGrokError
        A field is out of range, or the rows are not distinct numbers in 0..p^2 - 1.
    """

    name: ClassVar[str] = "modular"

    modulus: Annotated[int, Field(ge=3)]
    operation: Operation = "addition"
    split_rule: Literal["uniform", "progress_measures", "listed"] = "uniform"
    table_seed: NonNegative = 0
    train_rows: tuple[NonNegative, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "train_rows", tuple(self.train_rows))
        rows = set(self.train_rows)
        if bool(rows) != (self.split_rule == "listed") or len(rows) < len(self.train_rows):
            raise SltGrokError("task.train_rows: expected distinct rows with split_rule listed, and none without")
        super().__post_init__()
        require_memory(PAIR * self.modulus**2, "task.modulus", "its pairs")
        if rows and max(rows) >= self.modulus**2:
            raise SltGrokError(f"task.train_rows: expected rows in 0..{self.modulus**2 - 1}")

    @cached_property
    def group(self) -> CyclicGroup:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Z_p."""
        return cyclic(self.modulus)

    @property
    def sign(self) -> Literal[1, -1]:
        """Sign of b: -1 for subtraction, else 1."""
        return -1 if self.operation == "subtraction" else 1

    @cached_property
    def labels(self) -> Tensor:
        """The correct answer to each pair, int64 of shape (p^2,)."""
        if self.operation == "random_table":
            generator = np.random.default_rng(np.random.SeedSequence(self.table_seed))
            return torch.from_numpy(generator.integers(self.modulus, size=self.modulus**2))
        a, b = self.inputs.unbind(-1)
        return OPERATIONS[self.operation](a, b) % self.modulus

    @property
    def train_size(self) -> int:
        """Number of train pairs."""
        return len(self.train_rows) or int(self.train_fraction * self.modulus**2)

    @cached_property
    def order(self) -> Tensor:
        """A permutation of the pairs that starts with the train set, int64 (p^2,)."""
        p = self.modulus
        if self.split_rule == "listed":
            rest = sorted(set(range(p * p)) - set(self.train_rows))
            return torch.tensor([*self.train_rows, *rest])
        if self.split_rule == "progress_measures":
            rows = list(range(p * p))  # the shuffle depends only on the list's length
            random.Random(self.split_seed).shuffle(rows)
            return torch.tensor(rows)
        return super().order

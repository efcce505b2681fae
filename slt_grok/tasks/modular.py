"""Binary operations on Z_p as supervised tasks.

The inputs are all p^2 pairs (a, b) in lexicographic order, so that a quantity over all inputs is a p x p
grid after a reshape. Sources: Power et al. 2201.02177 (operations), Nanda et al. 2301.05217 (the split).
"""

import random
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from slt_grok.errors import SltGrokError

Operation = Literal["addition", "subtraction", "multiplication", "x^2+xy+y^2", "random_table"]
Split = Literal["train", "test", "all"]
SPLITS: tuple[Split, ...] = ("train", "test", "all")

OPERATIONS = {
    "addition": lambda a, b: a + b,
    "subtraction": lambda a, b: a - b,
    "multiplication": lambda a, b: a * b,
    "x^2+xy+y^2": lambda a, b: a * a + a * b + b * b,
}


def is_prime(n: int) -> bool:
    """Whether `n` is a prime number, by trial division."""
    return n > 1 and all(n % d for d in range(2, int(n**0.5) + 1))


@dataclass(frozen=True)
class ModularTask:
    """An operation on Z_p with a train/test split of its p^2 pairs.

    Parameters
    ----------
    modulus : int
        p, at least 3.
    operation : str, optional
        The label of (a, b) is operation(a, b) mod p. `random_table` draws every label uniformly from Z_p by
        `table_seed`: nothing to generalize, the control for memorization.
    train_fraction : float, optional
        Share of the pairs to train on, in (0, 1]; the train set has int(train_fraction p^2) pairs.
    split_seed : int, optional
        Which pairs.
    split_rule : {"uniform", "progress_measures", "listed"}, optional
        `uniform` permutes the pairs by numpy's generator; `progress_measures` is the exact split of the code of
        2301.05217: `random.seed(s)`, shuffle the list of (i, j, p), take the first ones; `listed` is given by
        `train_rows`.
    table_seed : int, optional
        Seed of the random table.
    train_rows : tuple[int, ...], optional
        The rows of `inputs` that were trained on, for `listed`: a split made elsewhere.
    label_noise : float, optional
        Share of the train pairs, in [0, 1), that are taught with a wrong answer: round(label_noise n) of the n pairs,
        each with one of the p - 1 wrong answers, all equally likely. `labels`, and the test pairs and all pairs of
        `data`, keep the right ones.
    noise_seed : int, optional
        Which pairs and which answers.

    Raises
    ------
    SltGrokError
        An unknown operation, p < 3, a fraction that leaves no train pair, or rows that are not different numbers in
        0..p^2 - 1.
    """

    modulus: int
    operation: str = "addition"
    train_fraction: float = 0.3
    split_seed: int = 0
    split_rule: Literal["uniform", "progress_measures", "listed"] = "uniform"
    table_seed: int = 0
    train_rows: tuple[int, ...] = ()
    label_noise: float = 0.0
    noise_seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "train_rows", tuple(self.train_rows))  # a list where it comes from a file
        if self.modulus < 3:
            raise SltGrokError(f"task.modulus: expected an integer of at least 3, got {self.modulus}")
        if self.operation not in (*OPERATIONS, "random_table"):
            raise SltGrokError(
                f"task.operation: expected one of {[*OPERATIONS, 'random_table']}, got {self.operation!r}"
            )
        if not 0 < self.train_fraction <= 1 or int(self.train_fraction * self.modulus**2) < 1:
            raise SltGrokError(
                f"task.train_fraction: expected a share in (0, 1] that leaves at least one train pair, "
                f"got {self.train_fraction}"
            )
        if not 0 <= self.label_noise < 1:
            raise SltGrokError(f"task.label_noise: expected a share in [0, 1), got {self.label_noise}")
        rows = set(self.train_rows)
        if bool(rows) != (self.split_rule == "listed") or len(rows) < len(self.train_rows):
            raise SltGrokError("task.train_rows: expected different rows with split_rule listed, and none without")
        if rows and not 0 <= min(rows) <= max(rows) < self.modulus**2:
            raise SltGrokError(f"task.train_rows: expected rows in 0..{self.modulus**2 - 1}")

    @cached_property
    def inputs(self) -> Tensor:
        """All pairs (a, b), int64 of shape (p^2, 2), a slow and b fast."""
        values = torch.arange(self.modulus)
        return torch.cartesian_prod(values, values)

    @cached_property
    def labels(self) -> Tensor:
        """The right answer to each pair, int64 of shape (p^2,)."""
        if self.operation == "random_table":
            generator = np.random.default_rng(np.random.SeedSequence(self.table_seed))
            return torch.from_numpy(generator.integers(self.modulus, size=self.modulus**2))
        a, b = self.inputs.unbind(-1)
        return OPERATIONS[self.operation](a, b) % self.modulus

    @cached_property
    def train_labels(self) -> Tensor:
        """The answer that each pair is taught with where it is trained on: `labels` with the noise, int64 (p^2,)."""
        train, labels = self.indices("train"), self.labels.clone()
        generator = np.random.default_rng(np.random.SeedSequence([self.noise_seed, 1]))  # not the split's stream
        wrong = train[torch.from_numpy(generator.permutation(len(train)))[: round(self.label_noise * len(train))]]
        off = torch.from_numpy(generator.integers(1, self.modulus, size=len(wrong)))
        labels[wrong] = (labels[wrong] + off) % self.modulus
        return labels

    @cached_property
    def _order(self) -> Tensor:
        p = self.modulus
        if self.split_rule == "listed":
            rest = sorted(set(range(p * p)) - set(self.train_rows))
            return torch.tensor([*self.train_rows, *rest])
        if self.split_rule == "progress_measures":
            pairs = [(i, j) for i in range(p) for j in range(p)]
            # the shuffle depends on the list's length alone, so that the '=' token can be left out
            random.Random(self.split_seed).shuffle(pairs)
            return torch.tensor([i * p + j for i, j in pairs])
        generator = np.random.default_rng(np.random.SeedSequence(self.split_seed))
        return torch.from_numpy(generator.permutation(p * p))

    def indices(self, split: Split) -> Tensor:
        """Rows of `inputs` in a split, int64; `test` is empty where everything is trained on."""
        size = len(self.train_rows) or int(self.train_fraction * self.modulus**2)
        match split:
            case "train":
                return self._order[:size]
            case "test":
                return self._order[size:]
            case "all":
                return torch.arange(self.modulus**2)

    def data(self, split: Split) -> tuple[Tensor, Tensor]:
        """Pairs (n, 2) and labels (n,) of a split; those of the train set as they are taught."""
        rows = self.indices(split)
        return self.inputs[rows], (self.train_labels if split == "train" else self.labels)[rows]

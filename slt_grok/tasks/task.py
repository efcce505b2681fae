"""What a task is: inputs, labels, a train/test split and, where there is one, the group that its tokens form."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from slt_grok.errors import SltGrokError
from slt_grok.groups import Group
from slt_grok.registry import Registered
from slt_grok.settings import check

Split = Literal["train", "test", "all"]
SPLITS: tuple[Split, ...] = ("train", "test", "all")
NonNegative = Annotated[int, Field(ge=0)]


@dataclass(frozen=True, kw_only=True)
class Task(Registered):
    """A supervised task on tokens with a split of its samples; a dataclass whose fields are its configuration.

    A subclass with a `name` gives `inputs`, `labels` and `classes`, and may give `group`. `GroupTask` gives all of them
    from a group.

    Parameters
    ----------
    train_fraction : float, optional
        Fraction of the samples to train on, in (0, 1]: int(train_fraction n) of n.
    split_seed : int, optional
        Seed of the permutation that splits them.
    label_noise : float, optional
        Fraction of the train samples, in [0, 1), whose label in training is wrong: round(label_noise n) of n, each with
        one of the other classes, all equally likely. `labels`, and the test and all samples of `data`, stay right.
    noise_seed : int, optional
        Seed of these samples and classes.

    Raises
    ------
    SltGrokError
        A value out of its range, or a fraction that leaves no train sample.
    """

    packages: ClassVar[tuple[str, ...]] = ("tasks",)

    train_fraction: Annotated[float, Field(gt=0, le=1)] = 0.3
    split_seed: NonNegative = 0
    label_noise: Annotated[float, Field(ge=0, lt=1)] = 0.0
    noise_seed: NonNegative = 0

    def __post_init__(self) -> None:
        check(self, "task")
        if len(self.indices("train")) < 1:
            raise SltGrokError(
                f"task.train_fraction: expected a fraction that leaves at least one train sample, "
                f"got {self.train_fraction}"
            )

    @cached_property
    @abstractmethod
    def inputs(self) -> Tensor:
        """All inputs, int64 (n, operands)."""

    @cached_property
    @abstractmethod
    def labels(self) -> Tensor:
        """The right class of each input, int64 (n,)."""

    @property
    @abstractmethod
    def classes(self) -> int:
        """Number of classes."""

    @property
    def tokens(self) -> int:
        """Number of different tokens."""
        return int(self.inputs.max()) + 1

    @property
    def group(self) -> Group | None:
        """The group that tokens and classes are elements of, with its Fourier analysis; None where there is none."""
        return None

    @property
    def sign(self) -> Literal[1, -1]:
        """The labels depend on a b^sign, where they follow the group's composition."""
        return 1

    @cached_property
    def train_labels(self) -> Tensor:
        """The label of each input in training: `labels` with the noise, int64 (n,)."""
        train, labels = self.indices("train"), self.labels.clone()
        generator = np.random.default_rng(np.random.SeedSequence([self.noise_seed, 1]))  # not the split's stream
        wrong = train[torch.from_numpy(generator.permutation(len(train)))[: round(self.label_noise * len(train))]]
        off = torch.from_numpy(generator.integers(1, self.classes, size=len(wrong)))
        labels[wrong] = (labels[wrong] + off) % self.classes
        return labels

    @cached_property
    def order(self) -> Tensor:
        """The permutation of the samples whose beginning is the train set, int64 (n,)."""
        generator = np.random.default_rng(np.random.SeedSequence(self.split_seed))
        return torch.from_numpy(generator.permutation(len(self.inputs)))

    @property
    def train_size(self) -> int:
        """Number of train samples."""
        return int(self.train_fraction * len(self.inputs))

    def indices(self, split: Split) -> Tensor:
        """Return the rows of `inputs` in a split, int64; `test` is empty where everything is trained on."""
        match split:
            case "train":
                return self.order[: self.train_size]
            case "test":
                return self.order[self.train_size :]
            case "all":
                return torch.arange(len(self.inputs))

    def data(self, split: Split) -> tuple[Tensor, Tensor]:
        """Return inputs (n, operands) and labels (n,) of a split; the train set's labels with their noise."""
        rows = self.indices(split)
        return self.inputs[rows], (self.train_labels if split == "train" else self.labels)[rows]

    def evaluation_splits(self) -> Sequence[Split]:
        """Return the splits that have samples."""
        return [split for split in SPLITS if len(self.indices(split))]


@dataclass(frozen=True, kw_only=True)
class GroupTask(Task):
    """Composition of two elements of a finite group: the label of (a, b) is a b.

    A subclass with a `name` gives `group`; inputs are all n^2 pairs in lexicographic order, so that a quantity over
    all of them is an n x n grid after a reshape.
    """

    @cached_property
    @abstractmethod
    def group(self) -> Group:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The group."""

    @property
    def tokens(self) -> int:
        """Number of elements."""
        return self.group.order

    @property
    def classes(self) -> int:
        """Number of elements."""
        return self.group.order

    @cached_property
    def inputs(self) -> Tensor:
        """All pairs (a, b), int64 of shape (n^2, 2), a slow and b fast."""
        values = torch.arange(self.group.order)
        return torch.cartesian_prod(values, values)

    @cached_property
    def labels(self) -> Tensor:
        """The product of each pair, int64 (n^2,)."""
        return self.group.products(self.sign)

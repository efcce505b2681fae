"""Interface of a task: inputs, labels, a train/test split and, if any, the group of its tokens."""

from abc import ABC, abstractmethod
from collections.abc import Callable
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
from slt_grok.settings import NonNegative, check

Split = Literal["train", "test", "all"]
SPLITS: tuple[Split, ...] = ("train", "test", "all")


@dataclass(frozen=True, kw_only=True)
class Task(Registered, ABC):
    """A supervised task on tokens with a train/test split; a dataclass whose fields are its configuration.

    A named subclass defines `inputs`, `labels` and `classes`, and optionally `group`. `GroupTask` derives all of them
    from a group.

    Parameters
    ----------
    train_fraction : float, optional
        Fraction of the samples in the train set, in (0, 1]: int(train_fraction n) of n.
    split_seed : int, optional
        Seed of the permutation that determines the split.
    label_noise : float, optional
        Fraction of the train samples, in [0, 1), with a wrong label in training: round(label_noise n) of n, each with
        one of the other classes, all equally likely. `labels`, and `data` for the test set and all samples, stay
        correct.
    noise_seed : int, optional
        Seed of the noisy samples and their classes.

    Raises
    ------
    SltGrokError
        A field is out of range, or the train set would be empty.
    """

    packages: ClassVar[tuple[str, ...]] = ("tasks",)

    train_fraction: Annotated[float, Field(gt=0, le=1)] = 0.3
    split_seed: NonNegative = 0
    label_noise: Annotated[float, Field(ge=0, lt=1)] = 0.0
    noise_seed: NonNegative = 0

    def __post_init__(self) -> None:
        check(self, "task")
        if not self.train_size:
            raise SltGrokError(
                f"task.train_fraction: expected a fraction that leaves at least one train sample, "
                f"got {self.train_fraction}"
            )

    @property
    @abstractmethod
    def inputs(self) -> Tensor:
        """All inputs, int64 (n, operands)."""

    @property
    @abstractmethod
    def labels(self) -> Tensor:
        """The correct class of each input, int64 (n,)."""

    @property
    @abstractmethod
    def classes(self) -> int:
        """Number of classes."""

    @property
    def tokens(self) -> int:
        """Number of distinct tokens."""
        return int(self.inputs.max()) + 1

    @property
    def group(self) -> Group | None:
        """The group of the tokens and classes, with its Fourier analysis; None if there is none."""
        return None

    @property
    def loss(self) -> Callable[[Tensor, Tensor], Tensor] | None:
        """Loss of the networks that learn it, (outputs, targets) -> losses of the samples; None for cross-entropy."""
        return None

    @property
    def loss_units(self) -> str:
        """Units of the loss; empty if they are unknown, so that labels omit them."""
        return "nats"

    @property
    def sign(self) -> Literal[1, -1]:
        """Sign in a b^sign, which determines the labels if they follow the group's composition."""
        return 1

    @cached_property
    def train_labels(self) -> Tensor:
        """The label used in training for each input: `labels` with the noise, int64 (n,)."""
        train, labels = self.indices("train"), self.labels.clone()
        generator = np.random.default_rng(np.random.SeedSequence([self.noise_seed, 1]))  # not the split's stream
        wrong = train[torch.from_numpy(generator.permutation(len(train)))[: round(self.label_noise * len(train))]]
        off = torch.from_numpy(generator.integers(1, self.classes, size=len(wrong)))
        labels[wrong] = (labels[wrong] + off) % self.classes
        return labels

    @cached_property
    def order(self) -> Tensor:
        """A permutation of the samples that starts with the train set, int64 (n,)."""
        generator = np.random.default_rng(np.random.SeedSequence(self.split_seed))
        return torch.from_numpy(generator.permutation(len(self.inputs)))

    @property
    def train_size(self) -> int:
        """Number of train samples."""
        return int(self.train_fraction * len(self.inputs))

    def indices(self, split: Split) -> Tensor:
        """Select the rows of `inputs` in a split, int64; `test` is empty if all samples are in the train set."""
        match split:
            case "train":
                return self.order[: self.train_size]
            case "test":
                return self.order[self.train_size :]
            case "all":
                return torch.arange(len(self.inputs))

    def data(self, split: Split) -> tuple[Tensor, Tensor]:
        """Get inputs (n, operands) and labels (n,) of a split; labels of the train set include the noise."""
        rows = self.indices(split)
        return self.inputs[rows], (self.train_labels if split == "train" else self.labels)[rows]


@dataclass(frozen=True, kw_only=True)
class GroupTask(Task):
    """Composition of two elements of a finite group: the label of (a, b) is a b.

    A named subclass defines `group`; inputs are all n^2 pairs in lexicographic order, so a quantity over all of them
    can be reshaped to an n x n grid.
    """

    @cached_property
    @abstractmethod
    def group(self) -> Group:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The group that the labels compose in."""

    @property
    def tokens(self) -> int:
        """Number of elements."""
        return self.group.order

    @property
    def classes(self) -> int:
        """Number of elements."""
        return self.group.order

    @cached_property
    def inputs(self) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """All pairs (a, b), int64 of shape (n^2, 2), a slow and b fast."""
        values = torch.arange(self.group.order)
        return torch.cartesian_prod(values, values)

    @cached_property
    def labels(self) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The product of each pair, int64 (n^2,)."""
        return self.group.products(self.sign)

"""User-supplied data as a task: what the named function returns."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from slt_grok import user_code
from slt_grok.errors import SltGrokError
from slt_grok.samples import described, read
from slt_grok.settings import check
from slt_grok.tasks.task import Task

PARTS = ("train", "test")
NAMES_OF_TEST = ("val", "valid", "validation", "eval")
ROUNDING = 1e-5  # relative difference of a checksum, such as from another number of threads


@dataclass(frozen=True, kw_only=True)
class CustomTask(Task):
    """Data, and a loss, from the user's Python file; read when it is first used.

    Parameters
    ----------
    samples : str
        Reference to a function, see `slt_grok.user_code`, that returns the train set in a form of
        `slt_grok.samples.read`, such as (inputs, targets), or {"train": ..., "test": ...} of such forms. Without
        "test", that is "val", "valid", "validation" or "eval".
    loss_function : str or None, optional
        Reference to a function (outputs, targets) -> losses of the samples, or their mean; cross-entropy by default.
    checksums : tuple of 4 floats or None, optional
        What `compute_checksums` gave at the import; other samples are an error.
    """

    name: ClassVar[str] = "custom"

    # the function decides the split and the labels
    train_fraction: float = field(init=False, default=1.0)
    split_seed: int = field(init=False, default=0)
    label_noise: float = field(init=False, default=0.0)
    noise_seed: int = field(init=False, default=0)

    samples: str
    loss_function: str | None = None
    checksums: tuple[float, float, float, float] | None = None

    def __post_init__(self) -> None:
        check(self, "task")  # the size of the train set is unknown until the data is read

    @cached_property
    def splits(self) -> dict[str, tuple[Tensor, Tensor]]:
        """The samples by split, inputs and targets; an absent test set is empty."""
        content = user_code.call(self.samples)
        if not isinstance(content, Mapping) or "train" not in content:
            content = {"train": content}
        held_out = [name for name in content if name in NAMES_OF_TEST]
        if len(held_out) == 1 and "test" not in content:
            content = {"test" if name in held_out else name: part for name, part in content.items()}
        if not set(content) <= set(PARTS):
            raise self._error(f"expected train and test, got {', '.join(map(str, content))}")
        splits = {name: self._samples(name, part) for name, part in content.items()}
        inputs, targets = splits["train"]
        for what, train, other in zip(("inputs", "targets"), (inputs, targets), splits.get("test", ()), strict=False):
            if train.shape[1:] != other.shape[1:] or train.is_floating_point() != other.is_floating_point():
                raise self._error(f"test: expected {what} as in train, {described(train)}, got {described(other)}")
        splits = {"test": (inputs[:0], targets[:0]), **splits}
        checked = zip(_projections(splits), self.checksums, strict=True) if self.checksums else ()
        if not all(abs(number - before) <= ROUNDING * norm for (number, norm), before in checked):
            raise self._error(
                "returns other samples than at the import; make it return the same in every call, restore its files, "
                "or import the checkpoints again"
            )
        return splits

    def compute_checksums(self) -> list[float]:
        """Compute one number for each of train inputs, train targets, test inputs and test targets."""
        return [number for number, _ in _projections(self.splits)]

    def _samples(self, name: str, part: Any) -> tuple[Tensor, Tensor]:
        try:
            inputs, targets = read(part)
        except SltGrokError as error:
            raise self._error(f"{name}: {str(error).removeprefix('data: ')}") from error
        if not isinstance(inputs, Tensor):
            raise self._error(
                f"{name}: expected one tensor of inputs; several tensors go to slt_grok.llc.estimate in a script"
            )
        return inputs, targets

    def _error(self, message: str) -> user_code.CodeError:
        return user_code.CodeError(f"{user_code.short(self.samples)}: {message}")

    @cached_property
    def inputs(self) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """All inputs, the train set first, (n, ...)."""
        return torch.cat([self.splits[name][0] for name in PARTS])

    @cached_property
    def labels(self) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """All targets, (n, ...)."""
        return torch.cat([self.splits[name][1] for name in PARTS])

    @property
    def train_labels(self) -> Tensor:  # pyright: ignore[reportIncompatibleVariableOverride]
        """All targets, as `labels`: there is no label noise."""
        return self.labels

    @property
    def classes(self) -> int:
        """Number of classes; 0 for targets that are not integers."""
        return 0 if self.labels.is_floating_point() else int(self.labels.max()) + 1

    @property
    def tokens(self) -> int:
        """Number of distinct tokens; 0 for inputs that are not integers."""
        return 0 if self.inputs.is_floating_point() else int(self.inputs.max()) + 1

    @property
    def order(self) -> Tensor:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The samples in their order, int64 (n,)."""
        return torch.arange(len(self.inputs))

    @property
    def train_size(self) -> int:
        """Number of train samples."""
        return len(self.splits["train"][0])

    @property
    def loss_units(self) -> str:
        """Nats for cross-entropy, unknown for the user's loss."""
        return "nats" if self.loss_function is None else ""

    @property
    def loss(self) -> Callable[[Tensor, Tensor], Tensor] | None:
        """The loss from the user's file."""
        return None if self.loss_function is None else user_code.load(self.loss_function)


def _projections(splits: Mapping[str, tuple[Tensor, Tensor]]) -> list[tuple[float, float]]:
    """Project train and test inputs and targets on a fixed vector each: rounding hardly changes that, other samples do.

    Returns
    -------
    list of (float, float)
        The number for each tensor, and the tensor's norm, by which a change is to be judged.
    """
    tensors = [tensor.double().nan_to_num().flatten() for name in PARTS for tensor in splits[name]]
    return [((t @ torch.arange(len(t), dtype=t.dtype).cos()).item(), t.norm().item()) for t in tensors]

"""A checkpoint from elsewhere: its content, and checks of its tensors against an expected layout.

A layout maps each tensor's name to its axes in words, such as {"embed.W_E": "d_model vocabulary"}. The size of an axis
is decided by the majority of tensors, so that an error names the tensor of the wrong shape rather than another one.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from slt_grok.errors import SltGrokError
from slt_grok.models.model import ACTIVATIONS
from slt_grok.store.files import Settings
from slt_grok.store.importers.folders import stem
from slt_grok.store.importers.steps import LARGEST, choices


@dataclass(frozen=True)
class SourceFile:
    """One checkpoint of a file or folder, read without executing code from it.

    Parameters
    ----------
    path : Path
        The file or folder; several checkpoints may come from one.
    state : mapping of str to Tensor
        The network's tensors, without the prefixes that wrappers put before all names.
    extras : mapping, optional
        What else the file holds: config, losses, split.
    step : int or None, optional
        The training step; None if neither the file nor its name states it.
    notes : list of str, optional
        Sentences on what was ignored, stripped or assumed in reading.
    prefix : str, optional
        The prefix that was stripped from the names.
    """

    path: Path
    state: Mapping[str, Tensor]
    extras: Mapping[str, Any] = field(default_factory=dict)
    step: int | None = None
    notes: list[str] = field(default_factory=list)
    prefix: str = ""

    def error(self, message: str) -> SltGrokError:
        """Create an error that names the file."""
        return SltGrokError(f"{self.path}: {message}")

    def without_step(self, alone: bool) -> str:
        """Note that a checkpoint without a step is stored as step 0.

        Raises
        ------
        SltGrokError
            It is not alone, so that it needs a step.
        """
        known = choices(stem(self.path), self.extras)
        how = f"name it by --step-from, here one of {', '.join(known)}" if known else "save it as an entry step"
        if not alone:
            raise self.error(f"expected its training step in the file or as the only number in its name; {how}")
        return f"Neither the file nor its name states the training step: it is stored as step 0; {how}."

    @property
    def epoch(self) -> int | None:
        """The entry `epoch`, which is the step of a code that trains on the full batch."""
        return whole(self.path, "epoch", self.extras["epoch"]) if "epoch" in self.extras else None

    def table(self, key: str) -> Mapping[str, Any]:
        """Get a table of settings from the extras; empty if there is none."""
        table = {} if self.extras.get(key) is None else self.extras[key]
        table = vars(table) if isinstance(table, Settings) else table
        if not isinstance(table, Mapping):
            raise self.error(f"expected {key} to be a table of settings, got {type(table).__name__}")
        return table

    def number(self, name: str, value: Any) -> float:
        """Convert a value, possibly stored as a tensor, to a number."""
        return number(self.path, name, value)

    def sizes(
        self,
        state: Mapping[str, Tensor],
        layout: Mapping[str, str],
        ignored: Iterable[str] = (),
        known: Mapping[str, int] | None = None,
    ) -> dict[str, int]:
        """Check a state dict against a layout and return the size of each axis.

        Parameters
        ----------
        state : mapping of str to Tensor
            The tensors by name.
        layout : mapping of str to str
            Name -> its axes in words; `a*b` is an axis with that many entries, `2*a` twice as many.
        ignored : iterable of str, optional
            Names that may be present but are not weights.
        known : mapping of str to int, optional
            Sizes of some axes from a config; they break a tie between two tensors that disagree.

        Raises
        ------
        SltGrokError
            A tensor is missing, unknown, of the wrong shape or not finite; the message names it.
        """
        for name in layout:
            if name not in state:
                raise self.error(f"expected a tensor {name}, but it is missing")
        unknown = sorted(set(state) - set(layout) - set(ignored))
        if unknown:
            first_layer = [name for name in layout if not re.match(r"blocks\.[1-9]", name)]
            raise self.error(f"expected only the tensors {', '.join(first_layer)}, but it also has {unknown[0]}")
        votes = {axis: Counter([size]) for axis, size in (known or {}).items()}
        for name, words in layout.items():
            tensor, axes = state[name], words.split()
            if tensor.ndim != len(axes):
                described, shape = f"{len(axes)} dimensions ({', '.join(axes)})", tuple(tensor.shape)
                raise self.error(f"expected {name} with {described}, got shape {shape}")
            if not tensor.is_floating_point() or not tensor.numel():
                raise self.error(
                    f"expected {name} to hold real numbers, got {tensor.dtype} of shape {tuple(tensor.shape)}"
                )
            if not torch.isfinite(tensor.float()).all():
                raise self.error(f"expected finite weights, but {name} holds NaN or infinity")
            for axis, size in zip(axes, tensor.shape, strict=True):
                if axis.isidentifier():
                    votes.setdefault(axis, Counter())[size] += 1
        sizes = {axis: count.most_common(1)[0][0] for axis, count in votes.items()}
        for name, words in layout.items():
            axes, shape = words.split(), tuple(state[name].shape)
            factors = ([int(x) if x.isdigit() else sizes[x] for x in axis.split("*")] for axis in axes)
            expected = tuple(map(math.prod, factors))
            if shape != expected:
                raise self.error(f"expected {name} of shape {expected} ({', '.join(axes)}), got {shape}")
        return sizes


def number(path: Path, name: str, value: Any) -> float:
    """Convert an entry of a file, possibly stored as a tensor, to a number.

    Raises
    ------
    SltGrokError
        It is something else.
    """
    try:
        return float(value.detach() if isinstance(value, Tensor) else value)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise SltGrokError(f"{path}: expected {name} to be a number, got {type(value).__name__}") from error


def whole(path: Path, name: str, value: Any) -> int:
    """Convert an entry of a file, such as a training step, to a whole number of at least 0.

    Raises
    ------
    SltGrokError
        It is not a whole number of at least 0, or too large to be exact.
    """
    found = number(path, name, value)
    if isinstance(value, bool) or not found.is_integer() or not 0 <= found <= LARGEST:
        raise SltGrokError(f"{path}: expected {name} to be a whole number of at least 0, got {found:g}")
    return int(found)


def known_activation(path: Path, name: Any) -> str:
    """Translate the name of an activation function to this package's.

    Raises
    ------
    SltGrokError
        None of this package's models has it.
    """
    if str(name).lower() not in ACTIVATIONS:
        raise SltGrokError(f"{path}: expected the activation to be one of {list(ACTIVATIONS)}, got {name!r}")
    return str(name).lower()

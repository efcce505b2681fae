"""Published files: their content, and checks of their tensors against an expected layout.

A layout maps each tensor's name to its axes in words, such as {"embed.W_E": "d_model vocabulary"}. The size of an axis
is decided by the majority of tensors, so that an error names the tensor of the wrong shape rather than another one.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from slt_grok.errors import SltGrokError
from slt_grok.models.model import ACTIVATIONS
from slt_grok.store.files import read_tensors, read_torch

HOLDERS = ("model", "state_dict", "model_state_dict")  # keys under which a file may hold its state dict


@dataclass(frozen=True)
class SourceFile:
    """The content of a file, read without executing code from it.

    Parameters
    ----------
    path : Path
        The file.
    content : object
        The content as read.
    """

    path: Path
    content: Any

    @classmethod
    def read(cls, path: Path) -> "SourceFile":
        """Read a file written by `torch.save`, or a safetensors file."""
        return cls(path, read_tensors(path)[0] if path.suffix == ".safetensors" else read_torch(path))

    def error(self, message: str) -> SltGrokError:
        """Create an error that names the file."""
        return SltGrokError(f"{self.path}: {message}")

    @cached_property
    def state(self) -> Mapping[str, Any]:
        """The state dict: the content itself or one of its values; empty if there is none."""
        if not isinstance(self.content, Mapping):
            return {}
        inner = next((self.content[key] for key in HOLDERS if key in self.content), self.content)
        return inner if isinstance(inner, Mapping) else {}

    @cached_property
    def extras(self) -> Mapping[str, Any]:
        """All entries of a file that holds its state dict under a key; empty for a bare state dict."""
        content = self.content
        return content if isinstance(content, Mapping) and any(key in content for key in HOLDERS) else {}

    def table(self, key: str) -> Mapping[str, Any]:
        """Get a table of settings from the extras; empty if there is none."""
        table = self.extras.get(key) or {}
        if not isinstance(table, Mapping):
            raise self.error(f"expected {key} to be a table of settings, got {type(table).__name__}")
        return table

    def step(self, key: str, default: int | None = None) -> int | None:
        """Get the training step from an entry of the extras, or from the number at the end of the file's name."""
        in_name = re.search(r"\d+$", self.path.stem)
        step = self.extras.get(key, int(in_name[0]) if in_name else default)
        return None if step is None else int(self.number(key, step))

    def number(self, name: str, value: Any) -> float:
        """Convert a value, possibly stored as a tensor, to a number."""
        try:
            return float(value.detach() if isinstance(value, Tensor) else value)
        except (TypeError, ValueError, RuntimeError) as error:
            raise self.error(f"expected {name} to be a number") from error

    def tensors(self) -> dict[str, Tensor]:
        """Get the state dict, checked to hold only named tensors."""
        if not self.state or not all(isinstance(v, Tensor) for v in self.state.values()):
            raise self.error("expected a state dict of named tensors")
        return dict(self.state)

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
            if not torch.isfinite(tensor).all():
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


def known_activation(path: Path, name: Any) -> str:
    """Translate the name of an activation function to this package's.

    Raises
    ------
    SltGrokError
        None of our models has it.
    """
    if str(name).lower() not in ACTIVATIONS:
        raise SltGrokError(f"{path}: expected the activation to be one of {list(ACTIVATIONS)}, got {name!r}")
    return str(name).lower()

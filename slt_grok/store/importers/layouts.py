"""The tensors of a published file against the layout that the file should have.

A layout gives each tensor's name its axes in words, such as {"embed.W_E": "d_model vocabulary"}. The size of an axis is
what most tensors say it is, so that a tensor of the wrong shape is named itself, and not one that was compared with it.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from slt_grok.errors import SltGrokError

HOLDERS = ("model", "state_dict", "model_state_dict")  # under which a file may hold the state dict beside other things


def state_in(content: Any) -> Mapping[str, Any]:
    """Return the state dict in a file's content: the content itself or one of its values; empty where there is none."""
    if not isinstance(content, Mapping):
        return {}
    inner = next((content[key] for key in HOLDERS if key in content), content)
    return inner if isinstance(inner, Mapping) else {}


def beside_state(content: Any) -> Mapping[str, Any]:
    """Return what a file holds beside its state dict; empty where it is a state dict alone."""
    return content if isinstance(content, Mapping) and any(key in content for key in HOLDERS) else {}


def tensors_of(path: Path, content: Any) -> dict[str, Tensor]:
    """Return the state dict in a file's content.

    Raises
    ------
    SltGrokError
        It is something else.
    """
    state = state_in(content)
    if not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise SltGrokError(f"{path}: expected a state dict of named tensors")
    return dict(state)


def sizes(
    path: Path,
    state: Mapping[str, Tensor],
    layout: Mapping[str, str],
    ignored: Iterable[str] = (),
    told: Mapping[str, int] | None = None,
) -> dict[str, int]:
    """Check a state dict against a layout and return the size of each axis.

    Parameters
    ----------
    path : Path
        The file, for the sentences.
    state : Mapping[str, Tensor]
        Name -> tensor.
    layout : Mapping[str, str]
        Name -> its axes in words; `a*b` is an axis of that many entries, `2*a` twice as many.
    ignored : Iterable[str], optional
        Names that may be there and are no weights.
    told : Mapping[str, int] or None, optional
        What a config says of some axes; it decides where two tensors differ and no third one does.

    Raises
    ------
    SltGrokError
        A tensor is missing, unknown, of another shape or not finite; the sentence names it.
    """
    for name in layout:
        if name not in state:
            raise SltGrokError(f"{path}: expected a tensor {name}, it is missing")
    unknown = sorted(set(state) - set(layout) - set(ignored))
    if unknown:
        raise SltGrokError(f"{path}: expected only the tensors {_summary(layout)}, it also has {unknown[0]}")
    votes = {axis: Counter([size]) for axis, size in (told or {}).items()}
    for name, words in layout.items():
        tensor, axes = state[name], words.split()
        if tensor.ndim != len(axes):
            raise SltGrokError(
                f"{path}: expected {name} of {len(axes)} dimensions ({', '.join(axes)}), "
                f"got shape {tuple(tensor.shape)}"
            )
        if not torch.isfinite(tensor).all():
            raise SltGrokError(f"{path}: expected finite weights, {name} holds NaN or infinity")
        for axis, size in zip(axes, tensor.shape, strict=True):
            if axis.isidentifier():
                votes.setdefault(axis, Counter())[size] += 1
    found = {axis: count.most_common(1)[0][0] for axis, count in votes.items()}
    for name, words in layout.items():
        expected = tuple(
            math.prod(int(factor) if factor.isdigit() else found[factor] for factor in axis.split("*"))
            for axis in words.split()
        )
        if state[name].shape != expected:
            raise SltGrokError(
                f"{path}: expected {name} of shape {expected} ({', '.join(words.split())}), "
                f"got {tuple(state[name].shape)}"
            )
    return found


def _summary(layout: Mapping[str, str]) -> str:
    """Return the names of a layout, those of all layers of a transformer but the first left out."""
    return ", ".join(name for name in layout if not re.match(r"blocks\.[1-9]", name))


def contiguous(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return copies that are no views of a file's tensors."""
    return {name: t.detach().clone(memory_format=torch.contiguous_format) for name, t in tensors.items()}

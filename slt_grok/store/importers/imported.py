"""What every importer gives, and what the two public one-layer transformers' layouts have in common."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from slt_grok import models
from slt_grok.errors import SltGrokError
from slt_grok.models import ModularNetwork
from slt_grok.store.run_directory import check_parameters
from slt_grok.tasks import ModularTask

# Our name -> the published name; the layouts differ, see `transformer_parameters`.
NAMES = {
    "W_E": "embed.W_E",
    "W_pos": "pos_embed.W_pos",
    "W_Q": "blocks.0.attn.W_Q",
    "W_K": "blocks.0.attn.W_K",
    "W_V": "blocks.0.attn.W_V",
    "W_O": "blocks.0.attn.W_O",
    "W_in": "blocks.0.mlp.W_in",
    "b_in": "blocks.0.mlp.b_in",
    "W_out": "blocks.0.mlp.W_out",
    "b_out": "blocks.0.mlp.b_out",
    "W_U": "unembed.W_U",
}
NOT_PARAMETERS = {"blocks.0.attn.mask"}  # a constant buffer
ACTIVATIONS = {"relu": "relu", "gelu": "gelu"}


@dataclass(frozen=True)
class Imported:
    """One network of a published file, in our names and layouts.

    Parameters
    ----------
    path, format : the file and the name of its layout.
    config : `name`, `task` (settings of `ModularTask`), `model` (`kind` and settings for `models.build`, without the
        modulus).
    step : the training step of the network, None where neither the file nor its name says it.
    parameters : name -> tensor, as the model of `config` has them.
    curves : `train_loss`, `test_loss` -> (steps, values), where the file holds them.
    settings : how it was trained, as far as the file says.
    task_known : whether operation and split come from the file; otherwise addition with all pairs is assumed.
    notes : sentences on what was found, assumed or contradictory.
    """

    path: Path
    format: str
    config: dict[str, Any]
    step: int | None
    parameters: dict[str, Tensor]
    curves: dict[str, tuple[np.ndarray, np.ndarray]] | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    task_known: bool = True
    notes: list[str] = field(default_factory=list)

    @property
    def task(self) -> ModularTask:
        """The task of `config`."""
        return ModularTask(**self.config["task"])

    @property
    def module(self) -> ModularNetwork:
        """The model of `config`, its weights not set."""
        return models.build(modulus=self.config["task"]["modulus"], **self.config["model"])


def evaluate(module: ModularNetwork, task: ModularTask, parameters: Mapping[str, Tensor]) -> dict[str, float]:
    """Losses (nats) and accuracies on train and test set in float64; NaN for an empty test set."""
    logits = functional_call(module, {k: v.double() for k, v in parameters.items()}, (task.inputs,)).detach()
    losses = cross_entropy(logits, task.labels, reduction="none")
    right = (logits.argmax(-1) == task.labels).double()
    return {
        f"{split}_{name}": values[task.indices(split)].mean().item()
        for split in ("train", "test")
        for name, values in (("loss", losses), ("accuracy", right))
    }


def tensors_of(path: Path, state: Any) -> dict[str, Tensor]:
    """A state dict of tensors.

    Raises
    ------
    SltGrokError : it is something else.
    """
    if not isinstance(state, Mapping) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise SltGrokError(f"{path}: expected a state dict of named tensors")
    return dict(state)


def transformer_parameters(
    path: Path, state: Mapping[str, Tensor], layout: str, activation: str, attention_rate: float
) -> tuple[int, dict[str, Any], dict[str, Tensor]]:
    """Modulus, model settings and parameters of a one-layer transformer in the published layout.

    Published: W_E and W_U (d_model, vocabulary), W_Q, W_K, W_V (head, d_head, d_model), W_O (d_model, head d_head),
    W_in (d_mlp, d_model), W_out (d_model, d_mlp). Of W_U only the p number classes are kept.

    Raises
    ------
    SltGrokError : a tensor is missing, unknown, of another shape or not finite, or there is more than one layer.
    """
    layers = {int(m[1]) for name in state if (m := re.match(r"blocks\.(\d+)\.", name))}
    if layers != {0}:
        raise SltGrokError(
            f"{path}: expected a one-layer transformer, the only supported depth, got {len(layers)} layers"
        )
    for name in NAMES.values():
        if name not in state:
            raise SltGrokError(f"{path}: expected a tensor {name}, it is missing")
    unknown = sorted(set(state) - set(NAMES.values()) - NOT_PARAMETERS)
    if unknown:
        raise SltGrokError(f"{path}: expected only the tensors of a one-layer transformer, it also has {unknown[0]}")
    found = {ours: state[theirs] for ours, theirs in NAMES.items()}
    ranks = {"W_Q": 3, "W_K": 3, "W_V": 3, "b_in": 1, "b_out": 1}
    for name, tensor in found.items():
        if tensor.ndim != ranks.get(name, 2):
            raise SltGrokError(
                f"{path}: expected {NAMES[name]} of {ranks.get(name, 2)} dimensions, got shape {tuple(tensor.shape)}"
            )
        if not torch.isfinite(tensor).all():
            raise SltGrokError(f"{path}: expected finite weights, {NAMES[name]} holds NaN or infinity")
    d_model, vocabulary = found["W_E"].shape
    n_heads, d_head, _ = found["W_Q"].shape
    modulus = vocabulary - (layout == "a_b_equals")
    settings = {
        "kind": "transformer",
        "d_model": d_model,
        "n_heads": n_heads,
        "d_mlp": found["b_in"].shape[0],
        "activation": activation,
        "layout": layout,
        "attention_rate": attention_rate,
    }
    if found["W_O"].shape != (d_model, n_heads * d_head):
        raise SltGrokError(
            f"{path}: expected {NAMES['W_O']} of shape {(d_model, n_heads * d_head)}, got {tuple(found['W_O'].shape)}"
        )
    if found["W_U"].shape != (d_model, vocabulary):
        raise SltGrokError(
            f"{path}: expected {NAMES['W_U']} of shape {(d_model, vocabulary)}, got {tuple(found['W_U'].shape)}"
        )
    for name in ("W_E", "W_Q", "W_K", "W_V", "W_in", "W_out"):
        found[name] = found[name].mT
    found["W_O"] = found["W_O"].T.unflatten(0, (n_heads, d_head))
    found["W_U"] = found["W_U"][:, :modulus]
    parameters = {name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in found.items()}
    expected = {k: v.shape for k, v in models.build(modulus=modulus, **settings).named_parameters()}
    check_parameters(path, parameters, expected)
    return modulus, settings, parameters


def activation_name(path: Path, given: Any) -> str:
    """Our name of an activation function.

    Raises
    ------
    SltGrokError : one that our models do not have.
    """
    if str(given).lower() not in ACTIVATIONS:
        raise SltGrokError(f"{path}: expected the activation to be one of {list(ACTIVATIONS)}, got {given!r}")
    return ACTIVATIONS[str(given).lower()]


def number_in_name(path: Path) -> int | None:
    """The whole number at the end of a file's name, its step; None where there is none."""
    number = re.search(r"\d+$", path.stem)
    return int(number[0]) if number else None


def run_name(text: str) -> str:
    """A text as the name of a run: letters, digits, `_`, `.` and `-`, a letter or digit first."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", text).lstrip("_.-") or "imported"


def agrees(stored: float, computed: float) -> str:
    """Whether a stored loss and the one computed here agree, in words (to 5% or 1e-7, float32's noise)."""
    same = math.isclose(stored, computed, rel_tol=0.05, abs_tol=1e-7)
    return "they agree" if same else "they DISAGREE: the split, the task or the layout may be another one"

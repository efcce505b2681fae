"""State dicts of the TransformerLens library: transformers on [a, b, =] or [a, b] without LayerNorm.

A file is a state dict, or a dict with it under `model` (or `state_dict`) and, where it was saved so, `config` (a table
of the settings), `epoch`, `train_loss`, `test_loss` and `train_indices` (rows of the lexicographic list of pairs). A
config that is an object of the library cannot be read: that would execute code.

Our transformers have biases in the MLP alone. The others are there in every such file; they must be zero, as they are
where training left them out. LayerNorm must not be there.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from slt_grok.errors import SltGrokError
from slt_grok.store.importers.imported import (
    Imported,
    activation_name,
    assumed_task,
    check_stored_losses,
    number,
    number_in_name,
    run_name,
)
from slt_grok.store.importers.layouts import beside_state, state_in, tensors_of
from slt_grok.store.importers.transformers import is_causal, layout_of, parameters_of

NAME = "transformer_lens"
BIASES = re.compile(r"blocks\.\d+\.attn\.b_[QKVO]|unembed\.b_U")
LAYER_NORM = re.compile(r"(blocks\.\d+\.ln\d?|ln_final)\.\w+")


def recognizes(path: Path, content: Any) -> bool:
    """Whether a file's content has this layout: transformer weights, W_O with an axis of heads."""
    return layout_of(state_in(content))[0] == "transformer_lens"


def convert(path: Path, content: Any) -> Imported:
    """Return the network in a file's content.

    Raises
    ------
    SltGrokError
        LayerNorm, biases outside the MLP that are not zero, attention in another direction than ours, or tensors that
        do not make a transformer.
    """
    if not recognizes(path, content):
        raise SltGrokError(f"{path}: expected a TransformerLens state dict on the tokens [a, b, =] or [a, b]")
    beside = beside_state(content)
    config = beside.get("config") or {}
    if not isinstance(config, Mapping):
        raise SltGrokError(f"{path}: expected config to be a table of settings, got {type(config).__name__}")
    state = _without_zero_biases(path, tensors_of(path, content))
    notes = []
    if config.get("normalization_type") is not None:
        raise SltGrokError(f"{path}: expected a network without LayerNorm, got {config['normalization_type']}")
    if "act_fn" not in config:
        notes.append(
            "The file does not say the activation nor whether the residual stream is normalized without weights: "
            "relu and no LayerNorm are assumed."
        )
    activation = activation_name(path, config.get("act_fn", "relu"))
    modulus, model, parameters = parameters_of(path, state, "transformer_lens", activation)
    if "n_layers" in model and is_causal(path, state) != (model["layout"] == "a_b_equals"):
        raise SltGrokError(
            f"{path}: expected causal attention on [a, b, =] or unmasked attention on [a, b] in a network of "
            f"{model['n_layers']} layers, got {model['layout']} with the other one"
        )
    step = beside.get("epoch", number_in_name(path))
    imported = Imported(
        path=path,
        format=NAME,
        config={"name": run_name(path.stem), "task": assumed_task(path, modulus, beside, notes), "model": model},
        step=None if step is None else int(number(path, "epoch", step)),
        parameters=parameters,
        task_known="train_indices" in beside,
        notes=notes,
    )
    check_stored_losses(imported, beside)
    return imported


def _without_zero_biases(path: Path, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    for name, tensor in state.items():
        if LAYER_NORM.fullmatch(name):
            raise SltGrokError(f"{path}: expected a network without LayerNorm, it has {name}")
        if BIASES.fullmatch(name) and tensor.any():
            raise SltGrokError(
                f"{path}: expected {name} to be zero, since our transformers have biases in the MLP alone"
            )
    return {name: tensor for name, tensor in state.items() if not BIASES.fullmatch(name)}

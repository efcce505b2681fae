"""State dicts of the TransformerLens library: transformers on [a, b, =] or [a, b] without LayerNorm.

A file is a state dict, or a dict that holds it under `model` (or `state_dict`) and may also have `config` (a table of
settings), `epoch`, `train_loss`, `test_loss` and `train_indices` (rows of the lexicographic list of pairs). A config
that is an object of the library cannot be read, since that would execute code.

Our transformers have biases only in the MLP. Such files always contain the others; they must be zero, as they are if
training used none. LayerNorm is not supported.
"""

import re

from torch import Tensor

from slt_grok.store.importers.curves import curves_in
from slt_grok.store.importers.imported import Imported
from slt_grok.store.importers.importer import Importer, full_batch_step, run_name, task_in
from slt_grok.store.importers.source import SourceFile, known_activation
from slt_grok.store.importers.transformers import is_causal, layout_of, transformer_in

BIASES = re.compile(r"blocks\.\d+\.attn\.b_[QKVO]|unembed\.b_U")
LAYER_NORM = re.compile(r"(blocks\.\d+\.ln\d?|ln_final)\.\w+")


class TransformerLens(Importer):
    """State dicts of TransformerLens without LayerNorm."""

    name = "transformer_lens"
    layout = "a TransformerLens state dict on the tokens [a, b, =] or [a, b]"

    def recognizes(self, file: SourceFile) -> bool:
        """Check for transformer weights with a head axis in W_O."""
        return layout_of(file.state)[0] == "transformer_lens"

    def convert(self, file: SourceFile) -> Imported:
        """Convert the network; LayerNorm, biases outside the MLP or attention in the other direction are errors."""
        config, state, notes = file.table("config"), _without_zero_biases(file), list[str]()
        if config.get("normalization_type") is not None:
            raise file.error(f"expected a network without LayerNorm, got {config['normalization_type']}")
        if "act_fn" not in config:
            notes.append(
                "The file states neither the activation nor whether the residual stream is normalized without weights: "
                "relu and no LayerNorm are assumed."
            )
        activation = known_activation(file.path, config.get("act_fn", "relu"))
        p, model, parameters = transformer_in(file, state, "transformer_lens", activation)
        if "n_layers" in model and is_causal(file, state) != (model["layout"] == "a_b_equals"):
            raise file.error(
                f"expected causal attention on [a, b, =] or unmasked attention on [a, b] in a network of "
                f"{model['n_layers']} layers, got {model['layout']} with the other one"
            )
        task, assumed = task_in(file, p, notes)
        return Imported(
            path=file.path,
            format=self.name,
            config={"name": run_name(file.path.stem), "task": task, "model": model},
            step=full_batch_step(file),
            parameters=parameters,
            curves=curves_in(file, notes),
            assumed=assumed,
            notes=notes,
        )


def _without_zero_biases(file: SourceFile) -> dict[str, Tensor]:
    state = dict(file.state)
    for name, tensor in state.items():
        if LAYER_NORM.fullmatch(name):
            raise file.error(f"expected a network without LayerNorm, but it has {name}")
        if BIASES.fullmatch(name) and tensor.any():
            raise file.error(f"expected {name} to be zero, since our transformers have biases only in the MLP")
    return {name: tensor for name, tensor in state.items() if not BIASES.fullmatch(name)}

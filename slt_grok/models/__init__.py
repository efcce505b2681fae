"""By what it is learned: plain `torch.nn.Module`s from pairs (a, b) to the logits of the answer.

Every model takes int64 pairs of shape (n, 2) and returns logits of shape (n, p). Its forward sends each named
site through `at(name, value)`, so that one function can record or replace what is there. The sites are
`embedding` (the table, (vocabulary, d)), `attention_pattern` (n, head, key), `neurons_pre` and `neurons_post`
(n, d_mlp) and `logits` (n, p); a model without attention has no `attention_pattern`. A model with several hidden
layers says which one `neurons_pre` and `neurons_post` are, and names the sites of the others with their number.
"""

from typing import Any

from slt_grok.errors import SltGrokError
from slt_grok.models.adapter import Adapter
from slt_grok.models.deep_mlp import DeepMLP
from slt_grok.models.deep_transformer import DeepTransformer
from slt_grok.models.mlp import EmbeddingMLP
from slt_grok.models.quadratic import QuadraticNetwork
from slt_grok.models.sites import ModularNetwork, record
from slt_grok.models.transformer import OneLayerTransformer

KINDS: dict[str, type[ModularNetwork]] = {
    "transformer": OneLayerTransformer,
    "deep_transformer": DeepTransformer,
    "mlp": EmbeddingMLP,
    "deep_mlp": DeepMLP,
    "quadratic": QuadraticNetwork,
}


def build(kind: str, modulus: int, **settings: Any) -> ModularNetwork:
    """Return a model from its settings, as a configuration or a run's manifest gives them.

    Raises
    ------
    SltGrokError
        An unknown kind, or settings that the kind does not take.
    """
    if kind not in KINDS:
        raise SltGrokError(f"model.kind: expected one of {list(KINDS)}, got {kind!r}")
    try:
        return KINDS[kind](modulus, **settings)
    except TypeError as error:
        raise SltGrokError(f"model: settings that a {kind} does not take ({error})") from error


__all__ = [
    "KINDS",
    "Adapter",
    "DeepMLP",
    "DeepTransformer",
    "EmbeddingMLP",
    "ModularNetwork",
    "OneLayerTransformer",
    "QuadraticNetwork",
    "build",
    "record",
]

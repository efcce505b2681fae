"""Models of a task: modules from tokens to logits that declare their parts, see `slt_grok.models.model`."""

from typing import Any

from pydantic import TypeAdapter, ValidationError

from slt_grok.errors import SltGrokError
from slt_grok.models.adapter import Adapter
from slt_grok.models.deep_mlp import DeepMLP
from slt_grok.models.deep_transformer import DeepTransformer
from slt_grok.models.mlp import EmbeddingMLP
from slt_grok.models.model import Model, record
from slt_grok.models.network import Network
from slt_grok.models.quadratic import QuadraticNetwork
from slt_grok.models.transformer import OneLayerTransformer
from slt_grok.settings import Settings, section, sentence

SECTION = TypeAdapter(section(Model, "kind", deferred=True))


def build(kind: str, tokens: int, classes: int | None = None, **settings: Any) -> Model:
    """Build a model of a registered kind from its settings.

    Raises
    ------
    SltGrokError
        The kind is unknown, or does not accept the settings.
    """
    try:
        model = SECTION.validate_python({"kind": kind, **settings})
    except ValidationError as error:
        raise SltGrokError(f"model.{sentence(error, Settings)}") from error
    return model.construct(tokens=tokens, classes=classes)


__all__ = [
    "Adapter",
    "DeepMLP",
    "DeepTransformer",
    "EmbeddingMLP",
    "Model",
    "Network",
    "OneLayerTransformer",
    "QuadraticNetwork",
    "build",
    "record",
]

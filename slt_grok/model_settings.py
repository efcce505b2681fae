"""What a configuration says of a network: the section `model`, by its `kind`."""

from typing import Annotated, Literal

from pydantic import Field

from slt_grok.training.settings import Positive, Settings

Activation = Literal["relu", "gelu", "quadratic"]


class TransformerSettings(Settings):
    """See `slt_grok.models.OneLayerTransformer`."""

    kind: Literal["transformer"]
    d_model: Positive = 128
    n_heads: Positive = 4
    d_mlp: Positive = 512
    activation: Activation = "relu"
    layout: Literal["a_b_equals", "a_b"] = "a_b_equals"
    attention_rate: float = Field(default=1.0, ge=0, le=1)
    d_head: Positive | None = Field(default=None, description="d_model / n_heads where left out")


class DeepTransformerSettings(Settings):
    """See `slt_grok.models.DeepTransformer`."""

    kind: Literal["deep_transformer"]
    n_layers: Positive = 2
    d_model: Positive = 128
    n_heads: Positive = 4
    d_mlp: Positive = 512
    activation: Activation = "relu"
    layout: Literal["a_b_equals", "a_b"] = "a_b"
    attention_rate: float = Field(default=1.0, ge=0, le=1)
    d_head: Positive | None = Field(default=None, description="d_model / n_heads where left out")


class MLPSettings(Settings):
    """See `slt_grok.models.EmbeddingMLP`."""

    kind: Literal["mlp"]
    d_embed: Positive = 12
    d_mlp: Positive = 48
    combine: Literal["sum", "concatenation"] = "concatenation"
    activation: Activation = "gelu"
    output_bias: bool = False
    separate_embeddings: bool = False
    bias_per_token: bool = False


class DeepMLPSettings(Settings):
    """See `slt_grok.models.DeepMLP`."""

    kind: Literal["deep_mlp"]
    d_embed: Positive = 256
    d_mlp: Positive = 256
    d_second: Positive | None = Field(default=None, description="d_mlp where left out")
    activation: Activation = "relu"
    bias_per_token: bool = False


class QuadraticSettings(Settings):
    """See `slt_grok.models.QuadraticNetwork`."""

    kind: Literal["quadratic"]
    width: Positive = 256
    activation: Activation = "quadratic"


ModelSettings = Annotated[
    TransformerSettings | DeepTransformerSettings | MLPSettings | DeepMLPSettings | QuadraticSettings,
    Field(discriminator="kind"),
]

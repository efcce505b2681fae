"""The one-layer transformer of the grokking papers, computed at the answer position only.

Layout `[a, b, =]` with causal attention is Nanda et al. 2301.05217, section 3; `[a, b]` with unmasked attention and
attention rate alpha is Zhong et al. 2306.17844, section 2. There is no LayerNorm, positions are learned, the
unembedding is untied, and only the MLP has biases.

The answer is read at the last position, so queries, the MLP and logits are needed only there, and keys and values
depend on one token each: they are computed once for each of the p tokens and looked up for the n pairs.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import embedding as look_up

from slt_grok.errors import SltGrokError
from slt_grok.models import transformer_gradient, transformer_grid
from slt_grok.models.model import ACTIVATIONS, Activation, At, HeadMaps, Model, add_parameters, passthrough
from slt_grok.models.rescaling import Rescaling, rescalable_neurons
from slt_grok.settings import Positive

Layout = Literal["a_b_equals", "a_b"]
Fraction = Annotated[float, Field(ge=0, le=1)]

HEAD_PARAMETERS = ("W_Q", "W_K", "W_V", "W_O")


def parameter_shapes(
    tokens: int, classes: int, layout: Layout, d_model: int, n_heads: int, d_mlp: int, d_head: int | None
) -> dict[str, tuple[int, ...]]:
    """Compute the shape of each parameter of a network with one block.

    Raises
    ------
    SltGrokError
        The width d_head is None and d_model is not a multiple of n_heads.
    """
    if d_head is None and d_model % n_heads:
        raise SltGrokError(f"model.d_model: expected a multiple of n_heads = {n_heads}, got {d_model}; or give d_head")
    d_head = d_head or d_model // n_heads
    context, vocabulary = (3, tokens + 1) if layout == "a_b_equals" else (2, tokens)
    return {
        "W_E": (vocabulary, d_model),
        "W_pos": (context, d_model),
        **dict.fromkeys(("W_Q", "W_K", "W_V"), (n_heads, d_model, d_head)),
        "W_O": (n_heads, d_head, d_model),
        "W_in": (d_model, d_mlp),
        "b_in": (d_mlp,),
        "W_out": (d_mlp, d_model),
        "b_out": (d_model,),
        "W_U": (d_model, classes),
    }


class Transformer(Model):
    """The parts that transformers of any depth share: embedding, positions and unembedding."""

    sites = ("embedding", "attention_pattern", "neurons_pre", "neurons_post", "logits")
    positions = "W_pos"
    embeddings: tuple[str, ...] = ("W_E",)

    W_pos: nn.Parameter
    W_U: nn.Parameter

    def initialize(self, generator: torch.Generator) -> None:
        """Draw weights from N(0, 1/d_model), W_U from N(0, 1/vocabulary), with zero biases (2301.05217)."""
        vocabulary, d_model = sum(len(getattr(self, name)) for name in self.embeddings), self.W_pos.shape[1]
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if name.rpartition(".")[2].startswith("b_"):
                    parameter.zero_()
                else:
                    scale = (vocabulary if name == "W_U" else d_model) ** -0.5
                    parameter.normal_(0, scale, generator=generator)

    def token_roles(self) -> Mapping[str, tuple[str, int]]:
        """Declare the role of each axis: input tokens are rows of the embeddings, answers are columns of W_U."""
        sides = ("input",) if len(self.embeddings) == 1 else ("left", "right")
        inputs = {side: (name, -2) for side, name in zip(sides, self.embeddings, strict=True)}
        return {**inputs, "output": ("W_U", -1)}

    def token_embedding(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """Get W_E without the row of the '=' token, (..., p, d_model); separate ones next to each other."""
        return torch.cat([parameters[name][..., : self.tokens, :] for name in self.embeddings], -1)


class OneLayerTransformer(Transformer):
    """One block of attention and MLP between an embedding and an unembedding.

    With separate embeddings, a is a row of W_E_left and b one of W_E_right, and the site `embedding` is the table
    [W_E_left, W_E_right] of shape (p, 2 d_model).

    Parameters
    ----------
    tokens : int
        Number of tokens, p.
    d_model, n_heads, d_mlp : int, optional
        Widths.
    activation : str, optional
        Activation function.
    layout : {"a_b_equals", "a_b"}, optional
        `a_b_equals` for the tokens [a, b, =], causal; `a_b` for [a, b], unmasked.
    attention_rate : float, optional
        Rate alpha in M' = alpha M + (1 - alpha) J with J all ones, rows not renormalized (2306.17844); 1 is ordinary
        attention.
    d_head : int or None, optional
        Width of a head; d_model / n_heads by default.
    separate_embeddings : bool, optional
        Whether the two tokens have separate embeddings, in the layout `a_b`.

    Raises
    ------
    SltGrokError
        The width d_model is not a multiple of n_heads and no d_head is given, the layout or activation is unknown, or
        separate embeddings are combined with `a_b_equals`.
    """

    name: ClassVar[str] = "transformer"
    token_sums = True

    W_Q: nn.Parameter
    W_K: nn.Parameter
    W_V: nn.Parameter
    W_O: nn.Parameter
    W_in: nn.Parameter
    b_in: nn.Parameter
    W_out: nn.Parameter
    b_out: nn.Parameter

    def __init__(
        self,
        tokens: int,
        d_model: Positive = 128,
        n_heads: Positive = 4,
        d_mlp: Positive = 512,
        activation: Activation = "relu",
        layout: Layout = "a_b_equals",
        attention_rate: Fraction = 1.0,
        d_head: Positive | None = None,
        separate_embeddings: bool = False,
        classes: int | None = None,
    ) -> None:
        super().__init__(tokens, classes)
        if separate_embeddings and layout != "a_b":
            raise SltGrokError("model.separate_embeddings: expected layout a_b, which has no token for '='")
        self.activation = ACTIVATIONS[activation]
        self.attention_rate = attention_rate
        self.layout = layout
        shapes = parameter_shapes(tokens, self.classes, layout, d_model, n_heads, d_mlp, d_head)
        if separate_embeddings:
            self.embeddings = ("W_E_left", "W_E_right")
            shapes = dict.fromkeys(self.embeddings, shapes.pop("W_E")) | shapes
        add_parameters(self, shapes)

    def forward(self, pairs: Tensor, at: At = passthrough) -> Tensor:
        """Compute the logits (n, p) at the answer position; see the package docstring for the sites."""
        a, b = pairs.unbind(-1)
        p, (n_heads, d_model, d_head) = self.tokens, self.W_Q.shape
        table = at("embedding", torch.cat([getattr(self, name) for name in self.embeddings], -1))
        sides = table.chunk(len(self.embeddings), -1)
        # one row per token at each position, before the lookup by pair
        streams = [sides[0][:p] + self.W_pos[0], sides[-1][:p] + self.W_pos[1]]
        if self.layout == "a_b_equals":
            streams.append(table[p:] + self.W_pos[2])
        tokens = [a, b, torch.zeros_like(a)][: len(streams)]

        def per_pair(token: Tensor, rows: Tensor) -> Tensor:
            return rows if len(rows) == 1 else look_up(token, rows)  # the '=' token is the same for all pairs

        def heads(weights: Tensor, stream: Tensor) -> Tensor:
            return (stream @ weights.transpose(0, 1).reshape(d_model, -1)).unflatten(-1, (n_heads, d_head))

        query = heads(self.W_Q, streams[-1])  # (tokens at the last position, head, d_head)
        scores = []
        for stream, token in zip(streams, tokens, strict=True):
            key = heads(self.W_K, stream)
            table_of_scores = torch.einsum("qhd,khd->qkh", query, key) / d_head**0.5
            row = tokens[-1] * key.shape[0] + token
            if stream is streams[-1]:  # the last position attends to itself: query and key are the same token
                table_of_scores, row = table_of_scores.diagonal().movedim(-1, 0), token
            scores.append(per_pair(row, table_of_scores.reshape(-1, n_heads)))
        pattern = torch.stack(torch.broadcast_tensors(*scores), -1).softmax(-1)  # (n, head, key)
        pattern = at("attention_pattern", self.attention_rate * pattern + (1 - self.attention_rate))

        mixed = torch.zeros((), dtype=table.dtype, device=table.device)
        for position, (stream, token) in enumerate(zip(streams, tokens, strict=True)):
            value = per_pair(token, heads(self.W_V, stream).flatten(-2)).unflatten(-1, (n_heads, d_head))
            mixed = mixed + pattern[..., position, None] * value
        residual = per_pair(tokens[-1], streams[-1]) + mixed.flatten(-2) @ self.W_O.flatten(0, 1)
        pre = at("neurons_pre", residual @ self.W_in + self.b_in)
        post = at("neurons_post", self.activation(pre))
        return at("logits", (residual + post @ self.W_out + self.b_out) @ self.W_U)

    def declares(self, what: str) -> bool:
        """See `Model`; the fast paths and the maps of the heads are for one embedding."""
        of_one = what in ("stacked_gradients", "stacked_grid", "head_maps")
        return super().declares(what) and not (of_one and len(self.embeddings) > 1)

    def stacked_gradients(
        self, stack: Mapping[str, Tensor], pairs: Tensor, labels: Tensor, own_data: bool, wanted: Collection[str]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """See `Model` and `slt_grok.models.transformer_gradient`."""
        return transformer_gradient.stacked_gradients(
            stack, pairs, labels, own_data, wanted, self.activation, self.attention_rate
        )

    def stacked_grid(self, stack: Mapping[str, Tensor], names: Collection[str]) -> dict[str, Tensor]:
        """See `Model` and `slt_grok.models.transformer_grid`."""
        return transformer_grid.stacked_grid(stack, names, self.activation, self.attention_rate)

    def neuron_logit_map(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """Compute W_L = W_out W_U, (..., d_mlp, p) (2301.05217, section 4.2)."""
        return parameters["W_out"] @ parameters["W_U"]

    def units(self) -> dict[str, dict[str, int]]:
        """Declare the residual stream, heads and neurons."""
        return stream_units([""], self.embeddings) | block_units("", "")

    def rescalable(self) -> list[Rescaling]:
        """Declare heads and neurons."""
        return block_rescalings("", self.activation)

    def head_parameters(self) -> Sequence[str]:
        """List the four maps of the heads."""
        return HEAD_PARAMETERS

    def head_maps(self, parameters: Mapping[str, Tensor]) -> HeadMaps:
        """Get W_V, W_O and W_in."""
        return HeadMaps(parameters["W_V"], parameters["W_O"], parameters["W_in"])


def stream_units(prefixes: Sequence[str], embeddings: Sequence[str] = ("W_E",)) -> dict[str, dict[str, int]]:
    """Declare the units of the residual stream through blocks whose parameters have these prefixes."""
    axes = {**dict.fromkeys(embeddings, -1), "W_pos": -1, "W_U": -2}
    for prefix in prefixes:
        axes |= {prefix + name: -2 for name in ("W_Q", "W_K", "W_V", "W_in")}
        axes |= {prefix + name: -1 for name in ("W_O", "W_out", "b_out")}
    return {"residual_stream": axes}


def block_units(prefix: str, suffix: str) -> dict[str, dict[str, int]]:
    """Declare the heads and neurons of a block."""
    return {
        f"heads{suffix}": {prefix + name: -3 for name in HEAD_PARAMETERS},
        f"neurons_post{suffix}": {f"{prefix}W_in": -1, f"{prefix}b_in": -1, f"{prefix}W_out": -2},
    }


def block_rescalings(prefix: str, activation: Callable[[Tensor], Tensor]) -> list[Rescaling]:
    """Declare the heads and neurons of a block that can be rescaled."""
    heads = [Rescaling({prefix + one: -3}, {prefix + other: -3}) for one, other in (("W_V", "W_O"), ("W_Q", "W_K"))]
    inside = {f"{prefix}W_in": -1, f"{prefix}b_in": -1}
    return heads + rescalable_neurons(activation, inside, {f"{prefix}W_out": -2})

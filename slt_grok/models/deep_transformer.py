"""Transformers of several layers, computed at all positions: those of Zhong et al. 2306.17844, appendix, depth 1-4.

Each layer is the block of `slt_grok.models.transformer`: attention, then an MLP, both added to the residual stream; no
LayerNorm. Layout `[a, b, =]` is causal, `[a, b]` unmasked. After the first layer, the values at a position depend on
both tokens, so they cannot be looked up by token; only the last layer is restricted to the answer position.
"""

from collections.abc import Callable, Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from slt_grok.models.model import ACTIVATIONS, Activation, At, HeadMaps, add_parameters, passthrough
from slt_grok.models.rescaling import Rescaling
from slt_grok.models.transformer import (
    Fraction,
    Layout,
    Transformer,
    block_rescalings,
    block_units,
    parameter_shapes,
    stream_units,
)
from slt_grok.settings import Positive


class Block(nn.Module):
    """One layer: W_Q, W_K, W_V (head, d_model, d_head), W_O (head, d_head, d_model), W_in (d_model, d_mlp), W_out.

    Parameters
    ----------
    shapes : Mapping[str, tuple[int, ...]]
        Name -> shape of each parameter.
    activation, attention_rate : callable, float
        Activation and attention rate of the network.
    causal : bool
        Whether a position attends only to itself and earlier ones.
    """

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
        shapes: Mapping[str, tuple[int, ...]],
        activation: Callable[[Tensor], Tensor],
        attention_rate: float,
        causal: bool,
    ) -> None:
        super().__init__()
        self.activation, self.attention_rate, self.causal = activation, attention_rate, causal
        add_parameters(self, shapes)

    def forward(self, residual: Tensor, at: At, layer: int, last: bool) -> Tensor:
        """Compute the residual stream (n, position, d_model) after layer number `layer`.

        For the last layer, only the answer position is computed.
        """

        def site(name: str, values: Tensor, position: int) -> Tensor:
            values = at(f"{name}.{layer}", values)
            if layer:
                return values
            others, answer = values.tensor_split([-1], position)
            return torch.cat([others, at(name, answer.squeeze(position)).unsqueeze(position)], position)

        asking = residual[:, -1:] if last else residual
        query = torch.einsum("nqd,hde->nhqe", asking, self.W_Q)
        key = torch.einsum("nkd,hde->nhke", residual, self.W_K)
        value = torch.einsum("nkd,hde->nhke", residual, self.W_V)
        scores = query @ key.mT / query.shape[-1] ** 0.5
        seen = torch.ones(residual.shape[1], residual.shape[1], dtype=torch.bool, device=scores.device)
        seen = (seen.tril() if self.causal else seen)[-asking.shape[1] :]
        pattern = scores.masked_fill(~seen, -torch.inf).softmax(-1)
        pattern = self.attention_rate * pattern + (1 - self.attention_rate) * seen.to(scores.dtype)
        mixed = site("attention_pattern", pattern, 2) @ value
        residual = asking + torch.einsum("nhqe,hed->nqd", mixed, self.W_O)
        pre = site("neurons_pre", residual @ self.W_in + self.b_in, 1)
        post = site("neurons_post", self.activation(pre), 1)
        return residual + post @ self.W_out + self.b_out


class DeepTransformer(Transformer):
    """Blocks of attention and MLP between an embedding and an unembedding; logits at the last position.

    The sites `attention_pattern` (n, head, key), `neurons_pre` and `neurons_post` (n, d_mlp) are those of the first
    layer at the answer position: in a published network with two layers (2306.17844, run 4asyr7ht1p), its neurons have
    one frequency each and cover every frequency of the circuit, while those of the second layer mix them and miss one.
    Layer i = 0, 1, ... has the sites `attention_pattern.i` (n, head, query, key), `neurons_pre.i` and `neurons_post.i`
    (n, position, d_mlp); in the last layer, the answer is their only query and position. `neuron_logit_map` is the
    first layer's direct path W_out W_U through the residual stream, which is the full map to the logits if there is
    only one layer.

    Parameters
    ----------
    tokens : int
        Number of tokens, p.
    n_layers : int, optional
        Number of layers.
    d_model, n_heads, d_mlp : int, optional
        Widths, equal in all layers.
    d_head : int or None, optional
        Width of a head; d_model / n_heads by default.
    activation : str, optional
        Activation function.
    layout : {"a_b_equals", "a_b"}, optional
        `a_b_equals` for the tokens [a, b, =], causal; `a_b` for [a, b], unmasked.
    attention_rate : float, optional
        Rate alpha in M' = alpha M + (1 - alpha) J, where J is 1 wherever the mask allows, rows not renormalized
        (2306.17844); 1 is ordinary attention.

    Raises
    ------
    SltGrokError
        The width d_model is not a multiple of n_heads and no d_head is given, or the layout or activation is unknown.
    """

    name: ClassVar[str] = "deep_transformer"

    W_E: nn.Parameter

    def __init__(
        self,
        tokens: int,
        n_layers: Positive = 2,
        d_model: Positive = 128,
        n_heads: Positive = 4,
        d_mlp: Positive = 512,
        activation: Activation = "relu",
        layout: Layout = "a_b",
        attention_rate: Fraction = 1.0,
        d_head: Positive | None = None,
        classes: int | None = None,
    ) -> None:
        super().__init__(tokens, classes)
        self.activation = ACTIVATIONS[activation]
        shapes = parameter_shapes(tokens, self.classes, layout, d_model, n_heads, d_mlp, d_head)
        add_parameters(self, {name: shapes.pop(name) for name in ("W_E", "W_pos", "W_U")})
        causal = layout == "a_b_equals"
        self.blocks = nn.ModuleList(Block(shapes, self.activation, attention_rate, causal) for _ in range(n_layers))

    def forward(self, pairs: Tensor, at: At = passthrough) -> Tensor:
        """Compute the logits (n, p) at the answer position; see the class for the sites."""
        table = at("embedding", self.W_E)
        tokens = torch.cat([pairs, torch.full_like(pairs[:, :1], self.tokens)], -1)[:, : len(self.W_pos)]
        residual = nn.functional.embedding(tokens, table) + self.W_pos
        for i, block in enumerate(self.blocks):
            residual = block(residual, at, i, last=i == len(self.blocks) - 1)
        return at("logits", residual[:, -1] @ self.W_U)

    def neuron_logit_map(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """Compute the direct path W_L = W_out W_U of the first layer's neurons, (..., d_mlp, p); see the class."""
        return parameters["blocks.0.W_out"] @ parameters["W_U"]

    def units(self) -> dict[str, dict[str, int]]:
        """Declare the residual stream, and the heads and neurons of each layer."""
        prefixes = {f"blocks.{i}.": f".{i}" for i in range(len(self.blocks))}
        groups = stream_units(list(prefixes))
        for prefix, suffix in prefixes.items():
            groups |= block_units(prefix, suffix)
        return groups

    def rescalable(self) -> list[Rescaling]:
        """Declare the heads and neurons of each layer."""
        layers = range(len(self.blocks))
        return [pair for i in layers for pair in block_rescalings(f"blocks.{i}.", self.activation)]

    def head_maps(self, parameters: Mapping[str, Tensor]) -> HeadMaps:
        """Get W_V, W_O and W_in of the first layer."""
        return HeadMaps(*(parameters[f"blocks.0.{name}"] for name in ("W_V", "W_O", "W_in")))

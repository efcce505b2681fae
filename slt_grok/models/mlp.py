"""Embedding MLPs with one hidden layer: the two tokens' embeddings are summed or concatenated.

Sum is the model alpha of Zhong et al. 2306.17844, with separate embeddings its alpha'. Concatenation, written as the
sum of two maps, is its model delta, and the network of devinterp's grokking notebook, whose two maps have one bias
each.
"""

from collections.abc import Collection, Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding as look_up

from slt_grok.errors import SltGrokError
from slt_grok.models.mlp_gradient import loss_and_gradients
from slt_grok.models.model import ACTIVATIONS, Activation, At, Model, add_parameters, passthrough
from slt_grok.models.rescaling import Rescaling, rescalable_neurons
from slt_grok.settings import Positive


class EmbeddingMLP(Model):
    """logits = act(h) W_U + b_U with h = (E_a + E_b) W_in + b_in, or h = E_a W_left + E_b W_right + b_in.

    With separate embeddings, E_a is a row of W_E_left and E_b one of W_E_right, and the site `embedding` is the table
    [W_E_left, W_E_right] of shape (p, 2 d_embed).

    Parameters
    ----------
    tokens : int
        Number of tokens, p.
    d_embed, d_mlp : int, optional
        Widths of the embedding and the hidden layer.
    combine : {"sum", "concatenation"}, optional
        `sum` or `concatenation`.
    activation : str, optional
        Activation function.
    output_bias : bool, optional
        Whether there is a bias b_U.
    separate_embeddings : bool, optional
        Whether the two tokens have separate embeddings.
    bias_per_token : bool, optional
        Whether the two maps of a concatenation have separate biases, b_left and b_right, instead of b_in.

    Raises
    ------
    SltGrokError
        An unknown `combine` or activation, or `bias_per_token` without concatenation.
    """

    name: ClassVar[str] = "mlp"
    sites = ("embedding", "neurons_pre", "neurons_post", "logits")
    token_sums = True

    W_U: nn.Parameter
    b_U: nn.Parameter

    def __init__(
        self,
        tokens: int,
        d_embed: Positive = 12,
        d_mlp: Positive = 48,
        combine: Literal["sum", "concatenation"] = "concatenation",
        activation: Activation = "gelu",
        output_bias: bool = False,
        separate_embeddings: bool = False,
        bias_per_token: bool = False,
        classes: int | None = None,
    ) -> None:
        super().__init__(tokens, classes)
        if bias_per_token and combine == "sum":
            raise SltGrokError("model.bias_per_token: expected combine 'concatenation', where the tokens have two maps")
        self.activation = ACTIVATIONS[activation]
        self.embeddings = ["W_E_left", "W_E_right"] if separate_embeddings else ["W_E"]
        self.inputs = ["W_in"] if combine == "sum" else ["W_left", "W_right"]
        self.biases = ["b_left", "b_right"] if bias_per_token else ["b_in"]
        shapes: dict[str, tuple[int, ...]] = dict.fromkeys(self.embeddings, (tokens, d_embed))
        shapes |= dict.fromkeys(self.inputs, (d_embed, d_mlp))
        shapes |= dict.fromkeys(self.biases, (d_mlp,)) | {"W_U": (d_mlp, self.classes)}
        if output_bias:
            shapes["b_U"] = (self.classes,)
        add_parameters(self, shapes)

    def initialize(self, generator: torch.Generator) -> None:
        """Use torch's defaults: embedding N(0, 1), linear maps and biases uniform in +-1/sqrt(fan in)."""
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if name in self.embeddings:
                    parameter.normal_(generator=generator)
                else:
                    fan_in = (self.W_U if name in ("W_U", "b_U") else getattr(self, self.inputs[0])).shape[0]
                    bound = fan_in**-0.5
                    parameter.uniform_(-bound, bound, generator=generator)

    def forward(self, pairs: Tensor, at: At = passthrough) -> Tensor:
        """Compute the logits (n, p); see the package docstring for the sites."""
        tables = at("embedding", torch.cat([getattr(self, name) for name in self.embeddings], -1))
        tables = tables.chunk(len(self.embeddings), -1)
        tokens = pairs.unbind(-1)
        maps = [getattr(self, name) for name in self.inputs]
        # each token is mapped once per side, then the p rows are looked up for the n pairs
        halves = [look_up(token, tables[i % len(tables)] @ maps[i % len(maps)]) for i, token in enumerate(tokens)]
        pre = at("neurons_pre", halves[0] + halves[1] + sum(getattr(self, name) for name in self.biases))
        logits = at("neurons_post", self.activation(pre)) @ self.W_U
        return at("logits", logits + self.b_U if "b_U" in self._parameters else logits)

    def stacked_gradients(
        self, stack: Mapping[str, Tensor], pairs: Tensor, labels: Tensor, own_data: bool, wanted: Collection[str]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """See `Model`."""
        sides = [(self.embeddings[i % len(self.embeddings)], self.inputs[i % len(self.inputs)]) for i in range(2)]
        return loss_and_gradients(stack, pairs, labels, own_data, wanted, sides, self.biases, self.activation)

    def token_roles(self) -> Mapping[str, tuple[str, int]]:
        """Declare the role of each axis.

        Input tokens are rows of the embeddings, answers are columns of W_U and entries of b_U.
        """
        sides = ("left", "right") if len(self.embeddings) == 2 else ("input",)
        inputs = {side: (name, -2) for side, name in zip(sides, self.embeddings, strict=True)}
        return {**inputs, "output": ("W_U", -1), "output_bias": ("b_U", -1)}

    def token_embedding(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """Get W_E, (..., p, d_embed), or [W_E_left, W_E_right], (..., p, 2 d_embed)."""
        return torch.cat([parameters[name] for name in self.embeddings], -1)

    def neuron_logit_map(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """Get W_L = W_U, (..., d_mlp, p)."""
        return parameters["W_U"]

    def units(self) -> dict[str, dict[str, int]]:
        """Declare the dimensions of each embedding, and the neurons."""
        tables, maps = self.embeddings, self.inputs
        if len(tables) == len(maps) == 2:
            embeddings = {f"embedding.{i}": {tables[i]: -1, maps[i]: -2} for i in (0, 1)}
        else:
            embeddings = {"embedding": dict.fromkeys(tables, -1) | dict.fromkeys(maps, -2)}
        return embeddings | {"neurons_post": dict.fromkeys((*maps, *self.biases), -1) | {"W_U": -2}}

    def rescalable(self) -> list[Rescaling]:
        """Declare the neurons, unless the activation is GELU."""
        return rescalable_neurons(self.activation, dict.fromkeys((*self.inputs, *self.biases), -1), {"W_U": -2})

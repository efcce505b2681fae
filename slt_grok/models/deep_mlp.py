"""Embedding MLP with two hidden layers: models beta and gamma of Zhong et al. 2306.17844, appendix.

Beta is L3 relu L2 relu L1(x1 + x2), gamma L3 relu L2 relu(L1 x1 + L1 x2). L1 is affine, so the two differ only in how
often its bias counts: once in beta, twice in gamma.
"""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding as look_up

from slt_grok.models.model import ACTIVATIONS, Activation, At, Model, passthrough
from slt_grok.models.rescaling import Rescaling, rescalable_neurons
from slt_grok.settings import Positive


class DeepMLP(Model):
    """logits = act(act(h) W_2 + b_2) W_U with h = (E_a + E_b) W_1 + b_1, or + 2 b_1 with `bias_per_token`.

    The sites `neurons_pre` and `neurons_post` are those of the first hidden layer, (n, d_mlp), since its neurons have
    one frequency each in the published networks, while those of the second layer mix several. The second layer's sites
    are `neurons_pre.1` and `neurons_post.1`. `neuron_logit_map` is the direct path W_2 W_U of the first layer's
    neurons, which is their exact map to the logits only if the second activation is linear.

    Parameters
    ----------
    tokens : int
        Number of tokens, p.
    d_embed, d_mlp : int, optional
        Widths of the embedding and the first hidden layer.
    d_second : int or None, optional
        Width of the second hidden layer; d_mlp by default.
    activation : str, optional
        Activation function.
    bias_per_token : bool, optional
        Whether each token adds the bias b_1 (gamma) rather than their sum (beta).

    """

    name: ClassVar[str] = "deep_mlp"
    sites = ("embedding", "neurons_pre", "neurons_post", "logits")

    def __init__(
        self,
        tokens: int,
        d_embed: Positive = 256,
        d_mlp: Positive = 256,
        d_second: Positive | None = None,
        activation: Activation = "relu",
        bias_per_token: bool = False,
        classes: int | None = None,
    ) -> None:
        super().__init__(tokens, classes)
        self.activation = ACTIVATIONS[activation]
        self.bias_per_token = bias_per_token
        d_second = d_second or d_mlp
        self.W_E = nn.Parameter(torch.zeros(tokens, d_embed))
        self.W_1 = nn.Parameter(torch.zeros(d_embed, d_mlp))
        self.b_1 = nn.Parameter(torch.zeros(d_mlp))
        self.W_2 = nn.Parameter(torch.zeros(d_mlp, d_second))
        self.b_2 = nn.Parameter(torch.zeros(d_second))
        self.W_U = nn.Parameter(torch.zeros(d_second, self.classes))

    def initialize(self, generator: torch.Generator) -> None:
        """Draw W_E as N(0, 2/d_embed), W_U as N(0, 1/fan-in), the rest uniform within 1/sqrt(fan-in), as published."""
        with torch.no_grad():
            self.W_E.normal_(0, (2 / self.W_E.shape[1]) ** 0.5, generator=generator)
            for weights, bias in ((self.W_1, self.b_1), (self.W_2, self.b_2)):
                bound = weights.shape[0] ** -0.5
                weights.uniform_(-bound, bound, generator=generator)
                bias.uniform_(-bound, bound, generator=generator)
            self.W_U.normal_(0, self.W_U.shape[0] ** -0.5, generator=generator)

    def forward(self, pairs: Tensor, at: At = passthrough) -> Tensor:
        """Compute the logits (n, p); see the class for the sites."""
        half = at("embedding", self.W_E) @ self.W_1  # each token is mapped once, then rows are looked up
        if self.bias_per_token:
            half = half + self.b_1
        first = look_up(pairs[:, 0], half) + look_up(pairs[:, 1], half)
        first = at("neurons_pre", first if self.bias_per_token else first + self.b_1)
        second = at("neurons_post", self.activation(first)) @ self.W_2 + self.b_2
        second = at("neurons_post.1", self.activation(at("neurons_pre.1", second)))
        return at("logits", second @ self.W_U)

    def token_roles(self) -> Mapping[str, tuple[str, int]]:
        """Declare the role of each axis: input tokens are rows of W_E, answers are columns of W_U."""
        return {"input": ("W_E", -2), "output": ("W_U", -1)}

    def token_embedding(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """Get W_E, (..., p, d_embed)."""
        return parameters["W_E"]

    def neuron_logit_map(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """Compute the direct path W_L = W_2 W_U of the first layer's neurons, (..., d_mlp, p); see the class."""
        return parameters["W_2"] @ parameters["W_U"]

    def units(self) -> dict[str, dict[str, int]]:
        """Declare the dimensions of the embedding, and the neurons of both layers."""
        return {
            "embedding": {"W_E": -1, "W_1": -2},
            "neurons_post": {"W_1": -1, "b_1": -1, "W_2": -2},
            "neurons_post.1": {"W_2": -1, "b_2": -1, "W_U": -2},
        }

    def rescalable(self) -> list[Rescaling]:
        """Declare the neurons of both layers, unless the activation is GELU."""
        layers = (("W_1", "b_1", "W_2"), ("W_2", "b_2", "W_U"))
        sides = [({weights: -1, bias: -1}, {after: -2}) for weights, bias, after in layers]
        return [pair for inside, outside in sides for pair in rescalable_neurons(self.activation, inside, outside)]

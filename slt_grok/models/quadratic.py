"""Quadratic network f(a, b) = (U_a + V_b)^2 W, the solvable model of Gromov 2301.02679 and 2603.01192."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding as look_up

from slt_grok.models.model import ACTIVATIONS, Activation, At, Model, passthrough
from slt_grok.models.rescaling import DEGREES, Rescaling, rescalable_neurons
from slt_grok.settings import Positive


class QuadraticNetwork(Model):
    """One hidden layer on one-hot pairs, without biases: logits = act(U[a] + V[b]) W.

    Parameters
    ----------
    tokens : int
        Number of tokens, p.
    width : int, optional
        Number of neurons K.
    activation : str, optional
        Activation function; `quadratic` for the solvable model.
    """

    name: ClassVar[str] = "quadratic"
    sites = ("embedding", "neurons_pre", "neurons_post", "logits")
    token_sums = True

    def __init__(
        self, tokens: int, width: Positive = 256, activation: Activation = "quadratic", classes: int | None = None
    ) -> None:
        super().__init__(tokens, classes)
        self.activation = ACTIVATIONS[activation]
        self.U = nn.Parameter(torch.zeros(tokens, width))
        self.V = nn.Parameter(torch.zeros(tokens, width))
        self.W = nn.Parameter(torch.zeros(width, self.classes))

    def initialize(self, generator: torch.Generator) -> None:
        """Draw normal weights of standard deviation (2p)^(-1/2) for U and V, K^(-1/2) for W."""
        with torch.no_grad():
            for parameter in (self.U, self.V):
                parameter.normal_(0, (2 * self.tokens) ** -0.5, generator=generator)
            self.W.normal_(0, self.W.shape[0] ** -0.5, generator=generator)

    def forward(self, pairs: Tensor, at: At = passthrough) -> Tensor:
        """Compute the logits (n, p); the site `embedding` is the table [U, V] of shape (p, 2K)."""
        left, right = at("embedding", torch.cat([self.U, self.V], -1)).chunk(2, -1)
        a, b = pairs.unbind(-1)
        pre = at("neurons_pre", look_up(a, left) + look_up(b, right))
        return at("logits", at("neurons_post", self.activation(pre)) @ self.W)

    def token_roles(self) -> Mapping[str, tuple[str, int]]:
        """Declare the role of each axis: input tokens are rows of U and V, answers are columns of W."""
        return {"left": ("U", -2), "right": ("V", -2), "output": ("W", -1)}

    def token_embedding(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """Get [U, V], (..., p, 2K)."""
        return torch.cat([parameters["U"], parameters["V"]], -1)

    def neuron_logit_map(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """Get W, (..., K, p)."""
        return parameters["W"]

    def units(self) -> dict[str, dict[str, int]]:
        """Neurons."""
        return {"neurons_post": {"U": -1, "V": -1, "W": -2}}

    def rescalable(self) -> list[Rescaling]:
        """Declare the neurons, unless the activation is GELU."""
        return rescalable_neurons(self.activation, {"U": -1, "V": -1}, {"W": -2})

    def homogeneous_weights(self, parameters: Mapping[str, Tensor]) -> tuple[tuple[Tensor, ...], int] | None:
        """Get U, V and W, and the degree of the logits in them: 3 for the quadratic activation, 2 for ReLU."""
        degree = DEGREES.get(self.activation)
        return None if degree is None else (tuple(parameters[name] for name in "UVW"), degree + 1)

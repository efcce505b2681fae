"""Quadratic network f(a, b) = (U_a + V_b)^2 W, the solvable model of Gromov 2301.02679 and 2603.01192."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding as look_up

from slt_grok.models.sites import At, ModularNetwork, activation_function, passthrough


class QuadraticNetwork(ModularNetwork):
    """One hidden layer on one-hot pairs, without biases: logits = act(U[a] + V[b]) W.

    Parameters
    ----------
    modulus : int
        p.
    width : int, optional
        Number K of neurons.
    activation : str, optional
        `quadratic`; another one makes it the same network with that activation.
    """

    def __init__(self, modulus: int, width: int = 256, activation: str = "quadratic") -> None:
        super().__init__(modulus)
        self.activation = activation_function(activation)
        self.U = nn.Parameter(torch.zeros(modulus, width))
        self.V = nn.Parameter(torch.zeros(modulus, width))
        self.W = nn.Parameter(torch.zeros(width, modulus))

    def initialize(self, generator: torch.Generator) -> None:
        """Draw normal weights of standard deviation (2p)^(-1/2) for U and V, K^(-1/2) for W."""
        with torch.no_grad():
            for parameter in (self.U, self.V):
                parameter.normal_(0, (2 * self.modulus) ** -0.5, generator=generator)
            self.W.normal_(0, self.W.shape[0] ** -0.5, generator=generator)

    def forward(self, pairs: Tensor, at: At = passthrough) -> Tensor:
        """Logits (n, p); the site `embedding` is the table [U, V] of shape (p, 2K)."""
        left, right = at("embedding", torch.cat([self.U, self.V], -1)).chunk(2, -1)
        a, b = pairs.unbind(-1)
        pre = at("neurons_pre", look_up(a, left) + look_up(b, right))
        return at("logits", at("neurons_post", self.activation(pre)) @ self.W)

    def token_roles(self) -> Mapping[str, tuple[str, int]]:
        """Return the role of each axis: input tokens are rows of U and V, the answers columns of W."""
        return {"left": ("U", -2), "right": ("V", -2), "output": ("W", -1)}

    def token_embedding(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """[U, V], (..., p, 2K)."""
        return torch.cat([parameters["U"], parameters["V"]], -1)

    def neuron_logit_map(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """W, (..., K, p)."""
        return parameters["W"]

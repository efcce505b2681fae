"""Embedding MLPs with one hidden layer: the two tokens' embeddings are summed or concatenated.

Sum is the model alpha of Zhong et al. 2306.17844; concatenation, written as two maps whose outputs add up, is
the network of the grokking notebook of devinterp and model delta of 2306.17844.
"""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding as look_up

from slt_grok.errors import SltGrokError
from slt_grok.models.sites import At, ModularNetwork, activation_function, passthrough


class EmbeddingMLP(ModularNetwork):
    """logits = act(h) W_U + b_U with h = (E_a + E_b) W_in + b_in, or h = E_a W_left + E_b W_right + b_in.

    Parameters
    ----------
    modulus : p.
    d_embed, d_mlp : widths of the embedding and of the hidden layer.
    combine : `sum` or `concatenation`.
    activation : `relu`, `gelu` or `quadratic`.
    output_bias : whether there is a bias b_U.

    Raises
    ------
    SltGrokError : an unknown `combine` or activation.
    """

    W_E: nn.Parameter
    b_in: nn.Parameter
    W_U: nn.Parameter
    b_U: nn.Parameter

    def __init__(
        self,
        modulus: int,
        d_embed: int = 12,
        d_mlp: int = 48,
        combine: Literal["sum", "concatenation"] = "concatenation",
        activation: str = "gelu",
        output_bias: bool = False,
    ) -> None:
        super().__init__(modulus)
        if combine not in ("sum", "concatenation"):
            raise SltGrokError(f"model.combine: expected 'sum' or 'concatenation', got {combine!r}")
        self.activation = activation_function(activation)
        self.inputs = ["W_in"] if combine == "sum" else ["W_left", "W_right"]
        shapes: dict[str, tuple[int, ...]] = {"W_E": (modulus, d_embed)}
        shapes |= dict.fromkeys(self.inputs, (d_embed, d_mlp))
        shapes |= {"b_in": (d_mlp,), "W_U": (d_mlp, modulus)}
        if output_bias:
            shapes["b_U"] = (modulus,)
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.zeros(shape)))

    def initialise(self, generator: torch.Generator) -> None:
        """torch's defaults: embedding N(0, 1), linear maps and biases uniform in +-1/sqrt(fan in)."""
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if name == "W_E":
                    parameter.normal_(generator=generator)
                else:
                    fan_in = (self.W_U if name in ("W_U", "b_U") else getattr(self, self.inputs[0])).shape[0]
                    bound = fan_in**-0.5
                    parameter.uniform_(-bound, bound, generator=generator)

    def forward(self, pairs: Tensor, at: At = passthrough) -> Tensor:
        """Logits (n, p); see the package's docstring for the sites."""
        table = at("embedding", self.W_E)
        maps = [getattr(self, name) for name in self.inputs]
        # each token meets each map once, then the p rows are looked up for the n pairs
        halves = [look_up(token, table @ maps[i % len(maps)]) for i, token in enumerate(pairs.unbind(-1))]
        pre = at("neurons_pre", halves[0] + halves[1] + self.b_in)
        logits = at("neurons_post", self.activation(pre)) @ self.W_U
        return at("logits", logits + self.b_U if "b_U" in self._parameters else logits)

    @staticmethod
    def token_roles() -> Mapping[str, tuple[str, int]]:
        """The input tokens are rows of W_E, the answers columns of W_U and entries of b_U."""
        return {"input": ("W_E", -2), "output": ("W_U", -1), "output_bias": ("b_U", -1)}

    def token_embedding(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """W_E, (..., p, d_embed)."""
        return parameters["W_E"]

    def neuron_logit_map(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """W_L = W_U, (..., d_mlp, p)."""
        return parameters["W_U"]

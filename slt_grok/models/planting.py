"""Plant a circuit in a network of another size, as a starting point for training.

    clock    in an `EmbeddingMLP` with concatenation and a quadratic or GELU activation, or a `QuadraticNetwork`
    pizza    in an `EmbeddingMLP` or a `OneLayerTransformer` with ReLU

The circuits are those of `slt_grok.models.planted`, with the same logits; weights that they do not use are zero. An MLP
with concatenation adds the pizza's tokens by two equal maps. Each neuron of the clock is paired with one of opposite
input and the same output, and GELU(u) + GELU(-u) = u erf(u / sqrt 2) is sqrt(2/pi) u^2 (1 - e), 0 <= e <= u^2 / 6: GELU
squares small inputs; the clock's are at most 2 `GELU_INPUT`, and e is at most 0.7%.

In the transformer, W_Q = W_K = 0 weights all positions equally; heads copy the sum of both tokens' circles to separate
dimensions of the residual stream; the pizza's neurons read these and write cos w_k c, sin w_k c to further ones, which
only W_U reads: 6 dimensions per frequency. Sources: as in that module; GELU and the transformer are ours.
"""

import math
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import gelu, relu

from slt_grok.errors import SltGrokError
from slt_grok.models import planted
from slt_grok.models.mlp import EmbeddingMLP
from slt_grok.models.model import Model
from slt_grok.models.quadratic import QuadraticNetwork
from slt_grok.models.transformer import OneLayerTransformer

HOLDS = {
    "clock": "an mlp with combine concatenation and activation quadratic or gelu, or a quadratic network",
    "pizza": "an mlp or a transformer with activation relu",
}
GELU_INPUT = 0.1  # scale of the clock's cosines before a GELU


def plant(
    module: Model, circuit: Literal["clock", "pizza"], amplitudes: Mapping[int, float], sign: int = 1
) -> dict[str, Tensor]:
    """Compute float64 parameters of a module that implement a planted circuit.

    Parameters
    ----------
    module : Model
        The network; only its structure matters.
    circuit : {"clock", "pizza"}
        See the module docstring.
    amplitudes : Mapping[int, float]
        Frequency -> its amplitude A_k in the logits.
    sign : int, optional
        1 for a + b, -1 for a - b, which only a clock supports.

    Returns
    -------
    dict[str, Tensor]
        Name -> tensor, in the module's shapes.

    Raises
    ------
    SltGrokError
        A module that cannot implement the circuit or is too narrow for it, p not an odd prime, no frequency or one
        outside 1..(p-1)/2, or a pizza for a - b.
    """
    if sign != 1 and circuit == "pizza":
        raise SltGrokError("operation: expected addition for a pizza, which adds both tokens equally")
    p, shapes = module.tokens, {name: parameter.shape for name, parameter in module.named_parameters()}
    match module, circuit:
        case EmbeddingMLP(inputs=["W_left", "W_right"]), "clock" if module.activation in (torch.square, gelu):
            weights = dict(planted.clock(p, amplitudes, sign).named_parameters())
            weights = _before_gelu(weights) if module.activation is gelu else weights
            return _padded({**weights, **dict.fromkeys(module.embeddings, weights["W_E"])}, shapes)
        case QuadraticNetwork(activation=torch.square), "clock":
            return _padded(dict(planted.quadratic_clock(p, amplitudes, sign).named_parameters()), shapes)
        case EmbeddingMLP(), "pizza" if module.activation is relu:
            weights = _pizza(p, amplitudes, shapes["W_U"][0])
            equal = dict.fromkeys(module.embeddings, weights["W_E"]) | dict.fromkeys(module.inputs, weights["W_in"])
            return _padded({**weights, **equal}, shapes)
        case OneLayerTransformer(embeddings=("W_E",)), "pizza" if module.activation is relu:
            return _padded(_in_transformer(module, amplitudes), shapes)
    raise SltGrokError(f"training.start.circuit: expected {HOLDS[circuit]} for a {circuit}")


def _pizza(p: int, amplitudes: Mapping[int, float], width: int) -> dict[str, Tensor]:
    """Construct the pizza with as many directions as the neurons allow."""
    directions = width // (2 * max(len(amplitudes), 1))
    if directions < 3:
        raise SltGrokError(f"training.start: expected d_mlp of at least {6 * len(amplitudes)} for a pizza, got {width}")
    return dict(planted.pizza(p, amplitudes, directions).named_parameters())


def _before_gelu(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert the clock of squares to small inputs, with outputs scaled up accordingly.

    A pair gives sqrt(2/pi) u^2 instead of 2 u^2.
    """
    scaled = {name: weights[name] * GELU_INPUT for name in ("W_left", "W_right")}
    return {**weights, **scaled, "W_U": weights["W_U"] * (math.sqrt(2 * math.pi) / GELU_INPUT**2)}


def _in_transformer(module: OneLayerTransformer, amplitudes: Mapping[int, float]) -> dict[str, Tensor]:
    """Construct the circuit's block of each of the transformer's tensors; see the module docstring."""
    (heads, d_model, d_head), width = module.W_Q.shape, module.W_in.shape[1]
    flat = {name: tensor.detach() for name, tensor in _pizza(module.tokens, amplitudes, width).items()}
    size = flat["W_E"].shape[1]  # 2 dimensions per frequency
    if d_model < 3 * size or heads * d_head < size:
        raise SltGrokError(
            f"training.start: expected d_model of at least {3 * size} and heads of at least {size} dimensions together "
            f"for a pizza of {size // 2} frequencies, got {d_model} and {heads * d_head}"
        )
    positions = module.W_pos.shape[0]
    weight = module.attention_rate / positions + 1 - module.attention_rate  # weight of each position
    value, output = torch.zeros(heads, d_model, d_head).double(), torch.zeros(heads, d_head, d_model).double()
    for i in range(size):
        head, slot = divmod(i, d_head)
        value[head, i, slot] = output[head, slot, size + i] = weight**-0.5
    waves, scale, answers = torch.linalg.svd(flat["W_U"], full_matrices=False)  # rank: 2 per frequency
    root = scale[:size].sqrt()
    nothing = torch.zeros(size, flat["W_in"].shape[1]).double()
    return {
        "W_E": flat["W_E"],
        "W_V": value,
        "W_O": output,
        "W_in": torch.cat([nothing, flat["W_in"]]),
        "W_out": torch.cat([nothing.T, nothing.T, waves[:, :size] * root], 1),
        "W_U": torch.cat([torch.zeros(2 * size, module.tokens), root[:, None] * answers[:size]]),
    }


def _padded(weights: Mapping[str, Tensor], shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    """Embed the circuit's tensors in the module's shapes, from the first entries on, zero elsewhere."""
    padded = {name: torch.zeros(shape, dtype=torch.float64) for name, shape in shapes.items()}
    for name, tensor in weights.items():
        if name not in shapes:  # a tensor by token or of another form in the module; biases are 0
            continue
        small = [f"{want} > {has}" for want, has in zip(tensor.shape, shapes[name], strict=True) if want > has]
        if small:
            raise SltGrokError(
                f"training.start: expected a network wide enough for the circuit, whose {name} has the shape "
                f"{tuple(tensor.shape)}, got {tuple(shapes[name])}"
            )
        padded[name][tuple(slice(0, size) for size in tensor.shape)] = tensor.detach()
    return padded

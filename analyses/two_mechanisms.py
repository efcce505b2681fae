"""The same function by two mechanisms in one architecture: a lookup table and a Fourier circuit, the same logits.

Both are an `EmbeddingMLP` with concatenation and ReLU on Z_p. The circuit is the pizza of `slt_grok.models.planted`,
with few neurons; the table is `planted.lookup_table` of the circuit's own logits, one neuron for each pair. What
differs besides the mechanism is removed as far as possible:

    kinks     the derivative of a ReLU at 0 is a convention: the table's neurons have the inputs 1, -1, -3 for their own
              pair, for those that share a token, for all others; the pizza has an odd number of directions, whose
              pre-activations are never 0 for an odd prime that does not divide them
    scales    (w_in, b, w_out) -> (s w_in, s b, w_out / s) of a neuron and (e, w) -> (r e, w / r) of a dimension of the
              embedding change nothing that is computed; `balanced` takes the weights of least norm among all these
    width     dead neurons fill the circuit up to the table's width: `off` (bias far below 0: no gradient, and out of
              every draw's reach) or `zero` (input weights, bias and output weights 0, as weight decay leaves them: on
              the kink, where a draw can wake them). `copies` spread each neuron over several equal ones instead

What to compare them by: with the squared distance to these logits both are at a minimum of loss 0, where half the rank
of the Jacobian is at most the learning coefficient, and equals it for a table, whose rank is full (p^3: every logit of
every pair has a weight of its own). Statement P3 of the program-synthesis hypothesis. The construction is this
package's.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import relu

from slt_grok.errors import SltGrokError
from slt_grok.models import EmbeddingMLP, planted
from slt_grok.tasks import ModularTask
from slt_grok.trajectories import Network, Trajectory

SITE = "neurons_post"
Dead = Literal["off", "zero"]
OFF = -10.0  # bias of a neuron that is switched off
SWEEPS, CHANGE = 1000, 1e-14  # of the balancing, which converges linearly


def circuit(p: int, amplitudes: Mapping[int, float], directions: int, copies: int = 1) -> Trajectory:
    """Return the pizza on two maps, balanced, of 2 directions copies len(amplitudes) neurons, float64.

    Parameters
    ----------
    p : int
        An odd prime.
    amplitudes : Mapping[int, float]
        Frequency -> A_k.
    directions : int
        J, odd and no multiple of p.
    copies : int, optional
        How many equal neurons stand for each, with that share of its output.

    Raises
    ------
    SltGrokError
        Directions that are even or a multiple of p, no copy; as `planted.pizza`.
    """
    if directions % 2 == 0 or directions % p == 0:
        raise SltGrokError(f"directions: expected an odd number that is no multiple of {p}, got {directions}")
    if copies < 1:
        raise SltGrokError(f"copies: expected at least 1, got {copies}")
    own = {name: tensor.detach() for name, tensor in planted.pizza(p, amplitudes, directions).named_parameters()}
    maps = own["W_in"].repeat(1, copies)
    weights = {"W_E": own["W_E"], "W_left": maps, "W_right": maps, "b_in": own["b_in"].repeat(copies)}
    return _balanced_network(p, weights | {"W_U": own["W_U"].repeat(copies, 1) / copies})


def table(logits: Tensor) -> Trajectory:
    """Return the lookup table with these logits, balanced and off its kinks, of p^2 neurons, float64.

    Parameters
    ----------
    logits : Tensor
        Of each pair, (p, p, p).

    Raises
    ------
    SltGrokError
        Another shape.
    """
    own = {name: tensor.detach() for name, tensor in planted.lookup_table(logits).named_parameters()}
    maps = {name: 2 * own[name] for name in ("W_left", "W_right")}
    return _balanced_network(len(logits), {**own, **maps, "b_in": 3 * own["b_in"]})


def _balanced_network(p: int, weights: Mapping[str, Tensor]) -> Trajectory:
    d_embed, d_mlp = weights["W_left"].shape
    module = EmbeddingMLP(p, d_embed, d_mlp, "concatenation", "relu").double()
    return balanced(Trajectory(Network(module, ModularTask(p, train_fraction=1.0)), {**weights}))


def balanced(one: Trajectory) -> Trajectory:
    """Return the same function with the least norm among all scales of its neurons and dimensions of the embedding.

    Parameters
    ----------
    one : Trajectory
        A single network of this file's architecture.

    Raises
    ------
    SltGrokError
        Another network.
    """
    groups, parameters = _checked(one, "balanced").units(), dict(one.parameters)
    behind = {SITE: ["W_U"], "embedding": ["W_left", "W_right"]}  # the weights out of a unit; the others go into it
    for _ in range(SWEEPS):
        change = 0.0
        for units, axes in groups.items():
            into, out = (
                torch.stack([_squares(parameters[n], axes[n]) for n in axes if (n in behind[units]) == later]).sum(0)
                for later in (False, True)
            )
            scale = torch.where((into > 0) & (out > 0), out / into, torch.ones_like(into)).pow(0.25)
            change = max(change, float(scale.log().abs().max()))
            for name, axis in axes.items():
                factor = 1 / scale if name in behind[units] else scale
                parameters[name] = (parameters[name].movedim(axis, -1) * factor).movedim(-1, axis)
        if change < CHANGE:
            break
    return replace(one, parameters=parameters)


def _squares(tensor: Tensor, axis: int) -> Tensor:
    """Sum of squares of each unit's weights."""
    return tensor.movedim(axis, 0).flatten(1).square().sum(1) if tensor.ndim > 1 else tensor.square()


def padded(one: Trajectory, d_mlp: int, dead: Dead = "off", d_embed: int | None = None) -> Trajectory:
    """Return the same function in a wider network, whose further neurons are dead and further dimensions empty.

    Parameters
    ----------
    one : Trajectory
        A single network of this file's architecture.
    d_mlp, d_embed : int, int or None
        The new widths; by default the embedding keeps its own.
    dead : Dead, optional
        What a further neuron is, see the module's docstring.

    Raises
    ------
    SltGrokError
        Another network, or widths below its own.
    """
    module = _checked(one, "padded")
    own = {SITE: module.W_U.shape[0], "embedding": one.parameters["W_E"].shape[1]}
    sizes = {SITE: d_mlp, "embedding": d_embed or own["embedding"]}
    if any(sizes[units] < own[units] for units in own):
        raise SltGrokError(
            f"padded: expected widths of at least {own['embedding']} and {own[SITE]}, "
            f"got {sizes['embedding']} and {sizes[SITE]}"
        )
    wider = EmbeddingMLP(module.tokens, sizes["embedding"], sizes[SITE], "concatenation", "relu").double()
    network = replace(one.network, module=wider)
    parameters = {}
    for name, shape in network.shapes.items():
        off = name == "b_in" and dead == "off"
        parameters[name] = torch.full(shape, OFF if off else 0.0, dtype=one.parameters[name].dtype)
        parameters[name][tuple(slice(size) for size in one.parameters[name].shape)] = one.parameters[name]
    return replace(one, network=network, parameters=parameters)


def _checked(one: Trajectory, name: str) -> EmbeddingMLP:
    """Return the module, where it is of the architecture of this file."""
    module = one.network.module
    fits = isinstance(module, EmbeddingMLP) and module.activation is relu and not one.shape
    if not fits or set(one.parameters) != {"W_E", "W_left", "W_right", "b_in", "W_U"}:
        raise SltGrokError(f"{name}: expected a single embedding MLP with ReLU, concatenation and one embedding")
    assert isinstance(module, EmbeddingMLP)
    return module

"""Rescaling the two sides of neurons and heads: every declaration leaves the function as it was."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from slt_grok.models import DeepMLP, DeepTransformer, EmbeddingMLP, Network, OneLayerTransformer, QuadraticNetwork
from slt_grok.models.model import Model
from slt_grok.models.rescaling import Rescaling, balanced, rescaled, stretched

P = 7
SMALL: dict[str, Any] = {"d_model": 8, "n_heads": 2, "d_mlp": 6}
HOMOGENEOUS = {
    "transformer": OneLayerTransformer(P, **SMALL),
    "rate": OneLayerTransformer(P, **SMALL, layout="a_b", attention_rate=0.3),
    "square": OneLayerTransformer(P, **SMALL, activation="quadratic"),
    "deep transformer": DeepTransformer(P, n_layers=2, **SMALL),
    "mlp": EmbeddingMLP(P, 5, 6, activation="relu", output_bias=True, bias_per_token=True),
    "sum": EmbeddingMLP(P, 5, 6, "sum", activation="quadratic", separate_embeddings=True),
    "deep mlp": DeepMLP(P, 5, 6, 4),
    "one hidden layer": QuadraticNetwork(P, 6),
}
PAIRS = torch.cartesian_prod(torch.arange(P), torch.arange(P))


def drawn(model: Model, networks: int = 3) -> dict[str, Tensor]:
    """Normal weights of every parameter, biases included."""
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randn(networks, *parameter.shape, generator=generator, dtype=torch.float64)
        for name, parameter in model.named_parameters()
    }


def units(stack: dict[str, Tensor], pair: Rescaling) -> tuple[int, int]:
    name, axis = next(iter(pair.inside.items()))
    return len(stack[name]), stack[name].shape[axis]


def side(stack: dict[str, Tensor], side: dict[str, int], unit: int) -> float:
    """Squared norm of one side of a unit of the first network."""
    return sum(stack[name][0].select(axis, unit).square().sum().item() for name, axis in side.items())


@pytest.mark.parametrize("kind", HOMOGENEOUS)
def test_no_declared_rescaling_changes_an_output(kind: str) -> None:
    model = HOMOGENEOUS[kind]
    network, stack = Network(model), drawn(model)
    before = network.stacked_outputs(stack, PAIRS)
    moved, generator = stack, torch.Generator().manual_seed(1)
    assert model.rescalable()
    for pair in model.rescalable():
        factors = torch.rand(units(stack, pair), generator=generator, dtype=torch.float64) * 3 + 0.2
        previous, moved = moved, rescaled(moved, pair, factors)
        for name in (*pair.inside, *pair.outside):
            assert not torch.allclose(moved[name], previous[name], rtol=1e-2)
    for other in (moved, balanced(stack, model.rescalable()), stretched(stack, model.rescalable(), 4.0)):
        torch.testing.assert_close(network.stacked_outputs(other, PAIRS), before, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", HOMOGENEOUS)
def test_both_sides_of_every_balanced_unit_have_equal_norms(kind: str) -> None:
    model = HOMOGENEOUS[kind]
    found = balanced(drawn(model), model.rescalable())
    for pair in model.rescalable():
        for unit in range(units(found, pair)[1]):
            assert side(found, pair.inside, unit) == pytest.approx(side(found, pair.outside, unit), rel=1e-6)


def test_balanced_weights_are_the_shortest_of_a_degree_one_network() -> None:
    model = HOMOGENEOUS["transformer"]
    found = balanced(drawn(model), model.rescalable())

    def norm(stack: dict[str, Tensor]) -> float:
        return sum(tensor.square().sum().item() for tensor in stack.values())

    for pair in model.rescalable():
        for factor in (0.9, 1.1):
            factors = torch.full(units(found, pair), factor, dtype=torch.float64)
            assert norm(rescaled(found, pair, factors)) > norm(found)
    lengths = [norm(stretched(found, model.rescalable(), factor)) for factor in (1.0, 2.0, 4.0)]
    assert all(shorter < longer for shorter, longer in pairwise(lengths))


def test_a_dead_neuron_stays_and_does_not_break_the_others() -> None:
    model = HOMOGENEOUS["transformer"]
    stack = drawn(model)
    stack["W_out"][:, 2] = 0.0
    found = balanced(stack, model.rescalable())
    torch.testing.assert_close(found["W_in"][..., 2], stack["W_in"][..., 2])
    assert all(torch.isfinite(tensor).all() for tensor in found.values())


def test_gelu_declares_only_heads() -> None:
    assert EmbeddingMLP(P, 5, 6).rescalable() == DeepMLP(P, 5, 6, activation="gelu").rescalable() == []
    declared = OneLayerTransformer(P, **SMALL, activation="gelu").rescalable()
    assert {name for pair in declared for name in (*pair.inside, *pair.outside)} == {"W_V", "W_O", "W_Q", "W_K"}

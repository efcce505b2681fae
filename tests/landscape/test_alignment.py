from itertools import permutations

import numpy as np
import pytest
import torch
from torch import nn

from slt_grok import models
from slt_grok.errors import SltGrokError
from slt_grok.landscape.alignment import align, match_weights, permute, random_permutations, shuffle, unit_groups
from slt_grok.tasks import ModularTask
from slt_grok.trajectories import Network, Trajectory

P = 7
TASK = ModularTask(P, train_fraction=0.7)
SETTINGS = [
    {"kind": "transformer", "d_model": 8, "n_heads": 4, "d_mlp": 12, "activation": "gelu"},
    {
        "kind": "transformer",
        "d_model": 9,
        "n_heads": 2,
        "d_head": 4,
        "d_mlp": 12,
        "activation": "gelu",
        "layout": "a_b",
    },
    {"kind": "deep_transformer", "n_layers": 2, "d_model": 8, "n_heads": 2, "d_mlp": 12, "activation": "gelu"},
    {"kind": "mlp", "d_embed": 6, "d_mlp": 10, "combine": "sum", "separate_embeddings": True},
    {"kind": "mlp", "d_embed": 6, "d_mlp": 10, "combine": "sum", "output_bias": True},
    {"kind": "mlp", "d_embed": 6, "d_mlp": 10, "bias_per_token": True, "separate_embeddings": True},
    {"kind": "mlp", "d_embed": 6, "d_mlp": 10},
    {"kind": "deep_mlp", "d_embed": 6, "d_mlp": 10, "d_second": 8, "activation": "gelu"},
    {"kind": "quadratic", "width": 12},
]
each_kind = pytest.mark.parametrize("settings", SETTINGS, ids=lambda s: "-".join(map(str, s.values())))


def single(settings: dict, seed: int = 0) -> Trajectory:
    """A network with random weights, biases too."""
    module = models.build(tokens=P, **settings).double()
    module.initialize(generator := torch.Generator().manual_seed(seed))
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return Trajectory.of(module, TASK)


def logits(trajectory: Trajectory) -> torch.Tensor:
    return trajectory.network.outputs(trajectory.parameters, TASK.inputs)


@each_kind
def test_every_kind_computes_the_same_after_a_permutation(settings):
    trajectory = single(settings)
    groups = unit_groups(trajectory.network)
    for seed in range(3):
        moved = permute(trajectory.parameters, groups, random_permutations(trajectory.parameters, groups, seed))
        for units, axes in groups.items():
            assert any(not torch.equal(moved[name], trajectory.parameters[name]) for name in axes), units
        np.testing.assert_allclose(trajectory.network.outputs(moved, TASK.inputs), logits(trajectory), atol=1e-12)


def test_every_kind_is_here():
    known = {kind.name for kind in models.Model.all() if kind.__module__.startswith("slt_grok.")}
    assert {settings["kind"] for settings in SETTINGS} == known - {"custom"}  # a user-supplied module


@each_kind
def test_a_permuted_copy_is_brought_back(settings):
    trajectory = single(settings)
    copy = shuffle(trajectory, seed=4)
    assert any(not torch.equal(copy.parameters[name], w) for name, w in trajectory.parameters.items())
    back = align(copy, trajectory)
    for name, weights in trajectory.parameters.items():
        assert torch.equal(back.parameters[name], weights), name


@each_kind
def test_aligning_another_network_leaves_its_function(settings):
    other = single(settings, seed=1)
    np.testing.assert_allclose(logits(align(other, single(settings))), logits(other), atol=1e-12)


@each_kind
def test_weights_come_closer(settings):
    """|A - P(B)|^2 = |A|^2 + |B|^2 - 2 <A, P(B)>: what is maximized is what brings them together."""
    first, other = single(settings), single(settings, seed=1)

    def distance(moved: Trajectory) -> float:
        return sum((moved.parameters[name] - w).square().sum().item() for name, w in first.parameters.items())

    assert distance(align(other, first)) < distance(other)


def test_one_hidden_layer_against_all_permutations():
    settings = {"kind": "quadratic", "width": 5}
    first, other = single(settings), single(settings, seed=3)
    groups = unit_groups(first.network)
    a, b = first.parameters, other.parameters

    def agreement(order) -> float:
        return sum((a[n] * (b[n][order, :] if n == "W" else b[n][:, order])).sum().item() for n in a)

    best = max(permutations(range(5)), key=lambda order: agreement(list(order)))
    assert tuple(match_weights(a, b, groups)["neurons_post"]) == best


def test_each_network_of_a_stack_has_its_own_permutation():
    settings = SETTINGS[0]
    one, two = single(settings), single(settings, seed=1)
    stack = {name: torch.stack([w, two.parameters[name]]) for name, w in one.parameters.items()}
    both = Trajectory(Network(one.network.module, TASK), stack, ("seed",), {"seed": np.array([0, 1])})
    back = align(shuffle(both, seed=9), both)
    for name, weights in stack.items():
        assert torch.equal(back.parameters[name], weights)
    assert back.dims == ("seed",)


def test_what_cannot_be_aligned_is_said():
    linear = Trajectory.of(nn.Linear(2, 2))
    with pytest.raises(SltGrokError, match="declares its interchangeable units, got Linear"):
        align(linear, linear)

"""Interventions on weights: planted circuits, where what is left is known, and identities on random networks."""

import numpy as np
import pytest
import torch

from slt_grok.errors import SltGrokError
from slt_grok.groups import cyclic
from slt_grok.interventions import weights
from slt_grok.models import build, planted
from slt_grok.tasks import ModularTask
from slt_grok.trajectories import Trajectory

P, AMPLITUDES = 13, {2: 3.0, 3: 2.0, 5: 1.0}
KINDS_HERE = {
    "transformer": {"d_model": 8, "n_heads": 2, "d_mlp": 12},
    "deep_transformer": {"d_model": 8, "n_heads": 2, "d_mlp": 12},
    "mlp": {"d_embed": 4, "d_mlp": 6, "output_bias": True},
    "deep_mlp": {"d_embed": 4, "d_mlp": 6},
    "quadratic": {"width": 10},
}


def random_network(kind: str, seed: int = 0) -> Trajectory:
    module = build(kind, P, **KINDS_HERE[kind]).double()
    module.initialize(torch.Generator().manual_seed(seed))
    return Trajectory.of(module, ModularTask(P))


def clock() -> Trajectory:
    return Trajectory.of(planted.clock(P, AMPLITUDES), ModularTask(P))


def logits(trajectory: Trajectory) -> np.ndarray:
    with torch.no_grad():
        return trajectory.network.outputs(trajectory.parameters, trajectory.task.inputs).numpy().reshape(P, P, P)


def cosines(*keys: int) -> np.ndarray:
    a, b, c = np.ogrid[:P, :P, :P]
    return np.sum([AMPLITUDES[k] * np.cos(2 * np.pi * k / P * (a + b - c)) for k in keys], 0) + np.zeros((P, P, P))


def planes(*keys: int) -> torch.Tensor:
    return weights.frequency_directions(cyclic(P), keys)


@pytest.mark.parametrize("kept", [(2,), (3, 5), (2, 3, 5)])
def test_a_clock_on_some_of_its_planes_is_the_clock_of_those(kept: tuple[int, ...]) -> None:
    gone = [k for k in AMPLITUDES if k not in kept]
    np.testing.assert_allclose(logits(weights.keep_directions(clock(), planes(*kept))), cosines(*kept), atol=1e-12)
    if gone:
        left = logits(weights.remove_directions(clock(), planes(*gone)))
        np.testing.assert_allclose(left, cosines(*kept), atol=1e-12)


def test_planes_that_a_clock_does_not_use_can_go_and_without_its_own_nothing_is_left() -> None:
    np.testing.assert_allclose(
        logits(weights.remove_directions(clock(), planes(1, 4, 6))), cosines(2, 3, 5), atol=1e-12
    )
    np.testing.assert_allclose(logits(weights.keep_directions(clock(), planes(1, 4, 6))), 0, atol=1e-12)


def test_neurons_of_one_frequency_are_its_part_of_the_clock() -> None:
    """`planted.clock` has 16 neurons a frequency, in the order of its amplitudes."""
    second = np.arange(48) // 16 == 1
    np.testing.assert_allclose(logits(weights.keep_neurons(clock(), second)), cosines(3), atol=1e-12)
    np.testing.assert_allclose(logits(weights.remove_neurons(clock(), second)), cosines(2, 5), atol=1e-12)
    left = weights.remove_neurons(clock(), second).parameters
    assert not left["W_left"][:, second].any()
    assert not left["W_U"][second].any()


@pytest.mark.parametrize("kind", KINDS_HERE)
def test_kept_and_removed_add_up_to_the_table_and_its_mean(kind: str) -> None:
    before = random_network(kind)
    kept = weights.keep_directions(before, planes(1, 4)).parameters
    gone = weights.remove_directions(before, planes(1, 4)).parameters
    in_tables = dict(build(kind, P, **KINDS_HERE[kind]).token_roles().values())
    for name, whole in before.parameters.items():
        if name not in in_tables:
            assert torch.equal(kept[name], whole)
            assert torch.equal(gone[name], whole)
            continue
        axis = in_tables[name]
        tokens, rest = whole.tensor_split([P], axis)
        both = [one[name].tensor_split([P], axis) for one in (kept, gone)]
        torch.testing.assert_close(both[0][0] + both[1][0], tokens + tokens.mean(axis, keepdim=True))
        for _, left in both:
            assert torch.equal(left, rest)  # the '=' sign stays


def test_random_planes_are_orthonormal_and_uniform() -> None:
    """Of a function of t they have count / (p - 1) of the squared norm on average: 2,000 draws, 4 standard errors."""
    generator = np.random.default_rng(0)
    one = weights.random_directions(cyclic(P), 4, generator)
    torch.testing.assert_close(one @ one.T, torch.eye(4, dtype=torch.float64))
    torch.testing.assert_close(one.sum(1), torch.zeros(4, dtype=torch.float64))
    vector = planes(2)[0] * 0.6 + planes(5)[1] * 0.8
    found = np.array(
        [float((weights.random_directions(cyclic(P), 4, generator) @ vector).square().sum()) for _ in range(2000)]
    )
    assert abs(found.mean() - 4 / (P - 1)) < 4 * found.std() / 2000**0.5


@pytest.mark.parametrize("kind", KINDS_HERE)
def test_every_parameter_is_in_one_part_and_all_parts_of_another_network_are_it(kind: str) -> None:
    one, other = random_network(kind), random_network(kind, seed=1)
    parts = weights.parts(one)
    assert sorted(name for names in parts.values() for name in names) == sorted(one.parameters)
    assert ("attention" in parts) == ("transformer" in kind)
    changed = one
    for names in parts.values():
        changed = weights.exchange(changed, other, names)
    np.testing.assert_array_equal(logits(changed), logits(other))
    half = weights.exchange(one, other, parts["embedding"])
    for name, tensor in half.parameters.items():
        donor = other if name in parts["embedding"] else one
        assert torch.equal(tensor, donor.parameters[name])


def test_one_checkpoint_gives_its_part_to_all() -> None:
    one = random_network("mlp")
    states = {step: {name: tensor * (step + 1) for name, tensor in one.parameters.items()} for step in (0, 1, 2)}
    along = Trajectory.stack(one.network.module, states, ModularTask(P))
    changed = weights.exchange(along, along.isel(step=[2]), ["W_U"])
    for i in range(3):
        assert torch.equal(changed.parameters["W_U"][i], 3 * one.parameters["W_U"])
        assert torch.equal(changed.parameters["W_E"][i], (i + 1) * one.parameters["W_E"])


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: weights.keep_directions(clock(), torch.zeros(2, 5)), "functions of 13 tokens"),
        (lambda: weights.keep_neurons(clock(), np.ones(3, dtype=bool)), r"bool mask of shape \(48,\)"),
        (lambda: weights.exchange(clock(), clock(), ["W_X"]), "expected some of W_E.*got W_X"),
        (lambda: weights.exchange(clock(), random_network("mlp"), ["W_E"]), "same shapes"),
        (lambda: weights.random_directions(cyclic(5), 5, np.random.default_rng(0)), "at most 4"),
    ],
)
def test_bad_input_is_named(make, named: str) -> None:
    with pytest.raises(SltGrokError, match=named):
        make()

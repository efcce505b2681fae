"""Interventions on planted networks, where the answer to each is known, and on random ones, where identities hold."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from slt_grok.circuits import progress, spectrum
from slt_grok.errors import SltGrokError
from slt_grok.groups import cyclic
from slt_grok.interventions import keep, remove, replace_by_clock, rotate, swap
from slt_grok.models import DeepTransformer, EmbeddingMLP, OneLayerTransformer, QuadraticNetwork, planted
from slt_grok.tasks import ModularTask
from slt_grok.trajectories import Trajectory

P, AMPLITUDES = 13, {2: 3.0, 3: 2.0, 5: 1.0}
K = np.arange(1, 7)
PLANTED = {
    "clock": lambda: planted.clock(P, AMPLITUDES),
    "quadratic_clock": lambda: planted.quadratic_clock(P, AMPLITUDES),
    "pizza": lambda: planted.pizza(P, AMPLITUDES),
}
RANDOM = {
    "a_b_equals": lambda: OneLayerTransformer(P, d_model=16, n_heads=2, d_mlp=24),
    "a_b": lambda: OneLayerTransformer(P, d_model=16, n_heads=2, d_mlp=24, layout="a_b", attention_rate=0.3),
    "two_layers": lambda: DeepTransformer(P, d_model=16, n_heads=2, d_mlp=24, layout="a_b_equals"),
    "sum": lambda: EmbeddingMLP(P, combine="sum", output_bias=True),
    "separate": lambda: EmbeddingMLP(P, combine="sum", separate_embeddings=True),
    "concatenation": lambda: EmbeddingMLP(P),
    "quadratic": lambda: QuadraticNetwork(P, 20),
}


def network(name, operation="addition"):
    task = ModularTask(P, operation)
    if name in PLANTED:
        return Trajectory.of(PLANTED[name](), task)
    module = RANDOM[name]().double()
    module.initialize(torch.Generator().manual_seed(0))
    return Trajectory.of(module, task)


def grid(trajectory):
    """Logits (a, b, c)."""
    return trajectory.network.outputs(trajectory.parameters, trajectory.task.inputs).reshape(P, P, P).numpy()


def only(*keys):
    return np.isin(K, keys)


def clock(amplitudes, a=None):
    i, b, c = np.ogrid[:P, :P, :P]
    a = i if a is None else np.asarray(a)[:, None, None]
    return np.sum([h * np.cos(2 * np.pi * k / P * (a + b - c)) for k, h in amplitudes.items()], 0)


@pytest.mark.parametrize("site", ["embedding", "neurons_post", "logits"])
@pytest.mark.parametrize("name", ["clock", "quadratic_clock"])
def test_a_clock_without_a_frequency_is_the_clock_of_the_others(name, site):
    rest = {3: 2.0, 5: 1.0}
    np.testing.assert_allclose(grid(remove(network(name), only(2), site)), clock(rest), atol=1e-12)
    np.testing.assert_allclose(grid(remove(network(name), only(1, 4, 6), site)), clock(AMPLITUDES), atol=1e-12)
    kept = keep(network(name), only(3, 5), site)
    np.testing.assert_allclose(grid(kept), clock(rest), atol=1e-12)


@pytest.mark.parametrize("name", ["clock", "quadratic_clock"])
def test_a_clock_is_turned_plane_by_plane(name):
    before = network(name)
    for shift in (1, 6):
        turned = clock({2: 3.0}, np.arange(P) + shift) + clock({3: 2.0, 5: 1.0})
        np.testing.assert_allclose(grid(rotate(before, only(2), shift)), turned, atol=1e-12)
    tokens = np.random.default_rng(0).permutation(P)
    np.testing.assert_allclose(grid(swap(before, only(2, 3, 5), tokens)), clock(AMPLITUDES, tokens), atol=1e-12)
    np.testing.assert_allclose(grid(swap(before, only(1, 4, 6), tokens)), clock(AMPLITUDES), atol=1e-12)


def test_both_tokens_turned_move_the_answer_twice():
    a = np.arange(P) + 4
    both = rotate(network("clock"), only(2, 3, 5), 2, "embedding")
    np.testing.assert_allclose(grid(both), clock(AMPLITUDES, a), atol=1e-12)


def test_a_pizza_is_turned_with_its_distance():
    """E_a of another token: what depends on a - b moves too."""
    before = grid(network("pizza"))
    after = grid(rotate(network("pizza"), only(2, 3, 5), 4))
    np.testing.assert_allclose(after, np.roll(before, -4, 0), atol=1e-12)
    moved = grid(rotate(network("pizza"), only(2), 4))
    assert np.abs(moved - np.roll(before, -4, 0)).max() > 0.5


def test_logits_replaced_by_the_clock():
    """Of a pizza alpha_k is 2/p^3 <L, cos w_k(a+b-c)> = A_k times the mean of |cos(w_k d/2)|."""
    mean = np.abs(np.cos(np.pi * np.arange(P) / P)).mean()
    found = grid(replace_by_clock(network("pizza"), only(2, 5)))
    alpha = {2: 3.0 * mean, 5: 1.0 * mean}
    # beside it the mean over the grid of each class, here of what the residual leaves there
    assert np.abs(found - clock(alpha)).max() < planted.pizza_residual(32) * 6
    np.testing.assert_allclose(grid(replace_by_clock(network("clock"), only(3))), clock({3: 2.0}), atol=1e-12)


def test_subtraction_has_planes_of_the_difference():
    module = planted.quadratic_clock(P, AMPLITUDES, sign=-1)
    trajectory = Trajectory.of(module, ModularTask(P, "subtraction"))
    mirrored = clock({3: 2.0, 5: 1.0})[:, -np.arange(P)]
    np.testing.assert_allclose(grid(remove(trajectory, only(2), "logits")), mirrored, atol=1e-12)
    np.testing.assert_allclose(grid(remove(trajectory, only(2), "neurons_post")), mirrored, atol=1e-12)


@pytest.mark.parametrize("name", list(RANDOM))
def test_the_first_token_alone_is_changed(name):
    """All planes turned: E_a becomes E_{a+s}, so that the logits are those of (a + s, b)."""
    before = network(name)
    everything = np.ones(6, dtype=bool)
    after = rotate(before, everything, 3)
    np.testing.assert_allclose(grid(after), np.roll(grid(before), -3, 0), atol=1e-12)
    assert after.parameters is before.parameters
    both = rotate(before, everything, 3, "embedding")
    np.testing.assert_allclose(grid(both), np.roll(grid(before), (-3, -3), (0, 1)), atol=1e-12)


@settings(deadline=None, max_examples=20)
@given(
    mask=st.lists(st.booleans(), min_size=6, max_size=6),
    site=st.sampled_from(["embedding", "embedding_first", "neurons_pre", "neurons_post", "logits"]),
    name=st.sampled_from(list(RANDOM)),
)
def test_taking_away_twice_is_once_and_in_any_order(mask, site, name):
    before, mask = network(name), np.array(mask)
    once = grid(remove(before, mask, site))
    np.testing.assert_allclose(grid(remove(remove(before, mask, site), mask, site)), once, atol=1e-12)
    first, second = mask & (K % 2 == 0), mask & (K % 2 == 1)
    np.testing.assert_allclose(grid(remove(remove(before, first, site), second, site)), once, atol=1e-12)
    np.testing.assert_allclose(grid(rotate(rotate(before, mask, 2, site), mask, -2, site)), grid(before), atol=1e-12)
    if site.startswith("embedding"):  # the planes and the mean are all there is
        np.testing.assert_allclose(grid(keep(before, ~mask, site)), once, atol=1e-12)


def test_restricted_excluded_and_trig_logits_are_interventions_at_the_logits():
    before, mask = network("a_b_equals"), only(1, 4)
    logits = torch.from_numpy(grid(before)).reshape(1, P * P, P)
    table, kept, sums = cyclic(P).means_by_product(logits), torch.tensor(mask)[None], cyclic(P).products()
    trig, _ = progress.clock_fit(logits, table, kept, cyclic(P))
    for after, expected in (
        (remove(before, mask, "logits"), logits - cyclic(P).project(table, kept)[:, sums]),
        (keep(before, mask, "logits"), progress.restricted_sum(table, kept, cyclic(P))[:, sums]),
        (replace_by_clock(before, mask), trig[:, sums]),
    ):
        np.testing.assert_allclose(grid(after).reshape(1, P * P, P), expected, atol=1e-12)


def test_weights_change_at_the_embedding_alone_and_every_measure_sees_it():
    before = network("a_b_equals")
    after = remove(before, only(2), "embedding")
    assert spectrum.power_fraction(RANDOM["a_b_equals"]().token_embedding(after.stacked()), cyclic(P))[0, 1] < 1e-20
    assert torch.equal(after.parameters["W_E"][P:], before.parameters["W_E"][P:])  # '=' is no token of Z_p
    for name in before.parameters:
        assert (name == "W_E") != torch.equal(after.parameters[name], before.parameters[name])
    table = before.parameters["W_E"][:P]
    np.testing.assert_allclose(after.parameters["W_E"][:P] + cyclic(P).project(table, torch.tensor(only(2))), table)


def test_a_whole_trajectory_at_once_and_its_sites_as_changed():
    states = {
        step: network("a_b").parameters | {"W_E": (step + 1.0) * network("a_b").parameters["W_E"]} for step in (3, 8)
    }
    stacked = Trajectory.stack(RANDOM["a_b"](), states, ModularTask(P))
    for site in ("embedding_first", "neurons_post"):
        after = remove(stacked, only(1, 5), site)
        assert after.dims == ("step",)
        together = after.network.stacked_outputs(after.stacked(), after.task.inputs)
        seen = after.network.stacked_sites(after.stacked(), after.task.inputs, "neurons_post")["neurons_post"]
        for i in range(2):
            alone = remove(stacked.isel(step=i), only(1, 5), site)
            one = {name: tensor[0] for name, tensor in alone.parameters.items()}
            np.testing.assert_allclose(together[i], alone.network.outputs(one, alone.task.inputs), atol=1e-12)
        if site == "neurons_post":
            left = cyclic(P).project(cyclic(P).means_by_product(seen), torch.tensor(only(1, 5)))
            np.testing.assert_allclose(left, 0, atol=1e-12)


def test_bad_input_is_named():
    one = network("sum")
    with pytest.raises(SltGrokError, match=r"site among embedding, embedding_first.*got 'residual'"):
        remove(one, only(1), "residual")  # type: ignore[arg-type]
    with pytest.raises(SltGrokError, match=r"bool mask of shape \(6,\), got torch.int64 of shape \(2,\)"):
        remove(one, [1, 2], "logits")
    with pytest.raises(SltGrokError, match="Linear"):
        remove(Trajectory.of(nn.Linear(2, P), ModularTask(P)), only(1), "logits")
    after = remove(one, only(1), "logits")
    with pytest.raises(SltGrokError, match=r"whole grid of 169 inputs.*got 50"):
        after.network.outputs(after.parameters, after.task.data("train")[0])

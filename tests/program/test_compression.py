"""Critical quantization and pruning of planted networks whose bits can be counted."""

import math
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from slt_grok.errors import SltGrokError
from slt_grok.models import EmbeddingMLP, planted
from slt_grok.program.compression import STORED, _last, compress, critical_bits, quantized
from slt_grok.program.length import log2_choose
from slt_grok.tasks import ModularTask
from slt_grok.trajectories import Trajectory

P = 7


def logits(one: Trajectory) -> torch.Tensor:
    return one.network.outputs(one.parameters, one.task.inputs).reshape(P, P, P)


def table(height: torch.Tensor) -> Trajectory:
    """A lookup table with these logits (a, b, c)."""
    return Trajectory.of(planted.lookup_table(height), ModularTask(P, train_fraction=1.0))


def padded(one: Trajectory, d_mlp: int) -> Trajectory:
    """The same function with further neurons whose weights are 0."""
    module = EmbeddingMLP(P, P, d_mlp, "concatenation", "relu").double()
    wider = Trajectory.of(module, one.task)
    for name, tensor in one.parameters.items():
        wider.parameters[name][tuple(slice(size) for size in tensor.shape)] = tensor
    return wider


def steps(one: Trajectory, bits: int) -> Trajectory:
    return replace(one, parameters=quantized(one.parameters, bits))


def right(height: float = 8.0) -> torch.Tensor:
    """Logits of this height for the right answers, 0 for the others."""
    return height * torch.nn.functional.one_hot(ModularTask(P).labels, P).reshape(P, P, P).double()


def test_quantization_of_known_weights() -> None:
    module = EmbeddingMLP(P, 2, 3, "concatenation", "relu").double()
    one = Trajectory.of(module, ModularTask(P))
    one.parameters["W_U"] = torch.linspace(-3, 3, 21).double().reshape(3, 7)
    assert steps(one, 3).parameters["W_U"].unique().tolist() == [-3, -2, -1, 0, 1, 2, 3]
    np.testing.assert_allclose(steps(one, 2).parameters["W_U"].unique(), [-3, 0, 3])
    np.testing.assert_allclose(steps(one, 24).parameters["W_U"], one.parameters["W_U"], atol=1e-6)


def test_critical_bits_of_a_table_whose_answers_need_them() -> None:
    # labels stand over the others by 1 of 8, which steps of 2 and 4 lose, and steps of 8/7 keep
    height = torch.full((P, P, P), 8.0).double()
    height.scatter_(-1, ModularTask(P).labels.reshape(P, P, 1), 9.0)
    one = table(height)
    bits = critical_bits(one)["answers"]
    wanted = logits(one).argmax(-1)
    assert torch.equal(logits(steps(one, bits)).argmax(-1), wanted)
    assert not torch.equal(logits(steps(one, bits - 1)).argmax(-1), wanted)
    assert bits > critical_bits(table(right()))["answers"]


def sizes(one: Trajectory) -> tuple[int, int]:
    """Weights, and those that are not 0."""
    tensors = one.parameters.values()
    return sum(t.numel() for t in tensors), sum(int((t != 0).sum()) for t in tensors)


def test_bits_of_a_table_of_weights_0_and_plus_and_minus_one_scale() -> None:
    one = table(right())
    assert all(len(t.abs().unique()) <= 2 for t in one.parameters.values())  # 0 and the scale of the tensor
    count, _ = sizes(one)
    for found in compress(one).values():
        assert found.bits_per_weight == 2
        assert found.quantized == 2 * count + STORED * 5


def test_pruning_takes_the_weights_that_do_nothing() -> None:
    one = table(right())
    count, needed = sizes(one)
    noise = {name: 1e-6 * torch.rand(t.shape).double() + 1e-6 for name, t in one.parameters.items()}
    for name, tensor in one.parameters.items():
        one.parameters[name] = torch.where(tensor == 0, noise[name], tensor)
    assert sizes(one)[1] == count
    found = compress(one)["answers"]
    assert found.bits_per_weight_kept == found.bits_per_weight == 2
    assert found.weights_kept <= needed * 2 ** (1 / 16) + 1
    positions = math.log2(count + 1) + log2_choose(count, found.weights_kept)
    within = {name: (t.abs() > 1e-3).sum() for name, t in one.parameters.items()}
    assert found.pruned <= positions + 2 * found.weights_kept + STORED * 5 + 1e-6
    assert found.pruned < found.quantized
    assert sum(within.values()) == needed


@pytest.mark.parametrize("wide", [60, 90])
def test_dead_neurons_cost_some_positions_and_no_weight(wide) -> None:
    one = table(right())
    more = padded(one, wide)
    before, after = compress(one), compress(more)
    (count, needed), (larger, same) = sizes(one), sizes(more)
    assert same == needed
    for keeps, own in before.items():
        found = after[keeps]
        assert found.weights_kept == own.weights_kept
        assert (found.bits_per_weight, found.bits_per_weight_kept) == (2, 2)
        assert found.quantized - own.quantized == 2 * (larger - count)
        assert 0 < found.pruned - own.pruned < (larger - count) / 2


def test_the_loss_of_a_network_that_has_learned_nothing_needs_no_weight() -> None:
    one = table(1e-4 * torch.randn(P, P, P, generator=torch.Generator().manual_seed(0)).double())
    count, _ = sizes(one)
    found = compress(one)["loss"]
    assert found.weights_kept == 0
    assert found.pruned == pytest.approx(math.log2(count + 1))
    assert compress(one)["answers"].weights_kept > 0


def test_what_is_kept_is_kept() -> None:
    generator = torch.Generator().manual_seed(1)
    one = table(right(6.0) + torch.randn(P, P, P, generator=generator).double())
    rows = one.task.indices("train")
    loss = [
        torch.nn.functional.cross_entropy(logits(net).reshape(-1, P)[rows], one.task.train_labels[rows]).item()
        for net in (one, *(steps(one, compress(one)["loss"].bits_per_weight - less) for less in (0, 1)))
    ]
    assert loss[1] <= loss[0] + 1 / len(rows) < loss[2]


def test_answers_that_no_quantization_keeps() -> None:
    height = right()
    height[..., 0] = height[..., 0].clamp(min=8 * (1 - 1e-9))
    one = table(height)
    assert torch.equal(logits(one).argmax(-1).flatten(), one.task.labels)
    found = compress(one)
    assert found["answers"].bits_per_weight == STORED
    assert found["answers"].quantized == STORED * (sizes(one)[0] + 5)
    assert found["loss"].bits_per_weight < STORED


@given(st.integers(1, 60), st.data())
def test_the_last_place_is_found_from_any_guess(count, data) -> None:
    wanted = data.draw(st.integers(0, count - 1))
    guess = data.draw(st.integers(0, count - 1))
    assert _last(lambda place: place <= wanted, count, guess) == wanted


def test_bad_input_is_said() -> None:
    one = table(right())
    two = Trajectory.stack(one.network.module, {0: one.parameters, 1: deepcopy(one.parameters)}, one.task)
    for act in (compress, critical_bits):
        with pytest.raises(SltGrokError, match="expected one network, got 2"):
            act(two)

"""Programs of planted networks give back what was planted."""

import numpy as np
import pytest
import torch

from slt_grok import program
from slt_grok.errors import SltGrokError
from slt_grok.interventions.relabel import relabel
from slt_grok.models import DeepMLP, planted
from slt_grok.program import levels
from slt_grok.program.tokens import primitive_root
from slt_grok.tasks import ModularTask
from slt_grok.trajectories import Trajectory
from tests.program import networks
from tests.program.networks import AMPLITUDES


@pytest.mark.parametrize("sign", [1, -1])
def test_clock_gives_back_frequencies_and_amplitudes(sign: int) -> None:
    reading = program.read(networks.clock(sign=sign))
    found = program.clock(reading)
    assert found.keys.tolist() == list(AMPLITUDES)
    np.testing.assert_allclose(found.amplitude[:, 0], list(AMPLITUDES.values()), rtol=1e-12)
    assert program.match(reading, found).unexplained < 1e-24
    a, b = program.pairs(23)
    np.testing.assert_array_equal(found.answer(a, b), (a + sign * b) % 23)


def test_pizza_gives_back_its_amplitudes_to_its_own_residual() -> None:
    directions = 32
    network = planted.pizza(23, AMPLITUDES, directions)
    reading = program.read(Trajectory.of(network, ModularTask(23)))
    found = program.pizza(reading)
    expected = np.outer(list(AMPLITUDES.values()), [0, 1, 0])
    # the residual is at most this share of a logit; the three factors are far from orthogonal, which costs a factor
    np.testing.assert_allclose(found.amplitude, expected, atol=20 * planted.pizza_residual(directions))
    assert program.match(reading, found).unexplained < planted.pizza_residual(directions) ** 2 * 4
    assert program.match(reading, program.clock(reading)).unexplained > 0.1


def test_neurons_give_back_waves_and_phases_as_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(levels, "RIDGE", 1e20)  # output weights as read
    first, second = networks.gromov_phases()
    reading = program.read(networks.gromov())
    found = program.neurons(reading, np.array(list(AMPLITUDES)))
    assert found.neuron.tolist() == list(range(400))
    assert found.frequency.tolist() == [list(AMPLITUDES)[n % 3] for n in range(400)]
    np.testing.assert_allclose(found.amplitude, np.tile([1, 1, 0, 0, 0, 0], (400, 1)), atol=1e-12)
    for wave, phase in ((0, first), (1, second)):
        np.testing.assert_allclose(np.exp(1j * found.phase[:, wave]), np.exp(1j * phase), atol=1e-12)
    own = found.output[np.arange(400), np.arange(400) % 3]
    np.testing.assert_allclose(own, np.stack([np.cos(first + second), -np.sin(first + second)], 1), atol=1e-12)
    assert np.abs(found.output).sum() == pytest.approx(np.abs(own).sum())
    assert program.match(reading, found).unexplained < 1e-20


def test_frequencies_of_few_random_phases_are_those_planted() -> None:
    assert program.read(networks.gromov(width=1000)).keys.tolist() == list(AMPLITUDES)


@pytest.mark.parametrize("level", [program.clock, program.pizza, program.neurons])
def test_renaming_tokens_moves_frequencies_and_nothing_else(level) -> None:
    factor, p = 5, 23
    before = program.read(networks.gromov(width=600))
    after = program.read(relabel(networks.gromov(width=600), np.arange(p) * factor % p))
    moved = before.keys * pow(factor, -1, p) % p
    assert sorted(np.minimum(moved, p - moved)) == after.keys.tolist()
    own, found = (level(one).grid().reshape(p, p, p) for one in (before, after))
    renamed = np.arange(p) * factor % p
    np.testing.assert_allclose(found[np.ix_(renamed, renamed, renamed)], own, atol=1e-9 * np.abs(own).max())
    assert program.match(before, level(before)).unexplained == pytest.approx(
        program.match(after, level(after)).unexplained, abs=1e-9
    )


def test_multiplication_is_addition_of_logarithms() -> None:
    reading = program.read(networks.logarithmic())
    found = program.clock(reading)
    assert found.tokens.order == 12
    assert found.keys.tolist() == [1, 5]
    np.testing.assert_allclose(found.amplitude[:, 0], [4, 3], rtol=1e-12)
    np.testing.assert_array_equal(found.grid().argmax(-1), networks.truth(found.tokens))
    assert program.match(reading, found).unexplained < 1e-20


@pytest.mark.parametrize(("p", "root"), [(3, 2), (7, 3), (23, 5), (41, 6), (113, 3)])  # a table of primitive roots
def test_primitive_root(p: int, root: int) -> None:
    assert primitive_root(p) == root


@pytest.mark.parametrize("activation", ["relu", "gelu", "quadratic"])
def test_program_activations_are_torchs(activation: str) -> None:
    from slt_grok.models.model import ACTIVATIONS as OF_TORCH
    from slt_grok.program.activations import ACTIVATIONS

    x = np.linspace(-4, 4, 101)
    np.testing.assert_allclose(
        ACTIVATIONS[activation].function(x), OF_TORCH[activation](torch.from_numpy(x)).numpy(), atol=1e-14
    )


def test_table_answers_its_rows_and_leaves_the_others() -> None:
    base = program.clock(program.read(networks.clock()))
    rows = np.array([3, 40, 500])
    table = program.Table(23, rows, np.array([1, 1, 2]), base)
    a, b = program.pairs(23)
    expected = (a + b) % 23
    expected[rows] = [1, 1, 2]
    np.testing.assert_array_equal(table.answer(a, b), expected)


@pytest.mark.parametrize("operation", ["addition", "subtraction", "multiplication"])
def test_angles_are_known_by_the_labels(operation) -> None:
    assert program.Tokens.of(ModularTask(11, operation)) == program.Tokens(11, operation)


@pytest.mark.parametrize("operation", ["x^2+xy+y^2", "random_table"])
def test_other_labels_have_no_angles(operation) -> None:
    assert program.Tokens.of(ModularTask(11, operation)) is None


def test_bad_input() -> None:
    with pytest.raises(SltGrokError, match=r"x\^2\+xy\+y\^2"):
        program.Tokens(11, "x^2+xy+y^2")
    with pytest.raises(SltGrokError, match="odd prime"):
        program.Tokens(12)
    two = Trajectory.of(DeepMLP(11, 4, 4), ModularTask(11))
    with pytest.raises(SltGrokError, match="equal ones"):
        program.read(two)
    module = DeepMLP(11, 4, 4)
    module.initialize(torch.Generator().manual_seed(0))
    deep = program.read(Trajectory.of(module, ModularTask(11)))
    with pytest.raises(SltGrokError, match="one hidden layer"):
        program.neurons(deep, np.array([1]))
    with pytest.raises(SltGrokError, match="odd prime p, got a group of order 9"):
        program.read(Trajectory.of(DeepMLP(9, 4, 4), ModularTask(9)))

"""Lengths of codes of the answers and of the loss, counted by hand."""

import math

import numpy as np
import pytest
import torch

from slt_grok import program
from slt_grok.interventions.relabel import relabel
from slt_grok.models import planted
from slt_grok.program.length import cross_entropy, gamma_bits, number_bits
from slt_grok.tasks import ModularTask
from slt_grok.trajectories import Trajectory
from tests.program import networks
from tests.program.networks import AMPLITUDES


def choose(n: int, k: int) -> float:
    return math.log2(math.comb(n, k))


def of_logits(logits: np.ndarray, task: ModularTask) -> program.Reading:
    p = task.classes
    network = planted.lookup_table(torch.from_numpy(logits).unflatten(0, (p, p)))
    return program.read(Trajectory.of(network, task))


def test_numbers_by_hand() -> None:
    assert [gamma_bits(n) for n in (1, 2, 3, 4, 7, 8)] == [1, 3, 3, 5, 5, 7]
    assert number_bits(np.array([3.0, -2.0]), 1) == pytest.approx(1 + 5 + 2 * math.log2(7))  # unit 1, largest 3
    # units 10, 0.1, 100 are the whole numbers 2, 1, 4 or in gamma code 3, 2, 5
    assert number_bits(np.array([20.0]), 1) == pytest.approx(3 + 3 + math.log2(5))
    assert number_bits(np.array([0.2]), 1) == pytest.approx(3 + 3 + math.log2(5))
    assert number_bits(np.array([200.0]), 1) == pytest.approx(5 + 3 + math.log2(5))
    assert number_bits(np.zeros(4), 2) == 2


def test_the_loss_of_a_memorizer_is_all_table() -> None:
    reading = program.read(networks.memorizer(11))
    n = len(reading.task.indices("train"))
    assert n == 36
    found = program.codes(reading, None)["loss"]
    # the network's 36 losses of log(1 + 10 e^-6) and 1 nat are less than one pair of log 11, so that all are listed, at
    # most 0.052 nats each: a margin of 10 is the first of one digit 1, at 3 bits for its unit, 3 and log2 3
    expected = math.log2(37) + choose(36, 36) + 36 * math.log2(11) + 3 + 3 + math.log2(3)
    assert found.bits == pytest.approx(expected)
    assert found.listing == found.bits
    assert program.measure(networks.memorizer(11)).table_share.values.tolist() == [1, 1]


# of one pair log(1 + 10 e^-M) may be 1 nat, so that a margin of 2 does; more of them need 5 and up, where 10 is shorter
MARGIN_BITS = {0: 0.0, 1: 1 + 3 + math.log2(5), 7: 6 + math.log2(3), 20: 6 + math.log2(3)}


@pytest.mark.parametrize("known", MARGIN_BITS)
def test_as_many_pairs_are_listed_as_were_learned(known) -> None:
    task = ModularTask(11)
    rows = task.indices("train").numpy()[:known]
    logits = np.zeros((121, 11))
    logits[0, 0] = 1e-9  # so that there is something to read
    logits[rows, task.labels.numpy()[rows]] = 12.0
    found = program.codes(of_logits(logits, task), None)["loss"]
    n = len(task.indices("train"))
    assert found.bits == pytest.approx(math.log2(n + 1) + choose(n, known) + known * math.log2(11) + MARGIN_BITS[known])


def test_what_was_taught_is_listed_not_what_is_right() -> None:
    task = ModularTask(11, label_noise=0.5)
    assert (task.train_labels != task.labels).any()
    found = [
        program.codes(of_logits(12.0 * np.eye(11)[answers.numpy()], task), None)["loss"]
        for answers in (task.train_labels, task.labels)
    ]
    n, wrong = 36, int((task.train_labels != task.labels)[task.indices("train")].sum())
    assert found[0].bits == pytest.approx(math.log2(n + 1) + n * math.log2(11) + 6 + math.log2(3))
    assert wrong * 12 > n * math.log(11)  # a network that has it right is worse than one that knows nothing
    assert found[1].bits == pytest.approx(math.log2(n + 1))


def test_a_clock_needs_no_table() -> None:
    reading = program.read(networks.clock())
    n = len(reading.task.indices("train"))
    found = program.codes(reading, program.clock(reading))
    own = math.log2(12) + choose(11, 3) + 1 + 5 + 3 * math.log2(11)
    assert found["answers"] == pytest.approx((own + math.log2(23**2 + 1), 0, 1))
    assert found["loss"].bits <= own + math.log2(n + 1) + 1e-9
    assert found["loss"].listing == 0


def test_a_faint_clock_saves_a_memorizer_its_answers_and_not_its_loss() -> None:
    task = ModularTask(23)
    rows = task.indices("train").numpy()
    a, b = program.pairs(23)
    angle = 2 * np.pi / 23 * ((a + b)[:, None] - np.arange(23))
    logits = 0.3 * sum(np.cos(k * angle) for k in AMPLITUDES)
    logits[rows, task.labels.numpy()[rows]] += 15
    reading = of_logits(logits, task)
    assert (reading.answers == reading.labels).all()
    faint = program.codes(reading, program.clock(reading))
    alone = program.codes(reading, None)
    assert faint["answers"].listing == 0
    assert faint["answers"].bits < alone["answers"].bits / 20
    assert faint["loss"].listing > 0.9 * faint["loss"].bits
    # a network that answers all train pairs needs nearly all of them listed
    n = len(rows)
    assert alone["loss"].bits == pytest.approx(math.log2(n + 1) + n * math.log2(23) + 6 + math.log2(3))
    assert faint["loss"].bits > 0.8 * alone["loss"].bits


def test_program_and_table_have_the_loss_that_was_asked_for() -> None:
    trajectory, wrong = networks.with_errors()
    task = ModularTask(23)  # some of the wrong pairs are train pairs of this one
    reading = program.read(Trajectory(trajectory.network.__class__(trajectory.network.module, task),
                                      trajectory.parameters))  # fmt: skip
    rows = task.indices("train").numpy()
    network = cross_entropy(reading.logits[rows], task.train_labels.numpy()[rows])
    assert np.isin(wrong, rows).any()
    assert network.mean() > 0.1
    found = program.codes(reading, program.clock(reading))["loss"]
    assert found.listing == 0  # the clock is right where the network errs
    torch_loss = torch.nn.functional.cross_entropy(torch.from_numpy(reading.logits[rows]), task.train_labels[rows])
    assert network.mean() == pytest.approx(torch_loss.item())


@pytest.mark.parametrize("factor", [2, 5])
def test_renaming_tokens_changes_no_length(factor) -> None:
    before = program.read(networks.gromov(width=200))
    after = program.read(relabel(networks.gromov(width=200), np.arange(23) * factor % 23))
    for level in (program.clock, program.pizza):
        own, renamed = program.codes(before, level(before)), program.codes(after, level(after))
        assert renamed["answers"] == pytest.approx(own["answers"])
    # another train set, so that only the table alone of a network that knows all of it is as long
    assert program.codes(after, None)["answers"] == program.codes(before, None)["answers"]

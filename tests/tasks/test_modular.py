import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from slt_grok.errors import SltGrokError
from slt_grok.tasks import ModularTask, is_prime


@pytest.mark.parametrize(
    ("operation", "function"),
    [
        ("addition", lambda a, b: a + b),
        ("subtraction", lambda a, b: a - b),
        ("multiplication", lambda a, b: a * b),
        ("x^2+xy+y^2", lambda a, b: a**2 + a * b + b**2),
    ],
)
def test_labels(operation, function):
    task = ModularTask(7, operation)
    assert task.inputs.tolist() == [[a, b] for a in range(7) for b in range(7)]
    assert task.labels.tolist() == [function(a, b) % 7 for a in range(7) for b in range(7)]


def test_random_table_is_uniform_and_its_seeds():
    task = ModularTask(113, "random_table", table_seed=4)
    counts = task.labels.bincount(minlength=113)
    assert counts.sum() == 113**2
    # 113 cells of mean 113: chi squared has mean 112 and deviation 15
    assert 60 < ((counts - 113.0).square() / 113).sum() < 180
    assert torch.equal(task.labels, ModularTask(113, "random_table", split_seed=9, table_seed=4).labels)
    assert not torch.equal(task.labels, ModularTask(113, "random_table", table_seed=5).labels)


@pytest.mark.parametrize(("p", "seed", "fraction"), [(113, 0, 0.3), (113, 1, 0.3), (59, 7, 0.8)])
def test_split_of_the_progress_measures_code(p, seed, fraction):
    pairs = [(i, j, p) for i in range(p) for j in range(p)]
    state = random.getstate()
    random.seed(seed)
    random.shuffle(pairs)
    random.setstate(state)
    size = int(fraction * len(pairs))
    task = ModularTask(p, train_fraction=fraction, split_seed=seed, split_rule="progress_measures")
    assert [tuple(pair) for pair in task.data("train")[0].tolist()] == [pair[:2] for pair in pairs[:size]]
    assert [tuple(pair) for pair in task.data("test")[0].tolist()] == [pair[:2] for pair in pairs[size:]]
    assert random.getstate() == state


@given(
    st.integers(3, 20), st.floats(0.2, 1.0), st.integers(0, 10**6), st.sampled_from(["uniform", "progress_measures"])
)
def test_train_and_test_divide_the_pairs(p, fraction, seed, rule):
    task = ModularTask(p, train_fraction=fraction, split_seed=seed, split_rule=rule)
    train, test = task.indices("train"), task.indices("test")
    assert len(train) == int(fraction * (p * p))
    assert torch.equal(torch.cat([train, test]).sort().values, torch.arange(p * p))
    pairs, labels = task.data("train")
    assert torch.equal(labels, pairs.sum(-1) % p)


def test_uniform_split_is_its_seeds():
    assert torch.equal(ModularTask(13).indices("train"), ModularTask(13).indices("train"))
    assert not torch.equal(ModularTask(13).indices("train"), ModularTask(13, split_seed=1).indices("train"))


def test_primes():
    assert [n for n in range(-3, 32) if is_prime(n)] == [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31]
    assert not is_prime(113 * 113)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"modulus": 2}, "task.modulus"),
        ({"modulus": 7, "operation": "division"}, "task.operation"),
        ({"modulus": 7, "train_fraction": 0.0}, "task.train_fraction"),
        ({"modulus": 7, "train_fraction": 1.5}, "task.train_fraction"),
        ({"modulus": 7, "train_fraction": 0.01}, "task.train_fraction"),
        ({"modulus": 7, "label_noise": 1.0}, "task.label_noise"),
        ({"modulus": 7, "label_noise": -0.1}, "task.label_noise"),
    ],
)
def test_bad_settings(settings, words):
    with pytest.raises(SltGrokError, match=words):
        ModularTask(**settings)


@pytest.mark.parametrize(("rate", "operation"), [(0.1, "addition"), (0.37, "random_table"), (0.0, "addition")])
def test_noise_changes_the_stated_count_of_train_labels_and_no_other(rate, operation):
    clean = ModularTask(53, operation, train_fraction=0.4)
    noisy = ModularTask(53, operation, train_fraction=0.4, label_noise=rate)
    (pairs, taught), (same, right) = noisy.data("train"), clean.data("train")
    assert torch.equal(pairs, same)
    assert (taught != right).sum() == round(rate * len(right))
    assert taught.min() >= 0
    assert taught.max() < 53
    for split in ("test", "all"):
        assert torch.equal(noisy.data(split)[1], clean.data(split)[1])
    assert torch.equal(noisy.labels, clean.labels)


def test_wrong_answers_are_uniform_and_their_seeds_own():
    """Chi squared of 112 cells has mean 111 and deviation 15: within 5 of them."""
    task = ModularTask(113, train_fraction=1.0, label_noise=0.5)
    pairs, taught = task.data("train")
    off = (taught - pairs.sum(-1)) % 113
    counts = torch.bincount(off[off > 0], minlength=113)[1:].double()
    mean = counts.mean()
    assert 111 - 75 < float(((counts - mean).square() / mean).sum()) < 111 + 75
    again = ModularTask(113, train_fraction=1.0, label_noise=0.5, noise_seed=1).data("train")[1]
    assert not torch.equal(again, taught)
    assert torch.equal(ModularTask(113, train_fraction=1.0, label_noise=0.5).data("train")[1], taught)

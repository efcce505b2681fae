"""Masks of the logits on functions whose every part is known."""

import math

import pytest
import torch

from slt_grok import circuits
from slt_grok.circuits import progress
from slt_grok.groups import cyclic
from slt_grok.models.planted import lookup_table
from slt_grok.tasks import ModularTask
from slt_grok.trajectories import Trajectory

P = 13
GRID = torch.meshgrid(*[2 * math.pi * torch.arange(P, dtype=torch.float64) / P] * 3, indexing="ij")


def parts(sign):
    """Functions L[a, b, c] by name; keys are 2 and 5."""
    a, b, c = GRID
    s, d = a + sign * b, a - sign * b
    return {
        "mean": c**2,
        "clock 2": 3 * (2 * (s - c)).cos(),
        "clock 5": -2 * (5 * (s - c)).cos(),
        "sum direction of 2, not a clock": (2 * s).sin() * c,
        "difference direction of 2": (2 * d + 1).cos() * c.sin(),
        "one token at 5": (5 * a).sin() * c + (5 * b).cos(),
        "across frequencies": (2 * a).cos() * (5 * b).cos() * c,
        "clock 3": (3 * (s - c)).cos(),
        "one token at 4": (4 * b).cos() * c,
    }


def logits(sign, *names):
    return sum(parts(sign)[name] for name in names or parts(sign)).flatten(0, 1)[None]


KEYS = torch.tensor([[k in (2, 5) for k in range(1, 7)]])
SUM = ("mean", "clock 2", "clock 5", "sum direction of 2, not a clock")
CENTERED = {name for name in parts(1) if name != "mean"}


@pytest.mark.parametrize("sign", [1, -1])
def test_each_mask_keeps_its_own_parts(sign):
    whole, sums = logits(sign), cyclic(P).products(sign)
    table = cyclic(P).means_by_product(whole, sign)
    close = {"rtol": 0, "atol": 1e-11}
    torch.testing.assert_close(progress.restricted_sum(table, KEYS, cyclic(P))[:, sums], logits(sign, *SUM), **close)
    two = (*SUM, "difference direction of 2")
    torch.testing.assert_close(progress.restricted_blocks(whole, KEYS, cyclic(P)), logits(sign, *two), **close)
    three = (*two, "one token at 5")
    torch.testing.assert_close(progress.restricted_blocks(whole, KEYS, cyclic(P), True), logits(sign, *three), **close)
    rest = [name for name in parts(sign) if name not in SUM or name == "mean"]
    torch.testing.assert_close(whole - cyclic(P).project(table, KEYS)[:, sums], logits(sign, *rest), **close)
    fitted, explained = progress.clock_fit(whole, table, KEYS, cyclic(P))
    # the sine part of frequency 2 has a component along the clock too; it is found by projection here
    clock2 = (2 * (GRID[0] + sign * GRID[1] - GRID[2])).cos()
    extra = (parts(sign)["sum direction of 2, not a clock"] * clock2).sum() / (P**3 / 2)
    expected = logits(sign, "mean", "clock 2", "clock 5") + extra * clock2.flatten(0, 1)[None]
    torch.testing.assert_close(fitted[:, sums], expected, **close)
    centered = logits(sign, *CENTERED)
    centered = centered - centered.mean(1, keepdim=True)
    kept = ((3 + extra) ** 2 + 4) * P**3 / 2
    torch.testing.assert_close(explained, (kept / centered.square().sum())[None], rtol=1e-11, atol=0)


def test_networks_have_frequencies_of_their_own():
    both = torch.cat([logits(1), logits(1)])
    keys = torch.stack([torch.arange(1, 7) == 2, torch.arange(1, 7) == 5])
    for with_constant in (False, True):
        together = progress.restricted_blocks(both, keys, cyclic(P), with_constant)
        for i in range(2):
            alone = progress.restricted_blocks(both[i : i + 1], keys[i : i + 1], cyclic(P), with_constant)
            torch.testing.assert_close(together[i : i + 1], alone, rtol=0, atol=1e-12)


def test_projection_is_the_one_on_the_normalized_directions():
    noise = torch.randn(2, P * P, P, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    directions = cyclic(P).pairs[[1, 4]].flatten(0, 1)[:, cyclic(P).products()] / P**0.5
    expected = directions.T @ (directions @ noise)
    found = cyclic(P).project(cyclic(P).means_by_product(noise), KEYS)[:, cyclic(P).products()]
    torch.testing.assert_close(found, expected)


def test_clock_fit_is_least_squares():
    noise = torch.randn(1, P * P, P, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    columns = cyclic(P).kernels[[1, 4]][:, cyclic(P).products()].flatten(1).T
    centered = (noise - noise.mean(1, keepdim=True)).flatten()
    alpha = torch.linalg.lstsq(columns, centered[:, None]).solution[:, 0]
    fitted, explained = progress.clock_fit(noise, cyclic(P).means_by_product(noise), KEYS, cyclic(P))
    residual = centered - columns @ alpha
    torch.testing.assert_close(explained.item(), 1 - (residual.square().sum() / centered.square().sum()).item())
    expected = (columns @ alpha).reshape(1, P * P, P) + noise.mean(1, keepdim=True)
    torch.testing.assert_close(fitted[:, cyclic(P).products()], expected)


def test_excluded_by_frequency_takes_one_frequency_at_a_time():
    noise = torch.randn(2, P * P, P, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rows, labels = torch.tensor([3, 50, 100]), torch.tensor([1, 2, 3])
    sums = cyclic(P).products()[rows]
    found = progress.excluded_by_frequency(noise[:, rows], cyclic(P).means_by_product(noise), sums, labels, cyclic(P))
    for k in range(1, 7):
        directions = cyclic(P).pairs[k - 1][:, cyclic(P).products()] / P**0.5
        left = (noise - directions.T @ (directions @ noise))[:, rows]
        expected = (left.logsumexp(-1) - left[:, range(3), labels]).mean(-1)
        torch.testing.assert_close(found[:, k - 1], expected)


@pytest.mark.parametrize("scale", [1e-3, 5.0, 40.0, 1e4])
def test_frequencies_taken_out_together_are_those_taken_out_one_by_one(scale):
    """Logits from nearly none to such that exponentials overflow, and labels that s does not say."""
    generator = torch.Generator().manual_seed(0)
    logits = scale * torch.randn(2, P * P, P, dtype=torch.float64, generator=generator)
    labels, sums = torch.randint(P, (P * P,), generator=generator), cyclic(P).products()
    logits[0, torch.arange(P * P), labels] += 5 * scale  # a small loss
    table = cyclic(P).means_by_product(logits)
    rows = torch.randperm(P * P, generator=generator)[:60]
    found = progress.excluded_by_frequency(logits[:, rows], table, sums[rows], labels[rows], cyclic(P))
    for k in range(1, P // 2 + 1):
        left = logits - cyclic(P).project(table, torch.arange(1, P // 2 + 1) == k)[:, sums]
        expected = progress.sample_losses(left[:, rows], labels[rows]).mean(-1)
        torch.testing.assert_close(found[:, k - 1], expected, rtol=1e-12, atol=1e-15)


def test_losses_of_samples():
    table = torch.tensor([[[0.0, math.log(3)], [50, 0]]], dtype=torch.float64)
    expected = torch.tensor([[math.log(4 / 3), math.log1p(math.exp(-50))]], dtype=torch.float64)
    torch.testing.assert_close(progress.sample_losses(table, torch.tensor([1, 0])), expected, rtol=1e-6, atol=1e-18)


def test_pairs_that_a_mirror_gives_away_are_counted_apart():
    """A table of the train pairs and their mirrors: right on these, on no test pair whose mirror is one too."""
    task = ModularTask(7, train_fraction=0.4)
    trained = torch.zeros(7, 7, dtype=torch.bool)
    trained[tuple(task.inputs[task.indices("train")].T[:2])] = True
    known = trained | trained.T
    answers = task.labels.view(7, 7)
    given = torch.where(known, answers, (answers + 1) % 7)
    table = 20.0 * torch.nn.functional.one_hot(given, 7)
    found = circuits.measure(Trajectory.of(lookup_table(table), task), gradient_triples=50)
    expected = (known & ~trained).sum() / (~trained).sum()
    assert 0.2 < expected < 0.8
    assert found.accuracy.sel(split="test").item() == pytest.approx(expected.item())
    assert found.unmirrored_test_accuracy.item() == 0

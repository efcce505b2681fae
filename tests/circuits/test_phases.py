"""Neurons whose waves are known."""

import math

import pytest
import torch

from slt_grok.circuits import phases

P = 13
T = 2 * math.pi * torch.arange(P, dtype=torch.float64) / P
CLOSE = {"rtol": 0, "atol": 1e-12}


def neuron(left=(1, 1.0, 0.0), right=(1, 1.0, 0.0), output=(1, 1.0, 0.0), constant=0.0):
    """Pre-activation on the grid and output weights from (frequency, amplitude, phase)."""
    a, b, c = (size * (k * T + phase).cos() for k, size, phase in (left, right, output))
    return (a[:, None] + b + constant).flatten(), c


def waves(*neurons):
    pre, output = zip(*neurons, strict=True)
    return phases.Waves.of(torch.stack(pre, -1)[None], torch.stack(output)[None])


def test_phases_and_shares_of_two_waves():
    found = waves(neuron((2, 3.0, 0.4), (2, 1.0, -1.5), (2, 0.5, 2.5), 7.0), neuron((5, 2.0, -3.0), (6, 1.0, 1.0)))
    left, right, output = found.phases(torch.tensor([[2, 5]]))
    assert [x[0, 0].item() for x in (left, right, output)] == pytest.approx([0.4, -1.5, 2.5], abs=1e-12)
    assert left[0, 1].item() == pytest.approx(-3.0, abs=1e-12)
    expected = torch.zeros(1, 6, 2, dtype=torch.float64)
    expected[0, 1, 0], expected[0, 4, 1], expected[0, 5, 1] = 1, 4 / 5, 1 / 5
    torch.testing.assert_close(found.power_fractions(), expected, **CLOSE)


def test_a_product_of_waves_has_no_share():
    product = ((2 * T)[:, None].cos() * (2 * T).cos()).flatten()
    mixed = waves((product + neuron((2, 1.0, 1.0), (2, 0.0, 0.0))[0], T.cos()))
    assert mixed.power_fractions()[0, 1, 0].item() == pytest.approx((1 / 2) / (1 / 2 + 1 / 4), abs=1e-12)


def test_fit_is_least_squares():
    pre = torch.randn(1, P * P, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = phases.Waves.of(pre, torch.ones(1, 2, P, dtype=torch.float64))
    for i, k in enumerate((4, 6)):
        a, b = (x.flatten() for x in torch.meshgrid(k * T, k * T, indexing="ij"))
        columns = torch.stack([torch.ones_like(a), a.cos(), a.sin(), b.cos(), b.sin()], -1)
        fitted = columns @ torch.linalg.lstsq(columns, pre[0, :, i : i + 1]).solution[:, 0]
        torch.testing.assert_close(found.fitted(torch.tensor([[4, 6]]))[0, :, i], fitted, **CLOSE)
        share = fitted.var() / pre[0, :, i].var()
        torch.testing.assert_close(found.power_fractions()[0, k - 1, i], share, **CLOSE)


def test_a_constant_neuron_has_no_share():
    pre = torch.full((1, P * P, 1), 1 / 3, dtype=torch.float64)
    assert not phases.Waves.of(pre, torch.ones(1, 1, P, dtype=torch.float64)).power_fractions().any()


def test_alignment_counts_each_frequency_alone():
    zero, third = torch.zeros(1, 5, dtype=torch.float64), 2 * math.pi / 3
    output = torch.tensor([[1.0, 1.0, third, -third, 0.0]], dtype=torch.float64)
    members = torch.tensor([[[1, 1, 0, 0, 0], [0, 0, 1, 1, 1], [0, 0, 0, 0, 0]]], dtype=torch.bool)
    found = phases.alignment_residual((zero, zero, output), members)
    torch.testing.assert_close(found, torch.tensor([[1, 0, math.nan]], dtype=torch.float64), equal_nan=True, **CLOSE)
    shifted = (zero + 0.3, zero - 1.1, output + 0.3 - 1.1)
    torch.testing.assert_close(phases.alignment_residual(shifted, members), found, equal_nan=True, **CLOSE)
    opposite = (zero + 0.3, zero - 1.1, output + 0.3 + 1.1)
    torch.testing.assert_close(phases.alignment_residual(opposite, members, -1), found, equal_nan=True, **CLOSE)


def test_random_phases_are_aligned_by_chance_alone():
    # |mean of n random unit vectors| has mean sqrt(pi / (4n)); that of 500 draws has a deviation of 0.0021, and passes
    # 4 deviations once in 16,000
    angles = 2 * math.pi * torch.rand(3, 500, 100, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    members = torch.ones(500, 1, 100, dtype=torch.bool)
    found = phases.alignment_residual((angles[0], angles[1], angles[2]), members)
    assert found.mean().item() == pytest.approx(math.sqrt(math.pi / 400), abs=4 * 0.0021)


@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize(("a", "b"), [(3, 3), (0, 4), (12, 1)])
def test_torus_distance_is_of_the_grid_of_the_frequency(k, a, b):
    w = 2 * math.pi * k / P
    pre, _ = neuron((k, 1.0, -w * a), (k, 1.0, -w * b))
    aligned = phases.phase_alignment(pre[None, :, None], torch.tensor([[k]]))
    turns = k * (a - b) % P
    found = phases.torus_distance(aligned, P)
    assert found.item() == min(turns, P - turns)
    turns = k * (a + b) % P
    found = phases.torus_distance(aligned, P, -1)
    assert found.item() == min(turns, P - turns)


def test_inverse_participation_ratio():
    cosine = neuron((2, 3.0, 0.4), (2, 1.0, -1.5), (4, 0.5, 2.5), 5.0)
    two = neuron((2, 1.0, 0.0), (3, 1.0, 0.0), (3, 1.0, 0.0))
    both = (two[0] + neuron((5, 1.0, 0.3), (5, 1.0, 0.3))[0], two[1])
    found = phases.inverse_participation_ratio(waves(cosine, both))
    torch.testing.assert_close(found, torch.tensor([[1, 2 / 3]], dtype=torch.float64), **CLOSE)

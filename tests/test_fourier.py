import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from slt_grok import fourier
from slt_grok.errors import SltGrokError

PRIMES = [3, 5, 13, 59]


@pytest.mark.parametrize("p", PRIMES)
def test_basis_is_orthonormal_and_in_the_stated_order(p):
    rows = fourier.basis(p)
    torch.testing.assert_close(rows @ rows.T, torch.eye(p, dtype=torch.float64), rtol=0, atol=1e-13)
    t = np.arange(p)
    np.testing.assert_allclose(rows[0], np.full(p, 1 / math.sqrt(p)), rtol=1e-14)
    for k in range(1, (p - 1) // 2 + 1):
        scale = math.sqrt(2 / p)
        np.testing.assert_allclose(rows[2 * k - 1], scale * np.cos(2 * np.pi * k * t / p), atol=1e-13)
        np.testing.assert_allclose(rows[2 * k], scale * np.sin(2 * np.pi * k * t / p), atol=1e-13)


def test_basis_is_a_copy_that_a_caller_may_change():
    fourier.basis(5).zero_()
    assert fourier.basis(5)[0, 0] == pytest.approx(5**-0.5)


def test_power_of_a_known_function():
    t = 2 * math.pi * torch.arange(13, dtype=torch.float64) / 13
    table = torch.stack([3 * (2 * t).cos() + 4 * (2 * t).sin() + 7, (5 * t).cos()], -1)
    components = fourier.transform(table)
    # a cosine or sine of amplitude A has squared norm A^2 p / 2, the constant does not count
    expected = torch.zeros(6, dtype=torch.float64)
    expected[2 - 1], expected[5 - 1] = 25 * 13 / 2, 13 / 2
    torch.testing.assert_close(fourier.frequency_power(components), expected)
    torch.testing.assert_close(fourier.frequency_norm(components), expected.sqrt())


@settings(deadline=None, max_examples=20)
@given(st.sampled_from(PRIMES), st.integers(0, 10**6))
def test_grid_transform_keeps_norms_and_inverts(p, seed):
    grid = torch.randn(2, p, p, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    components = fourier.transform_grid(grid)
    torch.testing.assert_close(components.square().sum((-1, -2)), grid.square().sum((-1, -2)))
    torch.testing.assert_close(fourier.inverse_grid(components), grid)


def test_grid_transform_of_a_product():
    rows = fourier.basis(7)
    components = fourier.transform_grid(rows[3][:, None] * rows[6])
    expected = torch.zeros(7, 7, dtype=torch.float64)
    expected[3, 6] = 1
    torch.testing.assert_close(components, expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("p", PRIMES)
def test_sum_directions(p, sign):
    directions = fourier.sum_directions(p, sign)
    flat = directions.flatten(0, 1)
    torch.testing.assert_close(flat @ flat.T, torch.eye(p - 1, dtype=torch.float64), rtol=0, atol=1e-12)
    a, b = np.divmod(np.arange(p * p), p)
    for k in range(1, (p - 1) // 2 + 1):
        angle = 2 * np.pi * k * (a + sign * b) / p
        np.testing.assert_allclose(directions[k - 1, 0], math.sqrt(2) / p * np.cos(angle), atol=1e-12)
        np.testing.assert_allclose(directions[k - 1, 1], math.sqrt(2) / p * np.sin(angle), atol=1e-12)


@pytest.mark.parametrize("sign", [1, -1])
def test_sum_table_holds_the_components_along_the_sum_directions(sign):
    p = 13
    values = torch.randn(2, p * p, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    direct = fourier.sum_directions(p, sign).flatten(0, 1) @ values
    table = fourier.sum_table(values, sign)
    torch.testing.assert_close(math.sqrt(p) * fourier.transform(table)[:, 1:], direct)
    s = 4
    cells = [a * p + (sign * (s - a)) % p for a in range(p)]  # b with a + sign b = s
    torch.testing.assert_close(table[:, s], values[:, cells].mean(1))


def test_clock():
    p = 7
    s, c = np.meshgrid(np.arange(p), np.arange(p), indexing="ij")
    for k, table in enumerate(fourier.clock(p), 1):
        np.testing.assert_allclose(table, np.cos(2 * np.pi * k * (s - c) / p), atol=1e-13)


@pytest.mark.parametrize("p", [-7, 0, 1, 2, 4, 9, 15, 121])
def test_needs_an_odd_prime(p):
    for function in (fourier.basis, fourier.frequencies, fourier.sum_directions, fourier.clock):
        with pytest.raises(SltGrokError, match="odd prime"):
            function(p)


def test_frequencies():
    assert fourier.frequencies(11).tolist() == [1, 2, 3, 4, 5]

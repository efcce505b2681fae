"""Fourier analysis on Z_n against its formulas."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from slt_grok.groups import cyclic

ORDERS = [3, 4, 5, 9, 12, 13, 59]


@pytest.mark.parametrize("n", ORDERS)
def test_basis_is_orthonormal_and_in_the_stated_order(n):
    rows = cyclic(n).basis
    torch.testing.assert_close(rows @ rows.T, torch.eye(n, dtype=torch.float64), rtol=0, atol=1e-13)
    t = np.arange(n)
    np.testing.assert_allclose(rows[0], np.full(n, 1 / math.sqrt(n)), rtol=1e-14)
    for k in range(1, (n - 1) // 2 + 1):
        scale = math.sqrt(2 / n)
        np.testing.assert_allclose(rows[2 * k - 1], scale * np.cos(2 * np.pi * k * t / n), atol=1e-13)
        np.testing.assert_allclose(rows[2 * k], scale * np.sin(2 * np.pi * k * t / n), atol=1e-13)
    if n % 2 == 0:
        np.testing.assert_allclose(rows[-1], (-1.0) ** t / math.sqrt(n), atol=1e-13)
    assert cyclic(n).frequencies.tolist() == list(range(1, n // 2 + 1))


def test_power_of_a_known_function():
    t = 2 * math.pi * torch.arange(13, dtype=torch.float64) / 13
    table = torch.stack([3 * (2 * t).cos() + 4 * (2 * t).sin() + 7, (5 * t).cos()], -1)
    group = cyclic(13)
    # a cosine or sine of amplitude A has squared norm A^2 p / 2, the constant does not count
    expected = torch.zeros(6, dtype=torch.float64)
    expected[2 - 1], expected[5 - 1] = 25 * 13 / 2, 13 / 2
    torch.testing.assert_close(group.power(group.transform(table)), expected)


@settings(deadline=None, max_examples=20)
@given(st.sampled_from(ORDERS), st.integers(0, 10**6))
def test_grid_transform_keeps_norms_and_inverts(n, seed):
    grid = torch.randn(2, n, n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    components = cyclic(n).transform_grid(grid)
    torch.testing.assert_close(components.square().sum((-1, -2)), grid.square().sum((-1, -2)))
    basis = cyclic(n).basis
    torch.testing.assert_close(basis.T @ components @ basis, grid)


def test_grid_transform_of_a_product():
    rows = cyclic(7).basis
    components = cyclic(7).transform_grid(rows[3][:, None] * rows[6])
    expected = torch.zeros(7, 7, dtype=torch.float64)
    expected[3, 6] = 1
    torch.testing.assert_close(components, expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("n", ORDERS)
def test_waves_of_the_product_are_orthonormal(n, sign):
    group = cyclic(n)
    directions = group.basis[1:, group.products(sign)] / math.sqrt(n)
    torch.testing.assert_close(directions @ directions.T, torch.eye(n - 1, dtype=torch.float64), rtol=0, atol=1e-12)
    a, b = np.divmod(np.arange(n * n), n)
    for k in range(1, (n - 1) // 2 + 1):
        angle = 2 * np.pi * k * (a + sign * b) / n
        np.testing.assert_allclose(directions[2 * k - 2], math.sqrt(2) / n * np.cos(angle), atol=1e-12)
        np.testing.assert_allclose(directions[2 * k - 1], math.sqrt(2) / n * np.sin(angle), atol=1e-12)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("n", [12, 13])
def test_means_by_product_hold_the_components_along_the_waves_of_the_product(n, sign):
    group = cyclic(n)
    values = torch.randn(2, n * n, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    direct = group.basis[1:, group.products(sign)] / math.sqrt(n) @ values
    table = group.means_by_product(values, sign)
    torch.testing.assert_close(math.sqrt(n) * group.transform(table)[:, 1:], direct)
    s = 4
    cells = [a * n + (sign * (s - a)) % n for a in range(n)]  # b with a + sign b = s
    torch.testing.assert_close(table[:, s], values[:, cells].mean(1))


@pytest.mark.parametrize("n", [7, 8])
def test_kernels_are_clocks(n):
    s, c = np.meshgrid(np.arange(n), np.arange(n), indexing="ij")
    for k, table in enumerate(cyclic(n).kernels, 1):
        np.testing.assert_allclose(table, np.cos(2 * np.pi * k * (s - c) / n), atol=1e-13)


@pytest.mark.parametrize("n", [7, 8])
def test_components_as_pairs(n):
    group = cyclic(n)
    components = torch.arange(n, dtype=torch.float64)[:, None]
    padded = group.padded(components)[..., 0]
    expected = [*range(1, n), *[0] * (1 - n % 2)]
    assert padded.flatten().tolist() == expected
    assert group.pairs.flatten(0, 1)[: n - 1].equal(group.basis[1:])
    assert group.pairs.flatten(0, 1)[n - 1 :].abs().sum() == 0

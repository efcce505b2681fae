"""Clock and pizza measures on functions that are one, the other, or a known mixture."""

import math

import pytest
import torch

from slt_grok.circuits import clock_pizza
from slt_grok.circuits.clock_pizza import PrincipalComponents
from slt_grok.groups import cyclic

P = 13
T = torch.arange(P, dtype=torch.float64)
CLOSE = {"rtol": 0, "atol": 1e-12}


def noise(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def waves(k, sign=1):
    """Clock and pizza of frequency k on the grid, (p^2, p)."""
    w = 2 * math.pi * k / P
    a, b, c = torch.meshgrid(T, T, T, indexing="ij")
    clock = (w * (a + sign * b - c)).cos()
    return clock.flatten(0, 1), ((w * (a - sign * b) / 2).cos().abs() * clock).flatten(0, 1)


# -- distance irrelevance


@pytest.mark.parametrize("sign", [1, -1])
def test_distance_irrelevance_of_a_sum_of_both(sign):
    of_distance, of_sum = noise(P, seed=1), noise(P, seed=2)
    d, s = cyclic(P).products(-sign), cyclic(P).products(sign)
    logit = torch.stack([of_distance[d], of_sum[s], of_distance[d] + 3 * of_sum[s]])
    found = clock_pizza.distance_irrelevance(logit, sign)
    spread = [values.std(correction=0) for values in (of_distance, of_sum)]
    mixed = 3 * spread[1] / (spread[0] ** 2 + 9 * spread[1] ** 2).sqrt()
    torch.testing.assert_close(found, torch.stack([torch.zeros_like(mixed), torch.ones_like(mixed), mixed]), **CLOSE)


def test_distance_irrelevance_is_a_mean_of_deviations_not_of_variances():
    # pairs with a = b differ among each other, all others are alike
    grid = torch.zeros(P, P, dtype=torch.float64)
    grid.fill_diagonal_(0)
    grid[range(P), range(P)] = T
    spread = T.std(correction=0)
    expected = spread / P / grid.flatten().std(correction=0)
    torch.testing.assert_close(clock_pizza.distance_irrelevance(grid.flatten()[None]), expected[None])


def test_a_constant_logit_has_no_distance_irrelevance():
    assert clock_pizza.distance_irrelevance(torch.full((1, P * P), 1 / 3, dtype=torch.float64)).isnan()


# -- circularity and principal components


def circles(*keys, sizes=(4.0, 3.0, 2.0)):
    columns = []
    for k, size in zip(keys, sizes, strict=False):
        angle = 2 * math.pi * k * T / P
        columns += [size * angle.cos(), size * 0.99 * angle.sin()]
    return torch.stack(columns, -1)


def test_circles_are_circular_and_their_halves_are_not():
    mixed = (circles(2)[:, 0] + circles(5)[:, 0])[:, None]
    rotated = circles(2, 5) @ torch.linalg.qr(noise(4, 4)).Q + 7
    found = [clock_pizza.circularity(PrincipalComponents.of(x[None])).item() for x in (circles(2, 5), rotated, mixed)]
    assert found == pytest.approx([1, 1, 1 / 2], abs=1e-12)


def test_circularity_is_the_formula():
    table = noise(P, 20)
    values, vectors = torch.linalg.eigh((table - table.mean(0)).T @ (table - table.mean(0)))
    shares = []
    for direction in vectors.T[values.argsort(descending=True)][:4]:
        v = (table - table.mean(0)) @ direction
        shares.append(
            max(
                2 / (P * (v**2).sum()) * ((v * (2j * math.pi * k * T / P).exp()).sum().abs() ** 2)
                for k in range(1, P // 2 + 1)
            )
        )
    found = clock_pizza.circularity(PrincipalComponents.of(table[None]))
    assert found.item() == pytest.approx(sum(shares).item() / 4, rel=1e-9)


def test_components_that_are_not_there_are_left_out():
    components = PrincipalComponents.of(circles(3)[None])
    assert clock_pizza.circularity(components).item() == pytest.approx(1, abs=1e-12)
    assert [clock_pizza.circle_frequency(components, i).item() for i in (0, 1)] == [3, 0]
    assert [components.absent(slice(i, i + 2)).item() for i in (0, 2)] == [False, True]
    constant = PrincipalComponents.of(torch.ones(1, P, 6, dtype=torch.float64))
    assert clock_pizza.circularity(constant).isnan()


def test_one_circle_alone():
    table = circles(2, 5, 6) + torch.arange(6)
    components = PrincipalComponents.of(table[None])
    for i, k in enumerate((2, 5, 6)):
        columns = slice(2 * i, 2 * i + 2)
        expected = torch.arange(6).double().repeat(P, 1)
        expected[:, columns] = table[:, columns]
        torch.testing.assert_close(components.only(columns)[0], expected, **CLOSE)
        assert clock_pizza.circle_frequency(components, i).item() == k
    torch.testing.assert_close(components.only(slice(0, 6))[0], table, **CLOSE)


# -- fits


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("k", [1, 5])
def test_clock_and_pizza_fit_themselves(k, sign):
    clock, pizza = waves(k, sign)
    correlation = torch.corrcoef(torch.stack([clock.flatten(), pizza.flatten()]))[0, 1].item()
    assert correlation == pytest.approx(2 * math.sqrt(2) / math.pi, abs=5e-3)  # of |cos| with 1, on a fine grid
    for logits, expected in (
        (5 * clock + 3, (1, 2 * correlation - 1)),
        (0.1 * pizza, (2 * correlation - 1, 1)),
        (-clock, (-3, -2 * correlation - 1)),
        (waves(2, sign)[0], (-1, -1)),
    ):
        found = [x.item() for x in clock_pizza.fits_of_one_frequency(logits, k, sign)]
        assert found == pytest.approx(expected, abs=1e-12)


def test_fits_are_distances_of_standardized_logits():
    logits = noise(P * P, P) + 0.3 * waves(4)[1]
    found = clock_pizza.fits_of_one_frequency(logits, 4)
    for q, share in zip(waves(4), found, strict=True):
        z = [(x - x.mean()) / x.std(correction=0) for x in (logits, q)]
        assert share.item() == pytest.approx(1 - (z[0] - z[1]).square().mean().item(), abs=1e-12)


@pytest.mark.parametrize("sign", [1, -1])
def test_pizza_fit_is_least_squares(sign):
    logits = noise(P * P, P) + 2 * waves(2, sign)[1] - waves(5, sign)[1] + T
    centered = (logits - logits.mean(0)).flatten()
    columns = torch.stack([waves(k, sign)[1].flatten() for k in (2, 5)], -1)
    residual = centered - columns @ torch.linalg.lstsq(columns, centered[:, None]).solution[:, 0]
    expected = 1 - residual.square().sum() / centered.square().sum()
    keys = torch.tensor([[k in (2, 5) for k in range(1, 7)], [False] * 6])
    found = clock_pizza.pizza_fit(logits.expand(2, -1, -1), keys, sign)
    torch.testing.assert_close(found, torch.stack([expected, torch.zeros_like(expected)]))

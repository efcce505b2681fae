"""Closed forms against integrals, recursions, other published formulas and brute force; only w* is random."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.linalg import expm
from torch import nn

from slt_grok.errors import SltGrokError
from slt_grok.llc import exact
from slt_grok.models import QuadraticNetwork
from slt_grok.operators.jacobian import jacobian, jacobian_rank, numerical_rank

H = np.array([1e-3, 0.2, 1.0, 7.0])


@pytest.mark.parametrize(("n_beta", "gamma"), [(1.0, 1.0), (30.0, 5.0), (1e4, 0.3)])
def test_quadratic_is_the_mean_over_the_localized_posterior(n_beta: float, gamma: float) -> None:
    def mean(h: float) -> float:
        width = 12 / math.sqrt(n_beta * h + gamma)
        density = lambda w: math.exp(-(n_beta * h + gamma) * w * w / 2)  # noqa: E731
        top = quad(lambda w: n_beta * h * w * w / 2 * density(w), -width, width)[0]
        return top / quad(density, -width, width)[0]

    assert exact.quadratic(H, n_beta, gamma) == pytest.approx(sum(map(mean, H)), rel=1e-8)


def test_quadratic_ends_at_half_the_rank() -> None:
    h = np.array([0.0, 0.0, 1e-3, 1.0, 5.0])
    assert exact.quadratic(h, 1e12, 1.0) == pytest.approx(exact.regular(3).value, rel=1e-8)
    assert exact.quadratic(h, 5.0, 0.0) == 1.5


@pytest.mark.parametrize("updates", [1, 7, 100])
def test_sgld_follows_the_recursion_of_its_variance(updates: int) -> None:
    n_beta, gamma, epsilon = 20.0, 3.0, 0.02
    a = n_beta * H + gamma
    variance = np.zeros_like(H)
    for _ in range(updates):
        variance = (1 - epsilon * a / 2) ** 2 * variance + epsilon
    right = (n_beta * H / 2 * variance).sum()
    assert exact.quadratic_sgld(H, n_beta, gamma, epsilon, updates) == pytest.approx(right, rel=1e-12)
    for _ in range(5000):
        variance = (1 - epsilon * a / 2) ** 2 * variance + epsilon
    right = (n_beta * H / 2 * variance).sum()
    assert exact.quadratic_sgld(H, n_beta, gamma, epsilon) == pytest.approx(right, rel=1e-12)


def test_sgld_with_a_small_step_is_exact_and_with_a_large_one_unstable() -> None:
    assert exact.quadratic_sgld(H, 20.0, 3.0, 1e-9) == pytest.approx(exact.quadratic(H, 20.0, 3.0), rel=1e-7)
    with pytest.raises(SltGrokError, match="step_size: expected below"):
        exact.quadratic_sgld(H, 20.0, 3.0, 4 / 143)


def volume_exponents(exponents: tuple[int, ...]) -> tuple[float, float]:
    """(lambda, m) of vol{w in [0,1]^d: prod w_i^(2 k_i) < e} ~ c e^lambda (log 1/e)^(m-1), from volumes at small e.

    -log prod w_i^(2 k_i) is a sum of exponential variables of rates 1 / (2 k_i): its upper tail is a phase-type
    distribution, whose matrix exponential is a number without the formula under test.
    """
    rates = np.array([1 / (2 * k) for k in exponents if k])
    generator = np.diag(-rates) + np.diag(rates[:-1], 1)
    s = np.array([600.0, 900.0, 1200.0])
    tail = [expm(generator * x)[0].sum() for x in s]
    slope, m_minus_1, _ = np.linalg.solve(np.stack([-s, np.log(s), np.ones(3)], 1), np.log(tail))
    return slope, m_minus_1 + 1


@pytest.mark.parametrize("exponents", [(1,), (2,), (1, 3), (1, 1), (2, 2, 1), (1, 1, 1), (3, 0, 3), (4, 2, 2)])
def test_normal_crossings_scale_as_their_volumes(exponents: tuple[int, ...]) -> None:
    slope, multiplicity = volume_exponents(exponents)
    found = exact.normal_crossing(exponents)
    assert found.value == pytest.approx(slope, rel=2e-3)
    assert found.multiplicity == pytest.approx(multiplicity, abs=0.1)


@pytest.mark.parametrize("exponents", [(), (0, 0), (1, -1)])
def test_exponents_that_make_no_crossing(exponents: tuple[int, ...]) -> None:
    with pytest.raises(SltGrokError, match="exponents: expected"):
        exact.normal_crossing(exponents)


def localized_crossing(exponents: tuple[int, int], n_beta: float, gamma: float) -> float:
    """n_beta E[L] for L = u^(2 k) v^(2 l) by quadrature over log u and log v."""
    t = np.linspace(-40, 6, 1200)
    u, v = np.exp(t)[:, None], np.exp(t)[None]
    excess = n_beta * u ** (2 * exponents[0]) * v ** (2 * exponents[1])
    log_weight = -excess - gamma / 2 * (u**2 + v**2) + np.log(u) + np.log(v)
    weight = np.exp(log_weight - log_weight.max())
    return float((weight * excess).sum() / weight.sum())


def test_what_the_multiplicity_hides_at_finite_n_beta() -> None:
    for n_beta in (1e6, 1e8):
        raw = localized_crossing((1, 1), n_beta, 1.5)
        assert raw < 0.46  # 8% and more under 1/2
        assert raw + exact.multiplicity_correction(2, n_beta) == pytest.approx(0.5, rel=0.02)
    assert exact.multiplicity_correction(1, 100.0) == 0
    assert exact.multiplicity_correction(3, math.e**4) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("widths", "rank", "value"),
    [
        ((10, 10, 10), 5, 47),
        ((5, 3, 5), 0, 6.5),
        ((5, 4, 5), 0, 8),
        ((100, 50, 100), 10, 2550),
        ((10, 20, 20, 10), 4, 50),
        ((5, 5, 5, 5), 2, 11),
    ],
)
def test_deep_linear_values_of_the_literature(widths: tuple[int, ...], rank: int, value: float) -> None:
    assert exact.deep_linear(widths, rank).value == pytest.approx(value, rel=1e-12)
    assert exact.deep_linear(widths[::-1], rank) == exact.deep_linear(widths, rank)


def reduced_rank(m: int, h: int, n: int, r: int) -> tuple[float, int]:
    """Lambda and multiplicity of reduced-rank regression (Aoyagi & Watanabe 2005)."""
    if m + h < n + r:
        return (h * m - h * r + n * r) / 2, 1
    if n + h < m + r:
        return (h * n - h * r + m * r) / 2, 1
    if m + n < h + r:
        return m * n / 2, 1
    odd = (m + n + h + r) % 2
    return (-((h + r) ** 2) - m * m - n * n + 2 * (h + r) * (m + n) + 2 * m * n + odd) / 8, 1 + odd


def test_two_layers_are_reduced_rank_regression() -> None:
    for m, h, n in product(range(1, 8), repeat=3):
        for r in range(min(m, h, n) + 1):
            found = exact.deep_linear((m, h, n), r)
            assert found == pytest.approx(reduced_rank(m, h, n, r)), (m, h, n, r)


def test_products_of_numbers_are_normal_crossings() -> None:
    for layers in range(1, 6):
        assert exact.deep_linear((1,) * (layers + 1), 0) == exact.normal_crossing((1,) * layers)


@pytest.mark.parametrize("widths", [(4, 6, 5), (4, 6, 7, 5), (6, 4, 5)])
def test_a_bottleneck_filled_by_the_rank_is_regular(widths: tuple[int, ...]) -> None:
    """Every minimum is smooth then: lambda is half the dimension of the matrices of that rank."""
    r = min(widths)
    dimension = r * (widths[0] + widths[-1] - r)
    assert exact.deep_linear(widths, r) == exact.regular(dimension)


def test_a_generic_point_is_no_less_complex_than_the_most_singular_one() -> None:
    for widths in product(range(2, 6), repeat=4):
        for r in range(min(widths) + 1):
            assert exact.deep_linear_generic(widths, r).value >= exact.deep_linear(widths, r).value, (widths, r)


@pytest.mark.parametrize(
    ("widths", "rank", "key"), [((3, 4), 5, "rank"), ((3,), 1, "widths"), ((3, 0, 2), 0, "widths")]
)
def test_networks_that_do_not_exist(widths: tuple[int, ...], rank: int, key: str) -> None:
    for closed_form in (exact.deep_linear, exact.deep_linear_generic):
        with pytest.raises(SltGrokError, match=f"{key}: expected"):
            closed_form(widths, rank)


def test_numerical_rank_and_its_gap() -> None:
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.linalg.qr(torch.randn(8, 6, generator=generator).double())[0] for _ in range(2))
    for values, rank, gap in (([3, 2, 1, 1e-3, 0, 0], 4, 1e11), ([1] * 6, 6, 1e13), ([1, 1e-20, 0, 0, 0, 0], 1, 1e14)):
        found = numerical_rank(left @ torch.diag(torch.tensor(values).double()) @ right.T)
        assert found.rank == rank
        assert found.gap > gap
    near = numerical_rank(torch.diag(torch.tensor([1.0, 1e-14, 3e-17]).double()))
    assert (near.rank, near.gap) == (2, pytest.approx(1e-14 / 3e-17))
    assert numerical_rank(torch.zeros(2, 3)) == (0, math.inf, pytest.approx(np.zeros(2)))
    assert numerical_rank(torch.eye(3)).gap == math.inf


def test_the_jacobian_is_that_of_the_outputs() -> None:
    """Against finite differences of a network with two parameters of different shape."""
    module = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        parameter.data.normal_(generator=generator)
    inputs = torch.randn(5, 3, generator=generator).double()
    found = jacobian(module, inputs)
    columns, step = [], 1e-6
    for parameter in module.parameters():
        flat = parameter.data.view(-1)
        for i in range(len(flat)):
            flat[i] += step
            ahead = module(inputs).detach().flatten()
            flat[i] -= 2 * step
            columns.append((ahead - module(inputs).detach().flatten()) / (2 * step))
            flat[i] += step
    torch.testing.assert_close(found, torch.stack(columns, 1), rtol=1e-6, atol=1e-8)


def quadratic_network(p: int, neurons: int, seed: int) -> QuadraticNetwork:
    module = QuadraticNetwork(p, neurons)
    module.initialize(torch.Generator().manual_seed(seed))
    return module


def pairs(p: int) -> torch.Tensor:
    return torch.cartesian_prod(torch.arange(p), torch.arange(p))


@pytest.mark.parametrize(("p", "widths"), [(3, (1, 3, 4, 6)), (5, (1, 4, 9, 10, 12)), (7, (2, 17, 18, 19))])
def test_modular_rank_on_all_pairs(p: int, widths: tuple[int, ...]) -> None:
    for neurons in widths:
        found = jacobian_rank(quadratic_network(p, neurons, seed=p), pairs(p))
        assert found.rank == exact.modular_rank(p, neurons) == min(neurons * (3 * p - 2), p**3)
        assert found.gap > 1e9
        assert exact.modular_published(p, neurons) > found.rank / 2  # the shift that it leaves out


def test_modular_rank_on_a_train_set_is_a_bound() -> None:
    ranks = []
    for seed in range(5):
        rows = torch.randperm(25, generator=torch.Generator().manual_seed(seed))[:10]
        ranks.append(jacobian_rank(quadratic_network(5, 3, seed), pairs(5)[rows]).rank)
    assert max(ranks) < exact.modular_rank(5, 3, pairs=10) == 39
    assert exact.modular_rank(5, 3, pairs=4) == 20


def test_the_gauge_of_a_neuron_changes_nothing() -> None:
    module = quadratic_network(5, 2, seed=0).double()
    before = module(pairs(5))
    with torch.no_grad():
        module.U[:, 0] += 0.7
        module.V[:, 0] -= 0.7
        module.U[:, 1] *= 3
        module.V[:, 1] *= 3
        module.W[1] /= 9
    torch.testing.assert_close(module(pairs(5)), before)


def test_the_plateau_of_polynomial_regression() -> None:
    """3.9 at degree 100 in 2512.00686, at n_beta 80.5 = n / log n for n = 500 and gamma 1; mean squared error."""
    x = np.random.default_rng(0).uniform(-1, 1, 500)
    features = np.vander(x, 101, increasing=True)
    eigenvalues = np.linalg.eigvalsh(2 * features.T @ features / 500).clip(0)
    assert exact.quadratic(eigenvalues, 500 / math.log(500), 1.0) == pytest.approx(3.90, abs=0.05)
    assert exact.polynomial(100).value == 50.5

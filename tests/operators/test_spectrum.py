import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from slt_grok.errors import SltGrokError
from slt_grok.operators.curvature import CurvatureOperator
from slt_grok.operators.objective import Objective
from slt_grok.operators.spectrum import lanczos, products, spectrum, symlog_density
from tests.landscape.toys import ONE_SAMPLE, stacked, symmetric_matrix

SIZE = 200
EIGENVALUES = np.r_[9.0, 5.0, 4.9, np.geomspace(1e-3, 2, 77), np.zeros(100), -np.geomspace(1e-4, 0.5, 20)]
MATRIX = symmetric_matrix(EIGENVALUES)


def operator(loss=lambda w: w @ MATRIX @ w / 2, size: int = SIZE) -> CurvatureOperator:
    return CurvatureOperator(Objective.of(stacked(torch.ones(1, size), loss), ONE_SAMPLE), 0)


@pytest.fixture(scope="module")
def repeats() -> list:
    quadratic = operator()
    return [spectrum(quadratic, 3, 6, 8, 1e-6, seed) for seed in range(60)]


def truth(function) -> float:
    return function(EIGENVALUES).sum()


@pytest.mark.parametrize(
    "function", [lambda h: h, lambda h: h / (abs(h) + 0.3), lambda h: h**2], ids=["trace", "dimension", "squares"]
)
def test_traces_and_their_standard_errors(repeats, function):
    """60 repeats of 6 vectors: unbiased, truth within 3 standard errors in 90% or more.

    With 6 vectors the deviation in standard errors is nearly Student's t with 5 degrees of freedom, which leaves 3 in
    3% of repeats, and 10% of 60 with a probability of 0.3%.
    """
    found = np.array([spectrum.trace(function) for spectrum in repeats])
    deviation = found[:, 0] - truth(function)
    assert abs(deviation.mean()) < 4 * deviation.std() / 60**0.5
    assert (abs(deviation) < 3 * found[:, 1]).mean() >= 0.9
    # a mean of 60 squares with 5 degrees of freedom each, over a variance from 60: known to about 20%
    assert (found[:, 1] ** 2).mean() == pytest.approx(deviation.var(ddof=1), rel=0.6)


def test_variance_of_the_trace(repeats):
    """Unit vectors in m = D - k dimensions: Var[m v^T B v] = 2 m / (m + 2) (|B|^2 - (tr B)^2 / m), over 6 vectors."""
    rest, m = np.sort(EIGENVALUES)[:-3], SIZE - 3
    variance = 2 * m / (m + 2) * ((rest**2).sum() - rest.sum() ** 2 / m) / 6
    traces = [spectrum.trace()[0] for spectrum in repeats]
    assert np.var(traces, ddof=1) == pytest.approx(variance, rel=0.55)  # 60 values: known to 18%


def test_effective_dimension_of_a_positive_matrix():
    """sum h / (h + c), exactly: few enough parameters."""
    h = np.geomspace(1e-4, 10, 30)
    found = spectrum(operator(lambda w: (torch.from_numpy(h) * w**2).sum() / 2, 30), 3, 2, 8, 1e-3, 0)
    for c in (1e-3, 1.0):
        assert found.effective_dimension(c) == (pytest.approx((h / (h + c)).sum(), rel=1e-12), 0)


def test_without_eigenvalues_the_quadrature_is_of_the_whole_matrix():
    """tr A and tr A / (A + c) within 3 standard errors of 20 random vectors; 3 steps for 3 distinct eigenvalues."""
    h = np.repeat([0.5, 2.0, 8.0], [40, 30, 10])
    found = spectrum(operator(lambda w: (torch.from_numpy(h) * w**2).sum() / 2, len(h)), 0, 20, 3, 1e-3, 0)
    assert found.values.shape == (0,)
    for function in (lambda x: x, lambda x: x / (x + 0.3)):
        value, error = found.trace(function)
        assert 0 < error < 0.1 * value
        assert abs(value - function(h).sum()) < 3 * error


def test_few_parameters_are_exact():
    loss = lambda w: w[0] ** 2 - 3 * w[1] ** 2 + w[0] * w[2]  # noqa: E731
    found = spectrum(operator(loss, 3), 3, 12, 1, 1e-3, 0)
    assert found.trace() == (pytest.approx(-4, rel=1e-14), 0)
    np.testing.assert_allclose(found.values, [1 + 2**0.5, 1 - 2**0.5, -6], rtol=1e-12)


@pytest.mark.parametrize("size", [3, SIZE])
def test_a_flat_loss(size):
    found = spectrum(operator(lambda w: w.sum(), size), 2, 2, 3, 1e-3, 0)
    assert found.trace() == (0, 0)
    np.testing.assert_array_equal(found.values, 0)


def test_a_multiple_of_the_identity_has_no_spread():
    found = spectrum(operator(lambda w: (w**2).sum()), 2, 4, 5, 1e-6, 0)
    assert found.trace() == (pytest.approx(2 * SIZE, rel=1e-12), pytest.approx(0, abs=1e-10))
    assert found.effective_dimension(2.0)[0] == pytest.approx(SIZE / 2, rel=1e-12)


def test_a_quartic_at_a_point():
    """L = sum w^4 / 4 at w = 1: H = 3."""
    found = spectrum(operator(lambda w: (w**4).sum() / 4), 1, 2, 2, 1e-6, 0)
    assert found.trace()[0] == pytest.approx(3 * SIZE, rel=1e-12)


@pytest.mark.parametrize("size", [3, SIZE])
def test_curvature_that_is_not_finite(size):
    point = stacked(torch.zeros(1, size), lambda w: w.abs().sqrt().sum())
    found = spectrum(CurvatureOperator(Objective.of(point, ONE_SAMPLE), 0), 2, 2, 3, 1e-3, 0)
    assert np.isnan(found.trace()).all()
    assert np.isnan(found.values).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 10), st.integers(0, 3), st.integers(0, 1000))
def test_quadrature_is_exact_for_polynomials(steps, left_out, seed):
    """v^T A^q v for q up to 2 m - 1, v the start vector with the span of `against` taken out."""
    matrix = symmetric_matrix(np.linspace(-1, 2, 15)).numpy()
    basis = np.linalg.eigh(matrix)[1][:, :left_out]
    start = np.random.default_rng(seed).standard_normal(15)
    nodes, weights = lanczos(lambda v: matrix @ v, start, steps, basis)
    v = start - basis @ (basis.T @ start)
    v /= np.linalg.norm(v)
    for power in range(2 * steps):
        expected = v @ np.linalg.matrix_power(matrix, power) @ v
        assert weights @ nodes**power == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_lanczos_ends_with_the_krylov_space():
    matrix = np.diag([3.0, 3, 3, 1, 1])
    nodes, weights = lanczos(lambda v: matrix @ v, np.ones(5), 4, np.empty((5, 0)))
    np.testing.assert_allclose(nodes, [1, 3, 0, 0], atol=1e-12)
    np.testing.assert_allclose(weights, [0.4, 0.6, 0, 0], atol=1e-12)


def test_density_keeps_the_weights():
    scale, width = 1e-3, 0.05
    grid = np.sinh(np.linspace(-5, 5, 4001) * np.log(10)) * 2 * scale
    density = symlog_density(np.array([-1.0, 0, 1e-2, 5]), np.array([0.1, 0.5, 0.3, 0.1]), grid, scale, width)
    places = np.arcsinh(grid / (2 * scale)) / np.log(10)
    assert np.trapezoid(density, places) == pytest.approx(1, rel=1e-9)
    left = grid < -0.05
    assert np.trapezoid(density[left], places[left]) == pytest.approx(0.1, rel=1e-6)
    assert density.max() == pytest.approx(0.5 / (width * (2 * np.pi) ** 0.5), rel=1e-6)


@pytest.mark.parametrize("eigenvalues", [-1, SIZE + 1])
def test_more_eigenvalues_than_parameters(eigenvalues: int):
    with pytest.raises(SltGrokError, match="eigenvalues: expected"):
        spectrum(operator(), eigenvalues, 2, 1, 1e-3, 0)


def test_products_are_what_it_takes():
    quadratic = operator()
    taken = 0
    multiply = quadratic._matvec

    def counted(x):
        nonlocal taken
        taken += 1
        return multiply(x)

    quadratic._matvec = counted
    spectrum(quadratic, 1, 4, 5, 1e-1, 0)
    assert taken == pytest.approx(products(1, 4, 5), abs=2)

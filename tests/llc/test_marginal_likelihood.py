"""Known marginal likelihoods: linear regression in closed form, singular minima as integrals over one variable."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import chi2, norm
from torch import Tensor, nn

from slt_grok.errors import SltGrokError
from slt_grok.llc import UnderdampedLangevin
from slt_grok.llc.marginal_likelihood import marginal_likelihood
from slt_grok.llc.sampling import Chains
from slt_grok.llc.tempering import acceptance_ratio, integral
from slt_grok.trajectories import Trajectory
from slt_grok.zoo.normal_crossing import CrossingModel
from tests.llc.regression import Line, Regression, half_square

N, GAMMA = 60, 3.0
SLOW = pytest.mark.slow


def exact_regression(regression: Regression, weights: Tensor) -> float:
    """log int exp(-|y - X w|^2 / 2) N(w; w*, 1/gamma) dw: y is normal around X w* with 1 + X X^T / gamma."""
    residual = regression.y - regression.x @ weights
    covariance = torch.eye(len(residual), dtype=torch.float64) + regression.x @ regression.x.T / GAMMA
    fit = residual @ torch.linalg.solve(covariance, residual)
    return -(fit.item() + torch.logdet(covariance).item()) / 2


def test_linear_regression() -> None:
    """Two networks at once, one of them not at its minimum; 1 in 30,000 beyond 4 standard errors by chance."""
    regression = Regression(N, 5, seed=1)
    weights = [regression.best, regression.best + 0.3]
    states = {i: {"weight": w[None]} for i, w in enumerate(weights)}
    networks = Trajectory.stack(Line(regression.best), states, loss=half_square)
    data = regression.x, regression.y
    found = marginal_likelihood(networks, data, gamma=GAMMA, chains=8, updates=300, seed=2)
    exact = np.array([exact_regression(regression, w) for w in weights])
    error = np.hypot(found.log_marginal_likelihood_se, found.log_marginal_likelihood_quadrature)
    assert (abs(found.log_marginal_likelihood - exact) < 4 * error).all()
    assert (abs(found.log_marginal_likelihood_bar - exact) < 4 * error).all()
    assert (error < 0.2).all()
    assert found.marginal_likelihood_status.values.tolist() == ["converged", "converged"]
    assert (abs(exact[0] - exact[1]) > 4 * error).all()  # the two are told apart


def repeated_square(outputs: Tensor, targets: Tensor) -> Tensor:
    return ((outputs - targets) ** 2 / 2).sum(1)


class Deep(nn.Module):
    """W_2 W_1 x through one hidden unit, both zero."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.zeros(1, inputs, dtype=torch.float64))
        self.second = nn.Parameter(torch.zeros(outputs, 1, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.first.T @ self.second.T


def crossing(*exponents: int) -> tuple[nn.Module, Tensor, Tensor]:
    """L = prod u_i^(2 k_i), turned by 30 degrees, on 40 samples."""
    angle = math.pi / 6
    rotation = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]).double()
    k = len(exponents)
    model = CrossingModel(exponents, rotation if k == 2 else torch.eye(1).double(), torch.zeros(k).double())
    return model, torch.full((40, 1), 2**0.5).double(), torch.zeros(40, 1).double()


def deep() -> tuple[nn.Module, Tensor, Tensor]:
    """L = |W_2 W_1|^2 with widths 3, 1, 2, on 30 samples."""
    inputs = torch.eye(3).double().repeat(10, 1) * 6**0.5
    return Deep(3, 2), inputs, torch.zeros(30, 2).double()


def one_dimensional(density: Callable[[float], float], rest: Callable[[float], float], low: float) -> float:
    return math.log(quad(lambda v: density(v) * rest(v), low, 40.0, points=[0.0, 0.1], limit=400)[0])


@pytest.mark.parametrize(
    ("problem", "exact"),
    [
        # integrated over u: E (1 + 2 n v^2)^(-1/2), v standard normal
        (crossing(1, 1), one_dimensional(norm.pdf, lambda v: (1 + 80 * v * v) ** -0.5, -40.0)),
        pytest.param(crossing(2), one_dimensional(norm.pdf, lambda v: math.exp(-40 * v**4), -40.0), marks=SLOW),
        # integrated over W_2: E (1 + 2 n s)^(-1), s = |W_1|^2 chi-square of 3 degrees of freedom
        pytest.param(deep(), one_dimensional(chi2(3).pdf, lambda s: 1 / (1 + 60 * s), 0.0), marks=SLOW),
    ],
    ids=["multiplicity 2", "quartic", "deep linear"],
)
def test_singular_minima(problem: tuple[nn.Module, Tensor, Tensor], exact: float) -> None:
    module, *data = problem
    found = marginal_likelihood(module, tuple(data), loss=repeated_square, gamma=1.0, chains=16, updates=300, seed=3)
    error = math.hypot(found.log_marginal_likelihood_se.item(), found.log_marginal_likelihood_quadrature.item())
    assert abs(found.log_marginal_likelihood.item() - exact) < 4 * error
    assert error < 0.12
    assert found.marginal_likelihood_status.item() == "converged"


def test_quadrature_of_a_known_curve() -> None:
    """<n L> = 1/2 sum h / (g + b h) + 7, Var = 1/2 sum h^2 / (g + b h)^2: log Z = -7 - 1/2 sum log(1 + h/g)."""
    h, g = np.geomspace(1e-2, 1e5, 30), 1.0
    betas = np.r_[0, np.geomspace(1e-6, 1, 20)]
    ratio = h / (g + betas[:, None] * h)
    found = integral(betas, ratio.sum(1) / 2 + 7, (ratio**2).sum(1) / 2)
    exact = 7 + np.log1p(h / g).sum() / 2
    assert found == pytest.approx(exact, rel=1e-3)
    trapezoid = np.trapezoid(ratio.sum(1) / 2 + 7, betas)
    assert abs(trapezoid - exact) > 20 * abs(found - exact)  # the slopes are what makes it exact


def test_acceptance_ratios_of_a_known_ladder() -> None:
    """n L = h w^2 / 2 with w normal of precision 1 + b h: log Z(1) = -log(1 + h) / 2."""
    generator, h, betas = np.random.default_rng(0), 50.0, np.array([0, 0.01, 0.1, 1])
    draws = [h * generator.standard_normal(20_000 + 5_000 * i) ** 2 / (2 * (1 + b * h)) for i, b in enumerate(betas)]
    assert acceptance_ratio(betas, draws) == pytest.approx(-math.log1p(h) / 2, abs=0.03)


@pytest.mark.parametrize("left", [3, 1])
def test_chains_that_break_are_named_and_too_few_leave_no_number(monkeypatch: pytest.MonkeyPatch, left: int) -> None:
    run = UnderdampedLangevin.run

    def breaking(*arguments: Any) -> Chains:
        chains = run(*arguments)
        if len(chains.losses) == 4 * 7:  # not a pilot
            chains.losses[4 * 6 + left : 4 * 7, 10] = torch.inf  # at the seventh of 7 temperatures, beta = 1
        return chains

    monkeypatch.setattr(UnderdampedLangevin, "run", breaking)
    regression = Regression(10, 2, seed=0)
    found = marginal_likelihood(
        regression.trajectory(), (regression.x, regression.y), gamma=1.0, temperatures=6, updates=40
    )
    assert found.marginal_likelihood_status.item() == "not converged"
    assert "beta 1: diverged: loss not finite at update 10" in found.marginal_likelihood_reason.item()
    assert bool(np.isfinite(found.log_marginal_likelihood)) == (left > 1)


def test_bad_settings() -> None:
    regression = Regression(10, 2, seed=0)
    data = (regression.x, regression.y)
    for options, key in (
        ({"gamma": 0.0}, "gamma"),
        ({"gamma": 1.0, "temperatures": 7}, "temperatures"),
        ({"gamma": 1.0, "chains": 3}, "chains, updates"),
    ):
        with pytest.raises(SltGrokError, match=key):
            marginal_likelihood(regression.trajectory(), data, **options)


def test_a_quadrature_error_is_no_excuse_for_disagreement(monkeypatch: pytest.MonkeyPatch) -> None:
    """An integral off by 1 nat whose quadrature error is estimated at 2 does not agree with the acceptance ratios."""

    def off(betas: np.ndarray, means: np.ndarray, variances: np.ndarray) -> float:
        return integral(betas, means, variances) + (1.0 if len(betas) == 21 else 3.0)

    monkeypatch.setattr("slt_grok.llc.marginal_likelihood.integral", off)
    regression = Regression(N, 5, seed=1)
    found = marginal_likelihood(
        regression.trajectory(), (regression.x, regression.y), gamma=GAMMA, chains=8, updates=300, seed=2
    )
    assert found.log_marginal_likelihood_quadrature > 1
    assert 4 * found.log_marginal_likelihood_se < 1
    assert found.marginal_likelihood_status.item() == "not converged"
    assert "acceptance ratios" in found.marginal_likelihood_reason.item()

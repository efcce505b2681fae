"""Singular fluctuation and WAIC on linear regression, where all of them have closed forms.

Statistical tests fail by chance with probability 0.3% each (3 standard errors); seeds are fixed.
"""

import numpy as np
import pytest
import torch
from fluctuation import fluctuation
from loss_moments import LossMoments
from torch import Tensor

from slt_grok.llc import estimate
from tests.analyses.draws import independent, show
from tests.llc.regression import Posterior, Regression


def closed_form(data: Regression, beta: float, posterior: Posterior) -> dict[str, float]:
    variance = data.loss_covariance(posterior).diagonal()
    training = -data.log_mean_likelihood(posterior).mean()
    return {
        "functional_variance": variance.sum().item(),
        "singular_fluctuation": (beta / 2 * variance.sum()).item(),
        "gibbs_training_loss": data.loss_means(posterior).mean().item(),
        "bayes_training_loss": training.item(),
        "waic": (training + beta * variance.mean()).item(),
    }


@pytest.mark.parametrize(("beta", "gamma"), [(1.0, 10.0), (0.1, 40.0)])
def test_sampled_values_are_the_closed_forms_at_finite_gamma(beta: float, gamma: float) -> None:
    n, d = 60, 4
    data = Regression(n, d, seed=1)
    losses = LossMoments(data.network(), data.x, data.y, every=3)
    result = estimate(
        data.trajectory(), (data.x, data.y), n_beta=beta * n, gamma=gamma, updates=1500, chains=16, observers=[losses]
    )
    found = fluctuation(result, losses)
    right = closed_form(data, beta, data.posterior(beta, gamma))
    n_errors = {"singular_fluctuation": found.singular_fluctuation_se, "waic": found.waic_se}
    for name, error in n_errors.items():
        assert error.item() < 0.03 * abs(right[name])
        assert abs(found[name].item() - right[name]) < 3 * error.item(), name
    for name, value in right.items():
        assert found[name].item() == pytest.approx(value, rel=0.05), name
    # a formula without the localization, without the tempering or without the residuals would be seen
    others = (
        closed_form(data, beta, data.posterior(beta, 0.0)),
        closed_form(data, 1.0 if beta < 1 else 0.5, data.posterior(beta, gamma)),
    )
    for wrong in others:
        assert (
            abs(wrong["singular_fluctuation"] - right["singular_fluctuation"])
            > 10 * n_errors["singular_fluctuation"].item()
        )


def test_half_a_dimension_for_a_regular_model_at_beta_one() -> None:
    """nu = sum_i m_i^2 h_i / 2 (h: leverages, which sum to d): mean d/2, standard deviation d / sqrt(2 n) over data."""
    n, d = 4000, 6
    data = Regression(n, d, seed=2)
    losses = LossMoments(data.network(), data.x, data.y)
    show(losses, data.posterior(1.0, 0.0), chains=8, draws=500, n_beta=n, seed=0)
    found = fluctuation(independent(n, 8), losses)
    assert found.singular_fluctuation_se.item() < 0.05
    assert found.singular_fluctuation.item() == pytest.approx(d / 2, abs=3 * np.hypot(d / (2 * n) ** 0.5, 0.05))
    assert found.share_of_large_variances.item() == 0.0


def leave_one_out(data: Regression, prior: float) -> float:
    """Exact Bayes leave-one-out loss, -log p(y_i | the others), prior N(0, 1/prior), up to log sqrt(2 pi)."""
    a = data.x.T @ data.x + prior * torch.eye(data.x.shape[1], dtype=torch.float64)
    total = 0.0
    for x, y in zip(data.x, data.y, strict=True):
        without = torch.linalg.inv(a - torch.outer(x, x))
        mean, spread = x @ without @ (data.x.T @ data.y - x * y), 1 + x @ without @ x
        total += (spread.log() / 2 + (y - mean) ** 2 / (2 * spread)).item()
    return total / len(data.y)


def generalization(data: Regression, posterior: Posterior, truth: Tensor) -> float:
    """Exact Bayes generalization loss over x ~ N(0, I), y ~ N(x truth, 1), by 50,000 fresh x."""
    x = torch.randn(50_000, len(truth), generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    spread = 1 + ((x @ posterior.covariance) * x).sum(1)
    off = x @ (truth - posterior.mean)
    return (spread.log() / 2 + (1 + off**2) / (2 * spread)).mean().item()


def waic(data: Regression, prior: float, draws: int, seed: int) -> tuple[float, float]:
    """WAIC and training loss as the code finds them from independent draws of the exact posterior."""
    losses = LossMoments(data.network(), data.x, data.y)
    zero = torch.zeros(data.x.shape[1], dtype=torch.float64)
    show(losses, data.posterior(1.0, prior, center=zero), chains=4, draws=draws, n_beta=len(data.y), seed=seed)
    found = fluctuation(independent(len(data.y), 4), losses)
    return found.waic.item(), found.bayes_training_loss.item()


def test_waic_is_leave_one_out_in_the_conjugate_case() -> None:
    """They differ by O(1/n^2), while WAIC is above the training loss by d/n."""
    data, prior = Regression(300, 5, seed=3), 2.0
    value, training = waic(data, prior, draws=3000, seed=0)
    exact = leave_one_out(data, prior)
    assert exact - training > 0.01
    assert abs(value - exact) < 0.05 * (exact - training)


def test_waic_has_the_mean_of_the_generalization_loss() -> None:
    """Over data sets the mean of WAIC is that of the exact generalization loss; the training loss is d/n below."""
    prior, truth = 1.0, torch.tensor([1.0, -0.5, 0.3], dtype=torch.float64)
    n, repeats = 60, 150
    gap, naive = [], []
    for seed in range(repeats):
        data = Regression(n, 3, seed=100 + seed, truth=truth)
        posterior = data.posterior(1.0, prior, center=torch.zeros(3, dtype=torch.float64))
        value = closed_form(data, 1.0, posterior)
        exact = generalization(data, posterior, truth)
        gap.append(value["waic"] - exact)
        naive.append(value["bayes_training_loss"] - exact)
    error = np.std(gap, ddof=1) / repeats**0.5
    assert abs(np.mean(gap)) < 3 * error
    assert np.mean(naive) < -3 * error


def test_samples_that_were_not_trained_on_do_not_count() -> None:
    n, d = 50, 3
    data = Regression(n, d, seed=4)
    trained = torch.arange(0, n, 2)
    both = LossMoments(data.network(), data.x, data.y, trained=trained)
    alone = LossMoments(data.network(), data.x[trained], data.y[trained])
    for losses in (both, alone):
        show(losses, data.posterior(1.0, 1.0), chains=4, draws=50, n_beta=25.0, seed=0)
    result = independent(25.0, 4)
    found = fluctuation(result, both)
    for name, values in fluctuation(result, alone).items():
        np.testing.assert_allclose(found[name], values, rtol=1e-10)


def test_bayes_test_loss_is_the_closed_form_on_fresh_samples() -> None:
    data, fresh = Regression(50, 3, seed=5), Regression(200, 3, seed=6)
    everything = LossMoments(
        data.network(), torch.cat([fresh.x, data.x]), torch.cat([fresh.y, data.y]), trained=torch.arange(200, 250)
    )
    posterior = data.posterior(1.0, 2.0)
    show(everything, posterior, chains=4, draws=1500, n_beta=50.0, seed=0)
    found = fluctuation(independent(50.0, 4), everything)
    right = -fresh.log_mean_likelihood(posterior).mean().item()
    training = -data.log_mean_likelihood(posterior).mean().item()
    assert abs(right - training) > 0.02
    assert found.bayes_test_loss.item() == pytest.approx(right, rel=0.005)
    assert found.bayes_training_loss.item() == pytest.approx(training, rel=0.005)

"""The drift of tempered chains: rare among equilibrated ones, found where they relax, and of known size."""

import numpy as np
import pytest
from scipy.stats import t as student

from slt_grok.llc.tempering import integral, integral_drift

BETAS = np.r_[0, np.geomspace(1e-3, 1, 8)]
CHAINS, DRAWS, TIME = 4, 120, 5.0  # autocorrelation time in draws


def correlated(generator: np.random.Generator) -> np.ndarray:
    """Stationary autoregressive draws of unit variance, (chain, draw)."""
    keep = np.exp(-1 / TIME)
    draws = generator.standard_normal((CHAINS, DRAWS))
    for i in range(1, DRAWS):
        draws[:, i] = keep * draws[:, i - 1] + np.sqrt(1 - keep**2) * draws[:, i]
    return draws


def alarm(generator: np.random.Generator, relaxation: float) -> bool:
    """Energies 50 / (1 + 40 beta) +- a tenth, which start below that by `relaxation` standard deviations."""
    start = relaxation * np.exp(-np.arange(DRAWS) / (DRAWS / 2))
    energies = [50 / (1 + 40 * beta) * (1 + 0.1 * (correlated(generator) - start)) for beta in BETAS]
    change, error, freedom = integral_drift(BETAS, energies)
    return bool(abs(change) > student.ppf(0.995, freedom) * error)


def test_equilibrated_chains_rarely_drift_and_relaxing_ones_do() -> None:
    """At a level of 1%: at most 11 of 300 by chance (one seed in 10,000 has more); all but a few that relax by 2."""
    generator = np.random.default_rng(0)
    assert sum(alarm(generator, 0.0) for _ in range(300)) <= 11
    assert sum(alarm(generator, 2.0) for _ in range(50)) >= 45


def test_the_drift_is_that_of_the_integral() -> None:
    """Constant halves: the difference of the two integrals, without an error."""
    first, second = 50 / (1 + 40 * BETAS), 60 / (1 + 30 * BETAS)
    energies = [np.repeat([[a, b]] * CHAINS, DRAWS // 2, axis=1) for a, b in zip(first, second, strict=True)]
    change, error, freedom = integral_drift(BETAS, energies)
    none = np.zeros(len(BETAS))
    assert change == pytest.approx(integral(BETAS, second, none) - integral(BETAS, first, none))
    assert error == 0
    assert np.isnan(freedom)

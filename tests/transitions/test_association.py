"""Partial rank correlation by hand, error rates of both nulls, and the dataset's flags."""

import numpy as np
import pytest
import xarray as xr
from scipy.stats import spearmanr

from slt_grok.transitions import associate
from slt_grok.transitions.association import block, pairing, remainders
from tests.transitions.test_measure import run


def partial(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> float:
    """Kendall's formula for one covariate, from Spearman's correlations."""
    xy, xz, yz = (float(spearmanr(*pair).statistic) for pair in ((x, y), (x, z), (y, z)))
    return (xy - xz * yz) / np.sqrt((1 - xz**2) * (1 - yz**2))


def test_one_covariate_is_the_textbook_formula():
    x, y, z = np.random.default_rng(0).standard_normal((3, 30))
    x, y = x + z, y + z**3
    found = remainders(x, z[None]) @ remainders(y, z[None])
    assert found == pytest.approx(partial(x, y, z), abs=1e-12)


def test_without_covariates_it_is_spearmans():
    x, y = np.random.default_rng(1).standard_normal((2, 30))
    nothing = np.zeros((0, 30))
    assert remainders(x, nothing) @ remainders(y, nothing) == pytest.approx(spearmanr(x, y).statistic, abs=1e-12)


def test_what_the_covariates_explain_leaves_nothing():
    x = np.random.default_rng(2).standard_normal(20)
    assert (remainders(np.exp(x), x[None]) == 0).all()  # the same ranks


def data(generator: np.random.Generator, coupling: float, seeds: int = 5, n: int = 30):
    """LLC, measure and covariate of one experiment: a burst that all share, and what a seed has for itself."""
    burst = 3 * np.exp(-(((np.arange(n) - n / 2) / 3) ** 2))
    own, llc, measure, covariate = generator.standard_normal((4, seeds, n))
    return burst + llc + coupling * own, burst + measure + coupling * own, (burst + covariate)[:, None]


def test_error_rates_of_the_null_by_pairing():
    """400 experiments of 5 seeds that share a trend and nothing else: at most 8.3% below 0.05 (5% + 3 standard
    errors); where each seed's LLC and measure are coupled, most."""
    generator = np.random.default_rng(3)
    none, coupled = (np.mean([pairing(*data(generator, c), 100, 0)[1] <= 0.05 for _ in range(400)]) for c in (0.0, 1.0))
    assert 0.02 <= none <= 0.083
    assert coupled > 0.7


def test_error_rate_of_the_null_by_blocks_without_a_trend():
    generator = np.random.default_rng(4)
    rates = []
    for coupling in (0.0, 1.0):
        p = []
        for _ in range(200):
            own, llc, measure = generator.standard_normal((3, 3, 30))
            nothing = np.zeros((3, 0, 30))
            p.append(
                block(remainders(llc + coupling * own, nothing), remainders(measure + coupling * own, nothing), 199, 0)
            )
        rates.append(np.mean(np.array(p) <= 0.05))
    assert rates[0] <= 0.1  # 5% + 3.2 standard errors
    assert rates[1] > 0.8


def recorded(seeds: tuple[int, ...]) -> dict[str, xr.Dataset]:
    """The networks of `run`, training recorded at every checkpoint too."""
    given = run(seeds)
    steps = np.union1d(given["training"].step, given["llc"].step)
    return given | {"training": given["training"].interp(step=steps)}


def test_few_seeds_and_missing_seeds_are_named():
    found = associate(recorded((0,)), resamples=20)
    assert set(found.verdict.values.tolist()) == {"too few seeds"}
    assert np.isnan(found.p_value.sel(null="pairing")).all()
    assert np.isfinite(found.p_value.sel(null="block")).any()
    several = recorded((0, 1, 2, 3, 7))
    several["circuits"]["neuron_share"][:, 4] = np.nan
    several["circuits"]["gini_embedding"][3, 1] = np.nan
    found = associate(several, resamples=20)
    assert found.left_out.sel(measure="neuron_share").item() == "seeds 7"
    assert found.left_out.sel(measure="gini_embedding").item() == "steps 100"
    assert found.seeds.sel(measure="neuron_share") == 4
    assert found.given.sel(measure="weight_norm").item() == "train_loss"
    assert found.given.sel(measure="test_loss").item() == "train_loss, weight_norm"

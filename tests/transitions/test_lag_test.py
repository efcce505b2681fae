"""The lag test: Student's by hand, its error rate, shared errors between checkpoints, Holm's correction."""

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from slt_grok.transitions.lag_test import FEWEST_SEEDS, holm, lag_of, shares_error


def seeds_of(generator: np.random.Generator, count: int, lag: float, gap: float, scatter: float):
    """Draws of two events: the first on dense checkpoints, the second known up to a gap."""
    place = generator.uniform(0, gap) + scatter * generator.standard_normal(count)
    first = place + lag + 0.15 * generator.standard_normal(count)
    second = np.floor(place / gap)[:, None] * gap + gap * generator.random((count, 60))
    return np.repeat(first[:, None], 60, axis=1), second


def test_where_lags_are_known_it_is_students_test():
    lags = np.array([0.1, 0.3, -0.05, 0.2, 0.15])
    first = np.repeat(np.array([7.0, 7.5, 8.0, 7.2, 7.8])[:, None], 20, axis=1)
    found = lag_of(first + lags[:, None], first)
    expected = ttest_1samp(lags, 0)
    assert found.mean == pytest.approx(0.14)
    assert found.p_value == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval()))
    assert not found.shared


@pytest.mark.parametrize("count", [FEWEST_SEEDS, 10])
def test_false_positives_and_power(count):
    """400 experiments at lag 0: 5% rejected, at most 8.3% (3 binomial standard errors above); at a lag of 3 standard
    deviations nearly all."""
    generator = np.random.default_rng(count)
    none, large = (
        np.mean([lag_of(*seeds_of(generator, count, lag, 0.1, 0.3)).p_value <= 0.05 for _ in range(400)])
        for lag in (0.0, 0.6)
    )
    assert 0.02 <= none <= 0.083
    assert large > 0.9


def test_between_the_same_checkpoints_students_test_fails_and_this_one_holds():
    """300 experiments at lag 0 whose second events all lie in one wide gap."""
    generator = np.random.default_rng(0)
    drawn = [seeds_of(generator, 20, 0.0, 1.5, 0.08) for _ in range(300)]
    naive = np.mean([ttest_1samp(np.median(a - b, 1), 0).pvalue <= 0.05 for a, b in drawn])
    mine = np.mean([lag_of(a, b).p_value <= 0.05 for a, b in drawn])
    assert naive > 0.5
    assert mine <= 0.09


def test_shared_error_is_named():
    generator = np.random.default_rng(1)
    wide = 7 + generator.random((6, 100))
    assert shares_error(wide)
    assert not shares_error(wide + np.arange(6)[:, None])
    assert not shares_error(np.full((6, 100), 7.0))


def test_holm_by_hand():
    found = holm(np.array([0.01, 0.04, np.nan, 0.03, 0.6]))
    np.testing.assert_allclose(found, [0.04, 0.09, np.nan, 0.09, 0.6])

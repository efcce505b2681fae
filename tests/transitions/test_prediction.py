"""Ridge regression against its normal equations; which predictors win where the answer is planted."""

import numpy as np
import pytest

from slt_grok.errors import SltGrokError
from slt_grok.transitions import predict_llc
from slt_grok.transitions.prediction import compare, drop_remaining, held_out, ridge
from tests.transitions.test_measure import run


def test_ridge_without_penalty_is_least_squares():
    generator = np.random.default_rng(0)
    x, y, asked = generator.standard_normal((20, 2)), generator.standard_normal(20), generator.standard_normal((3, 2))
    with_constant = np.c_[np.ones(20), x]
    expected = np.c_[np.ones(3), asked] @ np.linalg.lstsq(with_constant, y, rcond=None)[0]
    np.testing.assert_allclose(ridge(x, y, asked, 0.0), expected)
    np.testing.assert_allclose(ridge(x, y, asked, 1e12), y.mean(), atol=1e-9)


def test_a_seed_is_not_learned_from_when_it_is_predicted():
    generator = np.random.default_rng(1)
    predictors = generator.standard_normal((5, 8, 1))
    target = 3 * predictors[..., 0] + 2
    spoiled = target.copy()
    spoiled[2] = 1e3
    np.testing.assert_allclose(held_out(target, predictors), target, atol=0.05)
    np.testing.assert_allclose(held_out(spoiled, predictors)[2], held_out(target, predictors)[2])


def test_the_corrected_interval_by_hand():
    mean, low, high = compare(np.array([1.0, 2, 3, 4]), np.zeros(4))
    assert mean == 2.5
    error = np.sqrt(5 / 3) * np.sqrt(1 / 4 + 1 / 3)
    assert (low, high) == pytest.approx((2.5 - 3.182446 * error, 2.5 + 3.182446 * error))


def test_the_share_of_the_drop_left_by_hand():
    target = np.array([[1.0, 9, 5, 1], [2, 4, 3, 2], [1, 2, 3, 4]])  # falls by 8, by 2, not at all
    predicted = np.array([[0.0, 6, 9, 4], [0, 3, 0, 1], [0, 0, 0, 0]])  # 2 of 8, 2 of 2
    np.testing.assert_allclose(drop_remaining(target, predicted[None])[0], [0.75, 0.0, np.nan])


def test_what_carries_the_llc_predicts_it():
    """The LLC of each seed is its neuron share times 100; the weight norm is noise."""
    data, generator = run((0, 1, 2, 3, 4)), np.random.default_rng(2)
    share = generator.random(data["circuits"].neuron_share.shape)
    data["circuits"]["neuron_share"][:] = share
    data["llc"]["llc"][:] = 100 * share
    data["landscape"]["weight_norm"][:] = generator.random(data["landscape"].weight_norm.shape)
    found = predict_llc(data)
    assert found.error.sel(predictors="circuits").max() < 5
    assert found.error.sel(predictors="weight_norm").min() > 15
    assert found.error_difference_high.sel(predictors="circuits") < 0
    assert found.error_difference.sel(predictors="weight_norm") == 0
    assert abs(found.mean_drop_left.sel(predictors="circuits")) < 0.05
    assert found.mean_drop_left.sel(predictors="weight_norm") > 0.8


def test_too_few_seeds_are_an_error_that_counts_them():
    with pytest.raises(SltGrokError, match="at least 4 seeds to hold one out, got 3"):
        predict_llc(run((0, 1, 2)))

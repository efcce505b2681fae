"""Fitted shapes: planted onset, middle and end; coverage at stated noise, between sparse checkpoints, and no event."""

import numpy as np
import pytest
from scipy.special import expit, logit

from slt_grok.rules import ACCURACY, SHRINKING
from slt_grok.transitions import sigmoid
from slt_grok.transitions.estimators import is_change

X = np.log1p(np.unique(np.r_[0, np.geomspace(1, 20_000, 30).astype(int)]))
LOG_9 = np.log(9)


def everywhere(curves: np.ndarray) -> np.ndarray:
    return np.ones(curves.shape, bool)


@pytest.mark.parametrize("asymmetry", [0.5, 1, 2])
def test_a_shape_without_noise_is_found(asymmetry):
    """Places at 10%, 50% and 90% solved for by hand: middles within 3% of a gap between checkpoints (0.35), the others
    within a quarter of one, since noise counts as at least 0.2% of the range."""
    middle, width = 7.3, 0.4
    z = (X - middle) / width + logit(0.5 ** (1 / asymmetry))
    curve = -100 + 60 * expit(z) ** asymmetry
    noise = np.full((1, len(X)), 0.01)
    found = sigmoid.fit(X, curve[None], noise, everywhere(curve[None]), 200, 0)
    share = np.array([0.1, 0.5, 0.9])
    truth = middle + width * (logit(share ** (1 / asymmetry)) - logit(0.5 ** (1 / asymmetry)))
    error = np.abs(np.median(found.events[0], axis=1) - truth)
    assert (error <= [0.08, 0.01, 0.08]).all()
    assert (np.ptp(found.events[0], axis=1) < 0.7).all()
    assert found.size[0] == pytest.approx(60, rel=0.03)
    assert found.gain[0] > 20


@pytest.mark.parametrize("noise", [0.01, 0.05])
def test_intervals_cover_and_are_short(noise):
    """300 noisy logistic drops, standard errors off by 25%: 95% intervals cover in at least 88% (5.6 binomial
    standard errors below 0.95); those of the middle are shorter than four gaps, and at 1% noise than one."""
    generator = np.random.default_rng(3)
    middle, width = generator.uniform(6.5, 8.5, 300), np.exp(generator.uniform(np.log(0.1), np.log(0.4), 300))
    truth = -150 + 110 * expit((X - middle[:, None]) / width[:, None])
    se = noise * np.abs(truth)
    curves = truth + se * generator.standard_normal(se.shape)
    reported = se * np.exp(0.25 * generator.standard_normal(se.shape))
    events = sigmoid.fit(X, curves, reported, everywhere(curves), 200, 0).events
    low, high = np.percentile(events, (2.5, 97.5), axis=2)
    planted = middle[:, None] + width[:, None] * np.array([-LOG_9, 0, LOG_9])
    covered = ((low <= planted) & (planted <= high)).mean(0)
    assert (covered >= 0.88).all()
    assert np.median(high - low, axis=0)[1] < np.diff(X)[-1] * (1 if noise < 0.02 else 4)


def test_a_jump_between_two_checkpoints_is_known_up_to_the_gap():
    x = np.linspace(0, 9, 10)
    curve = np.where(x < 5.5, 0.0, 1.0)[None]
    events = sigmoid.fit(x, curve, np.full((1, 10), 0.01), everywhere(curve), 400, 0).events[0, 1]
    assert (events > 4.9).all()
    assert (events < 6.1).all()
    assert np.percentile(events, 2.5) < 5.15
    assert np.percentile(events, 97.5) > 5.85


def test_noise_alone_is_no_change():
    """400 flat curves with 5% noise: at most 1% have a drop by the LLC's rule."""
    generator = np.random.default_rng(8)
    curves = -100 + 5 * generator.standard_normal((400, len(X)))
    found = sigmoid.fit(X, curves, np.full(curves.shape, 5.0), everywhere(curves), 5, 0)
    assert is_change(found, SHRINKING).mean() <= 0.01


def test_a_curve_that_falls_has_no_rise_and_a_constant_none():
    curves = np.stack([-expit(X - 7), np.full(len(X), 2.0)])
    found = sigmoid.fit(X, curves, None, everywhere(curves), 5, 0)
    assert not is_change(found, ACCURACY).any()


def test_points_that_are_not_used_do_not_count():
    curve = (expit((X - 7) / 0.3))[None]
    used = (X > 3)[None]
    spoiled = np.where(used, curve, 1e6)
    one, other = (sigmoid.fit(X, c, None, used, 50, 1).events for c in (curve, spoiled))
    np.testing.assert_array_equal(one, other)


def test_the_draws_do_not_depend_on_how_many_curves_there_are():
    curves = expit((X - np.linspace(6, 8, 3)[:, None]) / 0.3)
    together = sigmoid.fit(X, curves, None, everywhere(curves), 400, 1).events
    alone = sigmoid.fit(X, curves[:1], None, everywhere(curves[:1]), 400, 1).events
    np.testing.assert_allclose(np.median(together[0], 1), np.median(alone[0], 1), atol=0.02)

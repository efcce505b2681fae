"""Cuts: a step by hand, a penalty that leaves noise alone."""

import numpy as np

from slt_grok.transitions import change_points

X = np.arange(20.0)


def test_a_step_is_cut_where_it_is():
    curve = np.where(X < 12, 1.0, 5.0)
    draws = change_points.draw(X, curve, None, 300, 0)
    assert draws is not None
    assert ((draws > 11) & (draws < 12)).all()
    assert draws.std(axis=1).min() > 0.2  # somewhere in the gap


def test_two_steps_are_onset_and_end():
    """From 0 to 4 at 5 and to 10 at 15: 10% is passed at the first cut, 50% and 90% at the second."""
    curve = np.where(X < 5, 0.0, np.where(X < 15, 4.0, 10.0))
    np.testing.assert_array_equal(change_points.gaps(curve, 0.1), [5, 15, 15])


def test_noise_is_cut_in_at_most_2_of_100_curves():
    generator = np.random.default_rng(4)
    curves = generator.standard_normal((400, 40))
    assert np.mean([change_points.gaps(c, 1.0) is not None for c in curves]) <= 0.02


def test_a_fall_is_no_rise():
    assert change_points.draw(X, np.where(X < 12, 5.0, 1.0), None, 10, 0) is None

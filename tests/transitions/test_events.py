import numpy as np
import pytest

from slt_grok.transitions.events import first_step_at, is_drop, llc_drop, phase_ends
from slt_grok.transitions.measures import Curve
from slt_grok.transitions.summary import llc_dropped

NAN = float("nan")


def test_first_step_at_a_threshold():
    curve = Curve(np.array([0, 5, 9, 12]), np.array([0.1, 0.99, 0.5, 1.0]))
    assert first_step_at(curve, 0.99) == 5
    assert first_step_at(curve, 0.995) == 12
    assert np.isnan(first_step_at(Curve(curve.steps, np.full(4, NAN)), 0.5))
    assert np.isnan(first_step_at(Curve(curve.steps, curve.values - 0.5), 0.99))


# test accuracy jumps to 0.2 with memorization at 250, stays, then rises from 0.2 to 1 on a straight line in log step
STEPS = np.array([0, 100, 250, 1000, 4000])
ACCURACY = Curve(STEPS, np.array([0.0, 0.1, 0.2, 0.2, 1.0]))


@pytest.mark.parametrize(
    ("accuracy", "memorization", "generalization", "expected"),
    [
        (ACCURACY, 250, 4000, (250, 1001 * (4001 / 1001) ** 0.1 - 1, 4000)),
        (ACCURACY, 250, 1000, (250, 1000, 1000)),  # a threshold below 10% of the rise
        (ACCURACY, 250, NAN, (250, NAN, NAN)),
        (ACCURACY, NAN, 4000, (NAN, NAN, NAN)),
        (ACCURACY, 4000, 1000, (4000, NAN, NAN)),
        (ACCURACY, 250, 250, (250, NAN, NAN)),
        (Curve(STEPS, np.array([0.0, 0.1, 0.85, 0.9, 1.0])), 250, 4000, (250, NAN, NAN)),
    ],
)
def test_ends_of_phases(accuracy, memorization, generalization, expected):
    np.testing.assert_allclose(phase_ends(accuracy, memorization, generalization), expected, rtol=1e-6)


def test_drop_of_a_known_curve():
    curve = Curve(np.array([0, 10, 50, 100]), np.array([-5.0, 80, 60, 30]), np.array([1.0, 3, 1, 4]))
    drop = llc_drop(curve)
    assert (drop.peak, drop.peak_se, drop.peak_step) == (80, 3, 10)
    assert (drop.final, drop.final_se, drop.drop, drop.drop_se) == (30, 4, 50, 5)


def test_the_end_of_a_long_curve_is_its_last_estimate():
    values = np.r_[np.linspace(90, 20, 18), 10.0, 12.0, 17.0, NAN]
    se = np.r_[np.full(18, 3.0), 3.0, 5.0, 4.0, 12.0]
    drop = llc_drop(Curve(np.arange(22), values, se))
    assert (drop.final, drop.final_se, drop.final_step) == (17, 4, 20)
    assert (drop.drop, drop.drop_se) == (73, 5)


def test_estimates_that_are_missing():
    drop = llc_drop(Curve(np.array([0, 1, 2]), np.array([NAN, 5.0, NAN]), np.array([NAN, 1.0, NAN])))
    assert (drop.peak, drop.final, drop.drop) == (5, 5, 0)
    nothing = llc_drop(Curve(np.array([0, 1]), np.array([NAN, NAN]), np.array([1.0, 1.0])))
    assert np.isnan([nothing.peak, nothing.peak_step, nothing.final, nothing.drop_se]).all()


def test_without_standard_errors_the_drop_has_none():
    drop = llc_drop(Curve(np.array([0, 1]), np.array([5.0, 2.0])))
    assert drop.drop == 3
    assert np.isnan(drop.drop_se)


def test_the_peak_of_pure_noise_is_rarely_a_drop():
    """The largest of many estimates exceeds any single one by 3 standard errors much more often than 1 in 740."""
    values = np.random.default_rng(0).normal(10, 1, (20_000, 20))
    drops = values.max(1) - values[:, -1]
    assert np.mean(drops > 3 * 2**0.5) > 0.005
    assert np.mean([is_drop(drop, 2**0.5, 10, 20) for drop in drops]) < 0.002
    assert is_drop(60, 3, 160, 20)
    assert not is_drop(10, 0.1, 160, 20)


@pytest.mark.parametrize(
    ("changes", "dropped"),
    [
        ({}, True),
        ({"llc_final_status": "not converged"}, None),
        ({"llc_peak_status": "not converged"}, None),
        ({"llc_peak_status": "not a minimum"}, True),
        ({"llc_drop_se": 18}, True),
        ({"llc_drop_se": 18, "llc_statuses": {"effective": 20}}, False),
        ({"llc_drop_se": 18, "llc_statuses": {"effective": 1, "melted": 19}}, True),
        ({"llc_statuses": {"not a minimum": 3}}, None),
        ({"llc_drop_se": None}, None),
    ],
)
def test_a_drop_needs_a_trusted_end(changes, dropped):
    summary = {"llc_drop": 60, "llc_drop_se": 3, "llc_peak": 160, "llc_statuses": {"effective": 1}}
    assert llc_dropped(summary | {"llc_final_status": "effective", "llc_peak_status": "effective"} | changes) is dropped

"""The exact clock and the exact pizza are told apart by every measure that claims to.

What each must be follows from the formulas of their logits: L = sum_k A_k cos w_k(s - c) for the clock, and with the
factor |cos(w_k d/2)| for the pizza, s = a + b and d = a - b.
"""

import numpy as np
import pytest
import torch

from slt_grok import circuits
from slt_grok.models import planted
from slt_grok.tasks import ModularTask
from slt_grok.trajectories import Trajectory

P, KEYS = 31, [3, 7, 11]
RING = np.abs(np.cos(np.pi * np.arange(P) / P))  # |cos(w_k d/2)| over d, in another order for each k
OVERLAP = RING.mean() / np.sqrt((RING**2).mean())  # correlation of the clock's and the pizza's logits


def measured(module, keys=None):
    return circuits.measure(Trajectory.of(module, ModularTask(module.tokens)), keys, gradient_triples=None)


@pytest.fixture(scope="module")
def clock():
    return measured(planted.clock(P, dict.fromkeys(KEYS, 6.0)))


@pytest.fixture(scope="module")
def pizza():
    return measured(planted.pizza(P, dict.fromkeys(KEYS, 6.0), directions=64))


def test_both_answer_everything_with_the_same_frequencies(clock, pizza):
    for data in (clock, pizza):
        np.testing.assert_array_equal(data.accuracy, 1)
        assert data.frequency.values[data.circuit_frequency].tolist() == KEYS


def test_fits_of_the_logits(clock, pizza):
    np.testing.assert_allclose(clock.clock_fve, 1, rtol=1e-12)
    np.testing.assert_allclose(clock.pizza_fve, OVERLAP**2, rtol=1e-12)
    residual = planted.pizza_residual(64)
    np.testing.assert_allclose(pizza.clock_fve, OVERLAP**2, rtol=2 * residual)
    np.testing.assert_allclose(pizza.pizza_fve, 1, atol=residual**2)


def test_fits_of_one_circle_alone(clock, pizza):
    """Q = 2 corr - 1: here the isolated circle has nothing but its own frequency, so that its fit is exact."""
    residual = planted.pizza_residual(64)
    assert sorted(clock.circle_frequency.values.tolist()) == sorted(pizza.circle_frequency.values.tolist()) == KEYS
    np.testing.assert_allclose(clock.circle_clock_fve, 1, atol=1e-9)
    np.testing.assert_allclose(clock.circle_pizza_fve, 2 * OVERLAP - 1, atol=1e-9)
    np.testing.assert_allclose(pizza.circle_pizza_fve, 1, atol=residual)
    np.testing.assert_allclose(pizza.circle_clock_fve, 2 * OVERLAP - 1, atol=2 * residual)
    np.testing.assert_allclose(clock.circularity, 1, rtol=1e-12)
    np.testing.assert_allclose(pizza.circularity, 1, rtol=1e-12)


def test_gradient_symmetricity(clock, pizza):
    """The clock's Q_c is bilinear, its gradients r_k^-1 A_k times E_b and E_a turned: cosines of w_k d, of mean 0."""
    np.testing.assert_allclose(clock.gradient_symmetricity, 0, atol=1e-12)
    np.testing.assert_allclose(pizza.gradient_symmetricity, 1, rtol=1e-12)
    quadratic = measured(planted.quadratic_clock(P, dict.fromkeys(KEYS, 6.0)))
    np.testing.assert_allclose(quadratic.gradient_symmetricity, 1, rtol=1e-12)  # sees nothing but U_a + V_b


def test_distance_irrelevance(clock, pizza):
    """The pizza's right logit is a function of d alone; the clock's is constant, so that what is left counts."""
    assert np.isnan(clock.distance_irrelevance)
    assert pizza.distance_irrelevance < 0.01
    assert pizza.distance_irrelevance_top_wrong < 0.05
    p, noise = 13, np.random.default_rng(0).normal(size=(13, 13, 13))
    a, b, c = np.ogrid[:p, :p, :p]
    waves = [np.cos(2 * np.pi * k / p * (a + b - c)) for k in (1, 3, 5)]
    rings = [np.abs(np.cos(np.pi * k / p * (a - b))) for k in (1, 3, 5)]
    of_clock = 20 * np.sum(waves, 0) + 0.5 * noise
    of_pizza = 20 * np.sum([ring * wave for ring, wave in zip(rings, waves, strict=True)], 0) + 0.5 * noise
    keys = np.isin(np.arange(1, 7), [1, 3, 5])
    found = [measured(planted.lookup_table(torch.from_numpy(logits)), keys) for logits in (of_clock, of_pizza)]
    # p draws of a normal have a standard deviation of about 1 - 3/(4p), on average over distances
    np.testing.assert_allclose(found[0].distance_irrelevance, 1 - 3 / (4 * p), atol=0.05)
    assert found[1].distance_irrelevance < 0.2
    assert found[0].clock_fve > 0.99 > found[1].clock_fve


def test_neurons(clock, pizza):
    """Independent phases fill a torus of rank 4, equal ones a disc of rank 2."""
    np.testing.assert_array_equal(pizza.torus_distance, 0)
    # the clock's phases are all 16 pairs of quarter turns: distances near 0, 1/4, 1/2 and 1/4 of p in equal shares
    np.testing.assert_allclose(clock.torus_distance, P / 4, rtol=0.05)
    np.testing.assert_allclose(pizza.rank_share.sel(rank=2), 1, rtol=1e-9)
    np.testing.assert_allclose(clock.rank_share.sel(rank=2), 0.5, rtol=1e-9)
    np.testing.assert_allclose(clock.rank_share.sel(rank=4), 1, rtol=1e-9)


def test_losses(clock, pizza):
    np.testing.assert_allclose(clock.trig_loss, clock.loss, rtol=1e-9)
    assert (pizza.trig_loss < pizza.loss / 2).all()

"""Multilevel splitting against closed forms, and the exponent against learning coefficients that are known.

Standard errors from 4 populations leave 3 of them in some 6% of comparisons (Student's t with 3 degrees of freedom), so
that the log-volumes are compared by the spread that a population has at the least, (|log share| / walkers)^(1/2).
"""

import math

import numpy as np
import pytest
import torch
import xarray as xr

from slt_grok.errors import SltGrokError
from slt_grok.landscape.basin import basins
from slt_grok.landscape.hit_and_run import Populations
from slt_grok.landscape.volume_exponent import cost, volume_exponent
from slt_grok.trajectories import Trajectory
from slt_grok.zoo.cases import parse
from slt_grok.zoo.problem import half_squared_error
from tests.landscape.test_volume import around, crossing_log_volume, ellipsoid_log_volume, quadratic
from tests.landscape.toys import ONE_SAMPLE, stacked

WALKERS = 128


def measured(text: str, epsilons, **settings) -> tuple[xr.Dataset, float]:
    """A case of the zoo, and its learning coefficient."""
    problem = parse(text).problem(torch.Generator().manual_seed(0))
    trajectory = Trajectory.of(problem.module, loss=half_squared_error)
    settings = {"walkers": WALKERS, "multiplicity": problem.truth.multiplicity} | settings
    return volume_exponent(trajectory, epsilons, data=problem.data, **settings), problem.truth.value


def assert_volumes(found: xr.Dataset, expected) -> None:
    """Within 3 of the larger of the two standard errors, the measured one and the least there is."""
    expected = xr.DataArray(expected, dims="epsilon", coords={"epsilon": found.epsilon})
    least = (abs(expected - found.log_ball_volume) / found.attrs["walkers"] / found.attrs["populations"]) ** 0.5
    assert (found.log_volume_se < 4 * least).all()
    assert (abs(found.log_volume - expected) < 3 * np.maximum(found.log_volume_se, least)).all()


def test_ellipsoid():
    h, epsilons = np.geomspace(1, 20, 6), np.array([1e-2, 1e-3, 1e-4])
    found = volume_exponent(quadratic(h), epsilons, walkers=WALKERS, sweeps=6, radius=1.0, data=ONE_SAMPLE).isel(step=0)
    assert_volumes(found, [ellipsoid_log_volume(h, epsilon) for epsilon in epsilons])
    assert abs(found.volume_exponent - 3) < 3 * found.volume_exponent_se
    assert found.volume_exponent == pytest.approx(3, rel=0.05)


def test_quartic():
    """{sum a_i u_i^4 < epsilon}: epsilon^(d/4) prod a_i^(-1/4) (2 Gamma(5/4))^d / Gamma(1 + d/4)."""
    a, epsilons = torch.tensor([1.0, 2.0, 5.0, 9.0], dtype=torch.float64), np.array([1e-4, 1e-6, 1e-8])
    trajectory = around(torch.ones(1, 4), lambda u: (a * u**4).sum())
    found = volume_exponent(trajectory, epsilons, walkers=WALKERS, sweeps=6, radius=1.0, data=ONE_SAMPLE).isel(step=0)
    constant = 4 * math.log(2 * math.gamma(1.25)) - math.lgamma(2) - 0.25 * a.log().sum().item()
    assert_volumes(found, np.log(epsilons) + constant)
    assert found.volume_exponent == pytest.approx(1, rel=0.05)


def test_crossing_of_multiplicity_two():
    epsilons = np.geomspace(1e-4, 1e-10, 4)
    found, truth = measured("normal_crossing 1,1", epsilons, radius=1.0, populations=8)
    assert_volumes(found, [crossing_log_volume(epsilon) for epsilon in epsilons])
    assert truth == 0.5
    assert found.volume_exponent == pytest.approx(truth, rel=0.1)


@pytest.mark.parametrize(
    ("text", "epsilons", "settings"),
    [
        ("quadratic 10 rank 8 decades 1", (1e-2, 1e-3, 1e-4), {"sweeps": 6, "radius": 2.0}),
        ("polynomial degree 5", (1e-2, 1e-3, 1e-4), {"sweeps": 4, "radius": 10.0}),
        ("normal_crossing 1,3", (1e-6, 1e-9, 1e-12), {"radius": 1.0}),
        ("normal_crossing 2,2,1", (1e-12, 1e-22, 1e-32), {"radius": 1.0, "sweeps": 8}),
        ("modadd p 3 width 2 pairs all", (1e-4, 1e-5, 1e-6), {"sweeps": 4, "radius": 0.2, "walkers": 512}),
    ],
)
def test_known_learning_coefficients_within_a_tenth(text, epsilons, settings):
    found, truth = measured(text, epsilons, **settings)
    assert found.volume_exponent == pytest.approx(truth, rel=0.1)


def test_deep_linear_network_whose_radial_exponent_is_wrong():
    """[5,3,5] at rank 0: 6.5 with m = 2, where radial averages give 7.5.

    The shares of the unit ball are -5.97, -19.27 and -33.56 (+- 0.03), from the integral of prod_{i<j} |s_i^2 - s_j^2|
    prod_i s_i^2 b_i^4 over {sum s_i^2 b_i^2 < 2 epsilon} in the unit ball of R^6, s the singular values of the first
    layer and b the norms of the rows of the second in its frame. With 6 sweeps a level the walkers lag behind, and the
    smallest volume comes out 5 standard errors too small.
    """
    found, truth = measured("dln 5,3,5 rank 0", (1e-2, 1e-3, 1e-4), radius=1.0, walkers=256, sweeps=24, populations=8)
    assert truth == 6.5
    assert found.volume_exponent == pytest.approx(truth, rel=0.1)
    assert_volumes(found, found.log_ball_volume.item() + np.array([-5.97, -19.27, -33.56]))


def test_moves_keep_the_uniform_distribution():
    """In a ball (L / level)^(d/2) is uniform: its mean over 8,000 walkers has a standard error of 0.0032."""
    trajectory = stacked(torch.zeros(1, 10), lambda w: (w**2).sum())
    basin = next(basins(trajectory, ONE_SAMPLE, None, 1.0, 0))
    swarm = Populations(basin, 4, 2000)
    swarm.level[:] = 0.8
    swarm.offsets *= 0.8**0.5
    swarm.excess *= 0.8
    before = swarm.offsets.clone()
    for _ in range(16):
        swarm.sweep()
    assert (swarm.excess < 0.8).all()
    np.testing.assert_allclose(swarm.excess, swarm.offsets.square().sum(2))
    assert ((swarm.excess / 0.8) ** 5).mean() == pytest.approx(0.5, abs=0.013)
    assert swarm.offsets.square().mean() == pytest.approx(0.8 / 12, rel=0.02)  # R^2 / (d + 2)
    correlation = (swarm.offsets * before).mean() / before.square().mean()
    assert correlation < 0.75


def test_one_network_gives_its_own_values():
    points = torch.randn(3, 4, generator=torch.manual_seed(2), dtype=torch.float64)
    whole = stacked(points, lambda w: (w**2).sum() ** 2, steps=(0, 10, 20))
    options = {"data": ONE_SAMPLE, "walkers": 8, "sweeps": 2}
    found = volume_exponent(whole, [1e-1, 1e-2], **options)
    alone = volume_exponent(whole.isel(step=[1]), [1e-1, 1e-2], **options)
    xr.testing.assert_identical(alone, found.isel(step=[1]))
    assert found.log_volume.dims == ("step", "epsilon")
    assert found.volume_exponent.dims == ("step",)
    assert all({"long_name", "definition", "source"} <= set(array.attrs) for array in found.data_vars.values())


def test_levels_that_do_not_suffice():
    settings = {"walkers": 8, "sweeps": 2, "levels": 5, "radius": 1.0}
    found = volume_exponent(quadratic(np.ones(4)), [0.4, 0.3, 1e-9], data=ONE_SAMPLE, **settings).isel(step=0)
    assert np.isfinite(found.log_volume[:2]).all()
    assert np.isnan(found.log_volume[2])
    assert np.isfinite(found.volume_exponent)
    assert found.volume_evaluations <= 1.2 * cost(4, 8, 2, 5)
    none = volume_exponent(quadratic(np.ones(4)), [1e-8, 1e-9], data=ONE_SAMPLE, **settings).isel(step=0)
    assert np.isnan(none.volume_exponent)


def test_a_flat_loss_fills_the_ball():
    flat = stacked(torch.ones(1, 3), lambda w: 0 * w.sum())
    found = volume_exponent(flat, [1e-1, 1e-2], data=ONE_SAMPLE, walkers=8, sweeps=1).isel(step=0)
    np.testing.assert_allclose(found.log_volume, found.log_ball_volume)
    assert found.volume_exponent == 0


def test_a_loss_that_is_not_finite():
    trajectory = stacked(torch.tensor([[1.0, 1.0], [-1.0, 1.0]]), lambda w: w[0].log(), steps=(5, 6))
    with pytest.raises(SltGrokError, match="step 6"):
        volume_exponent(trajectory, [1e-2, 1e-3], data=ONE_SAMPLE, radius=0.1, walkers=8)


@pytest.mark.parametrize(
    ("epsilons", "settings", "named"),
    [
        ([1e-3], {}, "epsilons"),
        ([1e-3, -1.0], {}, "epsilons"),
        ([1e-3, 1e-2], {"populations": 3}, "populations"),
        ([1e-3, 1e-2], {"walkers": 5}, "walkers"),
        ([1e-3, 1e-2], {"sweeps": 0}, "sweeps"),
        ([1e3, 1e2], {"multiplicity": 2, "walkers": 8}, "epsilons"),
    ],
)
def test_settings_out_of_range(epsilons, settings, named):
    with pytest.raises(SltGrokError, match=f"{named}: expected"):
        volume_exponent(quadratic(np.ones(4)), epsilons, data=ONE_SAMPLE, **settings)

"""Radial volumes against closed forms: ellipsoids, quartics, a crossing in a disk."""

import math

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

from slt_grok.errors import SltGrokError
from slt_grok.landscape.volume import basin_volume, log_mean_exp, log_unit_ball
from slt_grok.llc.calibration import localization
from slt_grok.llc.problem import Problem
from slt_grok.trajectories import Trajectory
from tests.landscape.toys import TrainSet, stacked


def rotation(size: int) -> torch.Tensor:
    return torch.from_numpy(np.linalg.qr(np.random.default_rng(3).standard_normal((size, size)))[0])


def around(points: torch.Tensor, loss, steps=None) -> Trajectory:
    """Networks at `points` with loss(turned offset from the first point)."""
    turn = rotation(points.shape[1])
    return stacked(points, lambda w: loss(turn @ (w - points[0])), steps)


def quadratic(eigenvalues: np.ndarray) -> Trajectory:
    h = torch.from_numpy(eigenvalues)
    center = torch.randn(1, len(h), generator=torch.manual_seed(1), dtype=torch.float64)
    return around(center, lambda u: (h * u**2).sum() / 2)


def ellipsoid_log_volume(eigenvalues: np.ndarray, epsilon: float) -> float:
    return log_unit_ball(len(eigenvalues)) + 0.5 * np.log(2 * epsilon / eigenvalues).sum()


def crossing_log_volume(epsilon: float) -> float:
    """log area of {u^2 v^2 < epsilon} in the unit disk, pi times the mean of
    min(1, s / |sin 2 theta|), s = 2 epsilon^(1/2).
    """
    s = 2 * epsilon**0.5
    return math.log(2 * (math.asin(s) + s * math.log((1 + (1 - s * s) ** 0.5) / s)))


def test_unit_balls():
    np.testing.assert_allclose([log_unit_ball(d) for d in (1, 2, 3)], np.log([2, math.pi, 4 * math.pi / 3]))


def test_a_sphere_has_no_error():
    h = np.full(9, 4.0)
    found = basin_volume(quadratic(h), [1e-3, 1e-6], directions=4, radius=1.0).isel(step=0)
    expected = [ellipsoid_log_volume(h, epsilon) for epsilon in (1e-3, 1e-6)]
    np.testing.assert_allclose(
        found.radial_log_volume, expected, atol=0.02
    )  # the search ends at 0.01 / d in log radius
    np.testing.assert_allclose(found.radial_log_volume_bound, expected, atol=0.02)
    assert (found.radial_log_volume_se < 0.02).all()
    np.testing.assert_allclose(found.effective_directions, 4, rtol=1e-2)


def test_all_of_the_ball():
    found = basin_volume(quadratic(np.ones(7)), [1e9], radius=0.3).isel(step=0)
    expected = log_unit_ball(7) + 7 * math.log(0.3)
    np.testing.assert_allclose(found.radial_log_volume, expected)
    np.testing.assert_allclose(found.log_ball_volume, expected)


def test_ellipsoids_within_three_standard_errors():
    """40 repeats of 100 directions: unbiased, and 3 standard errors hold in 95% or more."""
    h = np.geomspace(1, 8, 5)
    repeats = stacked_copies(quadratic(h), 40)
    found = basin_volume(repeats, [1e-4], directions=100, radius=1.0).isel(epsilon=0)
    deviation = found.radial_log_volume - ellipsoid_log_volume(h, 1e-4)
    assert abs(np.expm1(deviation).mean()) < 4 * deviation.std() / 40**0.5
    assert (abs(deviation) < 3 * found.radial_log_volume_se).mean() >= 0.95
    assert deviation.std() == pytest.approx(found.radial_log_volume_se.mean().item(), rel=0.4)
    assert (found.radial_log_volume_bound < found.radial_log_volume).all()


def stacked_copies(trajectory: Trajectory, count: int) -> Trajectory:
    """The first network at `count` steps: the same basin, other directions."""
    parameters = {name: tensor[:1].expand(count, *tensor.shape[1:]) for name, tensor in trajectory.parameters.items()}
    return Trajectory(trajectory.network, parameters, ("step",), {"step": np.arange(count)})


def test_quartic():
    """{sum a_i u_i^4 < epsilon} has the volume epsilon^(d/4) prod a_i^(-1/4) (2 Gamma(5/4))^d / Gamma(1 + d/4)."""
    a = torch.tensor([1.0, 2.0, 5.0, 9.0], dtype=torch.float64)
    trajectory = around(torch.ones(1, 4), lambda u: (a * u**4).sum())
    found = basin_volume(trajectory, [1e-6], directions=2000, radius=1.0).isel(step=0, epsilon=0)
    expected = math.log(1e-6) - 0.25 * a.log().sum().item() + 4 * math.log(2 * math.gamma(1.25)) - math.lgamma(2)
    assert found.radial_log_volume_se < 0.05
    assert abs(found.radial_log_volume - expected) < 3 * found.radial_log_volume_se


def test_crossing_in_a_disk():
    trajectory = around(torch.ones(1, 2), lambda u: u[0] ** 2 * u[1] ** 2)
    found = basin_volume(trajectory, [1e-2, 1e-4], directions=4000, radius=1.0).isel(step=0)
    expected = np.array([crossing_log_volume(epsilon) for epsilon in (1e-2, 1e-4)])
    assert (found.radial_log_volume_se < 0.1).all()
    assert (abs(found.radial_log_volume - expected) < 3 * found.radial_log_volume_se).all()


def test_neither_data_scale_nor_units_of_weight_matter():
    """L and epsilon times 7 leave V; weights times 3 and R times 3 add d log 3."""
    h = torch.tensor([1.0, 3.0, 9.0], dtype=torch.float64)
    base, louder, wider = (
        basin_volume(stacked(torch.ones(1, 3) * scale, loss), [epsilon], radius=scale).isel(step=0)
        for scale, epsilon, loss in (
            (1.0, 1e-3, lambda w: (h * (w - 1) ** 2).sum()),
            (1.0, 7e-3, lambda w: 7 * (h * (w - 1) ** 2).sum()),
            (3.0, 1e-3, lambda w: (h * (w / 3 - 1) ** 2).sum()),
        )
    )
    np.testing.assert_allclose(louder.radial_log_volume, base.radial_log_volume, atol=0.01)
    np.testing.assert_allclose(wider.radial_log_volume, base.radial_log_volume + 3 * math.log(3), atol=0.01)


def test_one_network_gives_its_own_values():
    points = torch.randn(3, 4, generator=torch.manual_seed(2), dtype=torch.float64)
    whole = stacked(points, lambda w: (w**2).sum() ** 2, steps=(0, 10, 20))
    options = {"directions": 3}
    found = basin_volume(whole, [1e-2, 1e-1], **options)
    xr.testing.assert_identical(basin_volume(whole.isel(step=[1]), [1e-2, 1e-1], **options), found.isel(step=[1]))
    np.testing.assert_allclose(found.log_ball_volume, log_unit_ball(4) + 2 * np.log(0.7 * points.square().sum(1)))
    assert {"long_name", "definition", "source"} <= set(found.radial_log_volume.attrs)
    assert found.radial_log_volume.dims == ("step", "epsilon")


def test_log_mean_exp_far_below_zero():
    mean, error, effective = log_mean_exp(np.array([-5000.0, -5000.0 + math.log(3)]))
    assert mean == pytest.approx(-5000 + math.log(2))
    assert error == pytest.approx(0.5)  # values 1 and 3: sd 2^(1/2), mean 2, over 2^(1/2)
    assert effective == pytest.approx(16 / 10)


def test_a_subset_of_the_samples():
    module = nn.Linear(2, 3)
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    data = (torch.randn(50, 2, generator=torch.manual_seed(0)), torch.arange(50) % 3)
    trajectory = Trajectory.of(module, TrainSet(*data))
    options = {"directions": 2, "radius": 30.0}
    some, again, whole = (basin_volume(trajectory, [0.1], samples=n, **options) for n in (20, 20, None))
    xr.testing.assert_identical(some, again)
    assert some.radial_log_volume != whole.radial_log_volume


def test_a_loss_that_is_not_finite():
    trajectory = stacked(torch.tensor([[1.0, 1.0], [-1.0, 1.0]]), lambda w: w[0].log(), steps=(5, 6))
    with pytest.raises(SltGrokError, match="step 6"):
        basin_volume(trajectory, [1e-3], radius=0.1)
    infinite = stacked(torch.tensor([[0.0, 1.0]]), lambda w: 1 / w[0] ** 2, steps=(7,))
    with pytest.raises(SltGrokError, match="step 7"):
        basin_volume(infinite, [1e-3], radius=0.1)
    wall = stacked(torch.tensor([[1.0, 1.0]]), lambda w: torch.where(w.norm() > 2, torch.inf, 0.0))
    found = basin_volume(wall, [1e-3], radius=9.0)  # infinite is merely outside
    assert 0.5 < found.radial_log_volume.item() < math.log(math.pi * 4)


@pytest.mark.parametrize(
    ("epsilons", "settings", "named"),
    [
        ([], {}, "epsilons"),
        ([1e-3, 0.0], {}, "epsilons"),
        ([1e-3], {"directions": 1}, "directions"),
        ([1e-3], {"radius": 0.0}, "radius"),
    ],
)
def test_settings_out_of_range(epsilons, settings, named):
    with pytest.raises(SltGrokError, match=f"{named}: expected"):
        basin_volume(quadratic(np.ones(4)), epsilons, **settings)


def test_weights_of_zero_need_a_radius():
    with pytest.raises(SltGrokError, match="radius: expected a positive number"):
        basin_volume(stacked(torch.zeros(1, 4), lambda w: (w**2).sum()), [1e-3])


def test_the_ball_has_the_radius_of_the_llcs_localization():
    """sqrt(d / gamma) at the gamma that calibration chooses for the same weights."""
    weights = torch.randn(1, 4, generator=torch.manual_seed(3), dtype=torch.float64)
    network = stacked(weights, lambda w: (w**2).sum() ** 2)
    ball = basin_volume(network, [1e-2], directions=3).log_ball_volume.item()
    gamma = localization(Problem.from_inputs(network))
    assert ball == pytest.approx(log_unit_ball(4) + 2 * math.log(4 / gamma))

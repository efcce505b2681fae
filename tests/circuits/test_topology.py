"""Persistent homology on clouds of known topology."""

import math
import warnings
from copy import deepcopy

import numpy as np
import pytest
import torch
from persim import bottleneck

from slt_grok.circuits import geometry, topology
from slt_grok.circuits.topology import Persistence
from slt_grok.errors import SltGrokError
from slt_grok.interventions import relabel
from slt_grok.models import planted
from slt_grok.tasks import ModularTask
from slt_grok.trajectories import Trajectory

BETTI = {"disc": [1, 0, 0], "torus": [1, 2, 1], "clock": [1, 1, 0]}


def scaled(cloud):
    cloud = cloud - cloud.mean(0)
    return cloud / np.sqrt(np.square(cloud).sum(1).mean())


@pytest.mark.parametrize("noise", [0, 0.1, 0.3])
@pytest.mark.parametrize("name", list(BETTI))
def test_ideal_clouds_with_noise(name, noise):
    """Turned into the space of 60 neurons, with Gaussian noise of this size relative to the cloud's."""
    rng = np.random.default_rng(0)
    cloud = scaled(geometry.ideal_clouds(59, 7)[name].numpy())
    turn = np.linalg.qr(rng.normal(size=(60, 60)))[0][: cloud.shape[1]]
    cloud = cloud @ turn + noise / math.sqrt(60) * rng.normal(size=(59**2, 60))
    found = Persistence.of(cloud)
    assert found is not None
    assert found.betti() == BETTI[name]
    assert min(found.gaps()[1:]) > (0.2 if noise < 0.2 else 0.1)


def test_betti_numbers_do_not_hang_on_the_threshold():
    for name, expected in BETTI.items():
        found = Persistence.of(geometry.ideal_clouds(59, 2)[name].numpy(), 100)
        assert found is not None
        for threshold in (0.4, 0.55):
            assert found.betti(threshold) == expected


def test_a_circle_dies_where_its_triangles_do():
    """The Vietoris-Rips complex of n points on a unit circle has one loop, from 2 sin(pi/n) to sqrt(3) where 3 | n."""
    angle = 2 * np.pi * np.arange(60) / 60
    found = Persistence.of(np.stack([np.cos(angle), np.sin(angle)], -1))
    assert found is not None
    assert found.radius == 0
    np.testing.assert_allclose(found.bars[1], [[2 * math.sin(math.pi / 60), math.sqrt(3)]], atol=1e-6)
    np.testing.assert_allclose(found.bars[0][1:, 1], 2 * math.sin(math.pi / 60), atol=1e-6)
    assert np.isinf(found.bars[0][0, 1])
    assert len(found.bars[0]) == 60


def test_other_known_clouds():
    rng = np.random.default_rng(0)
    sphere = rng.normal(size=(2000, 3))
    sphere /= np.linalg.norm(sphere, axis=1, keepdims=True)
    angle = rng.uniform(0, 2 * np.pi, 1000)
    circle = np.stack([np.cos(angle), np.sin(angle)], -1)
    shift = np.array([1, 0])
    two_circles = np.concatenate([circle + shift, circle - shift])  # they touch in one point
    apart = np.concatenate([rng.normal(size=(500, 2)), rng.normal(size=(500, 2)) + 20 * shift])
    shapeless = rng.normal(size=(2000, 60))
    for cloud, expected in ((sphere, [1, 0, 1]), (two_circles, [1, 2, 0]), (apart, [2, 0, 0]), (shapeless, [1, 0, 0])):
        found = Persistence.of(cloud)
        assert found is not None
        assert found.betti() == expected


def test_a_cloud_is_the_same_after_a_rotation_a_shift_and_a_scale():
    rng = np.random.default_rng(0)
    cloud = rng.normal(size=(100, 3))
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    one, other = Persistence.of(cloud, 40), Persistence.of(5 + 7 * cloud @ turn, 40)
    assert one is not None
    assert other is not None
    assert one.radius == pytest.approx(other.radius)
    for first, second in zip(one.bars, other.bars, strict=True):
        np.testing.assert_allclose(np.sort(first, axis=0), np.sort(second, axis=0), atol=1e-6)


def test_landmarks_move_a_diagram_by_at_most_twice_their_radius():
    """Stability of the Vietoris-Rips filtration: bottleneck distance <= 2 x Gromov-Hausdorff distance."""
    cloud = scaled(geometry.ideal_clouds(13, 2)["disc"].numpy() + 0.02 * np.random.default_rng(0).normal(size=(169, 2)))
    whole, some = Persistence.of(cloud, 169), Persistence.of(cloud, 60)
    assert whole is not None
    assert some is not None
    assert whole.radius == 0 < some.radius
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the bar that never dies
        for first, second in zip(whole.bars[:2], some.bars[:2], strict=True):
            assert bottleneck(first, second) <= 2 * some.radius


def test_counts_and_gaps_of_given_bars():
    def bars(*pairs):
        return np.array(pairs, dtype=float).reshape(-1, 2)

    found = Persistence((bars((0, np.inf), (0, 0.9), (0, 0.3)), bars((0.1, 1.1), (0.2, 0.9), (0.2, 0.4)), bars()), 0.2)
    assert found.betti() == [2, 2, 0]
    np.testing.assert_allclose(found.gaps(), [0.6, 0.5, 0.5])
    assert found.betti(0.8) == [2, 1, 0]
    np.testing.assert_allclose(found.gaps(0.8), [0.6, 0.3, 0.8])
    coarse = Persistence(found.bars, 0.5)  # components 0.9 apart are not told apart by landmarks that cover 0.5
    assert coarse.betti() == [1, 2, 0]
    np.testing.assert_allclose(coarse.gaps(), [0.1, 0.5, 0.5])


def test_a_single_point_has_no_diagram():
    assert Persistence.of(np.full((25, 3), 1 / 3)) is None


def trajectory(p, noise=0.0, **task):
    module = planted.quadratic_clock(p, {3: 8.0})
    with torch.no_grad():
        for i, weights in enumerate(module.parameters()):
            weights.add_(noise * torch.randn(weights.shape, generator=torch.Generator().manual_seed(i)))
    return Trajectory.of(module, ModularTask(p, **task))


def test_the_planted_clock():
    seen = []
    data = topology.measure(trajectory(31), 100, on_progress=lambda fraction, note="": seen.append(fraction))
    assert seen == [1]
    assert data.betti.dims == ("frequency", "site", "degree")
    own = data.sel(frequency=3)
    for site, expected in {"neurons_pre": "torus", "neurons_post_read": "clock", "logits": "clock"}.items():
        assert own.betti.sel(site=site).values.tolist() == BETTI[expected]
        assert (own.persistence_gap.sel(site=site, degree=[1, 2]) > 0.3).all()
    for variable in data.values():
        assert np.isnan(variable.sel(frequency=[k for k in data.frequency.values if k != 3])).all()
        assert {"long_name", "definition", "source"} <= set(variable.attrs)
    assert data.attrs == {"landmarks": 100, "threshold": topology.THRESHOLD}
    birth, death = own.persistence.sel(site="logits", degree=1).isel(bar=0).values
    assert birth == pytest.approx(2 * math.sin(math.pi / 31), abs=1e-6)
    assert math.sqrt(3) <= death <= 2 * math.sin(math.pi * 11 / 31) + 1e-6  # the least triangle around the center


def test_leading_dimensions_stay():
    one = trajectory(13)
    both = Trajectory.stack(one.network.module, {4: one.parameters, 9: deepcopy(one.parameters)}, one.task)
    data = topology.measure(both, landmarks=40)
    assert data.betti.dims[0] == "step"
    assert data.step.values.tolist() == [4, 9]
    np.testing.assert_array_equal(data.persistence.isel(step=0), data.persistence.isel(step=1))
    np.testing.assert_array_equal(data.persistence.isel(step=0), topology.measure(one, landmarks=40).persistence)


@pytest.mark.parametrize("m", [2, 5, 16])
def test_relabeling_moves_the_frequency_and_nothing_else(m):
    p = 17
    before = trajectory(p, noise=0.05)
    image = min(pow(m, -1, p) * 3 % p, -pow(m, -1, p) * 3 % p)
    old, new = (topology.measure(x, landmarks=50) for x in (before, relabel(before, [m * t % p for t in range(p)])))
    assert np.isfinite(old.betti.sel(frequency=3)).all()
    for name in ("betti", "persistence_gap", "landmark_radius", "persistence"):
        np.testing.assert_allclose(new[name].sel(frequency=image), old[name].sel(frequency=3), atol=1e-5, err_msg=name)


def test_bad_input():
    with pytest.raises(SltGrokError, match="Linear"):
        topology.measure(Trajectory.of(torch.nn.Linear(2, 5), ModularTask(5)))

import numpy as np
import pytest
import torch

from slt_grok import models
from slt_grok.errors import SltGrokError
from slt_grok.landscape.principal_plane import principal_components, principal_plane
from slt_grok.tasks import ModularTask
from slt_grok.trajectories import Network, Trajectory
from tests.landscape.toys import stacked

SIZE = 30
BASIS = torch.linalg.qr(torch.randn(SIZE, 4, dtype=torch.float64, generator=torch.manual_seed(0)))[0].T
ANGLE = torch.linspace(0, 2, 12, dtype=torch.float64)
SPIRAL = torch.stack([3 * ANGLE * ANGLE.cos(), ANGLE * ANGLE.sin()], 1)  # a path in a plane


def plane(trajectory: Trajectory, **settings):
    """The principal plane of a trajectory over `step` alone."""
    parameters = {name: tensor[:, None] for name, tensor in trajectory.parameters.items()}
    coords = trajectory.coords | {"seed": np.array([0])}
    run = Trajectory(trajectory.network, parameters, ("step", "seed"), coords)
    return principal_plane(run, **settings).isel(seed=0)


def planted(height: torch.Tensor | None = None) -> torch.Tensor:
    """The spiral in the plane of the first two rows of BASIS, away from the origin, and so far out of the plane."""
    points = BASIS[3] + SPIRAL @ BASIS[:2]
    return points if height is None else points + height[:, None] * BASIS[2]


def test_a_path_in_a_plane_is_found():
    trajectory = stacked(planted(), lambda w: w @ w)
    found = plane(trajectory, points=9)
    spread = np.linalg.eigvalsh(np.cov(SPIRAL.numpy().T))[::-1]
    np.testing.assert_allclose(found.explained_share, spread / spread.sum(), rtol=1e-10)
    assert float(found.explained_share.sum()) == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(found.path_distance, 0, atol=1e-12)
    directions, _ = principal_components(trajectory.stacked())
    flat = torch.cat([d.flatten(1) for d in directions.values()], 1)
    np.testing.assert_allclose(flat @ flat.T, np.eye(2), atol=1e-12)
    np.testing.assert_allclose((flat @ BASIS[:2].T) @ BASIS[:2], flat, atol=1e-10)  # they span the same plane
    # lengths along the path are kept, and it ends at the origin
    path = found.path.values
    np.testing.assert_allclose(np.diff(path, axis=0) ** 2 @ [1, 1], np.diff(SPIRAL, axis=0) ** 2 @ [1, 1])
    np.testing.assert_allclose(path[-1], 0, atol=1e-12)
    assert (path[0] <= 1e-12).all()


def test_the_loss_in_the_plane_is_that_of_its_points():
    """|w|^2 at w_last + x d + y e: with w_last = BASIS[3] + ..., the part out of the plane adds 1 everywhere."""
    trajectory = stacked(planted(), lambda w: w @ w)
    found = plane(trajectory, points=9)
    directions, _ = principal_components(trajectory.stacked())
    flat = torch.cat([d.flatten(1) for d in directions.values()], 1)
    x, y = np.meshgrid(found.plane_x, found.plane_y, indexing="ij")
    origin = (flat @ planted()[-1]).numpy()
    expected = 1 + (origin[0] + x) ** 2 + (origin[1] + y) ** 2
    np.testing.assert_allclose(found.principal_plane_loss.sel(split="train"), expected, rtol=1e-10)
    np.testing.assert_allclose(found.path_loss.sel(split="train"), planted().square().sum(1), rtol=1e-12)
    np.testing.assert_allclose(found.projected_loss.sel(split="train"), planted().square().sum(1), rtol=1e-10)
    assert found.plane_x.min() < found.path.isel(component=0).min()
    assert found.plane_y.max() > found.path.isel(component=1).max()
    assert np.isnan(found.principal_plane_loss.sel(split="test")).all()


def test_what_is_out_of_the_plane_is_told():
    """A height that is uncorrelated with the spiral and small leaves the plane; distances are those to the last."""
    design = np.c_[np.ones(12), SPIRAL.numpy()]
    drawn = np.random.default_rng(0).standard_normal(12)
    height = drawn - design @ np.linalg.lstsq(design, drawn, rcond=None)[0]
    height *= 0.1 / np.abs(height).max()
    found = plane(stacked(planted(torch.from_numpy(height)), lambda w: w @ w), points=3)
    np.testing.assert_allclose(found.path_distance, np.abs(height - height[-1]), atol=1e-10)
    total = SPIRAL.var(0).sum().item() + height.var(ddof=1)
    assert float(found.explained_share.sum()) == pytest.approx(SPIRAL.var(0).sum().item() / total, rel=1e-9)
    assert (found.projected_loss != found.path_loss).sel(split="train").any()


def test_the_null_is_a_random_walk():
    """A walk of 400 steps in 20,000 dimensions; the limit (6 / pi^2) / k^2 is of many steps and many dimensions."""
    walk = torch.randn(400, 20000, generator=torch.manual_seed(1)).cumsum(0)
    trajectory = stacked(walk, torch.sum)
    _, shares = principal_components(trajectory.stacked())
    null = plane(stacked(planted(), torch.sum), points=3).explained_share_random_walk
    np.testing.assert_allclose(shares, null, rtol=0.02)


def test_runs_side_by_side_have_their_own_planes():
    module = models.build("mlp", 5, d_embed=4, d_mlp=6)
    drawn = []
    for i in range(8):
        module.initialize(torch.Generator().manual_seed(i))
        drawn.append({k: v.detach().clone() for k, v in module.named_parameters()})
    stack = {name: torch.stack([d[name] for d in drawn]).unflatten(0, (4, 2)) for name in drawn[0]}
    coords = {"step": np.array([0, 1, 5, 9]), "seed": np.array([3, 7])}
    trajectory = Trajectory(Network(module, ModularTask(5, train_fraction=0.6)), stack, ("step", "seed"), coords)
    both = principal_plane(trajectory, points=5)
    assert both.principal_plane_loss.dims == ("seed", "x", "y", "split")
    assert both.path.dims == ("step", "seed", "component")
    one = principal_plane(trajectory.isel(seed=1), points=5)
    for name in ("principal_plane_loss", "path", "explained_share", "path_loss"):
        np.testing.assert_allclose(both[name].sel(seed=7), one[name].sel(seed=7), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(both.path_loss[-1], both.projected_loss[-1], rtol=1e-6)


def test_what_has_no_plane_is_said():
    line = torch.arange(4.0)[:, None] * torch.ones(4, 6)
    for points, said in ((line, "not all on one line"), (planted()[:2], "at least 3 checkpoints along step, got 2")):
        with pytest.raises(SltGrokError, match=said):
            plane(stacked(points, torch.sum))


def test_losses_that_are_not_finite_stay_so():
    found = plane(stacked(planted(), lambda w: w[0].log() + w[-1]), points=9)
    values = found.principal_plane_loss.sel(split="train").values
    assert np.isnan(values).any()
    assert np.isfinite(values).any()

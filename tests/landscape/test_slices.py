import numpy as np
import pytest
import torch
from torch import nn

from slt_grok import models
from slt_grok.errors import SltGrokError
from slt_grok.landscape.slices import filter_normalized, random_plane
from slt_grok.tasks import ModularTask
from slt_grok.trajectories import Network, Trajectory
from tests.landscape.toys import stacked

WEIGHTS = torch.randn(3, 40, generator=torch.manual_seed(0))  # the first 20 are biases, each of the others is a filter


def half_square(w):
    return w @ w / 2


def test_a_plane_through_a_quadratic_is_its_paraboloid():
    found = random_plane(stacked(WEIGHTS, half_square), points=7)
    assert found.plane_loss.dims == ("step", "x", "y", "split")
    loss = found.plane_loss.sel(split="train").values
    x, y = np.meshgrid(found.x, found.y, indexing="ij")
    filters = WEIGHTS[:, 20:].double().square().sum(1).numpy()[:, None, None]
    mixed = found.plane_cosine.values[:, None, None]
    even = (loss + loss[:, ::-1, ::-1]) / 2 - WEIGHTS.double().square().sum(1).numpy()[:, None, None] / 2
    np.testing.assert_allclose(even, filters * (x**2 + y**2 + 2 * mixed * x * y) / 2, atol=1e-12)


def directions_of(module, parameters, count=4):
    return filter_normalized(Network(module), parameters, count, 3)


@pytest.mark.parametrize("kind", ["transformer", "mlp", "quadratic"])
def test_filters_of_this_package_are_columns(kind):
    module = models.build(kind, 7)
    module.initialize(torch.Generator().manual_seed(0))
    parameters = {name: w.detach() for name, w in module.named_parameters()}
    for name, d in directions_of(module, parameters).items():
        w = parameters[name]
        if w.ndim < 2:
            assert not d.any(), name
        else:
            norms = w.square().sum(-2).sqrt()
            np.testing.assert_allclose(d.square().sum(-2).sqrt(), norms.expand(4, *norms.shape), rtol=1e-5)
            assert not torch.equal(d[0], d[1])


def test_filters_of_torch_are_rows():
    module = nn.Sequential(nn.Conv2d(2, 3, 5), nn.Linear(4, 6))
    parameters = {name: w.detach() for name, w in module.named_parameters()}
    for name, d in directions_of(module, parameters).items():
        norms = parameters[name].flatten(1).norm(dim=1) if "weight" in name else torch.zeros_like(parameters[name])
        np.testing.assert_allclose(d.reshape(4, len(parameters[name]), -1).norm(dim=2), norms.expand(4, -1), rtol=1e-5)


def test_directions_are_gaussian_before_the_norm():
    """Of 2,000 filters of 5 weights each, scaled to norm 1: each entry has mean 0 and mean square 1/5."""
    module = nn.Linear(5, 2000, bias=False)
    ones = {"weight": nn.functional.normalize(torch.ones(2000, 5))}
    d = directions_of(module, ones, 2)["weight"]
    np.testing.assert_allclose(d.mean(1), 0, atol=4 * (0.2 / 2000) ** 0.5)
    np.testing.assert_allclose(d.square().mean(1), 0.2, atol=4 * (2 * 0.2 * 0.8 / 7 / 2000) ** 0.5)


def test_a_network_has_its_own_slice_in_any_company():
    task = ModularTask(7, train_fraction=0.5)
    module = models.build("mlp", 7, d_embed=4, d_mlp=6)
    states = {}
    for step in (0, 10, 20):
        module.initialize(torch.Generator().manual_seed(step))
        states[step] = {k: v.detach().clone() for k, v in module.named_parameters()}
    trajectory = Trajectory.stack(module, states, task)
    whole = random_plane(trajectory, points=5)
    alone = random_plane(trajectory.isel(step=1), points=5)
    np.testing.assert_allclose(alone.plane_loss[0], whole.plane_loss[1], rtol=1e-6)
    for split in ("train", "test"):
        inputs, labels = task.data(split)
        logits = trajectory.network.outputs(states[10], inputs).double()
        loss = nn.functional.cross_entropy(logits, labels).item()
        np.testing.assert_allclose(whole.plane_loss.sel(split=split, x=0, y=0, step=10), loss, rtol=1e-6)


def test_losses_that_are_not_finite_stay_so():
    found = random_plane(stacked(torch.ones(1, 2), lambda w: w[1].log()), radius=2, points=5)
    train = found.plane_loss.sel(split="train")[0].values  # log(1 + x d + y e), d and e 1 or -1
    assert np.isnan(train).any()
    assert np.isneginf(train).any()
    assert train[2, 2] == 0


def test_an_even_number_of_points():
    with pytest.raises(SltGrokError, match="points: expected an odd number"):
        random_plane(stacked(torch.ones(1, 2), torch.sum), points=4)

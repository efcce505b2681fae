import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from slt_grok import models
from slt_grok.errors import SltGrokError
from slt_grok.landscape.dynamics import gradient_noise_scale, measure_dynamics
from slt_grok.operators.objective import Objective, loss_and_gradient
from slt_grok.tasks import ModularTask
from slt_grok.trajectories import Trajectory
from tests.landscape.toys import stacked, symmetric_matrix

SIZE = 6


def trajectory_of(steps=(0, 10, 20), modulus: int = 7) -> Trajectory:
    task = ModularTask(modulus, train_fraction=0.5)
    module = models.build("mlp", modulus, d_embed=3, d_mlp=5)
    checkpoints = {}
    for step in steps:
        module.initialize(torch.Generator().manual_seed(step))
        checkpoints[step] = {k: v.detach().clone() for k, v in module.named_parameters()}
    return Trajectory.stack(module, checkpoints, task)


def regression() -> tuple[Objective, torch.Tensor]:
    """Least squares y = x w with 400 samples: the gradient of one is (x w - y) x, and those gradients, (400, 3)."""
    generator = torch.manual_seed(0)
    x = 2 * torch.rand(400, 3, generator=generator, dtype=torch.float64) - 1
    y = x @ torch.tensor([1.0, -2, 0.5], dtype=torch.float64) + torch.rand(400, generator=generator)
    module = torch.nn.Linear(3, 1, bias=False).double()
    with torch.no_grad():
        module.weight.zero_()
    trajectory = Trajectory.of(module, loss=lambda outputs, targets: (outputs[:, 0] - targets) ** 2 / 2)
    return Objective.of(trajectory, (x, y)), -y[:, None] * x


def noise(objective: Objective, samples: int, seed: int = 0):
    _, gradient = loss_and_gradient(objective.network, {k: v[0] for k, v in objective.stack.items()}, objective.data)
    return gradient_noise_scale(objective, 0, gradient, samples, seed)


def test_noise_scale_of_a_regression():
    objective, slopes = regression()
    expected = slopes.var(0, correction=0).sum() / slopes.mean(0).square().sum()
    for samples in (400, 1000):
        assert noise(objective, samples) == (pytest.approx(expected.item(), rel=1e-12), 0)


def test_standard_error_of_the_noise_scale():
    """300 draws of 200 from 400: the error is that of a mean without replacement; 3 of them leave out 0.3%."""
    objective, slopes = regression()
    squares = (slopes - slopes.mean(0)).square().sum(1) / slopes.mean(0).square().sum()
    found = np.array([noise(objective, 200, seed) for seed in range(300)])
    variance = (1 - 200 / 400) * squares.var().item() / 200
    assert abs(found[:, 0].mean() - squares.mean().item()) < 4 * (variance / 300) ** 0.5
    assert found[:, 0].var() == pytest.approx(variance, rel=0.35)  # 300 values, kurtosis near 3: known to 8%
    assert (found[:, 1] ** 2).mean() == pytest.approx(variance, rel=0.2)
    assert (abs(found[:, 0] - squares.mean().item()) < 3 * found[:, 1]).mean() >= 0.98


def test_chunks_change_nothing(monkeypatch):
    objective = Objective.of(trajectory_of())
    whole = noise(objective, 20)
    monkeypatch.setattr("slt_grok.landscape.dynamics.BUDGET", 1)
    np.testing.assert_allclose(noise(objective, 20), whole, rtol=1e-10)


def test_no_gradient_and_noise():
    """Two samples that pull in opposite directions: G = 0."""
    module = torch.nn.Linear(1, 1, bias=False).double()
    loss = lambda outputs, targets: outputs[:, 0] * targets  # noqa: E731
    data = torch.ones(2, 1, dtype=torch.float64), torch.tensor([1.0, -1.0])
    assert noise(Objective.of(Trajectory.of(module, loss=loss), data), 2).value == np.inf


def test_gradient_descent_on_a_quadratic():
    """w' = w - 0.1 H w: the update has the norm 0.1 |H w| and the cosine -1; a step across is at a right angle."""
    matrix = symmetric_matrix(np.linspace(0.5, 3, SIZE))
    w = torch.randn(SIZE, generator=torch.manual_seed(1), dtype=torch.float64)
    slope = matrix @ w
    across = torch.randn(SIZE, generator=torch.manual_seed(2), dtype=torch.float64)
    later = w - 0.1 * slope
    across -= (across @ (matrix @ later)) / (matrix @ later).square().sum() * (matrix @ later)
    trajectory = stacked(torch.stack([w, later, later + across, later + across]), lambda w: w @ matrix @ w / 2)
    found = measure_dynamics(trajectory)
    np.testing.assert_allclose(found.update_norm.sel(component="total")[1:3], [0.1 * slope.norm(), across.norm()])
    np.testing.assert_allclose(found.gradient_step_cosine.sel(component="total")[1:3], [-1, 0], atol=1e-12)
    np.testing.assert_allclose(found.gradient_step_cosine[1], -1, rtol=1e-12)
    first = slope[: SIZE // 2]
    np.testing.assert_allclose(found.update_norm.sel(component="first")[1], 0.1 * first.norm(), rtol=1e-12)
    assert np.isnan(found.update_norm[0]).all()
    assert (found.update_norm[3] == 0).all()
    assert np.isnan(found.gradient_step_cosine[3]).all()


def test_loss_and_gradient_against_backward(monkeypatch):
    objective = Objective.of(trajectory_of())
    weights = {k: v[1].clone().requires_grad_() for k, v in objective.stack.items()}
    value = objective.network.mean_loss(weights, *objective.data)
    expected = torch.autograd.grad(value, list(weights.values()))
    monkeypatch.setattr("slt_grok.operators.objective.ROWS", 5)
    loss, found = loss_and_gradient(objective.network, {k: v[1] for k, v in objective.stack.items()}, objective.data)
    assert loss == pytest.approx(value.item(), rel=1e-13)
    for one, other in zip(found.values(), expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-15)


def test_dataset_and_its_shards(monkeypatch):
    monkeypatch.setattr("slt_grok.landscape.dynamics.SAMPLES", 10)
    trajectory = trajectory_of(steps=(0, 10, 20, 30))
    whole = measure_dynamics(trajectory)
    assert whole.update_norm.dims == ("step", "component")
    assert whole.effective_rank.dims == ("step", "weight_matrix")
    assert all({"long_name", "definition", "source"} <= set(array.attrs) for array in whole.data_vars.values())
    for start, shard in zip((0, 2), trajectory.shards(2, overlap=1), strict=True):
        piece = measure_dynamics(shard).isel(step=slice(1 if start else 0, None))
        for name in whole.data_vars:
            np.testing.assert_allclose(piece[name], whole[name][start : start + 2], rtol=1e-8)


@settings(max_examples=10, deadline=None)
@given(st.floats(0.1, 10))
def test_the_noise_scale_has_no_unit_of_loss(factor):
    """l -> a l leaves tr(Sigma) / |G|^2 as it is."""
    one, _ = regression()
    scaled = Trajectory.of(one.network.module, loss=lambda o, t: factor * (o[:, 0] - t) ** 2 / 2)
    np.testing.assert_allclose(noise(Objective.of(scaled, one.data), 60), noise(one, 60), rtol=1e-10)


def test_a_loss_that_is_not_finite():
    with pytest.raises(SltGrokError, match="network 1 of the trajectory: expected a finite mean loss"):
        measure_dynamics(stacked(torch.tensor([[1.0, 1], [-1, 1]]), lambda w: w[0].log()))

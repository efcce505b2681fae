import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from slt_grok import models
from slt_grok.errors import SltGrokError
from slt_grok.landscape.sharpness import average_case_sharpness, measure_sharpness, worst_case_sharpness
from slt_grok.operators.objective import Objective
from slt_grok.tasks import ModularTask
from slt_grok.trajectories import Trajectory
from tests.landscape.toys import ONE_SAMPLE, stacked, symmetric_matrix

SIZE = 20
EIGENVALUES = np.r_[5.0, 2.0, np.linspace(-1, 1, SIZE - 2)]
MATRIX = symmetric_matrix(EIGENVALUES)
RADII = [0.1, 2.0]


def objective(point: torch.Tensor, loss=lambda w: w @ MATRIX @ w / 2) -> Objective:
    return Objective.of(stacked(point[None], loss), ONE_SAMPLE)


def test_first_order_step_of_a_quadratic():
    """L(w + rho g/|g|) - L(w) = rho |g| + rho^2 g.Hg / (2 |g|^2)."""
    w = torch.randn(SIZE, generator=torch.manual_seed(0), dtype=torch.float64)
    g = MATRIX @ w
    expected = [rho * g.norm() + rho**2 * (g @ MATRIX @ g) / (2 * g @ g) for rho in RADII]
    found = worst_case_sharpness(objective(w), 0, RADII, steps=0)
    np.testing.assert_allclose(found.first_order, expected, rtol=1e-12)
    np.testing.assert_array_equal(found.ascent, np.maximum(found.first_order, 0))


def test_at_a_minimum_of_a_quadratic_it_is_the_largest_eigenvalue():
    """rho^2 h_1 / 2 at w = 0, where the first-order step is not defined."""
    found = worst_case_sharpness(objective(torch.zeros(SIZE)), 0, RADII, steps=60)
    np.testing.assert_array_equal(found.first_order, 0)
    np.testing.assert_allclose(found.ascent, [rho**2 * 5 / 2 for rho in RADII], rtol=1e-9)


def test_ascent_is_below_the_maximum_and_above_the_first_order():
    """The maximum of g.e + e.He/2 over |e| = rho has (mu - H) e = g with mu above h_1 (trust region, float64)."""
    w = torch.randn(SIZE, generator=torch.manual_seed(2), dtype=torch.float64)
    g, h = MATRIX @ w, MATRIX
    for rho in RADII:
        low, high = 5.0 + 1e-12, 5.0 + 1e4
        for _ in range(200):
            mu = (low + high) / 2
            norm = torch.linalg.solve(mu * torch.eye(SIZE, dtype=h.dtype) - h, g).norm()
            low, high = (mu, high) if norm > rho else (low, mu)
        e = torch.linalg.solve(high * torch.eye(SIZE, dtype=h.dtype) - h, g)
        maximum = (g @ e + e @ h @ e / 2).item()
        few = worst_case_sharpness(objective(w), 0, [rho], steps=2)
        many = worst_case_sharpness(objective(w), 0, [rho], steps=300)
        assert few.first_order[0] <= few.ascent[0] <= maximum * (1 + 1e-9)
        assert many.ascent[0] == pytest.approx(maximum, rel=1e-6)


def test_average_case_of_a_quadratic():
    """sigma^2 tr H / 2, in 40 seeds of 8 pairs; a pair has the variance sigma^4 |H|^2 / 2, whatever the slope.

    Student's t with 7 degrees of freedom exceeds 3 in 2% of seeds; 5 of 40 or more with a probability of 0.1%.
    """
    w = torch.randn(SIZE, generator=torch.manual_seed(3), dtype=torch.float64)
    sigmas = np.array([0.01, 1.0])
    found = [average_case_sharpness(objective(w), 0, sigmas.tolist(), pairs=8, seed=seed) for seed in range(40)]
    truth = sigmas**2 * EIGENVALUES.sum() / 2
    means, errors = (np.array(part) for part in zip(*found, strict=True))
    spread = sigmas**2 * ((EIGENVALUES**2).sum() / 2 / 8) ** 0.5
    assert (abs(means.mean(0) - truth) < 4 * spread / 40**0.5).all()
    np.testing.assert_allclose((errors**2).mean(0), spread**2, rtol=0.4)  # 280 degrees of freedom: known to 8%
    assert ((abs(means - truth) < 3 * errors).mean(0) > 0.875).all()


def test_average_case_of_a_quartic():
    """E[(w + e)^4 - w^4] = 6 w^2 sigma^2 + 3 sigma^4, summed."""
    w = torch.linspace(-1, 1, 400, dtype=torch.float64)
    found = average_case_sharpness(objective(w, lambda w: (w**4).sum()), 0, [0.5], pairs=60)
    expected = (6 * w**2 * 0.25 + 3 * 0.5**4).sum().item()
    assert abs(found.mean[0] - expected) < 3.5 * found.standard_error[0]
    assert found.standard_error[0] < 0.02 * expected


def test_adaptive_average_case_of_a_quadratic():
    """sigma^2 / 2 sum w_i^2 H_ii."""
    w = torch.linspace(0.5, 3, SIZE, dtype=torch.float64)
    found = average_case_sharpness(objective(w), 0, [0.1], pairs=400, adaptive=True)
    expected = 0.01 / 2 * (w**2 * MATRIX.diagonal()).sum().item()
    assert abs(found.mean[0] - expected) < 3.5 * found.standard_error[0]


def relu_network(scales: list[float]) -> Objective:
    """Three bias-free ReLU layers, scaled; the product of the scales is 1."""
    generator = torch.manual_seed(4)
    layers = [nn.Linear(i, o, bias=False).double() for i, o in ((3, 6), (6, 5), (5, 4))]
    with torch.no_grad():
        for layer, scale in zip(layers, scales, strict=True):
            layer.weight.copy_(scale * torch.randn(layer.weight.shape, generator=generator, dtype=torch.float64))
    module = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])
    inputs = torch.randn(30, 3, generator=generator, dtype=torch.float64)
    return Objective.of(Trajectory.of(module), (inputs, torch.randint(4, (30,), generator=generator)))


@settings(max_examples=15, deadline=None)
@given(st.floats(0.05, 20), st.floats(0.05, 20))
def test_adaptive_sharpness_does_not_see_a_rescaling_of_layers(a, b):
    one, other = relu_network([1, 1, 1]), relu_network([a, b, 1 / (a * b)])
    for adaptive in (True, False):
        worst = [worst_case_sharpness(o, 0, RADII, steps=3, adaptive=adaptive) for o in (one, other)]
        average = [average_case_sharpness(o, 0, [0.1, 0.5], adaptive=adaptive) for o in (one, other)]
        if adaptive:
            np.testing.assert_allclose(np.array(worst[1]), np.array(worst[0]), rtol=1e-7)
            np.testing.assert_allclose(np.array(average[1]), np.array(average[0]), rtol=1e-7)
        elif abs(np.log(a)) > 1:
            assert abs(np.array(average[1]) / np.array(average[0]) - 1).max() > 1e-2


def trajectory_of(train_fraction: float = 0.5) -> Trajectory:
    module = models.build("transformer", 7, d_model=4, n_heads=2, d_mlp=6)
    checkpoints = {}
    for step in (0, 10):
        module.initialize(torch.Generator().manual_seed(step))
        checkpoints[step] = {k: v.detach().clone() for k, v in module.named_parameters()}
    return Trajectory.stack(module, checkpoints, ModularTask(7, train_fraction=train_fraction))


def test_dataset():
    trajectory = trajectory_of()
    found = measure_sharpness(trajectory)
    assert found.sharpness.dims == ("step", "mode", "radius")
    assert found.average_sharpness.dims == ("step", "mode", "sigma")
    assert all(np.isfinite(array).all() for array in found.data_vars.values())
    assert all({"long_name", "definition", "source"} <= set(array.attrs) for array in found.data_vars.values())
    assert (found.sharpness >= found.sharpness_first_order).all()
    alone = measure_sharpness(trajectory.isel(step=[1]))
    np.testing.assert_allclose(alone.average_sharpness[0], found.average_sharpness[1], rtol=1e-9)
    worst = worst_case_sharpness(Objective.of(trajectory), 1, [1.0], steps=2, adaptive=True)
    chosen = found.sharpness.sel(step=10, mode="adaptive", radius=1.0)
    np.testing.assert_allclose(chosen, worst.ascent[0], rtol=1e-12)


def test_batches_of_data_change_nothing(monkeypatch):
    trajectory = trajectory_of()
    whole = measure_sharpness(trajectory)
    for place in ("landscape.sharpness", "operators.objective"):
        monkeypatch.setattr(f"slt_grok.{place}.ROWS", 5)
    parts = measure_sharpness(trajectory)
    for name in whole.data_vars:
        np.testing.assert_allclose(parts[name], whole[name], rtol=1e-7, atol=1e-14)


def test_a_loss_that_is_not_finite():
    toy = stacked(torch.tensor([[1.0, 1.0], [-1.0, 1.0]]), lambda w: w[0].log())
    with pytest.raises(SltGrokError, match="network 1 of the trajectory: expected a finite mean loss, got nan"):
        measure_sharpness(toy)

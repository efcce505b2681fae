import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.func import functional_call

from slt_grok import models
from slt_grok.landscape.dynamics import matrix_ranks, measure_dynamics, weight_norm
from slt_grok.tasks import ModularTask
from slt_grok.trajectories import Trajectory
from tests.landscape.toys import stacked


def trajectory_of(seeds: int, dtype=torch.float32) -> Trajectory:
    module = models.build("mlp", 7, d_embed=3, d_mlp=5)
    checkpoints = {}
    for seed in range(seeds):
        module.initialize(torch.Generator().manual_seed(seed))
        checkpoints[seed] = {k: v.detach().clone().to(dtype) for k, v in module.named_parameters()}
    return Trajectory.stack(module, checkpoints, ModularTask(7, train_fraction=0.5))


def gradient_norm(trajectory: Trajectory) -> np.ndarray:
    return measure_dynamics(trajectory).gradient_norm.values


def test_weight_norm_of_known_weights():
    found = weight_norm(stacked(torch.tensor([[3.0, 4.0, 12.0, 0.0]]), torch.sum).stacked())
    assert found.tolist() == [[5.0, 12.0, 13.0]]


def test_a_model_without_matrices():
    ranks = matrix_ranks({"b": torch.ones(3, 4)})
    assert ranks.names == []
    assert ranks.spectral_norm.shape == ranks.stable_rank.shape == ranks.effective_rank.shape == (3, 0)


def test_gradient_norm_of_a_quadratic():
    matrix = torch.tensor([[2.0, 1, 0], [1, 3, 0], [0, 0, 5]], dtype=torch.float64)
    points = torch.tensor([[1.0, 0, 0], [1, -2, 3], [0, 0, 0]], dtype=torch.float64)
    found = gradient_norm(stacked(points, lambda w: w @ matrix @ w / 2))
    np.testing.assert_allclose(found, [5**0.5, (0 + 25 + 225) ** 0.5, 0], rtol=1e-12)


def test_gradient_norm_against_backward():
    trajectory = trajectory_of(4)
    inputs, labels = trajectory.task.data("train")
    expected = []
    for index in range(4):
        weights = {k: v[index].double().requires_grad_() for k, v in trajectory.parameters.items()}
        outputs = functional_call(trajectory.network.module, weights, (inputs,))
        gradients = torch.autograd.grad(torch.nn.functional.cross_entropy(outputs, labels), list(weights.values()))
        expected.append(sum(g.square().sum().item() for g in gradients) ** 0.5)
    np.testing.assert_allclose(gradient_norm(trajectory), expected, rtol=1e-12)


@settings(max_examples=15, deadline=None)
@given(st.permutations(range(5)))
def test_neurons_have_no_order(order):
    trajectory = trajectory_of(2)
    rows = torch.tensor(order)
    permuted = {}
    for name, tensor in trajectory.parameters.items():
        axes = [axis for axis, size in enumerate(tensor.shape[1:], 1) if size == 5]
        permuted[name] = tensor.index_select(axes[0], rows) if axes else tensor
    other = Trajectory(trajectory.network, permuted, trajectory.dims, trajectory.coords)
    np.testing.assert_allclose(gradient_norm(other), gradient_norm(trajectory), rtol=1e-10)
    np.testing.assert_allclose(weight_norm(other.stacked()), weight_norm(trajectory.stacked()), rtol=1e-12)


def test_ranks_of_known_matrices():
    """Singular values 3, 4 of a diagonal; an identity; a matrix of rank 1; a matrix of zeros."""
    stack = {
        "table": torch.stack([torch.diag(torch.tensor([3.0, 4.0])), torch.zeros(2, 2)]),
        "bias": torch.ones(2, 5),
        "heads": torch.stack([torch.eye(3), torch.ones(3, 3)]).expand(2, 2, 3, 3),
    }
    found = matrix_ranks(stack)
    assert found.names == ["table", "heads[0]", "heads[1]"]
    np.testing.assert_allclose(found.spectral_norm, [[4, 1, 3], [0, 1, 3]], atol=1e-12)
    np.testing.assert_allclose(found.stable_rank[0], [25 / 16, 3, 1], rtol=1e-12)
    q = np.array([3 / 7, 4 / 7])
    np.testing.assert_allclose(found.effective_rank[0], [np.exp(-(q * np.log(q)).sum()), 3, 1], rtol=1e-6)
    assert np.isnan(found.stable_rank[1, 0])
    assert np.isnan(found.effective_rank[1, 0])


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.floats(0.01, 100))
def test_ranks_see_neither_rotation_nor_scale(seed, factor):
    generator = torch.manual_seed(seed)
    matrix = torch.randn(4, 7, generator=generator, dtype=torch.float64)
    left, right = (torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64))[0] for n in (4, 7))
    one, other = (matrix_ranks({"w": w[None]}) for w in (matrix, factor * left @ matrix @ right))
    np.testing.assert_allclose(other.spectral_norm, factor * one.spectral_norm, rtol=1e-10)
    np.testing.assert_allclose(other.stable_rank, one.stable_rank, rtol=1e-10)
    np.testing.assert_allclose(other.effective_rank, one.effective_rank, rtol=1e-10)
    assert 1 <= one.stable_rank.item() <= one.effective_rank.item() + 4
    assert 1 <= one.effective_rank.item() <= 4

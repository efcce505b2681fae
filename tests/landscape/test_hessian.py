import numpy as np
import pytest
import torch
from torch.func import functional_call

from slt_grok import landscape, models
from slt_grok.errors import SltGrokError
from slt_grok.landscape.hessian import hessian_summary, operator, trace
from slt_grok.landscape.objective import Objective
from slt_grok.tasks import ModularTask
from slt_grok.trajectories import Network, Trajectory
from tests.landscape.toys import ONE_SAMPLE, stacked

SIZE = 60


def symmetric_matrix(eigenvalues: np.ndarray) -> torch.Tensor:
    rotation, _ = np.linalg.qr(np.random.default_rng(3).standard_normal((len(eigenvalues),) * 2))
    return torch.from_numpy(rotation @ np.diag(eigenvalues) @ rotation.T)


@pytest.fixture(scope="module")
def quadratic() -> tuple[torch.Tensor, Objective]:
    matrix = symmetric_matrix(np.r_[9.0, 5.0, 4.9, np.linspace(-2, 2, SIZE - 3)])
    trajectory = stacked(torch.randn(2, SIZE, generator=torch.manual_seed(1)), lambda w: w @ matrix @ w / 2)
    return matrix, Objective.of(trajectory, ONE_SAMPLE)


def small_transformer() -> tuple[ModularTask, Trajectory]:
    task = ModularTask(5, train_fraction=0.6)
    module = models.build("transformer", 5, d_model=4, n_heads=2, d_mlp=6, activation="gelu")
    module.initialise(torch.Generator().manual_seed(2))
    return task, Trajectory.of(module, task)


def test_quadratic_eigenvalues(quadratic):
    _, objective = quadratic
    _, _, found = hessian_summary(objective, 0, probes=2, eigenvalues=3, tolerance=1e-10, seed=0)
    np.testing.assert_allclose(found, [9.0, 5.0, 4.9], rtol=1e-6)


def test_quadratic_trace_and_its_standard_error(quadratic):
    """100 repeats: unbiased, spread as Hutchinson's formula says, truth within 3 standard errors in 95% or more.

    With 8 probes the deviation in standard errors is nearly Student's t with 7 degrees of freedom, which leaves 3 in
    2% of repeats.
    """
    matrix, objective = quadratic
    hessian = operator(objective, 1)
    repeats = np.array([trace(hessian, 8, seed) for seed in range(100)])
    truth = 9 + 5 + 4.9
    variance = 2 * (matrix.square().sum() - matrix.diagonal().square().sum()).item() / 8
    deviation = repeats[:, 0] - truth
    assert abs(deviation.mean()) < 4 * (variance / 100) ** 0.5
    # the standard deviation of 100 values and the mean square of 100 standard errors are known to about 7%
    assert deviation.std() == pytest.approx(variance**0.5, rel=0.2)
    assert (repeats[:, 1] ** 2).mean() == pytest.approx(variance, rel=0.2)
    assert (abs(deviation) < 3 * repeats[:, 1]).mean() >= 0.95


def test_diagonal_hessian_has_no_spread():
    trajectory = stacked(torch.zeros(1, SIZE), lambda w: (w**2).sum())
    value, error, _ = hessian_summary(Objective.of(trajectory, ONE_SAMPLE), 0, 12, 1, 1e-6, 0)
    assert (value, error) == (pytest.approx(2 * SIZE, rel=1e-12), pytest.approx(0, abs=1e-12))


def test_few_parameters_are_exact():
    trajectory = stacked(torch.zeros(1, 3), lambda w: w[0] ** 2 - 3 * w[1] ** 2 + w[0] * w[2])
    value, error, found = hessian_summary(Objective.of(trajectory, ONE_SAMPLE), 0, 12, 3, 1e-3, 0)
    assert (value, error) == (-4, 0)
    np.testing.assert_allclose(found, [1 + 2**0.5, 1 - 2**0.5, -6], rtol=1e-12)


@pytest.mark.parametrize("size", [4, SIZE])
def test_a_flat_loss_has_no_curvature(size):
    trajectory = stacked(torch.ones(1, size), lambda w: w.sum())
    value, error, found = hessian_summary(Objective.of(trajectory, ONE_SAMPLE), 0, 12, 2, 1e-3, 0)
    assert (value, error) == (0, 0)
    np.testing.assert_array_equal(found, 0)


def test_transformer_against_autograd():
    task, trajectory = small_transformer()
    inputs, labels = task.data("train")
    names, tensors = zip(*((k, v[0]) for k, v in trajectory.stacked(torch.float64).items()), strict=True)

    def loss(flat: torch.Tensor) -> torch.Tensor:
        pieces = flat.split([t.numel() for t in tensors])
        parameters = {k: piece.view_as(t) for k, t, piece in zip(names, tensors, pieces, strict=True)}
        return torch.nn.functional.cross_entropy(
            functional_call(trajectory.network.module, parameters, (inputs,)), labels
        )

    expected = torch.autograd.functional.hessian(loss, torch.cat([t.flatten() for t in tensors]))
    objective = Objective.of(trajectory)
    found = operator(objective, 0).to_scipy().matmat(np.eye(len(expected)))
    np.testing.assert_allclose(found, expected, atol=1e-12)
    value, error, top = hessian_summary(objective, 0, 12, 3, 1e-9, seed=5)
    np.testing.assert_allclose(top, np.linalg.eigvalsh(expected.numpy())[::-1][:3], rtol=1e-6)
    assert error > 0
    assert abs(value - expected.trace().item()) < 4 * error


def product(trajectory: Trajectory) -> np.ndarray:
    hessian = operator(Objective.of(trajectory), 0).to_scipy()
    return hessian.matvec(np.random.default_rng(0).standard_normal(hessian.shape[0]))


def test_batches_of_data_change_nothing(monkeypatch):
    _, trajectory = small_transformer()
    whole = product(trajectory)
    monkeypatch.setattr("slt_grok.landscape.hessian.ROWS", 4)
    np.testing.assert_allclose(product(trajectory), whole, atol=1e-13)


def test_mean_and_per_sample_losses_are_one():
    task, trajectory = small_transformer()
    network = Network(trajectory.network.module, task, torch.nn.functional.cross_entropy)
    mean = Trajectory(network, trajectory.parameters)
    np.testing.assert_allclose(product(mean), product(trajectory), atol=1e-13)


def test_the_global_generator_is_left_alone(quadratic):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    trace(operator(quadratic[1], 0), 3, 0)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(("settings", "named"), [({"eigenvalues": 5}, "eigenvalues"), ({"probes": 1}, "probes")])
def test_settings_out_of_range(settings, named):
    trajectory = stacked(torch.zeros(1, 4 if named == "eigenvalues" else SIZE), lambda w: (w**2).sum())
    with pytest.raises(SltGrokError, match=f"{named}: expected"):
        landscape.measure(trajectory, data=ONE_SAMPLE, **settings)

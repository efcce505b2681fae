from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.func import functional_call

from slt_grok import models
from slt_grok.errors import SltGrokError
from slt_grok.operators.curvature import CurvatureOperator, eigenpairs
from slt_grok.operators.objective import Objective
from slt_grok.tasks import ModularTask, Split
from slt_grok.trajectories import Network, Trajectory
from tests.landscape.toys import ONE_SAMPLE, stacked, symmetric_matrix

SIZE = 60


@pytest.fixture(scope="module")
def quadratic() -> tuple[torch.Tensor, Objective]:
    matrix = symmetric_matrix(np.r_[9.0, 5.0, 4.9, np.linspace(-2, 2, SIZE - 3)])
    trajectory = stacked(torch.randn(2, SIZE, generator=torch.manual_seed(1)), lambda w: w @ matrix @ w / 2)
    return matrix, Objective.of(trajectory, ONE_SAMPLE)


def small_transformer() -> tuple[ModularTask, Trajectory]:
    task = ModularTask(5, train_fraction=0.6)
    module = models.build("transformer", 5, d_model=4, n_heads=2, d_mlp=6, activation="gelu")
    module.initialize(torch.Generator().manual_seed(2))
    return task, Trajectory.of(module, task)


def flat_function(trajectory: Trajectory, inputs: torch.Tensor):
    """The outputs as a function of one flat vector, and the vector."""
    names, tensors = zip(*((k, v[0]) for k, v in trajectory.stacked(torch.float64).items()), strict=True)

    def outputs(flat: torch.Tensor) -> torch.Tensor:
        pieces = flat.split([t.numel() for t in tensors])
        parameters = {k: piece.view_as(t) for k, t, piece in zip(names, tensors, pieces, strict=True)}
        return functional_call(trajectory.network.module, parameters, (inputs,))

    return outputs, torch.cat([t.flatten() for t in tensors])


def dense(operator: CurvatureOperator) -> np.ndarray:
    return operator.matmat(np.eye(operator.shape[0]))


def dense_hessian(trajectory: Trajectory, split: Split) -> np.ndarray:
    inputs, labels = trajectory.task.data(split)
    outputs, flat = flat_function(trajectory, inputs)
    loss = lambda w: torch.nn.functional.cross_entropy(outputs(w), labels)  # noqa: E731
    return torch.autograd.functional.hessian(loss, flat).numpy()


def test_quadratic_eigenpairs(quadratic):
    matrix, objective = quadratic
    values, vectors = eigenpairs(CurvatureOperator(objective, 0), 3, 1e-10, seed=0)
    np.testing.assert_allclose(values, [9.0, 5.0, 4.9], rtol=1e-6)
    np.testing.assert_allclose(matrix.numpy() @ vectors, vectors * values, atol=1e-8)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(3), atol=1e-12)


@pytest.mark.parametrize("split", ["train", "test", "all"])
def test_transformer_against_autograd(split):
    task, trajectory = small_transformer()
    expected = dense_hessian(trajectory, split)
    operator = CurvatureOperator(Objective.of(trajectory, task.data(split)), 0)
    np.testing.assert_allclose(dense(operator), expected, atol=1e-12)
    values, vectors = eigenpairs(operator, 5, 1e-9, seed=5)
    reference, basis = np.linalg.eigh(expected)
    np.testing.assert_allclose(values, reference[::-1][:5], rtol=1e-6)
    np.testing.assert_allclose(abs(np.sum(vectors * basis[:, ::-1][:, :5], 0)), 1, atol=1e-6)


def test_gauss_newton_is_jacobian_bend_jacobian():
    """J^T (diag p - p p^T) J of cross-entropy, mean over the samples."""
    task, trajectory = small_transformer()
    inputs, _ = task.data("train")
    outputs, flat = flat_function(trajectory, inputs)
    jacobian = torch.autograd.functional.jacobian(outputs, flat)  # (n, classes, D)
    p = outputs(flat).softmax(-1)
    bend = torch.diag_embed(p) - p[:, :, None] * p[:, None]
    expected = torch.einsum("nci,ncd,ndj->ij", jacobian, bend, jacobian) / len(inputs)
    found = dense(CurvatureOperator(Objective.of(trajectory), 0, "gauss_newton"))
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_a_group_is_a_block_of_the_whole():
    _, trajectory = small_transformer()
    whole = dense(CurvatureOperator(Objective.of(trajectory), 0))
    sizes = [shape.numel() for shape in trajectory.network.shapes.values()]
    names = np.repeat(list(trajectory.network.shapes), sizes)
    rows = np.isin(names, ["W_in", "W_U"])
    for matrix in ("hessian", "gauss_newton"):
        block = CurvatureOperator(Objective.of(trajectory), 0, matrix, group=["W_U", "W_in"])
        if matrix == "hessian":
            np.testing.assert_allclose(dense(block), whole[np.ix_(rows, rows)], atol=1e-13)
        assert block.shape == (rows.sum(), rows.sum())


@pytest.mark.parametrize("group", [[], ["W_in", "W_nothing"]])
def test_a_group_that_is_not_there(group):
    _, trajectory = small_transformer()
    with pytest.raises(SltGrokError, match=r"group: expected some of W_E, .*W_U, got (none|W_nothing)"):
        CurvatureOperator(Objective.of(trajectory), 0, group=group)


def test_single_precision_products():
    _, trajectory = small_transformer()
    double, single = (CurvatureOperator(Objective.of(trajectory), 0, dtype=d) for d in (torch.float64, torch.float32))
    assert (dense(single) != dense(double)).any()
    np.testing.assert_allclose(dense(single), dense(double), atol=1e-6)


def product(trajectory: Trajectory) -> np.ndarray:
    hessian = CurvatureOperator(Objective.of(trajectory), 0)
    return hessian.matvec(np.random.default_rng(0).standard_normal(hessian.shape[0]))


def test_batches_of_data_change_nothing(monkeypatch):
    _, trajectory = small_transformer()
    whole = product(trajectory)
    monkeypatch.setattr("slt_grok.operators.curvature.ROWS", 4)
    np.testing.assert_allclose(product(trajectory), whole, atol=1e-13)


def test_mean_and_per_sample_losses_are_one():
    task, trajectory = small_transformer()
    network = Network(trajectory.network.module, task, torch.nn.functional.cross_entropy)
    mean = Trajectory(network, trajectory.parameters)
    np.testing.assert_allclose(product(mean), product(trajectory), atol=1e-13)


def test_a_flat_loss_has_no_curvature():
    operator = CurvatureOperator(Objective.of(stacked(torch.ones(1, SIZE), lambda w: w.sum()), ONE_SAMPLE), 0)
    np.testing.assert_array_equal(dense(operator), 0)
    np.testing.assert_array_equal(eigenpairs(operator, 2, 1e-3, 0)[0], 0)


def test_curvature_that_is_not_finite():
    operator = CurvatureOperator(
        Objective.of(stacked(torch.zeros(1, SIZE), lambda w: w.abs().sqrt().sum()), ONE_SAMPLE), 0
    )
    assert np.isnan(eigenpairs(operator, 2, 1e-3, 0)[0]).all()


def test_an_intervention_is_kept():
    """Outputs w scaled by the square root of 3 by the network's call: the Hessian of sum w^2 is three times itself."""
    trajectory = stacked(torch.ones(1, SIZE), lambda w: (w**2).sum())
    call = lambda *arguments: 3**0.5 * functional_call(*arguments)  # noqa: E731
    changed = Trajectory(replace(trajectory.network, call=call), trajectory.parameters, ("step",), trajectory.coords)
    expected = 3 * dense(CurvatureOperator(Objective.of(trajectory), 0))
    np.testing.assert_allclose(dense(CurvatureOperator(Objective.of(changed), 0)), expected, rtol=1e-12)

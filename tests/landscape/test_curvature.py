from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from slt_grok import models
from slt_grok.errors import SltGrokError
from slt_grok.landscape.curvature import Curvature, measure_curvature
from slt_grok.landscape.logit_scale import at_temperature, logit_standard_deviation
from slt_grok.operators import curvature as operators
from slt_grok.operators.curvature import CurvatureOperator, eigenpairs, precise_dtype
from slt_grok.operators.objective import Objective
from slt_grok.operators.spectrum import spectrum
from slt_grok.tasks import ModularTask
from slt_grok.trajectories import Trajectory
from tests.landscape.toys import ONE_SAMPLE, stacked

SETTINGS: dict[str, Any] = {"eigenvalues": 2, "repeats": 3, "steps": 2, "seed": 0}
BLOCKS = [["U", "V"], ["W"]]


def trajectory_of(steps=(0, 10), train_fraction: float = 0.5) -> Trajectory:
    task = ModularTask(5, train_fraction=train_fraction)
    module = models.build("quadratic", 5, width=6)
    checkpoints = {}
    for step in steps:
        module.initialize(torch.Generator().manual_seed(step))
        checkpoints[step] = {k: 2 * v.detach().clone() for k, v in module.named_parameters()}
    return Trajectory.stack(module, checkpoints, task)


def dense(operator: CurvatureOperator) -> np.ndarray:
    return operator.matmat(np.eye(operator.shape[0]))


def test_logit_standard_deviation_of_known_logits():
    module = torch.nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        module.weight.copy_(torch.eye(2))
    inputs = torch.tensor([[1.0, 3.0], [10.0, 10.0], [0.0, -4.0]])  # centered: (-1, 1), (0, 0), (2, -2)
    objective = Objective.of(Trajectory.of(module), (inputs, torch.tensor([0, 1, 0])))
    assert logit_standard_deviation(objective, 0) == pytest.approx((10 / 6) ** 0.5, rel=1e-14)


@settings(max_examples=10, deadline=None)
@given(st.floats(0.05, 30))
def test_unit_scale_does_not_see_the_scale_of_the_unembedding(factor):
    """H of the loss of z / s with W scaled by a: the block of U and V stays, that of W is divided by a^2."""
    trajectory = trajectory_of(steps=(0,))
    scaled = Trajectory(
        trajectory.network,
        {k: v * factor if k == "W" else v for k, v in trajectory.parameters.items()},
        trajectory.dims,
        trajectory.coords,
    )
    found = []
    for one in (trajectory, scaled):
        objective = Objective.of(one)
        unit = at_temperature(objective, logit_standard_deviation(objective, 0))
        found.append([dense(CurvatureOperator(unit, 0, group=block)) for block in BLOCKS])
    np.testing.assert_allclose(found[1][0], found[0][0], rtol=1e-5, atol=1e-6)  # weights are float32
    np.testing.assert_allclose(found[1][1] * factor**2, found[0][1], rtol=1e-5, atol=1e-6)


def test_temperature_of_a_quadratic():
    """L(f) = f^2 / 2 of outputs f = w: at temperature T the Hessian is 1 / T^2."""
    objective = at_temperature(Objective.of(stacked(torch.ones(1, 6), lambda w: (w**2).sum() / 2), ONE_SAMPLE), 4.0)
    np.testing.assert_allclose(dense(CurvatureOperator(objective, 0)), np.eye(6) / 16, rtol=1e-13)


def test_dataset_holds_what_dense_matrices_say():
    trajectory = trajectory_of()
    found = measure_curvature(
        trajectory,
        matrices=("hessian", "gauss_newton"),
        splits=("train", "test", "all"),
        groups={"total": None, "unembedding": ["W"]},
        **{**SETTINGS, "repeats": 40, "steps": 3},  # as many products as the matrix has columns: everything is exact
    )
    assert found.curvature_trace.dims == ("step", "matrix", "logit_scale", "split", "group")
    assert all({"long_name", "definition", "source"} <= set(array.attrs) for array in found.data_vars.values())
    assert (found.curvature_trace_se == 0).all()
    objective = Objective.of(trajectory)
    for matrix in ("hessian", "gauss_newton"):
        for split in ("train", "test", "all"):
            for group, names in (("total", None), ("unembedding", ["W"])):
                loss = objective.on(trajectory.task.data(split))
                values = np.linalg.eigvalsh(dense(CurvatureOperator(loss, 1, matrix, group=names)))
                at = {"step": 10, "matrix": matrix, "split": split, "group": group, "logit_scale": "own"}
                one = found.sel(at)
                assert one.curvature_trace == pytest.approx(values.sum(), rel=1e-9)
                np.testing.assert_allclose(one.curvature_eigenvalue, values[::-1][:2], rtol=1e-6)
                for c in (0.3, 1.0):
                    expected = (values / (abs(values) + c)).sum()
                    assert one.effective_dimension.sel(c=c) == pytest.approx(expected, rel=1e-8)
                np.testing.assert_allclose(one.ritz_weight.sum("node"), 1, rtol=1e-12)
                first = (one.ritz_value * one.ritz_weight).sum("node") * len(values)
                np.testing.assert_allclose(first, values.sum(), rtol=1e-9)
    parts = found.curvature_trace.sel(matrix="hessian", logit_scale="own", group="total")
    share = len(trajectory.task.indices("train")) / 25
    np.testing.assert_allclose(
        parts.sel(split="all"), share * parts.sel(split="train") + (1 - share) * parts.sel(split="test"), rtol=1e-9
    )


def test_estimates_agree_with_the_dense_matrix():
    """The trace of each of 12 networks lies within 4 standard errors (19 degrees of freedom: 0.1% do not)."""
    trajectory = trajectory_of(steps=range(12))
    objective = Objective.of(trajectory)
    found = measure_curvature(trajectory, eigenvalues=5, repeats=20, steps=2)
    for index in range(12):
        values = np.linalg.eigvalsh(dense(CurvatureOperator(objective, index)))
        one = found.isel(step=index, matrix=0, split=0, group=0).sel(logit_scale="own")
        np.testing.assert_allclose(one.curvature_eigenvalue, values[::-1][:5], rtol=1e-4)
        assert one.curvature_trace_se > 0
        assert abs(one.curvature_trace - values.sum()) < 4 * one.curvature_trace_se


def test_a_network_has_its_own_values():
    trajectory = trajectory_of()
    whole = measure_curvature(trajectory, **SETTINGS)
    alone = measure_curvature(trajectory.isel(step=[1]), **SETTINGS)
    for name in whole.data_vars:
        np.testing.assert_allclose(alone[name][0], whole[name][1], rtol=1e-9)


def test_what_does_not_exist_is_nan():
    whole = measure_curvature(trajectory_of(train_fraction=1.0), splits=("train", "test"), **SETTINGS)
    assert np.isnan(whole.curvature_trace.sel(split="test")).all()
    assert np.isfinite(whole.curvature_trace.sel(split="train")).all()
    toy = measure_curvature(stacked(torch.ones(1, 60), lambda w: (w**4).sum()), **SETTINGS)
    assert np.isnan(toy.curvature_trace.sel(logit_scale="unit")).all()
    assert toy.curvature_trace.sel(logit_scale="own").item() == pytest.approx(12 * 60, rel=1e-9)


def test_single_precision_only_where_it_is_enough(monkeypatch):
    monkeypatch.setattr(operators, "SMALL", 0)
    objective = Objective.of(trajectory_of(steps=(0,)))
    dtypes = [precise_dtype(objective, 0, None, tolerance) for tolerance in (1e-3, 1e-9)]
    assert dtypes == [torch.float32, torch.float64]
    rough = Objective.of(stacked(torch.ones(1, 60), lambda w: ((1e6 + w - 1e6) ** 2).sum()), ONE_SAMPLE)
    assert precise_dtype(rough, 0, None, 1e-3) == torch.float32  # the loss itself is float64
    vanishing = Objective.of(stacked(1e-30 * torch.ones(1, 60), lambda w: (w**4).sum()), ONE_SAMPLE)
    assert precise_dtype(vanishing, 0, None, 1e-3) == torch.float64  # below 1e-45


def test_vectors_of_the_largest_eigenvalues():
    objective = Objective.of(trajectory_of(steps=(0,)))
    operator = CurvatureOperator(objective, 0)
    values, vectors = eigenpairs(operator, 3, 1e-8, 0)
    np.testing.assert_allclose(dense(operator) @ vectors, vectors * values, atol=1e-7)
    one = spectrum(operator, 3, 2, 1, 1e-8, 0)
    np.testing.assert_allclose(one.values[:3], values, rtol=1e-7)


def test_cost_is_predicted(monkeypatch):
    monkeypatch.setattr("slt_grok.landscape.curvature.timed", lambda work, *arguments: 0.5)
    predicted = Curvature()._seconds(trajectory_of(), 5)
    assert predicted == 2 * 2 * 2 * (3 + 3) * (20 + 36) * 0.5  # networks, matrices, scales, splits and blocks


def test_a_group_that_does_not_exist():
    with pytest.raises(SltGrokError, match="group: expected some of U, V, W, got W_E"):
        measure_curvature(trajectory_of(), groups={"odd": ["W_E"]})

from typing import Any

import numpy as np
import pytest
import torch

from slt_grok.errors import SltGrokError
from slt_grok.landscape import jacobian as module_under_test
from slt_grok.landscape.jacobian import jacobian, jacobian_rank, measure_jacobian_rank
from slt_grok.landscape.objective import Objective
from slt_grok.llc import exact
from slt_grok.models import QuadraticNetwork
from slt_grok.models.planted import pizza
from slt_grok.tasks import ModularTask
from slt_grok.trajectories import Trajectory


def quadratic(p: int, width: int, train_fraction: float = 1.0) -> Trajectory:
    module = QuadraticNetwork(p, width)
    module.initialize(torch.Generator().manual_seed(0))
    return Trajectory.of(module.double(), ModularTask(p, train_fraction=train_fraction))


@pytest.mark.parametrize(("p", "width", "rank"), [(5, 3, 39), (5, 5, 65), (7, 4, 76), (5, 12, 125)])
def test_rank_on_all_pairs(p, width, rank):
    """min(K (3p - 2), p^3), notes: each neuron has a scale and a shift that change nothing."""
    found = jacobian_rank(Objective.of(quadratic(p, width)), 0)
    assert (found.rank, found.standard_error) == (rank, 0)
    assert exact.modular_rank(p, width) == rank
    assert found.gap > 1e6


def test_rank_on_a_train_set():
    """K = 3, p = 5 and 10 of the pairs: 36, as the note says, where the count of parameters would give 39."""
    ranks = []
    for seed in range(20):
        trajectory = quadratic(5, 3)
        pairs = trajectory.task.inputs[torch.randperm(25, generator=torch.manual_seed(seed))[:10]]
        objective = Objective.of(trajectory, (pairs, torch.zeros(10)))
        matrix = exact.jacobian(trajectory.network.module, pairs)
        np.testing.assert_allclose(jacobian(objective, 0), matrix, atol=1e-13)
        ranks.append(jacobian_rank(objective, 0).rank)
        assert ranks[-1] == exact.numerical_rank(matrix).rank <= 39
    assert 36 in ranks


def test_rank_by_groups_of_parameters():
    """By the output weights alone the Jacobian is (neurons of a pair) x identity: rank K p."""
    found = measure_jacobian_rank(quadratic(5, 3), groups={"total": None, "W": ["W"], "U": ["U"]})
    assert found.jacobian_rank.dims == ("split", "group")
    assert found.jacobian_rank.sel(split="train").values.tolist() == [39, 15, 15]
    assert all({"long_name", "definition", "source"} <= set(array.attrs) for array in found.data_vars.values())


def test_splits():
    found = measure_jacobian_rank(quadratic(5, 3, train_fraction=0.5), splits=["train", "test", "all"])
    train, test, everything = found.jacobian_rank.isel(group=0).values
    assert everything == 39
    assert max(train, test) <= 39 <= train + test
    assert np.isnan(measure_jacobian_rank(quadratic(5, 3), splits=["test"]).jacobian_rank).all()


def test_a_planted_network():
    """As many directions as the dense float64 matrix has."""
    trajectory = Trajectory.of(pizza(5, {1: 2.0}, 3), ModularTask(5, train_fraction=1.0))
    objective = Objective.of(trajectory)
    with torch.no_grad():
        values = np.linalg.svd(jacobian(objective, 0).numpy(), compute_uv=False)
    found = jacobian_rank(objective, 0)
    assert found.rank == (values > 1e-10 * values[0]).sum()


@pytest.mark.parametrize(("threshold", "steps"), [(1e-4, 20), (0.05, 30), (0.3, 30)])
def test_estimate_between_bounds(monkeypatch, threshold, steps):
    """K = 8, p = 7, of 168 parameters: the count lies within 4 errors of the bounds in 8 seeds of 4 vectors each.

    Student's t with 3 degrees of freedom leaves 4 out on one side in 1.4%: once or twice in 8 seeds with 11%.
    """
    objective = Objective.of(quadratic(7, 8))
    values = np.linalg.svd(jacobian(objective, 0).numpy(), compute_uv=False)
    truth = (values > threshold * values[0]).sum()
    assert jacobian_rank(objective, 0).rank == 152
    monkeypatch.setattr(module_under_test, "ENTRIES", 0)
    found = [
        jacobian_rank(objective, 0, relative_threshold=threshold, repeats=4, steps=steps, seed=s) for s in range(8)
    ]
    inside = [one.lower - 4 * one.standard_error <= truth <= one.upper + 4 * one.standard_error for one in found]
    assert sum(inside) >= 7
    lower, upper = np.mean([(one.lower, one.upper) for one in found], 0)
    assert lower - 1 <= truth <= upper + 1
    assert upper - lower < (40 if threshold > 1e-4 else 60)  # of 168: no empty statement
    assert all(one.threshold == pytest.approx(threshold * values[0], rel=1e-6) for one in found)


def test_estimate_with_few_parameters_is_exact(monkeypatch):
    monkeypatch.setattr(module_under_test, "ENTRIES", 0)
    found = jacobian_rank(Objective.of(quadratic(5, 3)), 0)
    assert (found.rank, found.standard_error) == (39, 0)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [({"groups": {"a": ["W_E"]}}, "group: expected some of U, V, W"), ({"relative_threshold": 0.0}, "between 0 and 1")],
)
def test_settings_out_of_range(wrong: dict[str, Any], named: str):
    with pytest.raises(SltGrokError, match=named):
        measure_jacobian_rank(quadratic(5, 3), **wrong)

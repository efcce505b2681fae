import numpy as np
import pytest
import torch

from slt_grok.llc import exact
from slt_grok.models import QuadraticNetwork
from slt_grok.models.planted import pizza
from slt_grok.operators.jacobian import jacobian, jacobian_rank, numerical_rank
from slt_grok.tasks import ModularTask


def quadratic(p: int, width: int) -> QuadraticNetwork:
    module = QuadraticNetwork(p, width)
    module.initialize(torch.Generator().manual_seed(0))
    return module.double()


@pytest.mark.parametrize(("p", "width", "rank"), [(5, 3, 39), (5, 5, 65), (7, 4, 76), (5, 12, 125)])
def test_rank_on_all_pairs(p, width, rank):
    """min(K (3p - 2), p^3), notes: each neuron has a scale and a shift that change nothing."""
    found = jacobian_rank(quadratic(p, width), ModularTask(p).inputs)
    assert found.rank == exact.modular_rank(p, width) == rank
    assert found.gap > 1e6


def test_rank_on_a_train_set():
    """K = 3, p = 5 and 10 of the pairs: 36, as the note says, where the count of parameters would give 39."""
    ranks = []
    for seed in range(20):
        pairs = ModularTask(5).inputs[torch.randperm(25, generator=torch.manual_seed(seed))[:10]]
        ranks.append(jacobian_rank(quadratic(5, 3), pairs).rank)
    assert max(ranks) <= 39
    assert 36 in ranks


def test_a_planted_network():
    """As many directions as the dense float64 matrix has."""
    module, inputs = pizza(5, {1: 2.0}, 3), ModularTask(5).inputs
    with torch.no_grad():
        values = np.linalg.svd(jacobian(module, inputs).numpy(), compute_uv=False)
    assert jacobian_rank(module, inputs).rank == (values > 1e-10 * values[0]).sum()


def test_rank_of_known_matrices():
    matrix = torch.diag(torch.tensor([1.0, 0.5, 1e-20]))
    found = numerical_rank(matrix)
    assert found.rank == 2
    assert found.gap == pytest.approx(0.5e20)
    assert numerical_rank(torch.eye(3)).gap == np.inf

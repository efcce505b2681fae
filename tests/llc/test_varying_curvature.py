"""A loss whose curvature varies by many orders over the posterior: no fixed step follows it, HMC does."""

import numpy as np
import pytest
import torch

from slt_grok.llc import estimate
from slt_grok.zoo.normal_crossing import NormalCrossing
from slt_grok.zoo.problem import half_squared_error


def localized_crossing(n_beta: float, gamma: float) -> float:
    """n_beta E[u^2 v^6] over exp(-n_beta u^2 v^6 - gamma/2 (u^2 + v^2)): u integrated by hand, v on a grid."""
    v = np.exp(np.linspace(-12, 3, 40001))
    a = 2 * n_beta * v**6 + gamma
    weight = v * a**-0.5 * np.exp(-gamma * v**2 / 2)
    return float((weight * n_beta * v**6 / a).sum() / weight.sum())


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_hmc_takes_over_and_samples_the_whole_neighborhood(seed: int) -> None:
    problem = NormalCrossing((1, 3)).problem(torch.Generator().manual_seed(seed))
    found = estimate(problem.module, problem.data, loss=half_squared_error, updates=1500, chains=64, seed=seed)
    assert found.attrs["sampler"] == "hmc"
    assert "exceeded the posterior's range" in found.attrs["calibration"]
    right = localized_crossing(found.attrs["n_beta"], found.attrs["gamma"])
    # 4 standard errors: a false alarm in some 1 of 15,000 seeds
    assert abs(found.llc.item() - right) < 4 * found.llc_se.item()
    assert found.llc_se.item() < 0.08 * right
    assert abs(found.virial.item() - 1) < 0.15  # short fixed steps leave it at 0.7 to 0.8

"""The LLC at many temperatures and localizations at once, on a quadratic loss whose LLC at each is known."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from slt_grok.llc.calibration import Ends, curvature_at
from slt_grok.llc.problem import Problem
from slt_grok.llc.sample import sample
from slt_grok.llc.samplers.underdamped import UnderdampedLangevin
from slt_grok.llc.sampling import Schedule
from slt_grok.llc.sensitivity import at_temperatures
from slt_grok.trajectories import Trajectory

CURVATURES = np.array([0.0, 0.5, 5.0, 50.0])


@pytest.fixture(scope="module")
def problem() -> Problem:
    """Squared error of a linear map with the Hessian 2 X^T X / n = diag(CURVATURES); two networks, both at minima."""
    inputs = torch.diag(torch.from_numpy(np.sqrt(CURVATURES * len(CURVATURES) / 2)))
    targets = inputs @ torch.ones(4, 1, dtype=torch.float64)
    module = nn.Linear(4, 1, bias=False).double()
    flat = torch.tensor([[3.0, 1, 1, 1]], dtype=torch.float64)  # the first weight does not matter
    states = {10: {"weight": torch.ones(1, 4, dtype=torch.float64)}, 20: {"weight": flat}}
    return Problem.from_inputs(Trajectory.stack(module, states, loss=nn.functional.mse_loss), (inputs, targets))


def exact(n_beta: float, gamma: float) -> float:
    scaled = n_beta * CURVATURES
    return float((scaled / (scaled + gamma)).sum() / 2)


def test_every_pair_has_its_own_temperature_and_localization(problem: Problem) -> None:
    n_betas, gammas = [10.0, 2.0, 10.0], [3.0, 3.0, 40.0]
    sampler = UnderdampedLangevin(0.03, longest_flight=40)
    found = at_temperatures(problem, sampler, n_betas, gammas, Schedule(500, 6000), chains=8, seed=1)
    assert found.llc.dims == ("step", "setting")
    assert found.n_beta.values.tolist() == n_betas
    assert found.gamma.values.tolist() == gammas
    z = (found.llc - np.array([exact(*pair) for pair in zip(n_betas, gammas, strict=True)])) / found.llc_se
    assert abs(z).max() < 4  # six of them: one in 2,600 by chance
    assert (found.llc_se / found.llc).max() < 0.05
    assert np.unique(found.llc_status.values).tolist() == ["effective"]  # one temperature each: no limit is checked


def test_a_pair_for_which_the_step_is_unstable_is_called_diverged_and_leaves_the_others_alone(problem: Problem) -> None:
    sampler, options = UnderdampedLangevin(0.03, longest_flight=40), dict[str, Any](chains=4, seed=1)
    # at n_beta 10,000, the step times the square root of the largest curvature is 21, and 2 is unstable
    both = at_temperatures(problem, sampler, [10.0, 1e4], [3.0, 3.0], Schedule(50, 200), **options)
    assert both.llc_status.isel(setting=1).values.tolist() == ["diverged", "diverged"]
    alone = at_temperatures(problem, sampler, [10.0], [3.0], Schedule(50, 200), **options)
    np.testing.assert_allclose(both.llc.isel(setting=0), alone.llc.isel(setting=0), rtol=1e-9)


def test_curvature_where_chains_end_is_the_largest_of_the_potential(problem: Problem) -> None:
    ends = Ends(100)
    sampler = UnderdampedLangevin(0.03, longest_flight=40)
    sample(problem, sampler, Schedule(10, 100), n_betas=[10.0], gamma=3.0, chains=3, observers=[ends])
    assert ends.positions.shape == (2 * 3, 4)
    found = curvature_at(problem, ends.positions, 10.0, 3.0, Schedule(0, 1))
    np.testing.assert_allclose(found, 10.0 * CURVATURES.max() + 3.0, rtol=1e-3)
    stiffer = curvature_at(problem, ends.positions, 10.0, 2000.0, Schedule(0, 1))
    np.testing.assert_allclose(stiffer, 10.0 * CURVATURES.max() + 2000.0, rtol=1e-2)
    assert math.isfinite(float(stiffer.sum()))

"""The LLC at many settings at once, on a quadratic loss whose LLC at every setting is known."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from slt_grok.llc.calibration import Ends, curvature_at
from slt_grok.llc.problem import Problem
from slt_grok.llc.sampling import Schedule
from slt_grok.llc.sensitivity import Setting, at_settings
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


def exact(setting: Setting) -> float:
    scaled = setting.n_beta * CURVATURES
    return float((scaled / (scaled + setting.gamma)).sum() / 2)


def test_every_setting_has_its_own_step_temperature_and_localization(problem: Problem) -> None:
    settings = [Setting(0.03, 10.0, 3.0), Setting(0.015, 10.0, 3.0), Setting(0.03, 2.0, 3.0), Setting(0.03, 10.0, 40.0)]
    found = at_settings(problem, settings, Schedule(500, 6000), longest_flight=40, chains=8, seed=1)
    assert found.llc.dims == ("step", "setting")
    assert found.n_beta.values.tolist() == [10, 10, 2, 10]
    z = (found.llc - np.array([exact(s) for s in settings])) / found.llc_se
    assert abs(z).max() < 4  # eight of them: one in 2,000 by chance
    assert (found.llc_se / found.llc).max() < 0.05
    assert np.unique(found.llc_status.values).tolist() == ["effective"]  # one temperature each: no limit is checked


def test_an_unstable_step_is_called_diverged_and_leaves_the_others_alone(problem: Problem) -> None:
    good, bad = Setting(0.03, 10.0, 3.0), Setting(1.0, 10.0, 3.0)
    schedule, options = Schedule(50, 200), {"longest_flight": 40, "chains": 4, "seed": 1}
    both = at_settings(problem, [good, bad], schedule, **options)
    assert both.llc_status.isel(setting=1).values.tolist() == ["diverged", "diverged"]
    alone = at_settings(problem, [good], schedule, **options)
    np.testing.assert_allclose(both.llc.isel(setting=0), alone.llc.isel(setting=0), rtol=1e-9)


def test_curvature_where_chains_end_is_the_largest_of_the_potential(problem: Problem) -> None:
    setting, ends = Setting(0.03, 10.0, 3.0), Ends(100)
    at_settings(problem, [setting], Schedule(10, 100), longest_flight=40, chains=3, observers=[ends])
    assert ends.positions.shape == (2 * 3, 4)
    found = curvature_at(problem, ends.positions, 10.0, 3.0, Schedule(0, 1))
    np.testing.assert_allclose(found, 10.0 * CURVATURES.max() + 3.0, rtol=1e-3)
    stiffer = curvature_at(problem, ends.positions, 10.0, 2000.0, Schedule(0, 1))
    np.testing.assert_allclose(stiffer, 10.0 * CURVATURES.max() + 2000.0, rtol=1e-2)
    assert math.isfinite(float(stiffer.sum()))

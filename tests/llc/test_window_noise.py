"""The excess loss of Gaussian noise alone, against its exact value on quadratic losses."""

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

from slt_grok.llc.measurement import noise_note
from slt_grok.llc.problem import Problem
from slt_grok.llc.subspaces import Entries, Subspace
from slt_grok.llc.window_noise import window_noise
from slt_grok.trajectories import Trajectory

CURVATURES = np.array([0.0, 0.5, 5.0, 50.0])


@pytest.fixture(scope="module")
def problem() -> Problem:
    """Squared error of a linear map with the Hessian diag(CURVATURES); two networks, the second not at a minimum."""
    inputs = torch.diag(torch.from_numpy(np.sqrt(CURVATURES * len(CURVATURES) / 2)))
    targets = inputs @ torch.ones(4, 1, dtype=torch.float64)
    states = {step: {"weight": torch.full((1, 4), at, dtype=torch.float64)} for step, at in ((10, 1.0), (20, 1.5))}
    module = nn.Linear(4, 1, bias=False).double()
    return Problem.from_inputs(Trajectory.stack(module, states, loss=nn.functional.mse_loss), (inputs, targets))


def test_noise_gives_half_the_trace_of_the_hessian_over_gamma(problem: Problem) -> None:
    found = window_noise(problem, [7.0, 21.0], gamma=3.0, draws=4000, seed=1)
    exact = np.array([7.0, 21.0]) * CURVATURES.sum() / (2 * 3.0)  # anywhere, since the loss is quadratic
    assert found.llc.shape == found.llc_se.shape == (2, 2)
    assert (abs(found.llc - exact) < 4 * found.llc_se).all()  # two independent networks: one in 8,000 by chance
    # Var z h z / 2 = h^2 / (2 gamma^2) for each direction at a minimum
    error = 7.0 * np.sqrt((CURVATURES**2).sum() / (2 * 3.0**2) / 4000)
    np.testing.assert_allclose(found.llc_se[0, 0], error, rtol=0.1)


def test_only_the_weights_that_move_are_noisy(problem: Problem) -> None:
    part = Subspace(problem.trajectory.network.shapes, {"weight": Entries(torch.tensor([0, 1]))})
    data = (problem.inputs, problem.targets)
    found = window_noise(Problem.from_inputs(problem.trajectory, data, subspace=part), [7.0], 3.0, draws=4000)
    assert (abs(found.llc[:, 0] - 7.0 * 0.5 / 6) < 4 * found.llc_se[:, 0]).all()


def test_a_network_has_its_own_noise_and_no_window_has_none(problem: Problem) -> None:
    both = window_noise(problem, [7.0], gamma=3.0, seed=2)
    alone = window_noise(
        Problem.from_inputs(problem.trajectory.isel(step=[1]), (problem.inputs, problem.targets)), [7.0], 3.0, seed=2
    )
    np.testing.assert_allclose(both.llc[1:], alone.llc, rtol=1e-12)
    assert np.isnan(window_noise(problem, [7.0], gamma=0.0).llc).all()


def test_without_localization_there_is_no_noise_and_the_note_says_why(problem: Problem) -> None:
    noise = window_noise(problem, [7.0], gamma=0.0)
    assert np.isnan(noise.llc).all()
    found = xr.Dataset({"llc": ("step", [3.0, 4.0]), "window_noise": ("step", noise.llc[:, 0])}, attrs={"gamma": 0.0})
    assert "γ = 0" in noise_note(found)
    assert "not measured" not in noise_note(found)
    known = found.assign(window_noise=("step", [6.0, 10.0])).assign_attrs(gamma=3.0)
    assert "would give 2 to 2.5 times the LLC of the same checkpoint" in noise_note(known)
    melted = known.assign(llc_status=("step", ["effective", "melted"]))
    assert "would give 2 to 2 times" in noise_note(melted)

"""devinterp's sampler through our diagnostics: closed forms of SGLD on linear regression, and what it is asked for.

Statistical tests fail by chance with probability 0.3% each (3 standard errors); seeds are fixed.
"""

import random

import numpy as np
import pytest
import torch

from slt_grok.errors import SltGrokError
from slt_grok.llc import estimate
from slt_grok.llc.samplers.devinterp import Devinterp
from slt_grok.llc.subspaces import Entries, Planes, Subspace
from slt_grok.models import build
from slt_grok.tasks import ModularTask
from slt_grok.trajectories import Trajectory
from tests.llc.regression import Regression

pytest.importorskip("devinterp.slt.sampling")

DATA = Regression(n=40, d=8, seed=0)
LINE = DATA.trajectory()
N_BETA, GAMMA = 40.0, 20.0


def closed_form(hessian: torch.Tensor, epsilon: float) -> float:
    """1/2 sum n_beta h / (A (1 - epsilon A / 4)), A = n_beta h + gamma."""
    h = torch.linalg.eigvalsh(hessian)
    a = N_BETA * h + GAMMA
    return (0.5 * N_BETA * h / (a * (1 - epsilon * a / 4))).sum().item()


HESSIAN = DATA.x.T @ DATA.x / len(DATA.y)
EPSILON = 1.2 / (N_BETA * torch.linalg.eigvalsh(HESSIAN).max().item() + GAMMA)


@pytest.mark.slow
def test_sgld_has_its_finite_step_closed_form() -> None:
    result = estimate(
        LINE, (DATA.x, DATA.y), sampler=Devinterp(EPSILON), n_beta=N_BETA, gamma=GAMMA, chains=4, draws=400, burn_in=60
    )
    right, llc, error = closed_form(HESSIAN, EPSILON), result.llc.item(), result.llc_se.item()
    assert error < 0.05 * right
    assert abs(llc - right) < 3 * error
    assert abs(closed_form(HESSIAN, 0.0) - right) > 4 * error  # the step's bias can be seen
    assert (result.attrs["sampler"], result.attrs["method"]) == ("devinterp", "sgld")
    # in equilibrium of the finite step the virial is the mean of A times the variance, 1 / (1 - epsilon A / 4)
    a = N_BETA * torch.linalg.eigvalsh(HESSIAN) + GAMMA
    assert result.virial.item() == pytest.approx((1 / (1 - EPSILON * a / 4)).mean().item(), rel=0.1)


@pytest.mark.slow
def test_entries_that_do_not_move_stay() -> None:
    index = torch.tensor([1, 4])
    subspace = Subspace(LINE.network.shapes, {"weight": Entries(index)})
    result = estimate(
        LINE, (DATA.x, DATA.y), sampler=Devinterp(EPSILON), n_beta=N_BETA, gamma=GAMMA, chains=4, draws=400, burn_in=60,
        subspace=subspace,
    )  # fmt: skip
    right = closed_form(HESSIAN[index[:, None], index], EPSILON)
    assert right < 0.3 * closed_form(HESSIAN, EPSILON)
    assert result.llc_se.item() < 0.1 * right
    assert abs(result.llc.item() - right) < 3 * result.llc_se.item()
    assert result.attrs["dimension"] == 2


@pytest.fixture(scope="module")
def trajectory() -> Trajectory:
    module = build("mlp", 7, d_embed=4, d_mlp=6)
    states = {}
    for step in (0, 10):
        module.initialize(torch.Generator().manual_seed(step))
        states[step] = {k: v.detach().clone() for k, v in module.named_parameters()}
    return Trajectory.stack(module, states, ModularTask(7, train_fraction=0.6))


SHORT = {"sampler": Devinterp(1e-4), "n_beta": 10.0, "gamma": 20.0, "chains": 2, "draws": 8, "burn_in": 4}


@pytest.mark.parametrize("method", ["sgld", pytest.param("rmsprop_sgld", marks=pytest.mark.slow)])
def test_the_dataset_is_that_of_an_estimate(trajectory: Trajectory, method) -> None:
    result = estimate(trajectory, thinning=2, **{**SHORT, "sampler": Devinterp(1e-4, method)})
    assert dict(result.sizes) | {"step": 2, "chain": 2, "draw": 8, "burn_in": 4} == dict(result.sizes)
    # the loss is recorded before each update: on the full batch the first is the baseline
    first = result.burn_in_loss.isel(burn_in=0)
    np.testing.assert_allclose(first, np.broadcast_to(result.baseline_loss.values[:, None], first.shape), rtol=1e-5)
    mean = result.loss_trace.mean(("chain", "draw"))
    np.testing.assert_allclose(result.llc, 10.0 * (mean - result.baseline_loss), rtol=1e-9)
    assert np.isfinite(result.distance).all()
    assert np.isfinite(result.virial).all()


@pytest.mark.slow
def test_minibatches_are_the_chains_own_and_the_generators_stay(trajectory: Trajectory) -> None:
    before = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state())
    result = estimate(trajectory, batch_size=8, **SHORT)
    first = result.burn_in_loss.isel(burn_in=0, step=0).values
    assert first[0] != first[1]
    assert random.getstate() == before[0]
    assert np.random.get_state()[1].tolist() == before[1]
    assert torch.equal(torch.get_rng_state(), before[2])
    again = estimate(trajectory.isel(step=[1]), batch_size=8, **SHORT)
    np.testing.assert_array_equal(again.loss_trace[0], result.loss_trace[1])  # whichever networks stand beside


def test_a_chain_that_devinterp_gives_up_is_left_out_by_name() -> None:
    result = estimate(
        LINE, (DATA.x, DATA.y), sampler=Devinterp(1e4), n_beta=N_BETA, gamma=GAMMA, chains=2, draws=200, burn_in=10
    )
    assert all("loss not finite at update" in str(word) for word in result.chain_health.values)
    assert result.llc_status.item() == "diverged"
    assert np.isnan(result.llc.item())


def test_bad_input_gets_a_sentence(trajectory: Trajectory) -> None:
    planes = Subspace(trajectory.network.shapes, {"W_E": Planes(-2, torch.eye(7)[:2])})
    for wrong, match in (
        ({"batch_size": 1000}, r"batch_size \(1000\) must not exceed the 29 samples"),
        ({"subspace": planes}, "got planes of W_E"),
    ):
        with pytest.raises(SltGrokError, match=match):
            estimate(trajectory, **{**SHORT, **wrong})
    with pytest.raises(SltGrokError, match=r"sampler\.method: expected 'sgld' or 'rmsprop_sgld', got 'hmc'"):
        Devinterp(1e-4, "hmc")  # pyright: ignore[reportArgumentType]
    with pytest.raises(SltGrokError, match=r"sampler\.step_size: expected greater than 0, got -1.0"):
        Devinterp(-1.0)

"""A loss that does not change near w*: the LLC is exactly 0, and there is nothing to sample."""

import sys

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from slt_grok.llc import UnderdampedLangevin, calibration, estimate
from slt_grok.llc.constant import LEFT, has_left
from slt_grok.llc.problem import Problem
from slt_grok.trajectories import Trajectory

X = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
MSE = nn.functional.mse_loss


def dead(bias: float = -100.0) -> nn.Module:
    """Units that are never active at the inputs."""
    torch.manual_seed(0)
    first = nn.Linear(4, 8)
    nn.init.constant_(first.bias, bias)
    return nn.Sequential(first, nn.ReLU(), nn.Linear(8, 1, bias=False))


@pytest.mark.parametrize(
    ("target", "options"), [(0.0, {}), (0.7, {"n_beta": 50.0}), (0.7, {"batch_size": 10, "updates": 40})]
)
def test_dead_units_have_no_llc(target: float, options: dict) -> None:
    result = estimate(dead(), (X, torch.full((60, 1), target)), loss=MSE, **options)
    assert result.llc.item() == result.llc_se.item() == result.llc_low.item() == result.llc_high.item() == 0
    assert np.isnan(result.rhat)
    assert np.isnan(result.ess)
    assert (result.llc_status.item(), result.llc_status_reason.item()) == (
        "converged",
        "the loss does not change near w*",
    )
    assert result.baseline_loss.item() == pytest.approx(target**2)
    assert result.attrs["gradients"] <= 300


def test_a_hinge_loss_with_room_to_its_margins_has_no_llc() -> None:
    """f(x) = 10 x on inputs of both signs and size at least 1/2: every margin is above 5 where 1 is asked for."""
    module, x = nn.Linear(1, 1, bias=False), torch.linspace(0.5, 1, 20).repeat(2)[:, None] * torch.tensor([[1.0]])
    x[20:] *= -1
    nn.init.constant_(module.weight, 10.0)
    result = estimate(module, (x, x.sign()), loss=lambda o, t: (1 - o * t).clamp(min=0))
    assert result.llc.item() == 0
    assert result.llc_status.item() == "converged"


def test_chains_that_leave_where_the_loss_is_constant_are_no_evidence_for_their_value() -> None:
    """Next to live networks, or with settings of one's own, the window is wider than the constant region: 0 is right.

    The chains agree, and the value hardly changes with n_beta.
    """
    live = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1, bias=False))
    states = {step: module.state_dict() for step, module in enumerate((live, dead(-2.5)))}
    result = estimate(
        Trajectory.stack(live, states, loss=MSE), (X, torch.zeros(60, 1)), n_beta=[5000.0, 5000 / 16], gamma=10.0,
        sampler=UnderdampedLangevin(0.01, 1.0), chains=16, draws=800, burn_in=400,
    )  # fmt: skip
    one = result.isel(step=1)
    assert one.llc.item() > 0.1
    assert one.rhat.item() < 1.1
    assert one.llc_status.item() == "not converged"
    assert one.llc_status_reason.item() == LEFT
    assert result.llc_status_reason[0].item() != LEFT


def dead_with_a_bias() -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    """Dead units next to a bias that fits the mean of the targets: the LLC is that of the bias, 1/2."""
    module, y = nn.Sequential(*dead()[:2], nn.Linear(8, 1)), torch.randn(60, 1)
    nn.init.constant_(module[2].bias, y.mean().item())
    return module, (X, y)


def test_dead_units_next_to_a_live_bias_add_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["slt_grok.llc.estimate"], "UPDATES", 800)
    monkeypatch.setattr(calibration, "PILOT_NUMBERS", 1)
    result = estimate(*dead_with_a_bias(), loss=MSE, chains=8, max_seconds=None)
    assert result.llc.item() == pytest.approx(0.5, rel=0.15)
    assert result.llc_status_reason.item() != LEFT


def test_chains_that_wake_dead_units_have_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "PILOT_NUMBERS", 1)
    module, data = dead_with_a_bias()
    assert estimate(module, data, loss=MSE, updates=100, chains=4).llc_status_reason.item() == LEFT
    nearer = estimate(module, data, loss=MSE, updates=100, chains=4, gamma=1.0)
    assert nearer.llc_status_reason.item() != LEFT


@pytest.mark.parametrize("llc", [49.0, 51.0, 300.0])
@pytest.mark.parametrize("gamma", [1e-3, 0.0])
def test_chains_have_left_at_any_llc(llc: float, gamma: float) -> None:
    """About half of the 600 weights of dead units would give an LLC of 300."""
    first = nn.Linear(4, 100)
    nn.init.constant_(first.bias, -100.0)
    module = nn.Sequential(first, nn.ReLU(), nn.Linear(100, 1, bias=False))
    problem = Problem.from_inputs(module, (X, torch.zeros(60, 1)), MSE)
    assert has_left(problem, 60.0, gamma, llc)
    assert not has_left(problem, 60.0, 1.0, llc)


def test_a_loss_that_is_not_finite_in_the_window_shows_that_the_chains_have_left() -> None:
    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return torch.where(outputs > 0, torch.nan, MSE(outputs, targets, reduction="none"))

    problem = Problem.from_inputs(dead(), (X, torch.ones(60, 1)), loss, finite_minimizer=True)
    assert has_left(problem, 60.0, 1e-3, 60.0)


def test_weights_that_are_never_used_have_not_left() -> None:
    module = nn.Sequential(nn.Embedding(9, 2), nn.Linear(2, 1))
    tokens = torch.arange(60) % 3
    result = estimate(module, (tokens, module(tokens).detach()), loss=MSE, updates=100, chains=4)
    assert result.llc_status_reason.item() != LEFT


def test_units_that_are_only_nearly_dead_are_sampled() -> None:
    """Some inputs activate them within the window, so nothing is said about a loss that does not change."""
    result = estimate(dead(-1.5), (X, torch.zeros(60, 1)), loss=MSE, updates=100)
    assert "does not change" not in result.llc_status_reason.item()


class Power(nn.Module):
    """w^8 + 1: flat to seventh order, but not constant."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.w**8 + 1


def test_a_flat_minimum_is_not_taken_for_a_constant_loss() -> None:
    result = estimate(Power(), (torch.zeros(1, 1), torch.zeros(1)), loss=lambda outputs, _: outputs, updates=200)
    assert "does not change" not in result.llc_status_reason.item()
    assert result.llc.item() > 0.05


def test_chains_that_do_not_move_say_nothing() -> None:
    """A step lost to rounding leaves the losses equal; the loss itself does change near w*."""
    torch.manual_seed(0)
    module = nn.Linear(4, 1, dtype=torch.float64)
    result = estimate(
        module, (X.double(), module(X.double()).detach() + 1), loss=MSE, n_beta=10.0, gamma=1.0, draws=20,
        sampler=UnderdampedLangevin(1e-300, 1.0),
    )  # fmt: skip
    assert result.llc_status.item() != "converged"
    assert "does not change" not in result.llc_status_reason.item()


def test_a_cross_entropy_that_does_not_change_is_effective() -> None:
    """Where it is too small for float64, only the cross-entropy's rounding is constant."""
    module = nn.Linear(1, 2, bias=False, dtype=torch.float64)
    with torch.no_grad():
        module.weight.copy_(torch.tensor([[500.0], [-500.0]]))
    x = torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(10)[:, None]
    result = estimate(module, (x, (x[:, 0] < 0).long()), gamma=1.0, draws=50)
    assert result.llc.item() == 0
    assert result.llc_status.item() == "effective"

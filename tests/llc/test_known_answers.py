"""The samplers on quadratic losses, whose finite-step answers are closed forms (O1 of the project's notes).

A statistical test here fails by chance with probability 0.3% (3 standard errors); its seed is fixed.
"""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from slt_grok.llc import SGLD, UnderdampedLangevin, estimate

DATA = (torch.zeros(1, 1), torch.zeros(1))


class Quadratic(nn.Module):
    """1/2 sum h w^2 at its minimum."""

    def __init__(self, h: Tensor) -> None:
        super().__init__()
        self.h = h
        self.w = nn.Parameter(torch.zeros(len(h), dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return (0.5 * (self.h * self.w**2).sum())[None]


def value(outputs: Tensor, targets: Tensor) -> Tensor:
    return outputs


def closed_form(h: Tensor, n_beta: float, gamma: float, epsilon: float, steps: int | None = None) -> float:
    """1/2 sum n_beta h / (A (1 - eps A / 4)) [1 - (1 - eps A / 2)^(2t)], averaged over t = 1..steps where given."""
    a = n_beta * h + gamma
    stationary = 0.5 * n_beta * h / (a * (1 - epsilon * a / 4))
    if steps is None:
        return stationary.sum().item()
    t = torch.arange(1, steps + 1, dtype=torch.float64)[:, None]  # the trace holds the loss after each update
    return (stationary * (1 - (1 - epsilon * a / 2) ** (2 * t))).sum(1).mean().item()


def run(h: Tensor, sampler: SGLD | UnderdampedLangevin, n_beta: float | tuple[float, ...], gamma: float, **length: int):
    return estimate(
        Quadratic(h),
        DATA,
        loss=value,
        sampler=sampler,
        n_beta=n_beta,
        gamma=gamma,
        chains=length.pop("chains", 400),
        dtype=torch.float64,
        **length,
    )


H = torch.tensor([0.3, 1.0, 3.0, 8.0], dtype=torch.float64).repeat(50)

# (n_beta, gamma, epsilon A_max): gamma matters in all, the step in the last two
SETTINGS = [(30.0, 60.0, 0.5), (100.0, 200.0, 1.5), (10.0, 20.0, 2.5)]


@pytest.mark.parametrize(("n_beta", "gamma", "step"), SETTINGS)
def test_sgld_has_the_finite_step_closed_form(n_beta: float, gamma: float, step: float) -> None:
    epsilon = step / (n_beta * H.max().item() + gamma)
    slowest = epsilon * (n_beta * H.min().item() + gamma)
    result = run(H, SGLD(epsilon), n_beta, gamma, draws=300, burn_in=math.ceil(14 / slowest))
    right, llc, se = closed_form(H, n_beta, gamma, epsilon), result.llc.item(), result.llc_se.item()
    assert se < 0.005 * right
    assert abs(llc - right) < 3 * se
    # the virial sees what the step does: A times the variance, 1 in equilibrium
    a = n_beta * H + gamma
    virial = (1 / (1 - epsilon * a / 4)).mean().item()
    assert result.virial.item() == pytest.approx(virial, abs=0.01)
    wide = virial > 1.1
    assert wide == (step > 1)
    # of one temperature the limit in n_beta was not looked at: well sampled is all that can be said
    assert result.llc_status.item() == ("not converged" if wide else "effective")
    assert ("virial" in result.llc_status_reason.item()) == wide
    # each factor of the formula can be seen: leaving one out is off by more than 10 standard errors
    without = {
        "step": 0.5 * n_beta * H / a,
        "gamma": 0.5 / (1 - epsilon * a / 4),
        "half": n_beta * H / (a * (1 - epsilon * a / 4)),
        "curvature": 0.5 * n_beta / (a * (1 - epsilon * a / 4)),
        "quarter": 0.5 * n_beta * H / (a * (1 - epsilon * a / 8)),
    }
    for name, wrong in without.items():
        assert abs(wrong.sum().item() - right) > 10 * se, name


def test_sgld_from_the_minimum_fills_up_by_its_transient() -> None:
    n_beta, gamma, steps = 50.0, 20.0, 40
    epsilon = 0.2 / (n_beta * H.max().item() + gamma)
    result = run(H, SGLD(epsilon), n_beta, gamma, draws=steps, burn_in=0, chains=600)
    right = closed_form(H, n_beta, gamma, epsilon, steps)
    assert right < 0.7 * closed_form(H, n_beta, gamma, epsilon)  # far from stationary: the transient is what is tested
    means = result.llc_chain.values
    se = means.std(ddof=1) / len(means) ** 0.5
    assert se < 0.005 * right
    assert abs(means.mean() - right) < 3 * se


@pytest.mark.parametrize("step", [0.3, 1.0, 1.6])
def test_underdamped_has_no_step_size_bias_on_a_quadratic(step: float) -> None:
    n_beta, gamma = 30.0, 60.0
    a = n_beta * H + gamma
    h = step / a.max().item() ** 0.5
    result = run(H, UnderdampedLangevin(h, 2 * gamma**0.5), n_beta, gamma, draws=300, burn_in=math.ceil(12 / (h * 15)))
    right = (0.5 * n_beta * H / a).sum().item()
    assert result.llc_se.item() < 0.005 * right
    assert abs(result.llc.item() - right) < 3 * result.llc_se.item()
    assert result.virial.item() == pytest.approx(1, abs=0.01)
    assert result.llc_status.item() == "effective"


def test_the_true_value_is_half_the_rank() -> None:
    h = torch.cat([torch.full((30,), 2.0), torch.zeros(10)]).double()
    n_beta, gamma = 1e5, 30.0
    a = n_beta * 2 + gamma  # gamma hides 15 gamma / a of the value, under 0.003
    sampler = UnderdampedLangevin(1 / a**0.5, 20.0)
    result = run(h, sampler, (n_beta, n_beta / 16), gamma, draws=1000, thinning=4, burn_in=2000, chains=16)
    assert abs(result.llc.item() - 15) < 3 * result.llc_se.item()
    assert result.llc_se.item() < 0.1
    assert result.llc_status.item() == "converged"
    assert result.llc_low.item() < 15 < result.llc_high.item()


def test_float32_and_float64_agree_within_error() -> None:
    n_beta, gamma = 30.0, 60.0
    sampler = SGLD(0.5 / (n_beta * H.max().item() + gamma))
    settings = {"sampler": sampler, "n_beta": n_beta, "gamma": gamma, "chains": 50, "draws": 100, "burn_in": 200}
    double, single = (
        estimate(Quadratic(H).to(dtype), DATA, loss=value, dtype=dtype, **settings)
        for dtype in (torch.float64, torch.float32)
    )
    joint = np.hypot(double.llc_se.item(), single.llc_se.item())
    assert abs(double.llc.item() - single.llc.item()) < 3 * joint

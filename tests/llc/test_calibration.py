"""The rule for gamma, n_beta and step on losses whose curvature is known, and the estimates that follow from it.

The choices are compared with closed forms. Each of the four sampled estimates lies outside its 95% interval by chance
with probability 5%; seeds are fixed.
"""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from slt_grok.errors import SltGrokError
from slt_grok.llc import estimate
from slt_grok.llc.calibration import Calibration, calibrate, top_curvature
from slt_grok.llc.problem import Problem
from slt_grok.trajectories import Trajectory
from slt_grok.zoo.deep_linear import DeepLinearNetwork
from slt_grok.zoo.problem import half_squared_error
from tests.llc.gaussians import evaluator, orthogonal, posterior_around

DATA = (torch.zeros(1, 1), torch.zeros(1))
H = torch.tensor([0.02, 0.1, 0.5, 1.0, 1.5, 4.0]).double()
# twelve power iterations from a random start: from below, and to 3% where the second eigenvalue is well under the first
TOLERANCE = 0.03


class Bowl(nn.Module):
    """sum_i h_i (w_i - minimum)^power / power around its minimum."""

    def __init__(self, h: Tensor, minimum: float = 0.0, power: int = 2) -> None:
        super().__init__()
        self.h, self.minimum, self.power = h, minimum, power
        self.w = nn.Parameter(torch.full((len(h),), minimum, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return ((self.h * (self.w - self.minimum) ** self.power).sum() / self.power)[None]


def value(outputs: Tensor, targets: Tensor) -> Tensor:
    return outputs


def posed(module: nn.Module) -> Problem:
    return Problem.from_inputs(module, DATA, value)


def step_is_consistent(chosen: Calibration, updates: int) -> None:
    assert chosen.step_size == pytest.approx(0.7 / math.sqrt(chosen.curvature))
    assert chosen.updates == updates
    sampler = chosen.sampler
    assert sampler.step_size == chosen.step_size
    assert sampler.friction == pytest.approx(4 * math.sqrt(chosen.gamma))
    # the longest flight is half a period of the directions that the localization alone holds
    assert sampler.longest_flight is not None
    assert 0 <= sampler.longest_flight - math.pi / (math.sqrt(chosen.gamma) * chosen.step_size) < 1


@pytest.mark.parametrize(("minimum", "updates"), [(2.0, 2000), (2.0, 500), (0.1, 1000)])
def test_the_rule_on_a_quadratic_is_its_closed_form(minimum: float, updates: int) -> None:
    """gamma = d / (0.7 |w*|^2); A = n_beta h_max + gamma; A / gamma = (S/20)^2."""
    chosen = calibrate(posed(Bowl(H, minimum)), updates)
    gamma = 6 / (0.7 * 6 * minimum**2)
    assert chosen.gamma == pytest.approx(gamma, rel=1e-12)
    top = chosen.n_beta * 4 + gamma
    assert (1 - TOLERANCE) * top < chosen.curvature < (1 + 1e-4) * top
    assert chosen.curvature == pytest.approx((updates / 20) ** 2 * gamma, rel=TOLERANCE)
    step_is_consistent(chosen, updates)


def test_a_minimum_at_zero_has_no_scale_of_its_own() -> None:
    chosen = calibrate(posed(Bowl(H)), 500)
    assert chosen.gamma == 6
    assert "w* is 0" in chosen.reasons[0]
    step_is_consistent(chosen, 500)


def test_what_is_given_is_kept() -> None:
    chosen = calibrate(posed(Bowl(H, 1.0)), 500, gamma=3.0, n_beta=50.0)
    assert (chosen.gamma, chosen.n_beta) == (3.0, 50.0)
    assert chosen.curvature == pytest.approx(50 * 4 + 3, rel=TOLERANCE)
    assert [reason for reason in chosen.reasons if "given" in reason] == ["gamma: 3, given", "n_beta: 50, given"]
    step_is_consistent(chosen, 500)
    only_gamma = calibrate(posed(Bowl(H, 1.0)), 500, gamma=3.0)
    assert only_gamma.curvature == pytest.approx(25**2 * 3, rel=TOLERANCE)


def test_the_networks_of_a_trajectory_share_the_median_gamma_and_the_largest_curvature() -> None:
    states = {step: {"w": torch.full((6,), scale).double()} for step, scale in ((0, 1.0), (5, 2.0), (9, 4.0))}
    trajectory = Trajectory.stack(Bowl(H, 2.0), states, loss=value)
    chosen = calibrate(Problem.from_inputs(trajectory, DATA, None, None, None), 500)
    assert chosen.gamma == pytest.approx(1 / (0.7 * 4))
    assert chosen.curvature == pytest.approx(25**2 * chosen.gamma, rel=TOLERANCE)


def test_where_the_curvature_at_the_minimum_vanishes_it_is_measured_where_the_chains_are() -> None:
    """sum w^4 / 4 has no curvature at 0: one that looked only there would choose an n_beta without bound."""
    chosen = calibrate(posed(Bowl(torch.ones(6).double(), power=4)), 2000)
    # 3 n_beta w^2 at |w| <= (a few) n_beta^(-1/4): of the order of sqrt(n_beta)
    ratio = (chosen.curvature - chosen.gamma) / math.sqrt(chosen.n_beta)
    assert 1 < ratio < 30
    assert chosen.curvature == pytest.approx(100**2 * 6, rel=0.6)
    step_is_consistent(chosen, 2000)


def test_a_chain_on_its_way_out_does_not_set_the_curvature() -> None:
    """A wide deep linear network: the first n_beta is far too large, and chains are caught with a loss still finite."""
    problem = DeepLinearNetwork((30, 100, 100, 40), 10).problem(torch.Generator().manual_seed(7))
    posed = Problem.from_inputs(problem.module, problem.data, half_squared_error, None, torch.float32)
    for seed in (2, 3):  # with 3 one chain has just left when the first pilot ends
        chosen = calibrate(posed, 300, seed=seed)
        assert chosen.curvature == pytest.approx(15**2 * chosen.gamma, rel=0.3)
        assert chosen.n_beta > 1e3


def test_power_iteration_finds_the_largest_eigenvalue_from_below() -> None:
    rotation, eigenvalues = orthogonal(20, 1), torch.cat([torch.linspace(0, 3, 19), torch.tensor([6.0])]).double()
    hessian = rotation @ torch.diag(eigenvalues) @ rotation.T

    def loss(w: Tensor) -> Tensor:
        return 0.5 * torch.einsum("ci,ij,cj->c", w, hessian, w)

    class Again:
        """The same batch every time."""

        again = staticmethod(evaluator(loss))
        __call__ = staticmethod(evaluator(loss))

    posterior = posterior_around(torch.ones(1, 20).double(), 3, 10.0, 5.0)
    found = top_curvature(Again(), posterior.center, posterior)  # pyright: ignore[reportArgumentType]
    assert found.shape == (3,)
    assert (found <= 65 * (1 + 1e-6)).all()
    assert (found > 65 * (1 - TOLERANCE)).all()


def test_a_loss_without_a_neighborhood_is_refused() -> None:
    class Needle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.ones(3, dtype=torch.float64))

        def forward(self, x: Tensor) -> Tensor:
            return (-(self.w - 1).abs()).sqrt().sum()[None]  # 0 at w*, no number elsewhere

    with pytest.raises(SltGrokError, match="no stable step"):
        calibrate(posed(Needle()), 200)


def test_the_default_estimate_of_a_quadratic_is_half_its_rank() -> None:
    """Four decades of curvature and flat directions, no setting given; the interval misses by chance in 5%."""
    h = torch.cat([torch.logspace(-2, 2, 20), torch.zeros(10)]).double()
    result = estimate(Bowl(h, 0.5), DATA, loss=value, updates=1500, chains=16)
    assert result.llc_status.item() in ("converged", "approximate")
    assert result.llc_low.item() < 10 < result.llc_high.item()
    assert result.llc.item() == pytest.approx(10, rel=0.03)
    ratios = result.temperature.values / result.attrs["n_beta"]
    np.testing.assert_allclose(ratios, [1, 1 / 4, 1 / 16])
    # the localization hides a part of the flattest directions, and the Hessian gives it back
    hidden = 0.5 * (result.attrs["gamma"] / (result.attrs["n_beta"] * h[:20].numpy() + result.attrs["gamma"])).sum()
    assert result.llc_correction.item() == pytest.approx(hidden)
    assert hidden > 0.05
    for word in ("gamma: ", "n_beta: ", "step: "):
        assert word in result.attrs["calibration"]


def test_the_default_estimate_of_a_quartic_is_a_quarter_of_its_dimension() -> None:
    result = estimate(Bowl(torch.ones(8).double(), power=4), DATA, loss=value, updates=2000, chains=16)
    assert result.llc_low.item() < 2 < result.llc_high.item()
    assert result.llc.item() == pytest.approx(2, rel=0.06)
    assert result.llc_correction.item() == 0


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_a_plain_regression_needs_no_setting(reduction: str) -> None:
    """torch's own losses, whatever their derivatives can do; 5 weights, all regular: 5/2."""
    torch.manual_seed(0)
    x = torch.randn(50, 5)
    y = x @ torch.randn(5, 1) + 0.1 * torch.randn(50, 1)
    module = nn.Linear(5, 1, bias=False).double()
    with torch.no_grad():
        module.weight.copy_(torch.linalg.lstsq(x.double(), y.double()).solution.T)
    result = estimate(module, (x, y), loss=nn.MSELoss(reduction=reduction), updates=1000, chains=16)
    assert result.llc_low.item() < 2.5 < result.llc_high.item()
    assert result.llc.item() == pytest.approx(2.5, rel=0.04)

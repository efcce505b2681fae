"""Half the Hessian's rank as a lower bound, and when what the localization hides may be added.

Quadratures are compared with the formed Hessian within 4 of their standard errors; seeds are fixed.
"""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from slt_grok.llc import estimate, regular
from slt_grok.llc.diagnostics import TRUSTED, Average
from slt_grok.llc.problem import Problem
from slt_grok.llc.regular import LEFT_THE_POINT, Curvatures, curvatures, is_complete, is_regular
from slt_grok.operators.jacobian import jacobian
from slt_grok.zoo.cases import parse

DATA = (torch.zeros(1, 1), torch.zeros(1))
N_BETA, GAMMA = 1e4, 1.0
N_BETAS = [N_BETA, N_BETA / 16]


class Function(nn.Module):
    """A loss as a function of its weights, which start at 0."""

    def __init__(self, loss: Callable[[Tensor], Tensor], d: int) -> None:
        super().__init__()
        self.loss = loss
        self.w = nn.Parameter(torch.zeros(d, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return self.loss(self.w)[None]


def at(loss: Callable[[Tensor], Tensor], d: int) -> Curvatures:
    return curvatures(Problem.from_inputs(Function(loss, d), DATA, lambda outputs, _: outputs), 0)


def found(llc: float, llc_se: float = 0.01) -> Average:
    return Average(llc, llc_se, 1.0, 1.0, 1e3, 0.0, 0.0, 1.0, 0.0, 0.0)


H = torch.tensor([1.0] * 10 + [1e-7] * 10, dtype=torch.float64)


def separate(w: Tensor) -> Tensor:
    """Ten steep, ten shallow directions and one (ab)^2: lambda = 10 + 1/2."""
    return 0.5 * (H * w[:20] ** 2).sum() + (w[20] * w[21]) ** 2


def tilted(w: Tensor) -> Tensor:
    """h a^2 / 2 + a^2 b^2: steep in a away from w* only; with u = a sqrt(h + 2 b^2) it is u^2 / 2, lambda = 1/2."""
    return 0.5 * 1e-7 * w[0] ** 2 + (w[0] * w[1]) ** 2


def both(hessian: Curvatures, singular: float) -> list[Average]:
    return [found(hessian.visible(b, GAMMA)[0] + singular) for b in N_BETAS]


def test_hidden_directions_add_to_a_singular_part_that_does_not_see_them() -> None:
    hessian = at(separate, 22)
    averages = both(hessian, 0.42)  # what a chain sees of (ab)^2
    assert averages[0].llc == pytest.approx(5 + 0.42, abs=0.02)
    assert hessian.lowest == (10, 0)
    assert is_complete(hessian, averages, N_BETAS, GAMMA)
    assert not is_regular(hessian, averages, N_BETAS, GAMMA)
    assert averages[0].llc + hessian.hidden(N_BETA, GAMMA)[0] == pytest.approx(10.42, abs=1e-6)


def test_a_direction_that_is_steep_elsewhere_is_not_counted_twice() -> None:
    hessian = at(tilted, 2)
    assert hessian.lowest == (0.5, 0)
    assert hessian.hidden(N_BETA, GAMMA)[0] > 0.49
    averages = both(hessian, 0.42)
    assert not is_complete(hessian, averages, N_BETAS, GAMMA)
    assert "half the rank of the Hessian" in str(hessian.shortfall(averages[0], N_BETA, GAMMA))
    # the value may also be above the bound; what is hidden then remains unknown
    assert "interact with others" in str(hessian.shortfall(found(0.6), N_BETA, GAMMA))


def test_a_regular_point_gets_the_exact_add_on() -> None:
    hessian = at(lambda w: 0.5 * (H * w**2).sum(), 20)
    averages = both(hessian, 0.0)
    assert is_regular(hessian, averages, N_BETAS, GAMMA)
    assert hessian.hidden(N_BETA, GAMMA)[0] == pytest.approx((0.5 * GAMMA / (N_BETA * H + GAMMA)).sum().item())
    assert averages[0].llc + hessian.hidden(N_BETA, GAMMA)[0] == pytest.approx(10)


def test_chains_below_what_the_hessian_shows_have_left() -> None:
    hessian = at(separate, 22)
    assert hessian.shortfall(found(4.5), N_BETA, GAMMA) == LEFT_THE_POINT
    assert not is_complete(hessian, [found(4.5), found(4.5)], N_BETAS, GAMMA)


def test_a_singular_point_without_hidden_directions_lacks_nothing() -> None:
    hessian = at(lambda w: 0.5 * (w[:4] ** 2).sum() + w[4] ** 4, 5)
    assert hessian.shortfall(found(2.24), N_BETA, GAMMA) is None
    # a correction would be taken for a regular point
    assert not is_complete(hessian, [found(2.24), found(2.2)], N_BETAS, GAMMA)


@pytest.mark.parametrize("smallest", [1e-15, 1e-14])
def test_eigenvalues_down_to_rounding_have_no_rank(smallest: float) -> None:
    h = torch.logspace(np.log10(smallest), 0, 16, dtype=torch.float64)
    turn = torch.linalg.qr(torch.randn(16, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64))[0]
    assert not at(lambda w: 0.5 * (h * (turn @ w) ** 2).sum(), 16).resolved


def zoo(text: str) -> Problem:
    problem = parse(text).problem(torch.Generator().manual_seed(0))
    return Problem.from_inputs(problem.module, problem.data, problem.loss)


@pytest.mark.parametrize(
    "text", ["dln 12,10,14 rank 2 generic", "dln 6,8,8,8,6 rank 2 generic", "quadratic 200 rank 120 decades 4"]
)
def test_the_quadrature_agrees_with_the_formed_hessian(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = zoo(text)
    exact = curvatures(problem, 0)
    monkeypatch.setattr(regular, "LARGEST", 10)
    sampled = curvatures(problem, 0)
    assert exact.resolved
    assert sampled.resolved
    assert sampled.eigenvalues.shape[0] == regular.REPEATS
    largest = exact.eigenvalues.max()
    for ratio in (10.0, 1e3, 1e5):
        for name in ("visible", "hidden"):
            (right, none), (value, error) = (getattr(c, name)(ratio / largest, 1.0) for c in (exact, sampled))
            assert none == 0
            assert abs(value - right) < 4 * error + 0.002 * exact.lowest[0]
    assert abs(sampled.lowest[0] - exact.lowest[0]) < 4 * sampled.lowest[1] + 0.002 * exact.lowest[0]
    # the variance of z^T P z on the sphere is 2 r (1 - r / d); the spread of 16 is known to a fifth
    rank, d = 2 * exact.lowest[0], problem.d
    assert 0.4 < sampled.lowest[1] / (rank * (1 - rank / d) / (2 * regular.REPEATS)) ** 0.5 < 1.8


def test_too_few_steps_leave_the_rank_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regular, "LARGEST", 10)
    monkeypatch.setattr(regular, "STEPS", 50)
    monkeypatch.setattr(regular, "BETWEEN", 10)
    assert not curvatures(zoo("quadratic 300 rank 300 decades 7"), 0).resolved


def test_no_curvature_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    flat = at(lambda w: (w**4).sum(), 4)
    monkeypatch.setattr(regular, "LARGEST", 2)
    for hessian in (flat, at(lambda w: (w**4).sum(), 4)):
        assert hessian.lowest[0] == 0
        assert hessian.resolved
        assert hessian.shortfall(found(1.0), N_BETA, GAMMA) is None


def linear(scales: list[float], dtype: torch.dtype) -> Curvatures:
    """A linear regression that fits exactly, on inputs in units of other sizes."""
    x = torch.randn(200, len(scales), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = (x * torch.tensor(scales)).to(dtype)
    torch.manual_seed(0)
    module = nn.Linear(len(scales), 1, dtype=dtype)
    return curvatures(Problem.from_inputs(module, (x, module(x).detach()), nn.MSELoss()), 0)


@pytest.mark.parametrize("scales", [[1, 1e-4], [40, 5e4], [1e-3, 1, 1e2]])
def test_features_of_small_scale_count(scales: list[float]) -> None:
    hessian = linear(scales, torch.float32)
    assert hessian.resolved
    assert hessian.lowest[0] == (len(scales) + 1) / 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_features_whose_scale_is_lost_in_rounding_leave_the_rank_open(dtype: torch.dtype) -> None:
    assert not linear([1, 1e-3, 1e-5, 1e-7], dtype).resolved


def test_weights_without_effect_do_not_leave_the_rank_open() -> None:
    """A bias of attention's keys cancels in the softmax, up to rounding."""
    torch.manual_seed(0)
    module = nn.TransformerEncoderLayer(4, 2, 3, batch_first=True).double().eval()
    x = torch.randn(100, 2, 4, dtype=torch.float64)
    hessian = curvatures(Problem.from_inputs(module, (x, module(x).detach()), nn.MSELoss()), 0)
    curvature = torch.linalg.svdvals(jacobian(module, x)).square()
    assert hessian.resolved
    assert hessian.lowest[0] == (curvature > 1e-13 * len(curvature) * curvature[0]).sum().item() / 2


def test_a_value_whose_rank_is_open_is_not_trusted() -> None:
    x = torch.randn(200, 4, generator=torch.Generator().manual_seed(0)) * torch.tensor([1, 1e-3, 1e-5, 1e-7])
    torch.manual_seed(0)
    module = nn.Linear(4, 1)
    result = estimate(module, data=(x, module(x).detach()), loss=nn.MSELoss(), max_seconds=2)
    assert result.llc_status.item() not in TRUSTED


class Product(nn.Module):
    """x c + bend x^2 c^2 with c = a b: flat along a change of scale between a and b, which rounded weights curve."""

    def __init__(self, bend: float) -> None:
        super().__init__()
        self.bend = bend
        self.a, self.b = nn.Parameter(torch.tensor(1 / 3)), nn.Parameter(torch.tensor(0.7))

    def forward(self, x: Tensor) -> Tensor:
        line = x * self.a * self.b
        return line + self.bend * line**2


def fitted(bend: float) -> Problem:
    """At the minimum with noise in the data, up to rounding."""
    x, noise = torch.randn(2, 100, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    line, slope = x * 0.7 / 3, x + 2 * bend * x**2 * 0.7 / 3
    y = line + bend * line**2 + noise - slope * (slope * noise).sum() / slope.square().sum()
    return Problem.from_inputs(Product(bend), (x.float(), y.float()), nn.MSELoss())


def test_what_rounded_weights_curve_does_not_count() -> None:
    hessian = curvatures(fitted(0.0), 0)
    assert hessian.resolved
    assert hessian.lowest[0] == 0.5


def test_rounding_where_residuals_curve_the_loss_leaves_the_rank_open(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not curvatures(fitted(0.1), 0).resolved
    monkeypatch.setattr(regular, "LARGEST", 1)
    monkeypatch.setattr(regular, "BETWEEN", 1)
    assert curvatures(fitted(0.0), 0).resolved
    assert not curvatures(fitted(0.1), 0).resolved

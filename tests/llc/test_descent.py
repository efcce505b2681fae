"""The fall of the potential from w*, against the closed form on quadratics, and where there is nothing to gain."""

import pytest
import torch
from torch import Tensor, nn

from slt_grok.llc.descent import descent
from slt_grok.llc.problem import Problem

DATA = (torch.zeros(1, 1), torch.zeros(1))


class Bowl(nn.Module):
    """sum h (w - minimum)^2 / 2 |.|^power, at a given w*."""

    def __init__(self, h: Tensor, center: Tensor, minimum: Tensor, power: float = 2.0) -> None:
        super().__init__()
        self.h, self.minimum, self.power = h, minimum, power
        self.w = nn.Parameter(center.clone())

    def forward(self, x: Tensor) -> Tensor:
        return (self.h * (self.w - self.minimum).abs() ** self.power / self.power).sum()[None]


def gain(module: nn.Module, n_beta: float, gamma: float) -> float:
    return descent(Problem.from_inputs(module, DATA, lambda outputs, _: outputs), 0, n_beta, gamma)


H = torch.logspace(-2, 1, 10, dtype=torch.float64)
OFFSET = torch.linspace(0.5, 1.5, 10, dtype=torch.float64)


@pytest.mark.parametrize(("n_beta", "gamma"), [(10.0, 1.0), (1.0, 5.0), (30.0, 30.0)])
@pytest.mark.parametrize("unit", [1.0, 1e3, 1e-3])
def test_the_fall_of_a_quadratic(n_beta: float, gamma: float, unit: float) -> None:
    """D = n_beta^2 g^T (n_beta H + gamma)^-1 g / 2 with g = H (w* - minimum), in any unit of the weights."""
    found = gain(Bowl(H / unit**2, unit * OFFSET, torch.zeros(10).double()), n_beta, gamma / unit**2)
    g = H * OFFSET
    right = (n_beta**2 * g**2 / (n_beta * H + gamma)).sum().item() / 2
    assert 0.98 * right < found < right * (1 + 1e-9)
    # with the gradient alone it would be far off: the curvature counts
    assert found < 0.8 * (n_beta**2 * g.square().sum() / gamma).item() / 2


def test_the_unit_of_the_loss_does_not_matter() -> None:
    module = Bowl(H, OFFSET, torch.zeros(10).double())
    scaled = Bowl(1e4 * H, OFFSET, torch.zeros(10).double())
    assert gain(scaled, 1e-3, 2.0) == pytest.approx(gain(module, 10.0, 2.0), rel=1e-6)


@pytest.mark.parametrize("power", [1.0, 2.0, 4.0])
def test_at_a_minimum_there_is_nothing_to_gain(power: float) -> None:
    assert gain(Bowl(H, OFFSET, OFFSET, power), 1e6, 1.0) == 0


def test_at_a_saddle_the_fall_is_found_beyond_the_quadratic() -> None:
    """U(w) = -w^2 / 2 + w^4 / 4 with n_beta 1 and a weak window: from 0.01 down to -1/4 at 1."""

    class Saddle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.tensor([0.01], dtype=torch.float64))

        def forward(self, x: Tensor) -> Tensor:
            return self.w**4 / 4 - self.w**2 / 2

    assert gain(Saddle(), 1.0, 1e-6) == pytest.approx(0.25, abs=1e-3)

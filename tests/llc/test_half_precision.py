"""Weights in bfloat16 or float16: the LLC is that of the weights before they were rounded."""

import pytest
import torch
from torch import Tensor, nn

from slt_grok.errors import SltGrokError
from slt_grok.llc import UnderdampedLangevin, estimate
from slt_grok.llc.problem import Problem
from slt_grok.llc.rounding import before_rounding
from slt_grok.trajectories import Trajectory

MSE = nn.functional.mse_loss


def regression(samples: int, inputs: int) -> tuple[nn.Linear, tuple[Tensor, Tensor]]:
    """The least-squares solution, before rounding."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(samples, inputs, generator=generator)
    y = x @ torch.randn(inputs, 1, generator=generator) + 0.1 * torch.randn(samples, 1, generator=generator)
    module = nn.Linear(inputs, 1)
    solution = torch.linalg.lstsq(torch.cat([x, torch.ones(samples, 1)], 1).double(), y.double()).solution
    with torch.no_grad():
        module.weight.copy_(solution[:-1].T)
        module.bias.copy_(solution[-1])
    return module, (x, y)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_point_before_rounding_is_recovered(dtype: torch.dtype) -> None:
    module, (x, y) = regression(100, 5)
    least = MSE(module.double()(x.double()), y.double()).item()
    stored = Trajectory.of(module.to(dtype))
    rounded = MSE(module.double()(x.double()), y.double()).item()
    assert rounded > least + 1e-8
    network = Trajectory.of(nn.Linear(5, 1), loss=MSE).network
    found = before_rounding(Trajectory(network, stored.parameters), x.double(), y)
    parameters = {name: tensor.double() for name, tensor in found.parameters.items()}
    assert network.mean_loss(parameters, x.double(), y).item() == pytest.approx(least, abs=1e-12)
    for name, tensor in found.parameters.items():
        assert torch.equal(tensor.to(dtype), stored.parameters[name])  # it is what was stored


def test_weights_beyond_rounding_stay_within_it() -> None:
    """With targets shifted by one, the minimum is far away: every weight is still what was stored."""
    module, (x, y) = regression(100, 5)
    stored = Trajectory.of(module.to(torch.bfloat16), loss=MSE)
    problem = Problem.from_inputs(stored, (x, y + 1))
    for name, tensor in problem.trajectory.parameters.items():
        assert torch.equal(tensor.to(torch.bfloat16), stored.parameters[name])
    assert "bfloat16 were converted to float32" in problem.notes[0]


@pytest.mark.parametrize("sign", [1, -1])
def test_numbers_of_every_size_keep_to_their_box(sign: int) -> None:
    """Powers of two, whose neighbors are nearer toward 0, and 0 itself."""
    module = nn.Linear(6, 1, bias=False)
    with torch.no_grad():
        module.weight.copy_(torch.tensor([[1.0, -2.0, 0.0, 1.5, 1e-30, 3e20]]))
    stored = Trajectory.of(module.to(torch.bfloat16), loss=lambda outputs, _: sign * outputs)
    found = before_rounding(stored, torch.eye(6, dtype=torch.float64), torch.zeros(6, 1))
    assert torch.equal(found.parameters["weight"].to(torch.bfloat16), stored.parameters["weight"])


def test_a_rounded_regression_has_half_the_number_of_weights() -> None:
    """Rounding adds 2 to n_beta L here, which would be missing from the value."""
    module, data = regression(1000, 20)
    result = estimate(
        module.to(torch.bfloat16), data, loss=MSE, sampler=UnderdampedLangevin(0.003, 5.0, 100), n_beta=2e4, gamma=1.0,
        chains=32, draws=300, burn_in=100, thinning=2,
    )  # fmt: skip
    assert result.llc.item() == pytest.approx(10.5, rel=0.05)
    assert result.attrs["dtype"] == "float32"
    assert "w* is where L-BFGS ends" in result.attrs["notes"]
    assert result.llc_status.item() != "not a minimum", result.llc_status_reason.item()


def test_a_cross_entropy_keeps_the_stored_weights() -> None:
    module, x = nn.Linear(3, 3).to(torch.bfloat16), torch.randn(60, 3)
    problem = Problem.from_inputs(module, (x, torch.arange(60) % 3))
    assert torch.equal(problem.trajectory.stacked(torch.float32)["weight"][0], module.weight.float())
    assert problem.dtype == torch.float32
    assert problem.notes == ("weights in bfloat16 were converted to float32",)


def test_chains_in_half_precision_are_refused() -> None:
    module, data = regression(50, 2)
    with pytest.raises(SltGrokError, match=r"dtype: expected torch.float32 or torch.float64, got torch.bfloat16"):
        estimate(module, data, loss=MSE, dtype=torch.bfloat16)

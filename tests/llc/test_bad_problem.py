"""Networks, data and losses of a user: what an estimate supports, and a sentence for what it refuses."""

import sys

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from slt_grok.errors import SltGrokError
from slt_grok.llc import SGLD, estimate
from slt_grok.llc.samplers.devinterp import Devinterp
from slt_grok.trajectories import Trajectory

X, Y = torch.arange(100.0).reshape(50, 2) / 100, torch.linspace(0, 1, 50)[:, None]
LABELS = torch.arange(50) % 3
SHORT = {"sampler": SGLD(1e-4), "n_beta": 10.0, "gamma": 20.0, "chains": 2, "draws": 4, "burn_in": 0}
MSE = nn.functional.mse_loss


def summed(outputs: Tensor, targets: Tensor) -> Tensor:
    return ((outputs - targets) ** 2).sum()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"loss": summed}, "loss: expected the losses of the samples or their mean"),
        ({"loss": nn.MSELoss(reduction="sum"), "batch_size": 10}, "loss: expected the losses of the samples"),
        ({"loss": lambda outputs, targets: MSE(outputs, targets).item()}, "loss: expected a tensor"),
        ({"loss": lambda outputs, targets: MSE(outputs.detach(), targets)}, "loss: expected a tensor"),
        ({"loss": "mse"}, "loss: expected a function .*got 'mse'"),
        ({"loss": nn.MSELoss}, r"loss: expected a function or module, got a class; pass MSELoss\(\)"),
        ({"data": (X, Y[:, 0])}, r"loss: would broadcast .*\(50, 1\).*\(50,\)"),
        ({"data": (X, Y.expand(50, 3))}, r"loss: would broadcast .*\(50, 1\).*\(50, 3\)"),
        ({"data": (X.to_sparse(), Y)}, "data: expected a dense tensor of inputs, got a sparse one"),
        ({"loss": None}, "loss: cross-entropy expects integer targets"),
        ({"loss": lambda o, t: ((o - t) ** 2).mean(), "data": (X, Y[:, 0])}, r"combines every output.*\(50,\)"),
        ({"loss": lambda o, t: (o - t).mean() ** 2}, "ignores which output belongs to which target"),
        ({"loss": None, "data": (X, LABELS), "source": nn.Linear(2, 2)}, "loss: fails on"),
        ({"data": (X.long(), Y)}, "data: the network fails on inputs .*int64"),
        ({"data": (Y, Y)}, r"data: the network fails on inputs of shape \(50, 1\)"),
        ({"data": (X, ["a"] * 50)}, "data: expected numbers for targets"),
        ({"data": X}, "data: expected .* two tensors"),
        ({"source": nn.Identity()}, "at least one weight"),
        ({"source": nn.Linear(2, 1, dtype=torch.complex64)}, "expected .*real"),
        ({"source": lambda x: x}, "source: expected a torch.nn.Module"),
        ({"n_beta": "x"}, "n_beta"),
        ({"sampler": "sgld"}, "sampler: expected"),
        ({"dtype": torch.int64}, "dtype: .*int64"),
        ({"finite_minimizer": "yes"}, "finite_minimizer: expected True, False or None, got 'yes'"),
        ({"on_progress": 3}, "on_progress: expected a function"),
    ],
)
def test_a_wrong_argument_is_named(change: dict, named: str) -> None:
    arguments = {"source": nn.Linear(2, 1), "data": (X, Y), "loss": MSE, **SHORT, **change}
    with pytest.raises(SltGrokError, match=named):
        estimate(**arguments)


def test_a_weighted_mean_is_a_loss() -> None:
    loss = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64), ignore_index=1)
    assert np.isfinite(estimate(nn.Linear(2, 3), (X, LABELS), loss=loss, **SHORT).llc)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_buffers_are_evaluated_at_the_precision_of_the_parameters(dtype: torch.dtype) -> None:
    module = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
    module(X)  # sets the running averages
    result = estimate(module, (X, Y), loss=MSE, dtype=dtype, **SHORT)
    assert result.baseline_loss.item() == pytest.approx(MSE(module.eval()(X), Y).item(), rel=1e-5)


def test_weights_without_gradients_do_not_move() -> None:
    module = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    module[0].requires_grad_(False)
    for source in (module, Trajectory.stack(module, {0: module.state_dict()})):
        result = estimate(source, (X, Y), loss=MSE, **SHORT)
        assert result.dimension == 4
        assert result.notes == "held fixed (requires_grad=False): 0.weight, 0.bias"
    module.requires_grad_(False)  # for inference
    result = estimate(module, (X, Y), loss=MSE, **SHORT)
    assert result.dimension == 13
    assert "notes" not in result.attrs


def test_gradients_are_computed_inside_no_grad_and_not_in_inference_mode() -> None:
    with torch.no_grad():
        assert np.isfinite(estimate(nn.Linear(2, 1), (X, Y), loss=MSE, **SHORT).llc)
    with torch.inference_mode(), pytest.raises(SltGrokError, match=r"outside torch\.inference_mode"):
        estimate(nn.Linear(2, 1), (X, Y), loss=MSE, **SHORT)


class Late(nn.Linear):
    """A linear map that fails in a later call, as when memory or a file runs out."""

    calls = 0

    def forward(self, input: Tensor) -> Tensor:
        Late.calls += 1
        if Late.calls > 150:
            raise RuntimeError("boom\nsecond line")
        return super().forward(input)


def test_an_error_in_a_later_call_is_one_sentence() -> None:
    with pytest.raises(SltGrokError, match=r"^module: Late fails: boom$"):
        estimate(Late(2, 1), (X, Y), loss=MSE, **{**SHORT, "draws": 400})


def test_weights_without_entries_are_ignored() -> None:
    module = nn.Linear(2, 1)
    module.register_parameter("empty", nn.Parameter(torch.zeros(3, 0)))
    assert estimate(module, (X, Y), loss=MSE, **SHORT).dimension == 3


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_weights_of_mixed_precision(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    for part in (module[1], module[0]):
        trajectory = Trajectory.of(module, loss=MSE)
        expected = estimate(trajectory, (X, Y), **SHORT).baseline_loss.item()
        part.to(dtype)
        result = estimate(module, (X, Y), loss=MSE, **SHORT)
        assert result.baseline_loss.item() == pytest.approx(expected, rel=0.05)
        Trajectory.of(module).network.outputs(module.state_dict(keep_vars=True), X)


def test_a_devinterp_that_cannot_be_imported_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "devinterp.slt", None)
    with pytest.raises(SltGrokError, match="sampler devinterp: cannot import devinterp"):
        estimate(nn.Linear(2, 1), (X, Y), loss=MSE, **{**SHORT, "sampler": Devinterp(1e-4)})

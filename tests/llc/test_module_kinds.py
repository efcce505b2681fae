"""Ten kinds of modules: the LLC of each is that of the same function, known from the rank of its Jacobian.

The networks fit their data exactly. There the learning coefficient is half the rank of the Jacobian of the outputs by
the weights if that rank is constant nearby; the Jacobian is computed from the module itself, row by row.
"""

import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from slt_grok.errors import SltGrokError
from slt_grok.llc import SGLD, UnderdampedLangevin, calibration, estimate, restrictions
from slt_grok.llc.problem import Problem
from slt_grok.trajectories import Trajectory

MSE = nn.functional.mse_loss
SHORT = {"sampler": SGLD(1e-4), "n_beta": 10.0, "gamma": 20.0, "chains": 2, "draws": 4, "burn_in": 0}
N = 100


class Recurrent(nn.Module):
    """The last state of a recurrent layer, read out by a linear map."""

    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.recurrent, self.out = kind(2, 2, batch_first=True), nn.Linear(2, 1)
        with torch.no_grad():
            for parameter in self.recurrent.parameters():
                parameter *= 3  # far from linear, where some weights would hardly matter

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.recurrent(x)[0][:, -1])


class Encoder(nn.Module):
    """One layer of torch's transformer encoder, read out at the last position."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(4, 2, 3, dropout=0.1, batch_first=True)
        self.out = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.layer(x)[:, -1])


class Tied(nn.Module):
    """Logits E E^T of tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(5, 2), nn.Linear(2, 5, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.embed(tokens))


class Centered(nn.Module):
    """A linear map of inputs without their mean, which is a buffer, that keeps its activations."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 1)
        self.register_buffer("mean", torch.full((4,), 0.5))

    def forward(self, x: Tensor) -> Tensor:
        self.seen = self.linear(x - self.mean)
        return self.seen


def convolutional() -> nn.Module:
    module = nn.Sequential(nn.Conv2d(1, 2, 2), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 1))
    for _ in range(3):
        module(2 * torch.randn(50, 1, 3, 3) + 1)
    return module


def half_frozen() -> nn.Module:
    module = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 1))
    module[0].requires_grad_(False)
    return module


KINDS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "mlp": (lambda: nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 1)), (3,)),
    "batch norm": (convolutional, (1, 3, 3)),
    "weight norm": (lambda: nn.utils.parametrizations.weight_norm(nn.Linear(4, 1)), (4,)),
    "frozen": (half_frozen, (4,)),
    "buffer": (Centered, (4,)),
    "tied": (Tied, ()),
    "gru": (lambda: Recurrent(nn.GRU), (3, 2)),
    "lstm": (lambda: Recurrent(nn.LSTM), (3, 2)),
    "encoder": (Encoder, (2, 4)),
}
SLOW = ("gru", "lstm", "encoder")


def built(kind: str) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    build, shape = KINDS[kind]
    module = build().double().eval()
    return module, torch.randn(N, *shape, dtype=torch.float64) if shape else torch.arange(5).repeat(N // 5)


def jacobian_of(module: nn.Module, inputs: Tensor) -> Tensor:
    """Compute d outputs / d weights from the module itself, one output at a time."""
    weights = [parameter for parameter in module.parameters() if parameter.requires_grad]
    rows = []
    for output in module(inputs).flatten():
        slopes = torch.autograd.grad(output, weights, retain_graph=True, materialize_grads=True)
        rows.append(torch.cat([slope.flatten() for slope in slopes]))
    return torch.stack(rows)


def rank(jacobian: Tensor) -> int:
    values = torch.linalg.svdvals(jacobian)
    return int((values > 1e-7 * values[0]).sum())


@pytest.mark.parametrize("kind", [pytest.param(k, marks=pytest.mark.slow) if k in SLOW else k for k in KINDS])
def test_the_llc_is_half_the_rank_of_the_jacobian(kind: str) -> None:
    """So close to w* that the loss is quadratic: most is sampled, the Hessian adds what the localization hides."""
    module, inputs = built(kind)
    jacobian = jacobian_of(module, inputs)
    truth, largest = rank(jacobian) / 2, 2 * torch.linalg.matrix_norm(jacobian, 2).item() ** 2 / len(jacobian)
    with torch.no_grad():
        targets = module(inputs)
    n_beta, gamma = 1e8, 1e8 * largest / 100
    sampler = UnderdampedLangevin(0.5 / (n_beta * largest + gamma) ** 0.5, 2 * gamma**0.5)
    result = estimate(
        module, (inputs, targets), loss=MSE, sampler=sampler, n_beta=(n_beta, n_beta / 16), gamma=gamma, chains=4,
        draws=500 if kind in SLOW else 1500, burn_in=100, seed=1,
    )  # fmt: skip
    assert result.llc_low <= truth <= result.llc_high, (truth, result.llc.item(), result.llc_status_reason.item())
    assert result.llc.item() == pytest.approx(truth, rel=0.06)
    assert result.llc_correction < truth - 0.5  # the chains see the rest
    assert result.baseline_loss.item() == pytest.approx(0, abs=1e-20)


@pytest.mark.parametrize("kind", ["weight norm", "buffer"])
def test_a_linear_map_in_another_form_has_the_llc_of_a_linear_map(kind: str) -> None:
    module, inputs = built(kind)
    assert rank(jacobian_of(module, inputs)) == 5


def test_frozen_weights_stay_unless_a_subspace_moves_them() -> None:
    module, inputs = built("frozen")
    data = inputs, module(inputs).detach()
    assert estimate(module, data, loss=MSE, **SHORT).attrs["dimension"] == 4
    everything = restrictions.parameters(module, "*")
    assert estimate(module, data, loss=MSE, subspace=everything, **SHORT).attrs["dimension"] == 19


@pytest.mark.parametrize("kind", [*KINDS])
def test_the_baseline_is_the_loss_of_the_reloaded_network(kind: str) -> None:
    module, inputs = built(kind)
    module.float()
    inputs = inputs.float() if inputs.is_floating_point() else inputs
    targets = torch.randn_like(module(inputs)).detach()
    states = {step: {name: t * (1 + step / 10) for name, t in module.state_dict().items()} for step in (0, 1)}
    trajectory = Trajectory.stack(module, states, loss=MSE)
    hardly_moving = SHORT | {"sampler": SGLD(1e-12)}
    result = estimate(trajectory, (inputs, targets), **hardly_moving)
    twice = estimate(trajectory, (inputs, targets), **hardly_moving)
    assert result.loss_trace.equals(twice.loss_trace)
    assert not module.training
    module.double()
    for index, state in enumerate(states.values()):
        module.load_state_dict(state)
        loss = MSE(module(inputs.double() if inputs.is_floating_point() else inputs), targets.double()).item()
        assert result.baseline_loss[index].item() == pytest.approx(loss, rel=1e-6)
        assert result.loss_trace[index].isel(draw=0).mean().item() == pytest.approx(loss, rel=1e-3)


class Once(torch.autograd.Function):
    """x^2, with a gradient that cannot be differentiated."""

    @staticmethod
    def forward(context: torch.autograd.function.FunctionCtx, x: Tensor) -> Tensor:
        context.save_for_backward(x)
        return x * x

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(context: torch.autograd.function.FunctionCtx, gradient: Tensor) -> Tensor:
        return 2 * gradient * context.saved_tensors[0]


class Squared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([0.5, 1.0]))

    def forward(self, x: Tensor) -> Tensor:
        return Once.apply(x * self.w)


def test_without_second_derivatives_there_is_a_value_and_a_note() -> None:
    torch.manual_seed(0)
    module, inputs = Squared().double(), torch.randn(N, 2, dtype=torch.float64)
    result = estimate(module, (inputs, module(inputs).detach()), loss=MSE, updates=400, chains=8)
    assert result.llc.item() == pytest.approx(1, rel=0.2)
    assert "no second derivatives" in result.attrs["notes"]
    assert "llc_correction" not in result


def test_rounding_of_single_precision_is_no_curvature() -> None:
    """At weights in float32 that fit their data, flat directions have eigenvalues of 1e-9, of either sign."""
    torch.manual_seed(0)
    module, x = nn.Sequential(nn.Linear(4, 3, bias=False), nn.Linear(3, 2, bias=False)), torch.randn(N, 4)
    result = estimate(module, (x, module(x).detach()), loss=MSE, updates=600, chains=8)
    assert result.llc_low <= 4 <= result.llc_high  # 2 x 4 matrices: the smaller factor has full rank
    assert result.llc_correction < 0.5


def test_without_second_derivatives_the_rule_chooses_all_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["slt_grok.llc.estimate"], "UPDATES", 60)
    for name in ("PILOTS", "PILOT_NUMBERS"):
        monkeypatch.setattr(calibration, name, 1)
    module, inputs = Squared().double(), torch.randn(20, 2, dtype=torch.float64)
    result = estimate(module, (inputs, module(inputs).detach()), loss=MSE, chains=2, max_seconds=None)
    assert "no second derivatives" in result.attrs["notes"]
    assert np.isfinite(result.llc)


class Applied(nn.Module):
    """A linear map with a step before or after it."""

    def __init__(self, before: Callable[[Tensor], Tensor] = torch.clone, after: Callable = torch.clone) -> None:
        super().__init__()
        self.first, self.linear, self.before, self.after = nn.Linear(3, 3), nn.Linear(3, 1), before, after

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.after(self.first(self.before(x))))


def in_place(x: Tensor) -> Tensor:
    x += 1
    return x


class Cut(Applied):
    """A weight used without its gradient."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.linear.weight.data, self.linear.bias)


class Failing(torch.autograd.Function):
    """A step without a gradient."""

    @staticmethod
    def forward(context: torch.autograd.function.FunctionCtx, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(context: torch.autograd.function.FunctionCtx, gradient: Tensor) -> Tensor:
        raise NotImplementedError("not in this version")


def only_once() -> Callable[[Tensor], Tensor]:
    calls: list[None] = []

    def step(x: Tensor) -> Tensor:
        if calls:
            raise RuntimeError("a second time")
        calls.append(None)
        return x

    return step


class Untracked(Applied):
    """A module for inference only."""

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)


@pytest.mark.parametrize(
    ("module", "named"),
    [
        (Applied(after=torch.detach), "respect to first.weight, first.bias does not match"),
        (Applied(after=lambda h: torch.from_numpy(h.detach().numpy())), "respect to first.weight, first.bias"),
        (Applied(after=lambda h: h + (h.tanh() - h).detach()), "respect to first.weight, first.bias does"),
        (Cut(), "respect to linear.weight does not match"),
        (Untracked(), "expected outputs with a gradient by its weights"),
        (Applied(before=in_place), "Applied changes its inputs in place"),
        (Applied(before=lambda x: x.mul_(2)), "Applied changes its inputs in place"),
        (Applied(before=lambda x: in_place(x.view(-1)).view(x.shape)), "Applied changes its inputs in place"),
        (Applied(after=lambda h: nn.functional.dropout(h, 0.1)), "expected the same values in every evaluation"),
        (Applied(before=lambda x: x + 0.001 * torch.randn_like(x)), "expected the same values in every evaluation"),
        (torch.jit.trace(Applied(), torch.zeros(1, 3)), "pass the module that was compiled"),
        (nn.Sequential(torch.jit.script(nn.Linear(3, 1))), "pass the module that was compiled"),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_module_that_chains_cannot_use_is_a_sentence(module: nn.Module, named: str, dtype: torch.dtype) -> None:
    inputs = torch.randn(N, 3, dtype=dtype)
    before, targets = inputs.clone(), torch.zeros(N, 1)
    with pytest.raises(SltGrokError, match=named):
        estimate(module, (inputs, targets), loss=MSE, dtype=dtype, **SHORT)
    assert torch.equal(inputs, before)


def test_one_of_two_paths_without_a_gradient_is_noticed_at_any_weights() -> None:
    for seed in range(30):
        torch.manual_seed(seed)
        module = Applied(after=lambda h: h.tanh() + h.detach().cos())
        with pytest.raises(SltGrokError, match=r"with respect to first\.(weight|bias)"):
            Problem.from_inputs(module, (torch.randn(N, 3), torch.randn(N, 1)), MSE)


@pytest.mark.parametrize(
    ("module", "named"),
    [
        (Applied(after=Failing.apply), "module: the gradient of the loss .* fails: not in this version"),
        (Applied(before=only_once()), "data: the network fails when it is evaluated again, .*: a second time"),
    ],
)
def test_an_error_of_the_network_is_not_reported_as_one_of_the_loss(module: nn.Module, named: str) -> None:
    with pytest.raises(SltGrokError, match=named):
        Problem.from_inputs(module, (torch.randn(N, 3), torch.zeros(N, 1)), MSE)


@pytest.mark.parametrize(
    "module",
    [
        nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5), nn.Linear(3, 1)),
        Applied(after=lambda h: h.relu()),
        Applied(after=lambda h: (100 * h).round() / 100),
        Applied(before=lambda x: in_place(x.clone())),
    ],
)
def test_a_module_that_only_looks_like_that_is_used(module: nn.Module) -> None:
    assert np.isfinite(estimate(module, (torch.randn(N, 3), torch.zeros(N, 1)), loss=MSE, **SHORT).llc)


def test_weights_that_are_held_fixed_need_no_gradient() -> None:
    module = Applied(after=torch.detach)
    module.first.requires_grad_(False)
    assert estimate(module, (torch.randn(N, 3), torch.zeros(N, 1)), loss=MSE, **SHORT).attrs["dimension"] == 4


@pytest.mark.slow  # the import of its compiler
def test_a_compiled_module_is_evaluated_as_the_original() -> None:
    torch.manual_seed(0)
    module, inputs = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 1)), torch.randn(N, 3)
    data = inputs, torch.zeros(N, 1)
    plain, compiled = (estimate(m, data, loss=MSE, **SHORT) for m in (module, torch.compile(module)))
    np.testing.assert_array_equal(plain.loss_trace, compiled.loss_trace)


def test_inputs_made_in_inference_mode_are_used() -> None:
    with torch.inference_mode():
        data = torch.randn(N, 3), torch.zeros(N, 1)
    assert np.isfinite(estimate(nn.Linear(3, 1), data, loss=MSE, **SHORT).llc)

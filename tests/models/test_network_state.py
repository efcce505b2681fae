"""The state of any module: parameters and buffers, tied names, copies that change nothing, vmap or a loop."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import vmap

from slt_grok.errors import SltGrokError
from slt_grok.models.network import Network
from slt_grok.models.vectorized import looped, vmap_works
from slt_grok.operators.objective import Objective
from slt_grok.trajectories import Trajectory

MSE = nn.functional.mse_loss
X, Y = torch.linspace(-1, 1, 60).reshape(20, 3), torch.linspace(0, 1, 20)[:, None]


class Tied(nn.Module):
    """Logits E E^T of tokens, with one table under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(5, 3), nn.Linear(3, 5, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.embed(tokens))


class Keeping(nn.Module):
    """A linear map that keeps activations: values, a part of a graph, and a list of them."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.kept, self.calls = nn.Linear(3, 1), [], 0

    def forward(self, x: Tensor) -> Tensor:
        self.hidden = self.linear(x)
        self.seen, self.kept, self.calls = self.hidden.detach(), [self.hidden], self.calls + 1
        return self.hidden


class Shifted(nn.Module):
    """A linear map with each kind of tensor that is no parameter."""

    def __init__(self, mask: Tensor | None = None) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 1)
        self.register_buffer("mean", torch.zeros(3))
        self.register_buffer("mask", torch.tensor([True, True, False]) if mask is None else mask)
        self.register_buffer("scale", torch.full((1,), 2.0), persistent=False)
        self.offset = torch.full((1,), 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear((x - self.mean) * self.mask) * self.scale + self.offset


class Normalized(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.recurrent, self.out = nn.GRU(1, 2, batch_first=True), nn.Linear(2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.recurrent(x[..., None])[0][:, -1])


def trained(module: nn.Module, inputs: Tensor, steps: int = 3) -> dict[int, dict[str, Tensor]]:
    """Train for a few steps and keep the state dicts."""
    optimizer, states = torch.optim.SGD(module.parameters(), 0.1), {}
    for step in range(steps):
        optimizer.zero_grad()
        MSE(module.train()(inputs + step), Y).backward()
        optimizer.step()
        states[step] = copy.deepcopy(module.state_dict())
    return states


def test_each_checkpoint_has_its_own_buffers() -> None:
    torch.manual_seed(0)
    module = Normalized()
    states = trained(module, X)
    trajectory = Trajectory.stack(Normalized(), states, loss=MSE)
    losses = trajectory.network.stacked_mean_loss(trajectory.stacked(torch.float64), X.double(), Y, own_data=False)
    for loss, state in zip(losses.tolist(), states.values(), strict=True):
        module.load_state_dict(state)
        assert loss == pytest.approx(MSE(module.double().eval()(X.double()), Y.double()).item(), rel=1e-9)
        module.float()
    assert "layers.1.running_mean" in trajectory.network.fixed
    assert "layers.1.running_mean" not in trajectory.network.moving
    assert Objective.of(trajectory, (X, Y)).size() == 12 + 4 + 8 + 4 + 1
    assert set(Objective.of(trajectory, (X, Y)).gradient(0)) == set(dict(module.named_parameters()))


def test_every_kind_of_constant_has_the_precision_of_the_weights() -> None:
    module = Shifted()
    network = Network(module, loss=MSE)
    assert set(network.shapes) == {"linear.weight", "linear.bias", "mean"}
    state = {name: tensor.double() for name, tensor in network.copy_state(module).items()}
    outputs = network.outputs(state | {"mean": state["mean"] + 1}, X.double())
    right = nn.functional.linear((X.double() - 1) * module.mask, state["linear.weight"], state["linear.bias"]) * 2 + 0.5
    torch.testing.assert_close(outputs, right)
    assert network.module.offset.dtype == torch.float32


def test_masks_are_those_of_the_checkpoints_if_they_agree() -> None:
    one, other = Shifted(torch.tensor([False, True, True])), Shifted(torch.tensor([True, True, True]))
    trajectory = Trajectory.stack(Shifted(), {0: one.state_dict(), 5: copy.deepcopy(one).state_dict()}, loss=MSE)
    outputs = trajectory.network.stacked_outputs(trajectory.stacked(), X)
    torch.testing.assert_close(outputs[1], one(X))
    with pytest.raises(SltGrokError, match=r"step 5: expected the same mask"):
        Trajectory.stack(Shifted(), {0: one.state_dict(), 5: other.state_dict()})


def test_infinite_masks_are_allowed_and_infinite_weights_are_not() -> None:
    module = Shifted()
    module.mean[0] = -torch.inf
    assert Trajectory.of(module).parameters["mean"][0] == -torch.inf
    with torch.no_grad():
        module.linear.bias[0] = torch.inf
    with pytest.raises(SltGrokError, match=r"finite weights.*linear\.bias"):
        Trajectory.of(module)


@pytest.mark.parametrize("dropped", [[], ["embed.weight"], ["head.weight"]])
def test_either_name_of_a_tied_tensor_works(dropped: list[str]) -> None:
    module, tokens = Tied(), torch.arange(5)
    state = {name: tensor for name, tensor in module.state_dict().items() if name not in dropped}
    trajectory = Trajectory.stack(Tied(), {0: state})
    torch.testing.assert_close(trajectory.network.stacked_outputs(trajectory.stacked(), tokens)[0], module(tokens))
    assert list(trajectory.parameters) == ["embed.weight"]
    doubled = {name: 2 * tensor for name, tensor in trajectory.stacked().items()}  # both uses follow
    torch.testing.assert_close(trajectory.network.stacked_outputs(doubled, tokens)[0], 4 * module(tokens))


@pytest.mark.parametrize(
    ("module", "change", "named"),
    [
        (Tied, {"head.weight": torch.zeros(5, 3)}, r"step 0: expected equal embed\.weight and head\.weight"),
        (Shifted, {"other.weight": torch.zeros(3)}, r"step 0: holds other\.weight, which Shifted does not have"),
        (Shifted, {"mean": torch.zeros(2)}, r"step 0: expected mean of shape \(3,\), got \(2,\)"),
        (Shifted, {"mean": None}, r"step 0: expected a tensor mean"),
        (Shifted, {"mask": None}, r"step 0: expected a tensor mask"),
    ],
)
def test_a_state_that_does_not_fit_is_named(
    module: type[nn.Module], change: dict[str, Tensor | None], named: str
) -> None:
    changed = {**module().state_dict(), **change}
    with pytest.raises(SltGrokError, match=named):
        Trajectory.stack(module(), {0: {name: tensor for name, tensor in changed.items() if tensor is not None}})


def tied_by_data(parts: tuple[slice, slice]) -> nn.Module:
    module, memory = Tied(), torch.randn(8, 3)
    module.head.weight = nn.Parameter(memory[parts[0]])
    module.embed.weight = nn.Parameter(memory[parts[1]])
    return module


def test_weights_that_share_memory_are_refused() -> None:
    with pytest.raises(SltGrokError, match=r"module: head\.weight and embed\.weight share memory; tie them"):
        Network(tied_by_data((slice(0, 5), slice(3, 8))))
    Network(tied_by_data((slice(0, 4), slice(4, 8))))  # different rows


def test_state_dicts_that_were_not_copied_are_refused() -> None:
    module, states, copies = nn.Linear(2, 1), {}, {}
    for step in range(3):
        states[step], copies[step] = module.state_dict(), copy.deepcopy(module.state_dict())
        module.weight.data += 1
    with pytest.raises(SltGrokError, match=r"at step 0 and .*at step 1: share the memory of weight; copy each"):
        Trajectory.stack(module, states)
    assert Trajectory.stack(module, copies).parameters["weight"].unique().numel() == 6
    rows = torch.randn(3, 1, 2)  # one tensor, of which each step has another row
    Trajectory.stack(module, {step: {"weight": rows[step], "bias": torch.zeros(1)} for step in range(3)})


class ReturnsNothing(nn.Linear):
    """A module whose `train` does not return it."""

    def train(self, mode: bool = True) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        super().train(mode)


def test_a_train_method_may_return_nothing() -> None:
    assert not Network(ReturnsNothing(2, 1)).module.training


@pytest.mark.parametrize(
    ("module", "named"),
    [
        (3, "module: expected a torch.nn.Module, got 3"),
        (nn.LazyLinear(1), "module: weight: expected an initialized tensor"),
        (nn.Linear(2, 1, device="meta"), "module: weight: expected a tensor with values"),
        (nn.ParameterList([nn.Parameter(torch.ones(2).long(), False)]), "module: 0: .*int64; register it as a buffer"),
        (nn.Linear(2, 1).to(torch.float8_e4m3fn), "module: weight: expected .* 16 bits, got torch.float8_e4m3fn"),
    ],
)
def test_a_module_without_usable_weights_is_refused(module: Any, named: str) -> None:
    with pytest.raises(SltGrokError, match=named):
        Trajectory.of(module)


WEIGHT, BIAS = torch.ones(1, 2), torch.ones(1)


@pytest.mark.parametrize(
    ("checkpoints", "named"),
    [
        ({}, "checkpoints: expected a dict of state dicts"),
        ([{}], "checkpoints: expected a dict of state dicts"),
        ({"a": {}, 1: {}}, "expected steps that are integers of at least 0, got 'a'"),
        ({-1: {}}, "got -1"),
        ({2.5: {}}, "got 2.5"),
        ({1: 3}, "step 1: expected a state dict, got 3"),
        ({1: nn.Linear(2, 1)}, r"step 1: expected a state dict, got Linear.*pass module\.state_dict\(\)"),
        ({1: {"weight": [1, 2], "bias": BIAS}}, "step 1: weight: expected a tensor, got list"),
        ({1: {"weight": WEIGHT.numpy(), "bias": BIAS}}, "step 1: weight: expected a tensor, got ndarray"),
        ({1: {"weight": WEIGHT.to_sparse(), "bias": BIAS}}, "step 1: weight: expected a dense tensor"),
        ({1: {"weight": WEIGHT.to("meta"), "bias": BIAS}}, "step 1: weight: expected a tensor with values"),
    ],
)
def test_checkpoints_of_another_kind_are_refused(checkpoints: Any, named: str) -> None:
    with pytest.raises(SltGrokError, match=named):
        Trajectory.stack(nn.Linear(2, 1), checkpoints)


def test_the_module_a_person_hands_in_is_never_changed() -> None:
    module = Keeping().train()
    module(X).sum().backward()
    before = dict(vars(module))
    network = Network(module, loss=MSE)
    stack = {name: tensor[None].repeat_interleave(2, 0) for name, tensor in network.copy_state(module).items()}
    for _ in range(2):
        network.stacked_loss_and_gradient(stack, X, Y, own_data=False, wanted=network.moving)
    assert module.training
    assert all(vars(module)[name] is value for name, value in before.items())
    assert module.linear.weight.requires_grad
    assert module.linear.weight.grad is not None
    copied = network.module
    assert copied.calls == 1
    torch.testing.assert_close(copied.hidden, module.hidden.detach())
    assert not copied.hidden.requires_grad


@pytest.mark.parametrize("weight_norm", [nn.utils.weight_norm, nn.utils.parametrizations.weight_norm])
def test_a_weight_computed_from_parameters(weight_norm: Callable[[nn.Module], nn.Module]) -> None:
    module = weight_norm(nn.Linear(3, 1))
    network = Network(module)
    stack = {name: tensor[None].double() for name, tensor in network.copy_state(module).items()}
    torch.testing.assert_close(network.stacked_outputs(stack, X.double())[0].float(), module(X))


class Deciding(nn.Module):
    """A map that depends on a sum of its inputs: vmap works if all networks share them."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) if x.sum() > 0 else -self.linear(x)


@pytest.mark.parametrize("first", [False, True])
def test_vmap_is_tried_for_shared_data_and_for_own_data(first: bool) -> None:
    torch.manual_seed(0)
    modules, data = [Deciding() for _ in range(3)], torch.stack([X + 2, X - 2, X + 2])
    network = Network(modules[0], loss=MSE)
    states = [network.copy_state(module) for module in modules]
    stack = {name: torch.stack([state[name] for state in states]) for name in network.shapes}
    for own_data in (first, not first):
        inputs = data if own_data else data[0]
        targets = torch.stack([Y] * 3) if own_data else Y
        losses = network.stacked_mean_loss(stack, inputs, targets, own_data)
        for i, module in enumerate(modules):
            expected = MSE(module(inputs[i] if own_data else inputs), Y).item()
            assert losses[i].item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("build", "works"), [(Normalized, True), (Keeping, True), (Tied, True), (Recurrent, False)])
def test_a_loop_gives_what_vmap_gives(build: type[nn.Module], works: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses, gradients and outputs of a stack are those of each network alone, with and without vmap."""
    torch.manual_seed(0)
    modules = [build().eval() for _ in range(3)]
    inputs, targets = (torch.arange(5), torch.randn(5, 5)) if build is Tied else (X, Y)
    for forced in (False, True):
        network = Network(modules[0], loss=MSE)
        states = [network.copy_state(module) for module in modules]
        stack = {name: torch.stack([state[name] for state in states]) for name in network.shapes}
        with monkeypatch.context() as patch:
            if forced:
                patch.setattr("slt_grok.models.network.vmap_works", lambda *_: False)
            for own_data in (False, True):
                data = [torch.stack([d, d.roll(1, 0), d]) if own_data else d for d in (inputs, targets)]
                losses, slopes = network.stacked_loss_and_gradient(stack, *data, own_data, network.moving)
                for i, module in enumerate(modules):
                    module.zero_grad()
                    x, y = (d[i] for d in data) if own_data else data
                    loss = MSE(module(x), y)
                    loss.backward()
                    assert losses[i].item() == pytest.approx(loss.item(), rel=1e-5)
                    for name, parameter in module.named_parameters():
                        torch.testing.assert_close(slopes[name][i], parameter.grad, rtol=1e-4, atol=1e-6)
            outputs = network.stacked_outputs(stack, inputs)
            torch.testing.assert_close(outputs[2], modules[2](inputs).detach(), rtol=1e-5, atol=1e-6)
        assert set(network._vmaps.values()) == {works and not forced}


class Branching(nn.Module):
    """Decides by the value of a weight, which vmap refuses."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.w if self.w.item() > 0 else x


def test_a_module_that_decides_by_values_goes_by_a_loop() -> None:
    network = Network(Branching(), loss=MSE)
    outputs = network.stacked_outputs({"w": torch.tensor([[2.0], [-2.0]])}, X)
    torch.testing.assert_close(outputs, torch.stack([2 * X, X]))


def test_vmap_is_not_used_where_its_values_differ() -> None:
    def wrong(row: Tensor) -> Tensor:
        batched = torch._C._functorch.is_functorch_wrapped_tensor(row)
        return 2 * row if batched else row

    rows = torch.arange(4.0)
    assert vmap(wrong)(rows)[1] == 2
    assert not vmap_works(wrong, (0,), (rows,))
    assert vmap_works(torch.sin, (0,), (rows,))
    torch.testing.assert_close(looped(torch.sin, (0,))(rows), rows.sin())


def test_fused_attention_is_replaced_inside_a_call_alone() -> None:
    """It has no second derivative; user-supplied settings of kernels are restored."""
    layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.1, batch_first=True).eval()
    network, x = Network(layer), torch.randn(5, 3, 4, dtype=torch.float64)
    state = {name: tensor.double() for name, tensor in network.copy_state(layer).items()}
    before = torch.backends.cuda.flash_sdp_enabled(), torch.backends.mha.get_fastpath_enabled()
    slope = torch.func.grad(lambda state: network.outputs(state, x).square().mean())
    pull = torch.func.vjp(slope, state)[1]
    curvature = pull({name: torch.ones_like(tensor) for name, tensor in state.items()})[0]
    step = 1e-5
    ahead, behind = (slope({n: t + sign * step for n, t in state.items()}) for sign in (1, -1))
    for name in state:
        torch.testing.assert_close(curvature[name], (ahead[name] - behind[name]) / (2 * step), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(network.outputs(state, x).float(), layer(x.float()), rtol=1e-4, atol=1e-5)
    assert (torch.backends.cuda.flash_sdp_enabled(), torch.backends.mha.get_fastpath_enabled()) == before

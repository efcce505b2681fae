"""Products with Hessian and Gauss-Newton matrix where a custom `autograd.Function` is part of the network."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd.function import Function, FunctionCtx, once_differentiable

from slt_grok.operators.products import NoSecondDerivatives, gauss_newton_product, hessian_product, second_derivatives

D = 5
X = torch.randn(20, D, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
Y = torch.randn(20, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


class Sine(Function):
    """In the common form that `torch.func` refuses; it can be differentiated any number of times."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Tensor:
        return grad_outputs[0] * ctx.saved_tensors[0].cos()


class SineOnce(Sine):
    """Torch gives 0 for its second derivative, without an error."""

    backward = staticmethod(once_differentiable(Sine.backward))  # pyright: ignore[reportAssignmentType]


class SineByNumpy(Sine):
    """Its backward pass is no part of torch's graph."""

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Tensor:
        return torch.from_numpy(grad_outputs[0].detach().numpy() * ctx.saved_tensors[0].detach().cos().numpy())


def network(apply: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda w: apply(X @ w) * w[0]


def squared(targets: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda values: (values - targets).square().mean()


def formed(product: Callable[[Tensor], Tensor]) -> Tensor:
    return torch.stack([product(row) for row in torch.eye(D, dtype=torch.float64)])


W = torch.linspace(0.2, 1, D, dtype=torch.float64)


def test_a_custom_function_has_the_curvature_of_the_same_function() -> None:
    plain, loss = network(torch.sin), squared(Y)
    expected = torch.autograd.functional.hessian(lambda w: loss(plain(w)), W)
    jacobian = torch.autograd.functional.jacobian(plain, W)
    torch.testing.assert_close(formed(hessian_product(network(Sine.apply), loss, W)), expected)
    found = formed(gauss_newton_product(network(Sine.apply), loss, W))
    torch.testing.assert_close(found, 2 * jacobian.T @ jacobian / len(X))


@pytest.mark.parametrize("function", [SineOnce, SineByNumpy])
@pytest.mark.parametrize("fitted", [True, False])
def test_what_torch_cannot_see_is_not_taken_for_zero(function: type[Function], fitted: bool) -> None:
    """At a fit, only the outputs' first derivatives matter, but those of the gradient go through the backward pass."""
    outputs = network(function.apply)
    loss = squared(outputs(W) if fitted else Y)
    for product in (hessian_product, gauss_newton_product):
        with pytest.raises(NoSecondDerivatives, match="second derivatives"), second_derivatives():
            product(outputs, loss, W)(W)


def test_a_linear_function_has_no_curvature_and_parameters_may_be_unused() -> None:
    free = {"used": W, "unused": W.clone()}
    product = hessian_product(lambda free: X @ free["used"], lambda values: values.sum(), free)
    assert all(not part.any() for part in product(free).values())
    product = gauss_newton_product(lambda free: X @ free["used"], squared(Y), free)(free)
    torch.testing.assert_close(product["used"], 2 * X.T @ (X @ W) / len(X))
    assert not product["unused"].any()

"""Products of a vector with the Hessian or the Gauss-Newton matrix, for any function that can be differentiated twice.

By `torch.autograd`, since `torch.func` refuses most custom `autograd.Function`s. Reverse-over-reverse mode: torch has
no forward mode for the backward pass of some losses, such as its `mse_loss`.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_unflatten

from slt_grok.errors import SltGrokError
from slt_grok.format import first_line

Product = Callable[[Any], Any]

STEP = 1e-4  # of the difference of two gradients, relative to |w|
DIFFERENCE = 0.1  # between it and a product, relative to it; near a ReLU's kink it is not exact
ROUNDING = 1e-9


class NoSecondDerivatives(SltGrokError):
    """An operation of a network has no second derivative."""


@contextmanager
def second_derivatives() -> Iterator[None]:
    """Explain errors of torch in the block.

    Raises
    ------
    NoSecondDerivatives
        An operation has no second derivative.
    """
    try:
        yield
    except RuntimeError as error:
        raise NoSecondDerivatives(f"the network has no second derivatives ({first_line(error)})") from error


def hessian_product(outputs: Callable[[Any], Tensor], loss: Callable[[Tensor], Tensor], free: Any) -> Product:
    """Build v -> H v for loss(outputs(free)); `free` and v are a tensor, or a dict or list of tensors.

    Raises
    ------
    NoSecondDerivatives
        A custom `autograd.Function` cannot be differentiated twice.
    """
    leaves = _leaves(free)

    def value_and_slopes(leaves: Any) -> tuple[Tensor, list[Tensor]]:
        with torch.enable_grad():
            value = loss(outputs(leaves))
            return value, tree_leaves(_pull([value], leaves, [None], create_graph=True))

    value, slopes = value_and_slopes(leaves)

    def product(vector: Any) -> Any:
        return _pull(slopes, leaves, tree_leaves(vector))

    if _is_opaque(value, leaves):
        along = _random(leaves)
        step = STEP * (_norm(leaves) or 1.0) / _norm(along)
        ahead, behind = (
            value_and_slopes(_leaves(tree_map(lambda w, v, s=s: w + s * step * v, leaves, along)))[1] for s in (1, -1)
        )
        differences = [(a - b) / (2 * step) for a, b in zip(ahead, behind, strict=True)]
        wrong = _norm([a - b for a, b in zip(tree_leaves(product(along)), differences, strict=True)])
        _require(wrong <= DIFFERENCE * _norm(differences) + ROUNDING * _norm(slopes) / step)
    return product


def gauss_newton_product(outputs: Callable[[Any], Tensor], loss: Callable[[Tensor], Tensor], free: Any) -> Product:
    """Build v -> J^T (d^2 l / df^2) J v for loss(outputs(free)); J v is the derivative of u -> J^T u, transposed.

    Raises
    ------
    NoSecondDerivatives
        A custom `autograd.Function` cannot be differentiated twice.
    """
    leaves = _leaves(free)
    with torch.enable_grad():
        values = outputs(leaves)
        u, ends = torch.zeros_like(values, requires_grad=True), _leaves(values)
        pulled = tree_leaves(_pull([values], leaves, [u], create_graph=True))
        slope = _pull([loss(ends)], ends, [None], create_graph=True)

    def push(vector: Any) -> Tensor:
        return _pull(pulled, u, tree_leaves(vector))

    def product(vector: Any) -> Any:
        return _pull([values], leaves, [_pull([slope], ends, [push(vector)])])

    if _is_opaque(values, leaves):
        along, across = _random(leaves), _random(values)
        back = _pull([values], leaves, [across])
        sums = [(a * b).sum().item() for a, b in zip(tree_leaves(back), tree_leaves(along), strict=True)]
        wrong = abs(sum(sums) - (across * push(along)).sum().item())
        _require(wrong <= ROUNDING * _norm(back) * _norm(along))
    return product


def _leaves(free: Any) -> Any:
    return tree_map(lambda tensor: tensor.detach().requires_grad_(), free)


def _pull(values: Sequence[Tensor], leaves: Any, vectors: Sequence[Tensor | None], create_graph: bool = False) -> Any:
    """Compute the sum of J^T v over values with their vectors v, in the structure of the leaves."""
    flat, structure = tree_flatten(leaves)
    pairs = [(value, vector) for value, vector in zip(values, vectors, strict=True) if value.requires_grad]
    if not pairs:  # constant: a linear function has no second derivative
        return tree_map(torch.zeros_like, leaves)
    outputs, along = zip(*pairs, strict=True)
    options: dict[str, Any] = {"retain_graph": True, "create_graph": create_graph, "materialize_grads": True}
    return tree_unflatten(torch.autograd.grad(outputs, flat, along, **options), structure)


def _is_opaque(value: Tensor, leaves: Any) -> bool:
    """Return whether a second derivative may be missing without an error: if a custom `autograd.Function` is used.

    What its backward pass computes outside of torch, or under `once_differentiable`, is a constant to torch. In single
    precision nothing is checked: it is only used where double precision has been.
    """
    seen, rest = set(), [value.grad_fn]
    while rest and all(leaf.dtype == torch.float64 for leaf in tree_leaves(leaves)):
        node = rest.pop()
        if isinstance(node, BackwardCFunction):
            return True
        if node is not None and node not in seen:
            seen.add(node)
            rest += [after for after, _ in node.next_functions]
    return False


def _require(right: bool) -> None:
    if not right:
        raise NoSecondDerivatives(
            "the network has no second derivatives (a custom autograd.Function cannot be differentiated twice)"
        )


def _random(like: Any) -> Any:
    generator = torch.Generator().manual_seed(0)
    return tree_map(lambda w: torch.randn(w.shape, generator=generator, dtype=w.dtype).to(w.device), like)


def _norm(tensors: Any) -> float:
    return sum(tensor.square().sum().item() for tensor in tree_leaves(tensors)) ** 0.5

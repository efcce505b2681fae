"""A function of many rows at once: by vmap where it works, by a loop where it does not.

Some operations have no batching rule (recurrent layers, for example), and some modules decide by values or write into
buffers. A trial on two rows shows whether vmap gives what a loop gives, so no list of supported layers is needed.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.func import vmap
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_unflatten

Axes = Sequence[int | None]  # of each argument: 0 if it has one row per call, None if all calls share it


def looped(function: Callable[..., Any], in_dims: Axes) -> Callable[..., Any]:
    """Build the function that `vmap` would build, as a loop over the rows."""

    def loop(*arguments: Any) -> Any:
        mapped = zip(arguments, in_dims, strict=True)
        size = next(len(leaf) for argument, axis in mapped if axis == 0 for leaf in tree_leaves(argument))
        rows = [
            _rows(argument) if axis == 0 else [argument] * size
            for argument, axis in zip(arguments, in_dims, strict=True)
        ]
        return tree_map(lambda *parts: torch.stack(parts), *(function(*row) for row in zip(*rows, strict=True)))

    return loop


def vectorized(
    function: Callable[..., Any], *arguments: Any, in_dims: Axes = (0,), chunk_size: int | None = None
) -> Callable[..., Any]:
    """Build the function of many rows, by `vmap` if it works on two rows of these arguments, otherwise by a loop."""
    if vmap_works(function, in_dims, arguments):
        return vmap(function, tuple(in_dims), chunk_size=chunk_size)
    return looped(function, in_dims)


def vmap_works(function: Callable[..., Any], in_dims: Axes, arguments: Sequence[Any]) -> bool:
    """Return whether `vmap` gives the values of a loop, on the first and last row of the arguments.

    Gradients are compared too, with respect to the arguments that require them.
    """
    try:
        arguments = [
            tree_map(_first_and_last, argument) if axis == 0 else argument
            for argument, axis in zip(arguments, in_dims, strict=True)
        ]
        mapped = _values_and_gradients(vmap(function, tuple(in_dims)), arguments)
        one_by_one = _values_and_gradients(looped(function, in_dims), arguments)
    except Exception:  # whatever an operation, a module or a loss of someone else raises under vmap
        return False
    return all(_close(*pair, _tolerance(arguments)) for pair in zip(mapped, one_by_one, strict=True))


def _first_and_last(leaf: Tensor) -> Tensor:
    return leaf.detach()[[0, -1]].requires_grad_(leaf.requires_grad)


def _rows(argument: Any) -> list[Any]:
    leaves, structure = tree_flatten(argument)
    return [tree_unflatten(row, structure) for row in zip(*(leaf.unbind(0) for leaf in leaves), strict=True)]


def _values_and_gradients(function: Callable[..., Any], arguments: Sequence[Any]) -> tuple[Tensor, Tensor]:
    """Compute all values, and the gradient of the sum of their squares, as vectors."""
    free = [leaf for leaf in tree_leaves(arguments) if isinstance(leaf, Tensor) and leaf.requires_grad]
    with torch.enable_grad():
        values = _flat(tree_leaves(function(*arguments)))
        if not values.requires_grad:
            return values, values.new_zeros(0)
        return values.detach(), _flat(torch.autograd.grad(values.square().sum(), free, materialize_grads=True))


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.flatten().double() for tensor in tensors])


def _tolerance(arguments: Sequence[Any]) -> float:
    """Return half of the digits of the least precise argument, as a relative tolerance."""
    floats = [leaf.dtype for leaf in tree_leaves(arguments) if isinstance(leaf, Tensor) and leaf.is_floating_point()]
    return max((torch.finfo(dtype).eps ** 0.5 for dtype in floats), default=0.0)


def _close(one: Tensor, other: Tensor, tolerance: float) -> bool:
    scale = other[other.isfinite()].abs().amax() if other.isfinite().any() else 0.0
    return one.shape == other.shape and torch.allclose(one, other, tolerance, tolerance * float(scale), equal_nan=True)

"""Copying and calling a module without changing it, whatever it keeps as attributes."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.backends import cuda, mha
from torch.utils._pytree import tree_leaves

from slt_grok.errors import SltGrokError
from slt_grok.format import first_line

Module = TypeVar("Module", bound=nn.Module)

KERNELS = (  # fused, on any device, without second derivatives; `torch.nn.attention.sdpa_kernel` is slower to set them
    (cuda.flash_sdp_enabled, cuda.enable_flash_sdp),
    (cuda.mem_efficient_sdp_enabled, cuda.enable_mem_efficient_sdp),
    (cuda.cudnn_sdp_enabled, cuda.enable_cudnn_sdp),
    (mha.get_fastpath_enabled, mha.set_fastpath_enabled),
)


def checked_weight(origin: object, name: str, value: Any) -> Tensor:
    """Check that a value can be the weight or buffer with that name.

    Raises
    ------
    SltGrokError
        It is not a tensor, has no values, is sparse, or does not hold real numbers in at least 16 bits.
    """
    if not isinstance(value, Tensor):
        wrong = f"a tensor, got {type(value).__name__}"
    elif nn.parameter.is_lazy(value):
        wrong = "an initialized tensor; call the module on a sample first"
    elif value.is_meta:
        wrong = "a tensor with values, got one on the meta device; load its values first"
    elif value.layout != torch.strided:
        wrong = "a dense tensor, got a sparse one; pass its to_dense()"
    elif not value.is_floating_point():
        wrong = f"real numbers, got {value.dtype}"
        wrong += "; register it as a buffer" if isinstance(value, nn.Parameter) and not value.is_complex() else ""
    elif torch.finfo(value.dtype).bits < 16:
        wrong = f"real numbers in at least 16 bits, got {value.dtype}; convert it by float()"
    else:
        return value
    raise SltGrokError(f"{origin}: {name}: expected {wrong}")


def overlaps(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, str]]:
    """Yield pairs of names of tensors in overlapping ranges of memory."""
    ranges = defaultdict[int, list[tuple[int, int, str]]](list)
    for name, tensor in tensors.items():
        if tensor.numel():
            start = tensor.data_ptr()
            last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
            address = tensor.untyped_storage().data_ptr()
            ranges[address].append((start, start + (last + 1) * tensor.element_size(), name))
    for here in ranges.values():
        reached, before = 0, ""
        for start, end, name in sorted(here):
            if start < reached:
                yield before, name
            reached, before = max((reached, before), (end, name))


def copied(module: Module) -> Module:
    """Copy a module, with tensors that are parts of a graph replaced by their values.

    A module may hold such tensors as attributes: activations of its last call, or a weight computed from parameters,
    as with `nn.utils.weight_norm`.

    Raises
    ------
    SltGrokError
        It holds something else that cannot be copied, or is compiled by `torch.jit`.
    """
    if any(isinstance(part, torch.jit.ScriptModule) for part in module.modules()):
        raise SltGrokError(
            "module: torch.jit cannot evaluate a compiled module at other weights; pass the module that was compiled"
        )
    memo = {}
    for part in module.modules():
        for value in tree_leaves(vars(part)):
            if isinstance(value, Tensor) and is_functorch_wrapped_tensor(value):
                memo[id(value)] = torch.empty(0)  # left by a transform that has ended: it has no value
            elif isinstance(value, Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()
    try:
        copy = deepcopy(module, memo)
    except Exception as error:
        raise SltGrokError(
            f"module: expected one that copy.deepcopy accepts, got {type(module).__name__}: {first_line(error)}"
        ) from error
    for part in copy.modules():
        if isinstance(original := getattr(part, "_orig_mod", None), nn.Module):
            vars(part)["forward"] = original.forward  # what `torch.compile` makes has no second derivatives
    return copy


@contextmanager
def prepared(module: nn.Module, like: Tensor | None) -> Iterator[None]:
    """Prepare a call of a module in the block, and undo what the call assigns to attributes.

    Tensors that are plain attributes, not buffers, have the precision and device of `like` in the block. Attention uses
    the kernel that has second derivatives and batching rules, and so does `nn.TransformerEncoderLayer`.
    """
    before = [(part, dict(vars(part))) for part in module.modules()]
    kernels = [is_enabled() for is_enabled, _ in KERNELS]
    try:
        if like is not None:
            for part, attributes in before:
                for name, value in attributes.items():
                    if isinstance(value, Tensor) and value.is_floating_point():
                        vars(part)[name] = value.to(like.device, like.dtype)
        for _, enable in KERNELS:
            enable(False)
        yield
    finally:
        for was_enabled, (_, enable) in zip(kernels, KERNELS, strict=True):
            enable(was_enabled)
        for part, attributes in before:
            object.__setattr__(part, "__dict__", attributes)

"""Samples in the forms that people have them: tensors, arrays, lists of numbers, datasets and loaders of torch."""

from collections.abc import Callable, Mapping, Sequence, Sized
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    default_collate,
)

from slt_grok.devices import CPU
from slt_grok.errors import SltGrokError
from slt_grok.format import first_line

Inputs = Tensor | tuple[Tensor, ...] | dict[str, Tensor]
TARGETS = ("labels", "label")  # names of the targets in a batch that is a dict, as in Hugging Face's datasets


def read(data: Any) -> tuple[Inputs, Tensor]:
    """Read inputs and targets, with the samples along the first axis of every tensor.

    Parameters
    ----------
    data : tuple, dict, Dataset or DataLoader
        (inputs, targets); a dict of inputs with the targets as `labels` or `label`; or a dataset of samples of such a
        form. Inputs are a tensor, an array or a list of numbers, or a tuple or dict of tensors for a module with
        several inputs. A dataset is read in its order, every sample once, also if it comes in a loader that shuffles.

    Returns
    -------
    tuple
        Inputs and targets on the CPU; targets that are integers are int64.

    Raises
    ------
    SltGrokError
        The data has none of these forms, or a dataset gives other samples when read again.
    """
    if isinstance(data, DataLoader):
        rows, collate = _drawn_rows(data), data.collate_fn
        return _read_twice(data.dataset, collate, rows)
    return _read_twice(data, default_collate) if isinstance(data, Dataset) else _pair(data)


def tensors_of(inputs: Inputs) -> list[Tensor]:
    """List the tensors of inputs."""
    if isinstance(inputs, Tensor):
        return [inputs]
    return list(inputs.values() if isinstance(inputs, dict) else inputs)


def described(inputs: Inputs) -> str:
    """Describe inputs, or another tensor, by their shapes and types."""
    return ", ".join(f"shape {tuple(tensor.shape)} and {tensor.dtype}" for tensor in tensors_of(inputs))


def _drawn_rows(loader: DataLoader) -> list[int] | None:
    """List the rows of its dataset that a loader draws from, None for all."""
    sampler, batches = loader.sampler, loader.batch_sampler
    if not isinstance(loader.dataset, Sized):
        return None
    if type(batches) is BatchSampler and type(sampler) is SubsetRandomSampler:
        return sorted({int(row) for row in sampler.indices})
    if type(batches) is BatchSampler and type(sampler) in (RandomSampler, SequentialSampler):
        return None
    kinds = f"{type(sampler).__name__} and {type(batches).__name__}"
    raise SltGrokError(
        f"data: expected a DataLoader that draws every sample once, got one with {kinds}; pass its dataset"
    )


def _read_twice(dataset: Any, collate: Callable[[list[Any]], Any], rows: Sequence[int] | None = None) -> Any:
    if not isinstance(dataset, Sized) or not len(dataset):
        wrong = "is empty" if isinstance(dataset, Sized) else "has no length"
        raise SltGrokError(f"data: expected a dataset with samples and a length, {type(dataset).__name__} {wrong}")
    rows = range(len(dataset)) if rows is None else rows
    first, again = (_read_once(dataset, collate, rows) for _ in range(2))
    for one, other in zip(*([*tensors_of(inputs), targets] for inputs, targets in (first, again)), strict=True):
        if one.shape != other.shape or not ((one == other) | (one.isnan() & other.isnan())).all():
            raise SltGrokError("data: expected the same samples whenever the dataset is read; remove random transforms")
    return first


def _read_once(dataset: Any, collate: Callable[[list[Any]], Any], rows: Sequence[int]) -> tuple[Inputs, Tensor]:
    try:
        batch = collate([dataset[row] for row in rows])
    except Exception as error:
        raise SltGrokError(f"data: cannot read the dataset: {first_line(error)}") from error
    if isinstance(batch, list | tuple) and batch and isinstance(batch[0], list):  # torch collates a tuple to a list
        batch = [tuple(batch[0]), *batch[1:]]
    return _pair(batch)


def _pair(data: Any) -> tuple[Inputs, Tensor]:
    if isinstance(data, Mapping):
        names = [name for name in TARGETS if name in data]
        if len(names) != 1 or len(data) < 2:
            keys = ", ".join(map(str, data))
            raise SltGrokError(f"data: expected (inputs, targets), or a dict of inputs and labels, got the keys {keys}")
        data = {name: values for name, values in data.items() if name != names[0]}, data[names[0]]
    if not isinstance(data, tuple | list) or len(data) != 2:
        got = f"{len(data)} items" if isinstance(data, tuple | list) else type(data).__name__
        raise SltGrokError(f"data: expected (inputs, targets), two tensors with the same number of samples, got {got}")
    inputs, targets = _inputs(data[0]), _tensor("targets", data[1])
    counts = [len(tensor) for tensor in tensors_of(inputs)]
    if set(counts) == {0} == {len(targets)}:
        raise SltGrokError("data: expected samples, got none; omit a test set without samples")
    if set(counts) != {len(targets)}:
        listed = ", ".join(map(str, counts))
        raise SltGrokError(f"data: expected as many targets as inputs, got {listed} and {len(targets)}")
    integers = not (targets.is_floating_point() or targets.is_complex() or targets.dtype == torch.bool)
    return inputs, targets.long() if integers else targets


def _inputs(inputs: Any) -> Inputs:
    if isinstance(inputs, Mapping):
        return {str(name): _tensor(f"inputs {name}", values) for name, values in inputs.items()}
    if isinstance(inputs, tuple) and inputs and all(isinstance(values, Tensor | np.ndarray) for values in inputs):
        return tuple(_tensor(f"inputs {index}", values) for index, values in enumerate(inputs))
    return _tensor("inputs", inputs)


def _tensor(name: str, values: Any) -> Tensor:
    if isinstance(values, list | tuple) and any(isinstance(value, Tensor | np.ndarray) for value in values):
        raise SltGrokError(
            f"data: expected one tensor of {name}, got a {type(values).__name__} of tensors; stack them, or pass a "
            "tuple if they are the inputs of a module with several"
        )
    try:
        tensor: Tensor = values if isinstance(values, Tensor) else torch.from_numpy(np.array(values))
    except (TypeError, ValueError, RuntimeError) as error:
        raise SltGrokError(f"data: expected numbers for {name}, got {type(values).__name__}") from error
    if not tensor.ndim:
        raise SltGrokError(f"data: expected two tensors with the samples along the first axis, {name} is one number")
    if tensor.layout != torch.strided or tensor.is_meta:
        wrong = "one on the meta device" if tensor.is_meta else "a sparse one; pass its to_dense()"
        raise SltGrokError(f"data: expected a dense tensor of {name}, got {wrong}")
    tensor = tensor.detach().to(CPU)
    return tensor.clone() if tensor.is_inference() else tensor  # autograd refuses what `torch.inference_mode` made

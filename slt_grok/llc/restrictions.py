"""Subspaces and data for refined LLCs: entire parameters, attention heads, planes of frequencies.

Refined LLCs restrict the weights or the data (Wang et al. 2410.02984, section 3). Those of frequencies restrict the
tables over the task's group to the circuit's directions: an axis over tokens or answers decomposes into the constant
and one plane per irreducible representation, {cos, sin} for each of the (p-1)/2 frequencies of Z_p, and only the
components in the chosen planes move.
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from slt_grok.errors import SltGrokError
from slt_grok.groups import Group
from slt_grok.llc.subspaces import Entries, Planes, Subspace, Whole
from slt_grok.models import Model, Network
from slt_grok.tasks import Split, Task


def parameters(module: nn.Module, *patterns: str) -> Subspace:
    """Select all parameters whose name matches one of the patterns, such as "W_E" or "layers.*.weight".

    Raises
    ------
    SltGrokError
        A pattern matches no parameter; the message lists the names.
    """
    shapes = _shapes(module)
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in shapes):
            raise SltGrokError(f"weights: expected a pattern that matches one of {', '.join(shapes)}, got {pattern!r}")
    return Subspace(shapes, {n: Whole() for n in shapes if any(fnmatchcase(n, pattern) for pattern in patterns)})


def matrices(module: nn.Module) -> dict[str, Subspace]:
    """Select each parameter separately: name -> subspace. Together they are all weights."""
    shapes = _shapes(module)
    return {name: Subspace(shapes, {name: Whole()}) for name in shapes}


def head(module: nn.Module, index: int) -> Subspace:
    """Select one attention head: its slices of the parameters that the model declares as belonging to heads.

    Raises
    ------
    SltGrokError
        The network declares no attention heads, or none with that index.
    """
    shapes, count = _shapes(module), heads(module)
    if not 0 <= index < count:
        raise SltGrokError(f"head: expected an index below {count}, the number of attention heads, got {index}")
    entries = {n: torch.arange(shapes[n].numel()).reshape(shapes[n])[index] for n in head_parameters(module)}
    return Subspace(shapes, {name: Entries(places.flatten()) for name, places in entries.items()})


def head_parameters(module: nn.Module) -> Sequence[str]:
    """List the names of the parameters of attention heads; empty if the network declares none."""
    return module.head_parameters() if isinstance(module, Model) else ()


def heads(module: nn.Module) -> int:
    """Count the attention heads; 0 if the network declares none."""
    names = head_parameters(module)
    return _shapes(module)[names[0]][0] if names else 0


def group_of_tables(network: Network) -> Group:
    """Get the task's group, over which the model declares tables.

    Raises
    ------
    SltGrokError
        The task has no group, or the model declares no such tables.
    """
    task = network.task
    if task is None or task.group is None or not network.declares("token_roles"):
        raise SltGrokError("frequencies: expected a task with a group and a model that declares its tables over tokens")
    return task.group


def frequencies(network: Network, chosen: Sequence[int]) -> Subspace:
    """Select the planes of some frequencies in every table over the task's group, such as embedding and unembedding.

    The model declares these tables in `token_roles()`: W_E and W_U, or U, V and W, plus an output bias if any. The
    directions of the planes along each token axis move. Rows for other tokens (the '=' sign) do not.

    Raises
    ------
    SltGrokError
        The task has no group, the model declares no such tables, or the frequencies are not distinct ones of the group.
    """
    group = group_of_tables(network)
    if not len(chosen) or len(set(chosen)) < len(chosen) or not set(chosen) <= set(group.frequencies.tolist()):
        raise SltGrokError(f"frequencies: expected distinct ones in 1..{len(group.planes)}, got {list(chosen)}")
    return _token_directions(network, torch.cat([group.planes[k - 1] for k in chosen]))


def other_frequencies(network: Network, chosen: Sequence[int]) -> Subspace:
    """Select the complement of `frequencies(network, chosen)` in the same tables: the other planes and the constant.

    Rows for other tokens (the '=' sign) are in neither. If no frequency is chosen, these are all planes and the
    constant.

    Raises
    ------
    SltGrokError
        See `frequencies`.
    """
    group = group_of_tables(network)
    planes = [plane for k, plane in enumerate(group.planes, 1) if k not in chosen]
    return _token_directions(network, torch.cat([group.basis[:1], *planes]))


def split(task: Task, name: Split) -> tuple[Tensor, Tensor]:
    """Get (inputs, targets) of the samples of a split, for the `data` of `slt_grok.llc.estimate`.

    A checkpoint need not be a minimum on held-out samples: the LLC may be negative there, which its status reports.

    Raises
    ------
    SltGrokError
        There are no test samples because the network was trained on all of them.
    """
    inputs, targets = task.data(name)
    if not len(inputs):
        raise SltGrokError(
            f"data: expected samples in the {name} split, but train_fraction {task.train_fraction} leaves none"
        )
    return inputs, targets


def _shapes(module: nn.Module) -> dict[str, torch.Size]:
    return {name: parameter.shape for name, parameter in module.named_parameters()}


def _token_directions(network: Network, directions: Tensor) -> Subspace:
    shapes, module = network.shapes, network.module
    assert isinstance(module, Model)
    return Subspace(
        shapes,
        {
            name: Planes(axis, nn.functional.pad(directions, (0, shapes[name][axis] - directions.shape[1])))
            for name, axis in module.token_roles().values()
            if name in shapes
        },
    )

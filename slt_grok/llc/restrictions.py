"""Which weights move, and on which data: whole parameters, masks, attention heads, planes of frequencies.

Refined LLCs restrict the weights or the data (Wang et al. 2410.02984, section 3). Those of frequencies restrict the
tables over the task's group to the circuit's own directions: an axis over tokens or answers is the sum of the constant
and of one plane for each irreducible representation, {cos, sin} for each of the (p-1)/2 frequencies of Z_p, and only
the components in the chosen planes move.
"""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from slt_grok.errors import SltGrokError
from slt_grok.groups import Group
from slt_grok.llc.subspaces import Entries, Planes, Subspace, Whole
from slt_grok.models import Model, Network
from slt_grok.tasks import SPLITS, Split, Task


def parameters(module: nn.Module, *patterns: str) -> Subspace:
    """All of the parameters whose name matches one of the patterns, such as "W_E" or "layers.*.weight".

    Raises
    ------
    SltGrokError
        A pattern that matches no parameter; the sentence lists the names.
    """
    shapes = _shapes(module)
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in shapes):
            raise SltGrokError(f"weights: expected a pattern that matches one of {', '.join(shapes)}, got {pattern!r}")
    return Subspace(shapes, {n: Whole() for n in shapes if any(fnmatchcase(n, pattern) for pattern in patterns)})


def mask(module: nn.Module, masks: Mapping[str, Tensor]) -> Subspace:
    """Return the entries where a parameter's mask is True; parameters without a mask stay.

    Parameters
    ----------
    module : torch.nn.Module
        The network.
    masks : Mapping[str, Tensor]
        Name -> bool tensor of the parameter's shape.

    Raises
    ------
    SltGrokError
        An unknown name, a mask of another shape or type, or masks that are False throughout.
    """
    shapes = _shapes(module)
    for name, chosen in masks.items():
        if name not in shapes:
            raise SltGrokError(f"mask: expected names among {', '.join(shapes)}, got {name}")
        if chosen.dtype != torch.bool or chosen.shape != shapes[name]:
            raise SltGrokError(
                f"mask: expected bool of shape {tuple(shapes[name])} for {name}, "
                f"got {str(chosen.dtype).removeprefix('torch.')} of shape {tuple(chosen.shape)}"
            )
    if not any(chosen.any() for chosen in masks.values()):
        raise SltGrokError("mask: expected at least one weight that moves, this one has none")
    return Subspace(shapes, {n: Entries(c.flatten().nonzero()[:, 0]) for n, c in masks.items() if c.any()})


def matrices(module: nn.Module) -> dict[str, Subspace]:
    """Each parameter alone: name -> subspace. Together they are all weights."""
    return {name: parameters(module, name.replace("[", "[[]")) for name in _shapes(module)}


def head(module: nn.Module, index: int) -> Subspace:
    """Return one attention head: its slices of the parameters that the model declares as those of heads.

    Raises
    ------
    SltGrokError
        A network that declares no attention heads, or no head of that number.
    """
    count = heads(module)
    if not 0 <= index < count:
        expected = (
            f"expected one of 0..{count - 1}, got {index}" if count else "the network declares no attention heads"
        )
        raise SltGrokError(f"head: {expected}")
    chosen = torch.zeros(count, dtype=torch.bool)
    chosen[index] = True
    shapes = _shapes(module)
    return mask(module, {name: chosen[:, None, None].expand(shapes[name]) for name in head_parameters(module)})


def head_parameters(module: nn.Module) -> Sequence[str]:
    """Return the names of the parameters of attention heads, none for a network that declares none."""
    return module.head_parameters() if isinstance(module, Model) else ()


def heads(module: nn.Module) -> int:
    """Return the number of attention heads, 0 for a network that declares none."""
    names = head_parameters(module)
    return _shapes(module)[names[0]][0] if names else 0


def frequencies(network: Network, chosen: Sequence[int]) -> Subspace:
    """Return the planes of some frequencies in every table over the task's group, such as embedding and unembedding.

    Which tables those are, the model declares in `token_roles()`: W_E and W_U, or U, V and W, with an output bias where
    there is one. The directions of these planes along each token axis move. Rows for other tokens (the '=' sign) do
    not.

    Raises
    ------
    SltGrokError
        A task without a group, a model that declares no such tables, or frequencies that are not distinct ones of the
        group.
    """
    group = _group(network)
    if not len(chosen) or len(set(chosen)) < len(chosen) or not set(chosen) <= set(group.frequencies.tolist()):
        raise SltGrokError(f"frequencies: expected distinct ones in 1..{len(group.planes)}, got {list(chosen)}")
    return _token_directions(network, torch.cat([group.planes[k - 1] for k in chosen]))


def other_frequencies(network: Network, chosen: Sequence[int]) -> Subspace:
    """Return the complement of `frequencies(network, chosen)` in the same tables: the other planes and the constant.

    Rows for other tokens (the '=' sign) are in neither. With no frequency chosen it is all of `frequencies` and the
    constant.

    Raises
    ------
    SltGrokError
        As `frequencies`.
    """
    group = _group(network)
    planes = [plane for k, plane in enumerate(group.planes, 1) if k not in chosen]
    return _token_directions(network, torch.cat([group.basis[:1], *planes]))


def split(task: Task, name: Split) -> tuple[Tensor, Tensor]:
    """Return (inputs, targets) of the samples of a split, for the `data` of `slt_grok.llc.estimate`.

    A checkpoint need not be a minimum on samples that it was not trained on: the LLC there may be negative, and its
    status says so.

    Raises
    ------
    SltGrokError
        No such split, or no test samples, since the network was trained on all of them.
    """
    if name not in SPLITS:
        raise SltGrokError(f"data: expected one of {', '.join(SPLITS)}, got {name!r}")
    inputs, targets = task.data(name)
    if not len(inputs):
        raise SltGrokError(
            f"data: expected samples in the {name} split, train_fraction {task.train_fraction} leaves none"
        )
    return inputs, targets


def _shapes(module: nn.Module) -> dict[str, torch.Size]:
    return {name: parameter.shape for name, parameter in module.named_parameters()}


def _group(network: Network) -> Group:
    task = network.task
    if task is None or task.group is None or not network.declares("token_roles"):
        raise SltGrokError("frequencies: expected a task with a group and a model that declares its tables over tokens")
    return task.group


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

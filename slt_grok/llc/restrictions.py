"""Which weights move, and on which data: whole parameters, masks, attention heads, planes of Fourier frequencies.

Refined LLCs restrict the weights or the data (Wang et al. 2410.02984, section 3). The Fourier ones restrict the
tables over Z_p to the circuit's own directions: with f_i the orthonormal rows of `slt_grok.fourier.basis`, an axis
over tokens or answers is the sum of the constant and of one plane {cos, sin} for each of the (p-1)/2 frequencies, and
only the components in the chosen planes move.
"""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from slt_grok import fourier
from slt_grok.errors import SltGrokError
from slt_grok.llc.subspaces import Entries, Planes, Subspace, Whole
from slt_grok.models import Model, OneLayerTransformer
from slt_grok.tasks import ModularTask
from slt_grok.tasks import Split


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
    """One attention head: its slices of W_Q, W_K, W_V and W_O.

    Raises
    ------
    SltGrokError
        A network without attention heads of this package's layout, or no head of that number.
    """
    count = heads(module)
    if not 0 <= index < count:
        raise SltGrokError(f"head: expected one of 0..{count - 1}, got {index}" if count else f"head: {_NO_HEADS}")
    chosen = torch.zeros(count, dtype=torch.bool)
    chosen[index] = True
    shapes = _shapes(module)
    return mask(module, {name: chosen[:, None, None].expand(shapes[name]) for name in OF_HEADS})


OF_HEADS = ("W_Q", "W_K", "W_V", "W_O")
_NO_HEADS = "expected a transformer of slt_grok.models, this network has no attention heads"


def heads(module: nn.Module) -> int:
    """Return the number of attention heads; 0 for a network that is no transformer of this package."""
    return len(module.W_Q) if isinstance(module, OneLayerTransformer) else 0


def frequencies(module: nn.Module, chosen: Sequence[int]) -> Subspace:
    """Return the planes of some frequencies in every table over Z_p: rows of the embedding, columns of the unembedding.

    Which tables those are, the network says in `token_roles()`: W_E and W_U, or U, V and W, with an output bias where
    there is one. 2 len(chosen) directions of each token axis move. Rows for other tokens (the '=' sign) do not.

    Raises
    ------
    SltGrokError
        A network that is not of this package, a modulus that is no odd prime, or frequencies that are not different
        numbers in 1..(p-1)/2.
    """
    return _token_directions(module, _rows(module, chosen))


def other_frequencies(module: nn.Module, chosen: Sequence[int]) -> Subspace:
    """Return the complement of `frequencies(module, chosen)` in the same tables: the other planes and the constant.

    Rows for other tokens (the '=' sign) are in neither. With no frequency chosen it is all of `frequencies` and the
    constant.

    Raises
    ------
    SltGrokError
        As `frequencies`.
    """
    rows = set(_rows(module, chosen)) if len(chosen) else set()
    return _token_directions(module, [row for row in range(_modular(module).modulus) if row not in rows])


def split(task: ModularTask, name: Split) -> tuple[Tensor, Tensor]:
    """Return (inputs, targets) of the pairs of a split, for the `data` of `slt_grok.llc.estimate`.

    On pairs that were not trained on the checkpoint need be no minimum: the LLC there may be negative, and says so.

    Raises
    ------
    SltGrokError
        No such split, or no test pairs, since the network was trained on all of them.
    """
    if name not in ("train", "test", "all"):
        raise SltGrokError(f"data: expected one of train, test, all, got {name!r}")
    inputs, targets = task.data(name)
    if not len(inputs):
        raise SltGrokError(
            f"data: expected pairs in the {name} split, train_fraction {task.train_fraction} leaves none"
        )
    return inputs, targets


def _shapes(module: nn.Module) -> dict[str, torch.Size]:
    return {name: parameter.shape for name, parameter in module.named_parameters()}


def _modular(module: nn.Module) -> Model:
    if not isinstance(module, Model):
        raise SltGrokError(f"frequencies: expected a model of slt_grok.models, got {type(module).__name__}")
    return module


def _rows(module: nn.Module, chosen: Sequence[int]) -> list[int]:
    """Rows of the Fourier basis: 2k - 1 and 2k for frequency k."""
    known = fourier.frequencies(_modular(module).modulus)
    if not len(chosen) or len(set(chosen)) < len(chosen) or not set(chosen) <= set(known.tolist()):
        raise SltGrokError(f"frequencies: expected different numbers in 1..{known[-1]}, got {list(chosen)}")
    return [row for k in chosen for row in (2 * k - 1, 2 * k)]


def _token_directions(module: nn.Module, rows: Sequence[int]) -> Subspace:
    shapes, p = _shapes(module), _modular(module).modulus
    directions = fourier.basis(p)[list(rows)]
    parts = {}
    for name, axis in _modular(module).token_roles().values():
        if name in shapes:
            parts[name] = Planes(axis, nn.functional.pad(directions, (0, shapes[name][axis] - p)))
    return Subspace(shapes, parts)

"""Subspaces of the weights that a chain may move in: everything, some entries, or planes along an axis.

A chain uses orthonormal coordinates z of its subspace, and the rest of the network stays at the checkpoint: the LLC of
the subspace is the refined LLC (Wang et al. 2410.02984, section 3).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


def _flat(tensor: Tensor) -> Tensor:
    return tensor.reshape(len(tensor), tensor.shape[1:].numel())  # flatten(1) refuses scalars (N,)


class Whole:
    """An entire parameter, as the movable part of it; every kind of part has these methods."""

    def size(self, shape: torch.Size) -> int:
        """Count the coordinates."""
        return shape.numel()

    def coordinates(self, tensor: Tensor) -> Tensor:
        """Compute coordinates (N, size) of tensors (N, *shape): their flattened entries."""
        return _flat(tensor)

    def place(self, coordinates: Tensor, tensor: Tensor) -> Tensor:
        """Build tensors with these coordinates, and otherwise equal to `tensor`."""
        return coordinates.reshape(len(coordinates), *tensor.shape[1:])


@dataclass(frozen=True)
class Entries:
    """Some entries of a parameter.

    Parameters
    ----------
    index : Tensor
        Indices into the flattened parameter, int64.
    """

    index: Tensor

    def size(self, shape: torch.Size) -> int:
        """Count the coordinates."""
        return len(self.index)

    def coordinates(self, tensor: Tensor) -> Tensor:
        """Select the entries."""
        return _flat(tensor)[:, self.index.to(tensor.device)]

    def place(self, coordinates: Tensor, tensor: Tensor) -> Tensor:
        """Replace these entries of the tensor."""
        return _flat(tensor).index_copy(1, self.index.to(tensor.device), coordinates).reshape(tensor.shape)


@dataclass(frozen=True)
class Planes:
    """The span of some directions along one axis of a parameter, such as the planes of some frequencies over Z_p.

    Parameters
    ----------
    axis : int
        Axis, counted from the end, such as -2.
    directions : Tensor
        Orthonormal rows, (k, size of the axis).
    """

    axis: int
    directions: Tensor

    def size(self, shape: torch.Size) -> int:
        """Count the coordinates."""
        return shape.numel() // shape[self.axis] * len(self.directions)

    def coordinates(self, tensor: Tensor) -> Tensor:
        """Compute the components along the directions."""
        return (tensor.movedim(self.axis, -1) @ self.directions.to(tensor).T).flatten(1)

    def place(self, coordinates: Tensor, tensor: Tensor) -> Tensor:
        """Replace these components of the tensor."""
        directions, moved = self.directions.to(tensor), tensor.movedim(self.axis, -1)
        change = coordinates.reshape(*moved.shape[:-1], -1) - moved @ directions.T
        return (moved + change @ directions).movedim(-1, self.axis)


@dataclass(frozen=True)
class Subspace:
    """A subspace of the weights that may move.

    Parameters
    ----------
    shapes : Mapping[str, torch.Size]
        Name and shape of every parameter of the network.
    parts : Mapping[str, Whole | Entries | Planes]
        Movable part of each parameter; parameters not listed stay at the checkpoint.
    """

    shapes: Mapping[str, torch.Size]
    parts: Mapping[str, Whole | Entries | Planes]

    @property
    def dimension(self) -> int:
        """Number of coordinates d."""
        return sum(part.size(self.shapes[name]) for name, part in self.parts.items())

    def coordinates(self, stack: Mapping[str, Tensor]) -> Tensor:
        """Compute coordinates (N, d) of named tensors (N, ...)."""
        return torch.cat([part.coordinates(stack[name]) for name, part in self.parts.items()], dim=1)

    def place(self, coordinates: Tensor, stack: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Build named tensors (N, ...) with these coordinates (N, d), otherwise those of `stack`; differentiable."""
        sizes = [part.size(self.shapes[name]) for name, part in self.parts.items()]
        pieces = dict(zip(self.parts, coordinates.split(sizes, dim=1), strict=True))
        return {
            name: self.parts[name].place(pieces[name], tensor) if name in pieces else tensor
            for name, tensor in stack.items()
        }


def everything(shapes: Mapping[str, torch.Size], frozen: Collection[str] = ()) -> Subspace:
    """Select all weights except those of `frozen` parameters."""
    return Subspace(shapes, {name: Whole() for name in shapes if name not in frozen})

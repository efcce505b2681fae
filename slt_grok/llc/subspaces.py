"""The part of the weights that a chain may move: everything, some entries, or planes along an axis.

A chain lives in coordinates z of its subspace, orthonormal in the weights, and the rest of the network stays at the
checkpoint: the LLC of the subspace is the refined LLC (Wang et al. 2410.02984, section 3).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Part(Protocol):
    """What moves of one parameter."""

    def size(self, shape: torch.Size) -> int:
        """Return the number of coordinates."""
        ...

    def coordinates(self, tensor: Tensor) -> Tensor:
        """Tensors (N, *shape) -> coordinates (N, size)."""
        ...

    def place(self, coordinates: Tensor, tensor: Tensor) -> Tensor:
        """Tensors (N, *shape) that have these coordinates and are otherwise `tensor`."""
        ...


class Whole:
    """The whole parameter."""

    def size(self, shape: torch.Size) -> int:
        """Return the number of coordinates."""
        return shape.numel()

    def coordinates(self, tensor: Tensor) -> Tensor:
        """Return the tensor, flat."""
        return tensor.flatten(1)

    def place(self, coordinates: Tensor, tensor: Tensor) -> Tensor:
        """Return the coordinates in the tensor's shape."""
        return coordinates.reshape(-1, *tensor.shape[1:])


@dataclass(frozen=True)
class Entries:
    """Some entries of a parameter.

    Parameters
    ----------
    index : Tensor
        Places in the flattened parameter, int64.
    """

    index: Tensor

    def size(self, shape: torch.Size) -> int:
        """Return the number of coordinates."""
        return len(self.index)

    def coordinates(self, tensor: Tensor) -> Tensor:
        """Return the entries."""
        return tensor.flatten(1)[:, self.index.to(tensor.device)]

    def place(self, coordinates: Tensor, tensor: Tensor) -> Tensor:
        """Return the tensor with these entries."""
        return tensor.flatten(1).index_copy(1, self.index.to(tensor.device), coordinates).reshape(tensor.shape)


@dataclass(frozen=True)
class Planes:
    """The span of some directions along one axis of a parameter, such as the planes of some frequencies over Z_p.

    Parameters
    ----------
    axis : int
        Counted from the end, as -2.
    directions : Tensor
        Orthonormal rows, (k, size of the axis).
    """

    axis: int
    directions: Tensor

    def size(self, shape: torch.Size) -> int:
        """Return the number of coordinates."""
        return shape.numel() // shape[self.axis] * len(self.directions)

    def coordinates(self, tensor: Tensor) -> Tensor:
        """Components along the directions."""
        return (tensor.movedim(self.axis, -1) @ self.directions.to(tensor).T).flatten(1)

    def place(self, coordinates: Tensor, tensor: Tensor) -> Tensor:
        """Return the tensor with these components, the rest as it is."""
        directions, moved = self.directions.to(tensor), tensor.movedim(self.axis, -1)
        change = coordinates.reshape(*moved.shape[:-1], -1) - moved @ directions.T
        return (moved + change @ directions).movedim(-1, self.axis)


@dataclass(frozen=True)
class Subspace:
    """The weights that move.

    Parameters
    ----------
    shapes : Mapping[str, torch.Size]
        Name and shape of every parameter of the network.
    parts : Mapping[str, Part]
        What moves of each parameter; those that are not named stay at the checkpoint.
    """

    shapes: Mapping[str, torch.Size]
    parts: Mapping[str, Part]

    @property
    def dimension(self) -> int:
        """Number of coordinates, d."""
        return sum(part.size(self.shapes[name]) for name, part in self.parts.items())

    def coordinates(self, stack: Mapping[str, Tensor]) -> Tensor:
        """Named tensors (N, ...) -> coordinates (N, d)."""
        return torch.cat([part.coordinates(stack[name]) for name, part in self.parts.items()], dim=1)

    def place(self, coordinates: Tensor, stack: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Named tensors (N, ...) with these coordinates (N, d) and otherwise those of `stack`; differentiable."""
        sizes = [part.size(self.shapes[name]) for name, part in self.parts.items()]
        pieces = dict(zip(self.parts, coordinates.split(sizes, dim=1), strict=True))
        return {
            name: self.parts[name].place(pieces[name], tensor) if name in pieces else tensor
            for name, tensor in stack.items()
        }


def everything(shapes: Mapping[str, torch.Size]) -> Subspace:
    """All weights."""
    return Subspace(shapes, {name: Whole() for name in shapes})

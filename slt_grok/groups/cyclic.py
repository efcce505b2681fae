"""The cyclic group Z_n: planes of cos w_k t and sin w_k t with w_k = 2 pi k / n, frequencies k = 1..floor(n/2).

Row 2k-1 of the basis is sqrt(2/n) cos w_k t and row 2k is sqrt(2/n) sin w_k t; for even n the last frequency is the
sign character (-1)^t, with one row. Source: Nanda et al. 2301.05217, section 4.1 and appendix B.
"""

import math
from dataclasses import dataclass
from functools import cache, cached_property

import torch
from torch import Tensor
from torch.nn.functional import pad

from slt_grok.groups.group import Group


@cache
def cyclic(n: int) -> "CyclicGroup":
    """Construct Z_n, returning the same object for the same n."""
    elements = torch.arange(n)
    return CyclicGroup((elements[:, None] + elements) % n)


def is_prime(n: int) -> bool:
    """Return whether `n` is a prime number, by trial division."""
    return n > 1 and all(n % d for d in range(2, int(n**0.5) + 1))


@dataclass(frozen=True, eq=False)
class CyclicGroup(Group):
    """Z_n; get it from `cyclic`."""

    def __post_init__(self) -> None:
        """Skip the checks, since the table comes from `cyclic`."""

    @property
    def is_odd_prime(self) -> bool:
        """Whether every frequency k is a relabeling t -> k t of frequency 1."""
        return self.order > 2 and is_prime(self.order)

    @cached_property
    def planes(self) -> list[Tensor]:
        """Cosine and sine of each frequency, (2, n), orthonormal; the sign character alone, (1, n)."""
        pairs = [pair[: 1 if 2 * k == self.order else 2] for k, pair in enumerate(self.pairs, 1)]
        return [pair.clone() for pair in pairs]

    @cached_property
    def pairs(self) -> Tensor:
        """Cosine and sine row of each frequency, (K, 2, n); for even n the last sine row is 0."""
        n = self.order
        k = torch.arange(1, n // 2 + 1)
        turns = (k[:, None] * torch.arange(n)) % n  # reduced in integers so that no digits are lost
        angle = 2 * math.pi / n * turns.double()
        pairs = torch.stack([angle.cos(), angle.sin()], 1) * math.sqrt(2 / n)
        if n % 2 == 0:
            pairs[-1] = torch.stack([pairs[-1, 0] * math.sqrt(0.5), torch.zeros(n, dtype=torch.float64)])
        return pairs

    def padded(self, components: Tensor) -> Tensor:
        """Arrange components without the constant as pairs: (..., component, d) -> (..., K, 2, d)."""
        return pad(components[..., 1:, :], (0, 0, 0, 1 - self.order % 2)).unflatten(-2, (-1, 2))

    @cached_property
    def representations(self) -> list[Tensor]:
        """Rotations by w_k t, (n, 2, 2), and the sign character, (n, 1, 1)."""
        matrices = []
        for plane in self.planes:
            cosine, sine = (plane * math.sqrt(self.order / len(plane)))[[0, -1]]
            rotation = torch.stack([cosine, -sine, sine, cosine], -1).unflatten(-1, (2, 2))
            matrices.append(rotation if len(plane) == 2 else rotation[:, :1, :1])
        return matrices

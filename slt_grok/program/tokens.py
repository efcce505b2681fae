"""Angles of tokens: the cyclic group on which an operation on Z_p is addition.

    addition          c = a + b on Z_p itself
    subtraction       c = a - b on Z_p, the second token with a minus sign
    multiplication    log c = log a + log b on Z_(p-1), by the discrete logarithm to the least primitive root of p; the
                      token 0 has no logarithm, and the answer to any pair that contains 0 is 0

Source: Furuta et al. 2402.16726, section 3 (operations of modular arithmetic). x^2 + xy + y^2 and random tables are not
sums on any cyclic group of the tokens, and have no angles here.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch

from slt_grok.errors import SltGrokError
from slt_grok.groups import CyclicGroup
from slt_grok.tasks import OPERATIONS, Task, is_prime


class Angles(NamedTuple):
    """How an operation is addition of angles: the sign of the second token, and whether tokens are logarithms."""

    sign: int = 1
    logarithm: bool = False


ANGLES = {"addition": Angles(), "subtraction": Angles(-1), "multiplication": Angles(logarithm=True)}
Waves = Sequence[tuple[int, int]]
# Arguments i j_a + j sign j_b of a neuron's waves, in this order: the two cosines, the products that attention makes of
# them, and the second harmonics.
WAVES: Waves = ((1, 0), (0, 1), (1, 1), (1, -1), (2, 0), (0, 2))
ONE_TOKEN: Waves = ((1, 0), (0, 1), (2, 0), (0, 2))


def unreadable(task: Task | None) -> str | None:
    """Explain why networks on a task cannot be read as programs; None if they can."""
    group = None if task is None else task.group
    if isinstance(group, CyclicGroup) and group.is_odd_prime:
        return None
    got = "no group" if group is None else f"a group of order {group.order}"
    return f"expected a task on Z_p with an odd prime p, got {got}"


def pairs(p: int) -> tuple[np.ndarray, np.ndarray]:
    """List a and b of all pairs in lexicographic order, int64 (p^2,) each."""
    a, b = np.divmod(np.arange(p**2), p)
    return a, b


@dataclass(frozen=True)
class Tokens:
    """Tokens of Z_p as elements j of a cyclic group on which the operation is j_a + sign j_b.

    Parameters
    ----------
    p : int
        An odd prime.
    operation : str, optional
        One of `ANGLES`.

    Raises
    ------
    SltGrokError
        The modulus is not an odd prime, or the operation has no angles.
    """

    p: int
    operation: str = "addition"

    def __post_init__(self) -> None:
        if self.p < 3 or not is_prime(self.p):
            raise SltGrokError(f"program: expected an odd prime p, got {self.p}")
        if self.operation not in ANGLES:
            raise SltGrokError(
                f"program: expected one of {', '.join(ANGLES)}, got {self.operation}, which has no angles"
            )

    @classmethod
    def of(cls, task: Task) -> "Tokens | None":
        """Build the tokens of a task whose labels are those of one of `ANGLES`; None for other labels."""
        a, b = task.inputs.unbind(-1)
        for operation in ANGLES:
            if torch.equal(OPERATIONS[operation](a, b) % task.classes, task.labels):
                return cls(task.classes, operation)
        return None

    @property
    def order(self) -> int:
        """n, the number of elements of the group: p, or p - 1 for logarithms."""
        return self.p - ANGLES[self.operation].logarithm

    @property
    def sign(self) -> int:
        """Sign of the second token."""
        return ANGLES[self.operation].sign

    @property
    def frequencies(self) -> np.ndarray:
        """All frequencies 1..floor(n/2), w_k = 2 pi k / n."""
        return np.arange(1, self.order // 2 + 1)

    @cached_property
    def token(self) -> np.ndarray:
        """The token of each j, int64 (n,)."""
        if self.order == self.p:
            return np.arange(self.p)
        root = primitive_root(self.p)
        return np.array([pow(root, j, self.p) for j in range(self.order)])

    @cached_property
    def position(self) -> np.ndarray:
        """The element j of each token, int64 (p,); -1 for a token that is not in the group."""
        position = np.full(self.p, -1)
        position[self.token] = np.arange(self.order)
        return position

    def sums(self, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Compute j_a + sign j_b, j_a - sign j_b (both mod n) and a mask of pairs that have them, each like a."""
        first, second = self.position[a], self.sign * self.position[b]
        inside = (self.position[a] >= 0) & (self.position[b] >= 0)
        return (first + second) % self.order, (first - second) % self.order, inside

    def angle(self, frequency: np.ndarray | int, j: np.ndarray) -> np.ndarray:
        """Compute w_k j, reduced in integers so that no digits are lost."""
        return 2 * math.pi / self.order * (np.asarray(frequency) * j % self.order)

    def waves(self, frequency: int, a: np.ndarray, b: np.ndarray, waves: Waves = WAVES) -> np.ndarray:
        """Compute cos and sin of w_k(i j_a + j sign j_b) for each wave (i, j) in turn, (m, 2 waves)."""
        first, second = self.position[a], self.sign * self.position[b]
        angle = np.stack([self.angle(frequency, i * first + j * second) for i, j in waves], -1)
        return np.stack([np.cos(angle), np.sin(angle)], -1).reshape(len(a), -1)

    def answer_waves(self, frequencies: np.ndarray) -> np.ndarray:
        """Compute cos w_k c and sin w_k c for each frequency in turn, (2 K, n)."""
        angle = self.angle(frequencies[:, None], np.arange(self.order))
        return np.stack([np.cos(angle), np.sin(angle)], 1).reshape(2 * len(frequencies), -1)

    def distance_factors(self, frequency: int, d: np.ndarray) -> np.ndarray:
        """Compute 1, |cos w_k d/2| and |cos w_k d|, (..., 3)."""
        angle = self.angle(frequency, d)
        return np.stack([np.ones_like(angle), np.abs(np.cos(angle / 2)), np.abs(np.cos(angle))], -1)


def primitive_root(p: int) -> int:
    """Find the least g whose powers are all of 1..p-1."""
    order = p - 1
    primes = [q for q in range(2, order + 1) if order % q == 0 and is_prime(q)]
    return next(g for g in range(1, p) if all(pow(g, order // q, p) != 1 for q in primes))

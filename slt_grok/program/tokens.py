"""What turns a token into an angle: the cyclic group on which an operation is addition.

    addition          c = a + b on Z_p itself
    subtraction       c = a - b on Z_p, the second token with a minus sign
    multiplication    log c = log a + log b on Z_(p-1), by the discrete logarithm to the least primitive root of p; the
                      token 0 has no logarithm: a pair with a 0 is answered 0

Source: Furuta et al. 2402.16726, section 3 (operations of modular arithmetic). x^2 + xy + y^2 and random tables are
the sum of no cyclic group of the tokens, and have no angles here.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from slt_grok.errors import SltGrokError
from slt_grok.tasks import is_prime

ANGLES = ("addition", "subtraction", "multiplication")


@dataclass(frozen=True)
class Tokens:
    """Tokens of Z_p as elements j of a cyclic group: the operation is j_a + sign j_b.

    Parameters
    ----------
    modulus : int
        p, an odd prime.
    operation : str, optional
        One of `ANGLES`.

    Raises
    ------
    SltGrokError
        p is not an odd prime, or an operation without angles.
    """

    modulus: int
    operation: str = "addition"

    def __post_init__(self) -> None:
        if self.modulus < 3 or not is_prime(self.modulus):
            raise SltGrokError(f"program: expected an odd prime modulus, got {self.modulus}")
        if self.operation not in ANGLES:
            raise SltGrokError(
                f"program: expected an operation that adds angles ({', '.join(ANGLES)}), got {self.operation}: "
                f"no cyclic group turns it into a sum"
            )

    @property
    def order(self) -> int:
        """n, the number of elements of the group: p, or p - 1 for multiplication."""
        return self.modulus - (self.operation == "multiplication")

    @property
    def sign(self) -> int:
        """Of the second token: -1 for subtraction."""
        return -1 if self.operation == "subtraction" else 1

    @property
    def frequencies(self) -> np.ndarray:
        """All frequencies 1..floor(n/2), w_k = 2 pi k / n."""
        return np.arange(1, self.order // 2 + 1)

    @cached_property
    def position(self) -> np.ndarray:
        """Return j of each token, int64 (p,); -1 for a token that the group leaves out."""
        p = self.modulus
        if self.operation != "multiplication":
            return np.arange(p)
        found = np.full(p, -1)
        found[self.token] = np.arange(p - 1)
        return found

    @cached_property
    def token(self) -> np.ndarray:
        """The token of each j, int64 (n,): the inverse of `position`."""
        if self.operation != "multiplication":
            return np.arange(self.modulus)
        powers = np.ones(self.order, dtype=np.int64)
        for j in range(1, self.order):
            powers[j] = powers[j - 1] * primitive_root(self.modulus) % self.modulus
        return powers

    def sums(self, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Sum j_a + sign j_b, distance j_a - sign j_b (both mod n), and which pairs have them (bool), each like a."""
        first, second = self.position[a], self.sign * self.position[b]
        inside = (self.position[a] >= 0) & (self.position[b] >= 0)
        return (first + second) % self.order, (first - second) % self.order, inside

    def angle(self, frequency: np.ndarray | int, j: np.ndarray) -> np.ndarray:
        """w_k j, reduced in integers so that no digit is lost."""
        return 2 * math.pi / self.order * (np.asarray(frequency) * j % self.order)


def primitive_root(modulus: int) -> int:
    """Return the least g whose powers are all of 1..p-1."""
    order = modulus - 1
    primes = [q for q in range(2, order + 1) if order % q == 0 and is_prime(q)]
    return next(g for g in range(1, modulus) if all(pow(g, order // q, modulus) != 1 for q in primes))

"""Answers of listed pairs, beside a program for all other pairs or alone: what a memorizer is said to be."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from slt_grok.program.program import Program


@dataclass(frozen=True)
class Table(Program):
    """Answers of listed pairs; all others are another program's.

    Parameters
    ----------
    rows : ndarray
        A p + b of the listed pairs, int64 (m,), ascending.
    answers : ndarray
        Of these, int64 (m,).
    rest : Program or None
        The program of the other pairs; None where every pair is listed.
    margin : float, optional
        By how much a listed answer's logit stands over the others.
    """

    NUMBERS = ()

    rows: np.ndarray
    answers: np.ndarray
    rest: Program | None
    margin: float = 1.0

    @property
    def level(self) -> str:
        """`table`, or the other program's with `and table`."""
        return "table" if self.rest is None else f"{self.rest.level} and table"

    @property
    def frequencies(self) -> np.ndarray:
        """Those of the other program."""
        return np.array([], dtype=np.int64) if self.rest is None else self.rest.frequencies

    @property
    def numbers(self) -> dict[str, np.ndarray]:
        """Those of the other program."""
        return {} if self.rest is None else self.rest.numbers

    def with_numbers(self, numbers: Mapping[str, np.ndarray]) -> "Table":
        """See `Program`."""
        return self if self.rest is None else replace(self, rest=self.rest.with_numbers(numbers))

    def logits(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Logits (..., p): for listed pairs 0 and `margin` for the answer, which says nothing of the other answers."""
        p = self.tokens.modulus
        a, b = np.broadcast_arrays(a, b)
        found = np.zeros((*a.shape, p)) if self.rest is None else self.rest.logits(a, b)
        listed = np.full(p * p, -1)
        listed[self.rows] = self.answers
        answer = listed[a * p + b]
        found[answer >= 0] = self.margin * np.eye(p)[answer[answer >= 0]]
        return found

    def relabeled(self, factor: int) -> "Table":
        """See `Program`."""
        p = self.tokens.modulus
        a, b = np.divmod(self.rows, p)
        rows = a * factor % p * p + b * factor % p
        order = rows.argsort()
        rest = None if self.rest is None else self.rest.relabeled(factor)
        return replace(self, rows=rows[order], answers=(self.answers * factor % p)[order], rest=rest)

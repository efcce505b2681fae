"""The cases of the zoo, and the strings that name them."""

import re
from collections.abc import Callable
from typing import Protocol

from torch import Generator

from slt_grok.errors import SltGrokError
from slt_grok.zoo.deep_linear import DeepLinearNetwork
from slt_grok.zoo.least_squares import Polynomial, Quadratic
from slt_grok.zoo.modular import ModularQuadratic
from slt_grok.zoo.normal_crossing import NormalCrossing
from slt_grok.zoo.problem import KnownProblem

GRAMMAR = (
    '"quadratic 400 rank 250 decades 4", "normal_crossing 1,3", "dln 8,12,10 rank 3", "dln 8,12,10 rank 3 generic", '
    '"modadd p 7 width 30 pairs 40" (or "pairs all"), "polynomial degree 9"'
)

ZOO = (
    "quadratic 20 rank 20 decades 1",
    "quadratic 100 rank 60 decades 6",
    "quadratic 400 rank 250 decades 4",
    "polynomial degree 5",
    "polynomial degree 9",
    "normal_crossing 2",
    "normal_crossing 1,3",
    "normal_crossing 1,1",
    "normal_crossing 2,2,1",
    "dln 8,12,10 rank 3",
    "dln 8,12,10 rank 3 generic",
    "dln 5,4,5 rank 0",
    "dln 20,10,20 rank 4",
    "dln 25,12,20 rank 5 generic",
    "dln 5,5,5,5 rank 2",
    "dln 10,20,20,10 rank 4",
    "dln 8,6,8,10 rank 3 generic",
    "dln 6,6,6,6,6 rank 2",
    "dln 6,8,8,8,6 rank 2 generic",
    "modadd p 5 width 8 pairs all",
    "modadd p 7 width 12 pairs 30",
    "modadd p 7 width 30 pairs 40",
)


class Case(Protocol):
    """A family of minima, from which a generator draws random instances."""

    @property
    def family(self) -> str:
        """Name of the family in summaries."""
        ...

    def problem(self, generator: Generator) -> KnownProblem:
        """Draw a minimum: weights w*, rotations, teacher."""
        ...


def _integers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


_FORMS: list[tuple[str, Callable[..., Case]]] = [
    (
        r"quadratic (\d+) rank (\d+) decades (\d+(?:\.\d+)?)",
        lambda d, rank, decades: Quadratic(int(d), int(rank), float(decades)),
    ),
    (r"normal_crossing (\d+(?:,\d+)*)", lambda exponents: NormalCrossing(_integers(exponents))),
    (
        r"dln (\d+(?:,\d+)+) rank (\d+)( generic)?",
        lambda widths, rank, generic: DeepLinearNetwork(_integers(widths), int(rank), bool(generic)),
    ),
    (
        r"modadd p (\d+) width (\d+) pairs (\d+|all)",
        lambda p, width, pairs: ModularQuadratic(int(p), int(width), None if pairs == "all" else int(pairs)),
    ),
    (r"polynomial degree (\d+)", lambda degree: Polynomial(int(degree))),
]


def parse(text: str) -> Case:
    """Parse a string such as "dln 8,12,10 rank 3" into a case.

    Raises
    ------
    SltGrokError
        The string has none of the known forms, or its numbers describe no problem.
    """
    for form, make in _FORMS:
        if match := re.fullmatch(form, " ".join(text.split())):
            try:
                return make(*match.groups())
            except SltGrokError as error:
                raise SltGrokError(f"case {text!r}: {error}") from error
    raise SltGrokError(f"case: expected one of the forms {GRAMMAR}, got {text!r}")

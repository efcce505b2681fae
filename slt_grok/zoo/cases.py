"""The cases of the zoo, and the strings that name them."""

import re
from collections.abc import Callable
from typing import Protocol

from torch import Generator

from slt_grok.errors import SltGrokError
from slt_grok.zoo.deep_linear import DeepLinearNetwork
from slt_grok.zoo.least_squares import Polynomial, Quadratic
from slt_grok.zoo.linear_losses import LinearRegression
from slt_grok.zoo.mixed import Mixed
from slt_grok.zoo.modular import ModularQuadratic
from slt_grok.zoo.normal_crossing import NormalCrossing
from slt_grok.zoo.problem import KnownProblem
from slt_grok.zoo.twins import Twins

GRAMMAR = (
    '"quadratic 400 rank 250 decades 4", "normal_crossing 1,3", "dln 8,12,10 rank 3", "dln 8,12,10 rank 3 generic", '
    '"modadd p 7 width 30 pairs 40" (or "pairs all"), "polynomial degree 9", '
    '"mixed 10 at 1, 10 at 1e-7, crossing 1,1", "tanh 4 gap 0.1", "absolute 100 rank 100", "saturating 40 rank 30"'
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
    "quadratic 100 rank 60 decades 8",
    "mixed 10 at 1, 10 at 1e-7, crossing 1,1",
    "mixed 10 at 1, 10 at 1e-7, crossing 2",
    "mixed 20 at 1, 5 at 1e-5, crossing 1,1,1",
    "normal_crossing 2,2",
    "normal_crossing 1,1,1",
    "dln 5,5,5,6 rank 2",
    "tanh 3 gap 0.3",
    "tanh 3 gap 0.03",
    "tanh 3 gap 0.003",
    "absolute 10 rank 10",
    "absolute 100 rank 100",
    "saturating 40 rank 30",
    "dln 32,32,32 rank 3 generic",
    "dln 64,64,64 rank 5 generic",
    "dln 30,1600,32 rank 5 generic",
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


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise SltGrokError(f"expected a number, got {text!r}") from error


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
    (
        r"mixed (\d+) at 1, (\d+) at (\d\S*), crossing (\d+(?:,\d+)*)",
        lambda steep, shallow, h, exponents: Mixed(int(steep), int(shallow), _number(h), _integers(exponents)),
    ),
    (r"tanh (\d+) gap (\d\S*)", lambda neurons, gap: Twins(int(neurons), _number(gap))),
    (
        r"(absolute|saturating) (\d+) rank (\d+)",
        lambda loss, dimension, rank: LinearRegression(loss, int(dimension), int(rank)),
    ),
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

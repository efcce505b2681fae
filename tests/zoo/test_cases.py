"""The grammar of cases, and what the zoo is made of."""

import re
from collections import Counter

import pytest

from slt_grok.errors import SltGrokError
from slt_grok.zoo.cases import GRAMMAR, ZOO, parse
from slt_grok.zoo.deep_linear import DeepLinearNetwork
from slt_grok.zoo.least_squares import Polynomial, Quadratic
from slt_grok.zoo.modular import ModularQuadratic
from slt_grok.zoo.normal_crossing import NormalCrossing


def test_the_forms() -> None:
    assert parse("quadratic 400 rank 250 decades 4") == Quadratic(400, 250, 4)
    assert parse("quadratic 4 rank 2 decades 0.5") == Quadratic(4, 2, 0.5)
    assert parse("normal_crossing 1,3") == NormalCrossing((1, 3))
    assert parse("dln 8,12,10 rank 3") == DeepLinearNetwork((8, 12, 10), 3)
    assert parse("  dln 8,12,10  rank 3 generic ") == DeepLinearNetwork((8, 12, 10), 3, generic=True)
    assert parse("modadd p 7 width 30 pairs 40") == ModularQuadratic(7, 30, 40)
    assert parse("modadd p 7 width 30 pairs all") == ModularQuadratic(7, 30)
    assert parse("polynomial degree 9") == Polynomial(9)


def test_the_sentence_about_the_grammar_is_true() -> None:
    examples = re.findall(r'"([^"]+)"', GRAMMAR)
    assert len(examples) == 7
    for example in examples:
        parse(example if example != "pairs all" else "modadd p 7 width 30 pairs all")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "dln",
        "dln 8,12,10",
        "dln 8 12 10 rank 3",
        "dln 8 rank 3",
        "dln 8,-2 rank 1",
        "quadratic 4 rank 2",
        "normal_crossing 1,x",
        "polynomial 9",
        "transformer",
    ],
)
def test_no_form(text: str) -> None:
    with pytest.raises(SltGrokError, match="case: expected one of the forms") as caught:
        parse(text)
    assert "dln 8,12,10 rank 3" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("dln 8,12,10 rank 9", "rank: expected from 0 to the smallest width 8, got 9"),
        ("quadratic 4 rank 5 decades 1", "rank: expected from 1 to the dimension 4, got 5"),
        ("quadratic 4 rank 0 decades 1", "rank: expected"),
        ("normal_crossing 0,0", "exponents: expected"),
        ("modadd p 7 width 30 pairs 50", "pairs: expected from 1 to p^2 = 49"),
        ("modadd p 7 width 0 pairs 5", "width"),
    ],
)
def test_numbers_that_fit_no_problem(text: str, named: str) -> None:
    with pytest.raises(SltGrokError, match=re.escape(f"case {text!r}: ")) as caught:
        parse(text)
    assert named in str(caught.value)


def test_the_zoo_has_every_family_and_both_kinds_of_points() -> None:
    assert len(ZOO) == len(set(ZOO))
    families = Counter(parse(text).family for text in ZOO)
    assert set(families) == {
        "regular",
        "polynomial",
        "normal crossing",
        "modular",
        *(f"deep linear, {layers} layers" for layers in (2, 3, 4)),
    }
    for layers in (2, 3, 4):
        kinds = {case.generic for case in map(parse, ZOO) if case.family == f"deep linear, {layers} layers"}
        assert kinds == {False, True}

"""The grammar of cases, and what the zoo is made of."""

import re
from collections import Counter
from itertools import pairwise
from math import prod

import pytest
import torch

from slt_grok.errors import SltGrokError
from slt_grok.zoo.cases import GRAMMAR, ZOO, parse
from slt_grok.zoo.deep_linear import DeepLinearNetwork
from slt_grok.zoo.least_squares import Polynomial, Quadratic
from slt_grok.zoo.linear_losses import LinearRegression
from slt_grok.zoo.mixed import Mixed
from slt_grok.zoo.modular import ModularQuadratic
from slt_grok.zoo.normal_crossing import NormalCrossing
from slt_grok.zoo.twins import Twins


def test_the_forms() -> None:
    assert parse("quadratic 400 rank 250 decades 4") == Quadratic(400, 250, 4)
    assert parse("quadratic 4 rank 2 decades 0.5") == Quadratic(4, 2, 0.5)
    assert parse("normal_crossing 1,3") == NormalCrossing((1, 3))
    assert parse("dln 8,12,10 rank 3") == DeepLinearNetwork((8, 12, 10), 3)
    assert parse("  dln 8,12,10  rank 3 generic ") == DeepLinearNetwork((8, 12, 10), 3, generic=True)
    assert parse("modadd p 7 width 30 pairs 40") == ModularQuadratic(7, 30, 40)
    assert parse("modadd p 7 width 30 pairs all") == ModularQuadratic(7, 30)
    assert parse("polynomial degree 9") == Polynomial(9)
    assert parse("mixed 10 at 1, 3 at 1e-7, crossing 1,2") == Mixed(10, 3, 1e-7, (1, 2))
    assert parse("tanh 4 gap 0.1") == Twins(4, 0.1)
    assert parse("absolute 20 rank 10") == LinearRegression("absolute", 20, 10)
    assert parse("saturating 20 rank 10") == LinearRegression("saturating", 20, 10)


def test_the_sentence_about_the_grammar_is_true() -> None:
    examples = re.findall(r'"([^"]+)"', GRAMMAR)
    assert len(examples) == 11
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
        ("mixed 1 at 1, 1 at 0, crossing 1", "curvature: expected a number above 0"),
        ("mixed 1 at 1, 1 at 1e-x, crossing 1", "expected a number, got '1e-x'"),
        ("mixed 1 at 1, 1 at 1e-3, crossing 0", "exponents: expected"),
        ("tanh 1 gap 0.1", "neurons, gap: expected"),
        ("absolute 3 rank 4", "rank: expected from 1 to the dimension 3, got 4"),
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
        "large deep linear",
        "mixed curvature",
        "nearly equal neurons",
        "absolute loss",
        "saturating loss",
    }
    for layers in (2, 3, 4):
        kinds = {case.generic for case in map(parse, ZOO) if case.family == f"deep linear, {layers} layers"}
        assert kinds == {False, True}
    truths = [parse(text).problem(torch.Generator().manual_seed(0)).truth for text in ZOO if "5,5" in text]
    assert {truth.multiplicity for truth in truths} == {1, 3}


def test_large_cases_reach_a_hundred_thousand_weights() -> None:
    sizes = [
        sum(map(prod, pairwise(case.widths)))
        for case in map(parse, ZOO)
        if isinstance(case, DeepLinearNetwork) and case.family == "large deep linear"
    ]
    assert min(sizes) > 2000
    assert 0.9e5 < max(sizes) < 1.1e5

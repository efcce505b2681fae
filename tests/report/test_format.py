"""Numbers for readers."""

import math

import pytest

from slt_grok.format import listing, number, percent, plural, plus_minus, sentence, step


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (3.97029, "3.97"),
        (0.0123, "0.0123"),
        (6.31e-7, "6.3 × 10⁻⁷"),
        (-2.5e12, "-2.5 × 10¹²"),
        (1439.2, "1,439"),
        (None, "not measured"),
        (math.nan, "not measured"),
    ],
)
def test_number(value, text):
    assert number(value) == text


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (158.234, 3.14, "158.2 ± 3.1"),
        (158.234, 31.4, "158 ± 31"),
        (0.03456, 0.0012, "0.0346 ± 0.0012"),
        (-1.26, 0.52, "-1.26 ± 0.52"),
        (7.884e-6, 6.9e-7, "(7.88 ± 0.69) × 10⁻⁶"),
        (2e-9, 3.1e-8, "(0.2 ± 3.1) × 10⁻⁸"),
        (5.0, None, "5 (error unknown)"),
        (None, 1.0, "not measured"),
    ],
)
def test_plus_minus_has_two_digits_of_the_error(value, error, text):
    assert plus_minus(value, error).replace("\u00a0", " ") == text


@pytest.mark.parametrize(
    ("share", "text"),
    [(1.0, "100%"), (0.998, "99.8%"), (0.99996, "over 99.9%"), (0.0, "0%"), (1e-5, "under 0.1%"), (0.5, "50%")],
)
def test_percent_never_rounds_to_certainty(share, text):
    assert percent(share) == text


def test_lists_steps_and_counts():
    assert listing([5, 12, 23]) == "5, 12 and 23"
    assert listing([5]) == "5"
    assert step(12000.4) == "12,000"
    assert step(None) == "–"
    assert plural(1, "seed") == "1 seed"
    assert plural(3, "seed") == "3 seeds"
    assert sentence("no key frequency") == "No key frequency."

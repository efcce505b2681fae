"""Intervals over nested seeds against known ones, the three verdicts, and all claims together."""

import json
from importlib import import_module
from math import inf
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from tests.analyses.planted import row, written

ANALYSES = Path(__file__).parents[2] / "analyses"


@pytest.fixture(scope="module")
def rule():
    return import_module("rule")


def test_intervals_of_a_mean_and_a_difference_are_students_and_welchs(rule):
    first, second = np.array([1.0, 2.0, 4.0, 8.0]), np.array([3.0, 3.5, 9.0])
    student = stats.ttest_1samp(first, 0).confidence_interval(0.95)
    found = rule.over_seeds(rule.mean, first)
    assert (found.low, found.high) == pytest.approx((student.low, student.high))
    welch = stats.ttest_ind(first, second, equal_var=False).confidence_interval(0.975)
    found = rule.over_seeds(rule.difference, first, second, conditions=2)
    assert (found.low, found.high) == pytest.approx((welch.low, welch.high))
    assert found.seeds == (4, 3)


def test_the_interval_of_an_exponent_covers(rule):
    """3 seeds at each of 8 sizes: 95% of 1,000 intervals hold the planted exponent (binomial 99.9%: 92.7 to 97.3)."""
    sizes, generator = np.array([23, 31, 41, 53, 67, 83, 97, 113]), np.random.default_rng(0)
    statistic, hits = rule.exponent(sizes), 0
    for _ in range(1000):
        seeds = 20 * sizes[:, None] ** 1.3 * np.exp(0.1 * generator.standard_normal((8, 3)))
        found = rule.over_seeds(statistic, *seeds)
        hits += found.low < 1.3 < found.high
    assert 927 <= hits <= 973


def test_too_few_seeds_have_no_interval(rule):
    found = rule.over_seeds(rule.mean, [1.0, 2.0])
    assert (found.value, found.low, found.high) == (1.5, -inf, inf)
    condition = rule.Condition("x", found, "above", 0.0)
    assert condition.verdict == rule.UNDECIDED
    assert "too few" in condition.reason
    assert "seeds by setting 2" in condition.reason
    assert rule.over_seeds(rule.mean).seeds == ()


@pytest.mark.parametrize(
    ("low", "high", "side", "refutable", "verdict"),
    [
        (0.2, 0.8, "above", True, "supported"),
        (0.2, 0.8, "below", True, "refuted"),
        (0.2, 0.8, "below", False, "undecided at this power"),
        (-0.8, -0.2, "above", True, "refuted"),
        (-0.8, -0.2, "below", True, "supported"),
        (-0.1, 0.7, "above", True, "undecided at this power"),
    ],
)
def test_a_condition(rule, low, high, side, refutable, verdict):
    effect = rule.Effect((low + high) / 2, low, high, (5,))
    assert rule.Condition("x", effect, side, 0.0, refutable).verdict == verdict


def test_how_many_seeds_would_decide(rule):
    """The interval is 6/5 of the distance to the threshold on either side: (6/5)^2 times the seeds."""
    condition = rule.Condition("x", rule.Effect(0.25, -0.05, 0.55, (10,)), "above", 0.0)
    assert "some 15 seeds" in condition.reason


@pytest.mark.parametrize(
    ("low", "high", "ends"), [(-0.3, 0.1, (0, 0.3)), (-0.3, -0.1, (0.1, 0.3)), (0.1, 0.3, (0.1, 0.3))]
)
def test_magnitude(rule, low, high, ends):
    found = rule.magnitude(rule.Effect((low + high) / 2, low, high, (3,)))
    assert (found.low, found.high) == pytest.approx(ends)


def test_an_interval_ends_where_its_quantity_does(rule):
    found = rule.bounded(rule.Effect(0.9, 0.6, 1.2, (5,)), -1, 1)
    assert (found.low, found.high) == (0.6, 1)
    unknown = rule.Effect(0.9, -np.inf, np.inf, (2,))
    assert rule.bounded(unknown, -1, 1) == unknown  # still too few seeds for an interval


def test_all_claims_together(tmp_path, monkeypatch, capsys):
    generator = np.random.default_rng(1)
    rows = [
        row("main", seed, llc_final=float(np.exp(3 + 0.01 * generator.standard_normal())), llc_peak=100.0,
            key_frequencies=list(range(2 + seed % 3)))
        for seed in range(12)
    ]  # fmt: skip
    rows[0] |= {"status": "failed", "reason": "llc: <diverged>"}
    written(tmp_path, "seeds", rows, {})
    monkeypatch.syspath_prepend(str(ANALYSES))
    module = import_module("all")
    module.main(tmp_path, tmp_path / "out")
    claims = json.loads((tmp_path / "out" / "all.json").read_text())["claims"]
    assert [f"p{n}" for n in range(1, 10)] == [name.partition("_")[0] for name in list(claims)[:9]]
    assert claims["published_llc_against_frequencies"]["verdict"] == "supported"
    assert claims["published_llc_against_frequencies"]["left_out"] == ["main, seed 0: failed (llc: <diverged>)"]
    assert "study modulus is not there" in claims["p1_structured_against_random"]["reasons"][0]
    assert claims["p3_mechanism_and_geometry"]["verdict"] == "not tested"
    assert "expected the columns final.landscape" in claims["p3_mechanism_and_geometry"]["reasons"][0]
    assert str(tmp_path) not in (tmp_path / "out" / "all.json").read_text()
    own = json.loads((tmp_path / "out" / "published_llc_against_frequencies.json").read_text())
    assert own["conditions"][0]["claimed"] == "below 0.05"
    assert str(tmp_path) not in own["command"]
    assert "published_llc_against_frequencies: supported" in capsys.readouterr().out

    # elsewhere, without that study, its verdict stays; by another rule it would not
    (tmp_path / "elsewhere").mkdir()
    module.main(tmp_path / "elsewhere", tmp_path / "out")
    again = json.loads((tmp_path / "out" / "all.json").read_text())["claims"]
    assert again["published_llc_against_frequencies"] == own
    assert again["p1_structured_against_random"]["verdict"] == "not tested"
    (tmp_path / "out" / "published_llc_against_frequencies.json").write_text(json.dumps(own | {"rule": "another"}))
    module.main(tmp_path / "elsewhere", tmp_path / "out")
    again = json.loads((tmp_path / "out" / "all.json").read_text())["claims"]
    assert again["published_llc_against_frequencies"]["verdict"] == "not tested"


@pytest.mark.parametrize("values", [[0.1] * 5, [3.0] * 3, [0.0] * 4])
def test_seeds_that_agree_exactly_have_no_interval(rule, values):
    """0.1 five times has a jackknife variance of rounding errors, which is none either."""
    effect = rule.over_seeds(rule.mean, np.array(values))
    assert effect.value == pytest.approx(values[0])
    assert (effect.low, effect.high) == (-np.inf, np.inf)
    condition = rule.Condition("x", effect, "above", -1.0)
    assert condition.verdict == rule.UNDECIDED
    assert "all seeds agree exactly" in condition.reason
    assert "all seeds agree exactly" in rule.Condition("x", rule.magnitude(effect), "above", -1.0).reason

"""Summary, table and file of a validation; the estimates themselves are what `slt-grok validate` is for."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from slt_grok.errors import SltGrokError
from slt_grok.zoo import command
from slt_grok.zoo.measure import failure
from slt_grok.zoo.validation import summarize, validate
from tests.conftest import Command

TINY = "polynomial degree 1"


def row(family: str, estimate: float, truth: float = 10.0, half: float = 0.2, **changes: Any) -> dict[str, Any]:
    facts = {
        "case": f"a {family} case",
        "family": family,
        "seed": 0,
        "truth": truth,
        "multiplicity": 1,
        "estimate": estimate,
        "low": estimate - half,
        "high": estimate + half,
        "relative_error": estimate / truth - 1,
        "relative_error_with_multiplicity": estimate / truth - 1,
        "covered": abs(estimate - truth) <= half,
        "status": "converged",
        "converged": True,
        "flagged": False,
        "failed": False,
        "seconds": 2.0,
    }
    return facts | changes


FLAGGED = {"status": "not converged (likely low)", "converged": False, "flagged": True}
APPROXIMATE = {"status": "approximate", "converged": False}
FAILED = failure("dln 3,2,3 rank 1", 0, "ValueError: no", 7.0)
ROWS = [
    row("regular", 10.1),
    row("regular", 9.0),
    row("deep linear, 2 layers", 10.3),
    row("deep linear, 4 layers", 8.0, **FLAGGED),
    row("modular", 9.9, multiplicity=2, relative_error_with_multiplicity=0.0),
    row("normal crossing", 5.0),
    row("polynomial", 10.0, half=1.0),
    row("polynomial", 10.1, **APPROXIMATE),
    row("polynomial", 10.6, **APPROXIMATE),
    FAILED,
]


def test_the_summary_counts_what_it_says() -> None:
    found = summarize(ROWS)
    # regular, deep linear and modular: errors 1, 10, 3, 20 and 1%
    assert found["aggregate_cases"] == 5
    assert found["median_abs_relative_error"] == pytest.approx(0.03)
    assert found["p90_abs_relative_error"] == pytest.approx(0.16)  # between 10 and 20%, 0.6 of the way
    assert found["median_abs_relative_error_with_multiplicity"] == pytest.approx(0.03)
    assert found["failed"] == 1
    assert found["flagged_share"] == pytest.approx(2 / 10)
    # converged: 10.1, 9.0, 10.3, 9.9 (m = 2), 5.0, 10.0; intervals of +-0.2 but the last; approximate: 10.1 and 10.6
    assert found["converged"] == 6
    assert found["converged_outside"] == pytest.approx(3 / 6)
    assert found["converged_max_abs_relative_error"] == pytest.approx(0.5)
    assert found["approximate"] == 2
    assert found["approximate_outside"] == pytest.approx(1 / 2)
    assert found["coverage"] == pytest.approx(4 / 8)
    assert found["coverage_multiplicity_1"] == pytest.approx(3 / 7)
    assert found["converged_within_5_percent"] == pytest.approx(3 / 5)
    assert found["median_half_width"] == pytest.approx(0.02)
    assert found["cases"] == 10


def test_the_summary_by_family() -> None:
    found = summarize(ROWS)["by_family"]
    assert list(found)[:2] == ["regular", "deep linear, 2 layers"]
    assert found["regular"]["max_abs_relative_error"] == pytest.approx(0.1)
    assert found["modular"]["max_abs_relative_error"] == pytest.approx(0.01)
    assert found["modular"]["max_abs_relative_error_with_multiplicity"] == 0
    assert found["deep linear, 4 layers"]["flagged"] == 1
    assert found["deep linear, 4 layers"]["covered_of_converged"] == 0
    polynomial = found["polynomial"]
    assert (polynomial["converged"], polynomial["covered_of_converged"], polynomial["covered_of_trusted"]) == (1, 1, 2)
    failed = found["deep linear, 2 layers"]
    assert (failed["cases"], failed["failed"]) == (2, 1)
    assert failed["median_seconds"] == 4.5


def test_a_summary_of_failures_alone_is_no_failure() -> None:
    found = summarize([FAILED])
    assert found["failed"] == 1
    assert found["median_abs_relative_error"] is None
    assert found["coverage"] is None


def test_nothing_is_measured_before_everything_is_understood() -> None:
    with pytest.raises(SltGrokError, match="case: expected one of the forms"):
        validate([TINY, "nonsense"], [0])
    with pytest.raises(SltGrokError, match="at least one case"):
        validate([], [0])


@pytest.mark.slow
def test_the_command_writes_the_file(slt_grok_command: Command, tmp_path: Path) -> None:
    file = tmp_path / "validation.json"
    code, _ = slt_grok_command("validate", "--case", TINY, "--seed", 3, "--json", file)
    assert code == 0
    content = json.loads(file.read_text())
    (case,) = content["cases"]
    assert (case["case"], case["seed"], case["truth"], case["multiplicity"]) == (TINY, 3, 1.0, 1)
    assert case["estimate"] == pytest.approx(1, abs=0.15)  # some 5 standard errors, far from 0.5 and 1.5
    assert case["relative_error"] == pytest.approx(case["estimate"] - 1)
    assert case["low"] < case["estimate"] < case["high"]
    assert set(case) >= {"status", "reason", "seconds", "settings", "covered", "family"}
    summary = content["summary"]
    assert set(summary) >= {"median_abs_relative_error", "p90_abs_relative_error", "failed", "coverage"}
    assert summary["failed"] == 0
    assert summary["command"].startswith("slt-grok validate --case 'polynomial degree 1' --seed 3")
    assert summary["environment"]["packages"]["torch"]


def test_plain_lines_where_there_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "validate", lambda cases, seeds, on_row: ROWS)
    command.run([TINY], None, None, "")
    lines = capsys.readouterr().out.splitlines()
    modular = next(line for line in lines if line.startswith("a modular case"))
    assert re.split("  +", modular)[1:] == ["0", "10", "2", "9.9", "9.7 to 10.1", "-1.0%", "0.0%", "converged", "2.0"]
    assert "failed (ValueError: no)" in lines[10]
    assert "median 3.0%, p90 16.0%; 1 failed" in lines[11]
    assert "converged: 6, 50.0% outside their 95% interval, all within 50.0%" in lines[12]
    assert "approximate: 2, 50.0% outside; flagged: 20.0%" in lines[12]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--case", "dln 3,4 rank 9"), "rank: expected from 0 to the smallest width 3, got 9"),
        (("--case", "cubic 3"), "case: expected one of the forms"),
        (("--case", TINY, "--json", "/nowhere/at/all.json"), "--json: expected a file in a folder that exists"),
    ],
)
def test_bad_input_is_one_sentence(slt_grok_command: Command, arguments: tuple[str, ...], named: str) -> None:
    code, error = slt_grok_command("validate", *arguments)
    assert code == 2
    assert named in error
    assert len([line for line in error.splitlines() if line.startswith("slt-grok: ")]) == 1


@pytest.mark.slow
def test_a_row_does_not_depend_on_what_else_is_measured() -> None:
    other = "quadratic 3 rank 2 decades 1"
    together = validate([other, TINY], [1])
    (alone,) = validate([TINY], [1])
    assert [(row["case"], row["seed"]) for row in together] == [(other, 1), (TINY, 1)]
    assert {**together[-1], "seconds": 0} == {**alone, "seconds": 0}

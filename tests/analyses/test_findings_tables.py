"""The generated table of known minima, from rows that can be counted by hand."""

from pathlib import Path

import findings_tables
import pytest

from slt_grok.store.files import write_json
from slt_grok.zoo.validation import Row, summarize
from tests.zoo.test_validation import APPROXIMATE, ROWS, row

RUN = {"command": "slt-grok validate --json some.json", "wall_seconds": 600.0, "environment": {"threads": 2}}


def lines(rows: list[Row], folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    write_json(folder / "validate.json", {"summary": summarize(rows) | RUN, "cases": rows})
    monkeypatch.setattr(findings_tables, "RESULTS", folder)
    return findings_tables.zoo().splitlines()


def test_the_zoo_is_tabulated_by_family_and_status(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = lines(ROWS, tmp_path, monkeypatch)
    assert "| regular | 2 | 5.5% | 9.1% | 10.0% | 1 of 2 | 0 of 0 | 0 | 2 |" in found
    assert "| polynomial | 3 | 1.0% | 5.0% | 6.0% | 1 of 1 | 1 of 2 | 0 | 2 |" in found
    assert "| deep linear, 4 layers | 1 | 20.0% | 20.0% | 20.0% | 0 of 0 | 0 of 0 | 1 | 2 |" in found
    for fact in (
        "estimates `converged` | 6 of 10",
        "`converged` outside their 95% interval, any multiplicity | 50.0%",
        "worst of `converged`, any multiplicity | 50.0%",
        "estimates `approximate` | 2 of 10",
        "`approximate` outside their 95% interval | 50.0%",
        "truth inside the interval of `converged` or `approximate` | 50%",
        "estimates flagged: not trusted, or failed | 20%",
        "estimates that failed | 1",
    ):
        assert f"| {fact} |" in found
    assert "in 10 minutes on 2 threads" in found[-1]


def test_a_number_without_any_estimate_is_a_dash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = lines([row("polynomial", 10.1, **APPROXIMATE)], tmp_path, monkeypatch)
    assert "| `converged` outside their 95% interval, any multiplicity | – |" in found
    assert "| median error, regular, deep linear and modular | – |" in found


def test_outcomes_of_the_fuzz_harness_are_tabulated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = {"right": 20, "sentence": 1005, "malformed": 0, "traceback": 1, "silent": 2, "hang": 3, "lost": 4}
    content = {"parts": {"imports": {"tried": 1035, **counts}}, "command": "python -m tests.fuzz", "wall_seconds": 600}
    write_json(tmp_path / "fuzz.json", content | {"environment": {"threads": 1}})
    monkeypatch.setattr(findings_tables, "RESULTS", tmp_path)
    written = findings_tables.fuzz()
    assert "| imports | 1,035 | 20 | 1,005 | 0 | 1 | 2 | 3 | 4 |" in written
    assert "Measured by `python -m tests.fuzz`" in written
    assert "10 minutes" in written

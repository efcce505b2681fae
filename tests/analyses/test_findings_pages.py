"""What the generated pages say about settings, from results that are written by hand."""

from pathlib import Path
from typing import Any

import findings
import findings_blocks
import findings_claims
import findings_networks
import findings_tables
import pytest

from slt_grok.store.files import write_json

DROP = "published_drop_of_grokking_runs"
CLAIM = {
    "claim": "It drops.",
    "verdict": "supported",
    "command": f"python analyses/claims/{DROP}.py runs/seeds",
    "networks": 30,
    "conditions": [{"quantity": "difference", "claimed": "above 0.2", "value": 0.8, "low": 0.7, "high": 0.9}],
}


def summary(peak: float, final: float, half_way: float = 400.0, generalization: int | None = None) -> dict[str, Any]:
    drop = {"llc_peak": peak, "llc_final": final, "llc_drop": peak - final, "llc_drop_se": 2.0}
    return drop | {"llc_half_way_step": half_way, "generalization_step": generalization, "key_frequencies": [1, 2]}


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(findings_tables, "RESULTS", tmp_path)
    for name, known in {
        "quickstart": summary(100, 10),
        "random_table": summary(200, 50, 300.0),
        "mod113": summary(900, 9, 500.0, 8000),
    }.items():
        write_json(tmp_path / f"{name}.json", {"summary": known})
    return tmp_path


def claims(folder: Path, **recorded: Any) -> str:
    (folder / "claims").mkdir()
    content = {"command": "python analyses/all.py runs", "claims": {DROP: CLAIM | recorded}}
    write_json(folder / "claims" / "all.json", content)
    return findings_claims.claims()


def test_a_verdict_on_melted_chains_is_marked_and_compared(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(findings_claims, "REPEATED", {})
    text = claims(results)
    assert "| supported (hot setting, to be re-measured) |" in text
    assert "`quickstart` 90.0% less `random_table` 75.0%: 0.15, not above 0.2" in text


def test_a_verdict_with_recorded_settings_is_not_marked(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(findings_claims, "REPEATED", {})
    text = claims(results, llc_settings=[{"n_beta": "n", "gamma": 129.0}])
    assert "| supported |" in text
    assert "| nβ = n, γ = 129 |" in text
    assert "one pair of runs" not in text


def window(cell: str) -> dict[str, Any]:
    table = {"header": ["Seed", "Half-way step"], "rows": [["0", "–"], ["0", cell]]}
    notes = ["From step 1,265 to 2,600 the LLC falls"]
    return {"notes": notes, "tables": [table]}


def test_half_way_between_two_checkpoints_is_not_taken_for_a_step() -> None:
    assert "anywhere between them" in findings.half_way_notes(window("1,800 (1,265 to 2,600)"))[0]
    assert findings.half_way_notes(window("1,300 (1,265 to 1,400)")) == []
    assert findings.half_way_notes(window("1,800 (1,265 to 2,600)") | {"notes": ["Other"]}) == []


def test_programs_of_networks_that_were_trained_again_are_named(results: Path) -> None:
    networks = [{"run": "runs/mod113", "keys": [1, 3]}, {"run": "runs/quickstart", "keys": [1, 2]}]
    write_json(results / "programs.json", {"networks": networks})
    (sentence,) = findings_networks.other_trainings()
    assert "`mod113`" in sentence
    assert "1, 3;" in sentence
    assert sentence.endswith("has 1, 2.")


def test_the_answer_states_the_drop_of_the_control_and_the_bounds(results: Path) -> None:
    gammas = {"header": ["Seed", "γ", "Half-way step"], "rows": [["0", "3", "–"], ["0", "10", "5"], ["0", "90", "4"]]}
    treatments = {
        "header": ["Treatment", "Fraction of the drop at fixed γ"],
        "rows": [["fixed γ", "1"], ["γ = d/(ρ|w*|²)", "0.25 ± 0.01"]],
    }
    controls = {
        "confound": {"tables": [treatments]},
        "gauge": {"columns": {"gauge.largest_share": 0.5}},
        "window": {
            "notes": ["Other.", "From step 30 to 2,600 the LLC falls"],
            "tables": [gammas],
            "columns": {"window.drop_factor_min": 7.0, "window.drop_factor_max": 80.0},
        },
    }
    write_json(results / "quickstart_llc_controls.json", {"controls": controls})
    write_json(results / "mod113_before.json", {"summary": {"llc_peak": 900.0, "llc_final": 12.25}})
    text = " ".join(findings_blocks.answer().split())
    assert "with a sampling error of 2.0. With" in text  # the status of the peak is unknown
    assert "drops by 150, half of it by step 300; that of `quickstart` drops by 90, half of it by step 400" in text
    assert "`mod113` is half way at step 500 and generalizes at step 8,000" in text
    assert "0.25 ± 0.01 of it remains" in text
    assert "by up to 50.0% of the drop" in text
    assert "As a factor, from step 30 on, it is 7 at γ = 10 and 80 at γ = 90." in text
    assert "An earlier training of `mod113`, whose gradients differ in rounding, ended at 12.2 instead of" in text

    recorded = {"summary": summary(100, 10) | {"llc_peak_status": "not a minimum"}}
    write_json(results / "quickstart.json", recorded)
    text = " ".join(findings_blocks.answer().split())
    assert "with a sampling error of 2.0; but the network at its peak is not a minimum. With" in text

"""What a study will cost: the pieces counted by hand, and a trial that finds a price for each of them."""

from pathlib import Path

import pytest

from slt_grok.studies import costs as module
from slt_grok.studies.costs import PER_NETWORK, PER_RUN, PIECES, Costs, makespan
from slt_grok.studies.grid import load_study_file
from tests.studies.small import write_study

UNIT = dict(zip(PIECES, (0.5, 2.0, 3.0, 5.0, 7.0, 11.0, 0.25), strict=True))


def test_pieces_counted_by_hand(tmp_path: Path) -> None:
    keys = {"seeds": 2, "measurements": ["circuits", "landscape", "llc", "program"]}
    probes = {"landscape": {"probe_checkpoints": 2}, "program": {"checkpoints": 1}}
    (run,) = load_study_file(write_study(tmp_path, {"a": {}}, set=probes, **keys)).runs
    costs = Costs(tmp_path / "costs.json")
    assert costs.of(run) == {}
    costs.known[module._sizes(run)] = UNIT
    assert PIECES == ("step", "evaluation", "circuit", "line", "probe", "program", "update")
    # 20 steps, an evaluation every 10 of them and at 3 checkpoints; 2 seeds; 2 chains of 10 updates
    assert costs.of(run) == {
        "training": 20 * 0.5 + 5 * 2.0,
        "circuits": 2 * 4 * 3.0,
        "landscape": 2 * (3 * 5.0 + 2 * 7.0),
        "program": 2 * 11.0,
        "llc": 3 * 2 * 2 * 10 * 0.25,
    }
    assert costs.total(run) == 20 + 24 + 58 + 22 + 30 + PER_RUN + 2 * PER_NETWORK
    assert costs.total(run, ["training", "llc"]) == 24 + 58 + 22 + PER_RUN + 2 * PER_NETWORK


def test_three_equal_runs_take_two_workers_twice_as_long() -> None:
    assert makespan([5, 5, 5], 2) == 10
    assert makespan([1, 2, 3, 6], 2) == 6
    assert makespan([], 2) == 0


def test_a_trial_prices_every_piece_and_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {"measurements": ["circuits", "landscape", "llc", "program"], "set": {"landscape": {}}}
    arms = {"a": {}, "longer": {"set": {"training.steps": 4000, "task.operation": "subtraction"}}}
    one, longer = load_study_file(write_study(tmp_path, arms, **keys)).runs
    costs = Costs(tmp_path / "costs.json")
    costs.time([one, longer])
    assert len(costs.known) == 1  # length and operation change no piece
    assert set(*(unit for unit in costs.known.values())) == set(UNIT)
    assert all(price >= 0 for unit in costs.known.values() for price in unit.values())
    assert costs.of(longer)["training"] > costs.of(one)["training"]
    monkeypatch.setattr(module, "_trial", lambda *arguments: pytest.fail("it was timed again"))
    again = Costs(tmp_path / "costs.json")
    again.time([one])
    assert again.of(one) == costs.of(one)

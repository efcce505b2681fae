"""What a study will cost: the pieces counted by hand, and a trial that finds a price for each of them."""

from pathlib import Path

import pytest

from slt_grok.landscape import connectivity
from slt_grok.studies import costs as module
from slt_grok.studies.costs import PER_NETWORK, PER_RUN, Costs, makespan
from slt_grok.studies.grid import load_study_file
from tests.studies.small import write_study


def test_pieces_counted_by_hand(tmp_path: Path) -> None:
    (run,) = load_study_file(write_study(tmp_path, {"a": {}}, seeds=2, measurements=["circuits", "llc"])).runs
    costs = Costs(tmp_path / "costs.json")
    assert costs.by_stage(run) == {}
    assert costs.total(run) == 0
    keys = costs.keys(run)
    assert list(keys) == ["training", "llc", "circuits"]  # in the order of a run
    prices = {"training": {"step": 0.5, "evaluation": 2.0}, "circuits": {"seed": 12.0}, "llc": {"seed": 7.5}}
    costs.known = {keys[stage]: price for stage, price in prices.items()}
    # 20 steps, an evaluation every 10 of them and at 3 checkpoints; 2 seeds
    assert costs.by_stage(run) == {"training": 20 * 0.5 + 5 * 2.0, "circuits": 24.0, "llc": 15.0}
    assert costs.total(run) == 20 + 24 + 15 + PER_RUN + 2 * PER_NETWORK
    assert costs.total(run, ["training", "llc"]) == 24 + PER_RUN + 2 * PER_NETWORK


def test_three_equal_runs_take_two_workers_twice_as_long() -> None:
    assert makespan([5, 5, 5], 2) == 10
    assert makespan([1, 2, 3, 6], 2) == 6
    assert makespan([], 2) == 0


def test_a_trial_prices_every_stage_and_is_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arms = {"a": {}, "longer": {"set": {"training.steps": 4000, "task.operation": "subtraction"}}}
    keys = {"measurements": ["circuits", "landscape", "llc", "program"], "set": {"landscape": {}}}
    one, longer = load_study_file(write_study(tmp_path, arms, **keys)).runs
    costs = Costs(tmp_path / "costs.json")
    costs.measure([one, longer])
    assert len(costs.known) == 5  # length and operation change no price
    assert all(price >= 0 for prices in costs.known.values() for price in prices.values())
    assert costs.by_stage(longer)["training"] > costs.by_stage(one)["training"]
    assert costs.by_stage(one)["llc"] > 0
    monkeypatch.setattr(module, "trial", lambda *arguments: pytest.fail("it was timed again"))
    again = Costs(tmp_path / "costs.json")
    again.measure([one])
    assert again.by_stage(one) == costs.by_stage(one)


def test_barriers_between_seeds_are_priced_for_all_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connectivity, "matrix_seconds", lambda pairs, along, **_: 10.0 * len(pairs.coords[along]))
    keys = {"seeds": 2, "measurements": ["seed_barriers"], "set": {"seed_barriers": {}, "landscape": {}}}
    (run,) = load_study_file(write_study(tmp_path, {"a": {}}, **keys)).runs
    costs = Costs(tmp_path / "costs.json")
    costs.measure([run])
    assert costs.by_stage(run)["seed_barriers"] == 10 * 2 * 3  # seeds, checkpoints

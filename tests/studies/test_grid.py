"""What a study's file plans: every point of every arm with every seed, once; what is wrong is named."""

from pathlib import Path
from typing import Any

import pytest

from slt_grok.config import parse_config
from slt_grok.errors import SltGrokError
from slt_grok.studies import grid
from slt_grok.studies.grid import PlannedRun, changed, load_study_file
from tests.studies.small import write_study

ROOT = Path(__file__).parents[2]
STUDIES = sorted((ROOT / "configs" / "studies").glob("*.yaml"))


def planned(folder: Path, arms: dict[str, Any], **keys: Any) -> tuple[PlannedRun, ...]:
    return load_study_file(write_study(folder, arms, **keys)).runs


def test_every_combination_with_every_seed_in_batches(tmp_path: Path) -> None:
    grid = {"task.modulus": [5, 7], "model.d_mlp": [8, 16]}
    points = [{"llc.gamma": 10, "llc.n_beta": 5}, {"llc.gamma": 20, "llc.n_beta": 8}]
    runs = planned(tmp_path, {"a": {"grid": grid, "points": points}, "b": {"seeds": [9, 4]}}, seeds=5, batch=2)
    assert len(runs) == 2 * 2 * 2 * 3 + 1
    found = {
        (c.task.modulus, c.model.settings.d_mlp, c.llc.gamma, c.llc.n_beta, *c.seeds)
        for run in runs
        if run.arm == "a" and (c := run.config) is not None and c.llc is not None
    }
    assert found == {
        (p, width, *llc, *seeds)
        for p in (5, 7)
        for width in (8, 16)
        for llc in ((10, 5), (20, 8))
        for seeds in ((0, 1), (2, 3), (4,))
    }
    assert len({run.name for run in runs}) == len(runs)
    last = runs[-1].config
    assert last is not None
    assert (last.name, last.seeds, last.task.modulus) == ("small-b", [9, 4], 5)


def test_an_arm_changes_what_the_study_changes(tmp_path: Path) -> None:
    arms = {"plain": {}, "own": {"set": {"training.steps": 30, "llc": None}, "measurements": ["circuits"]}}
    plain, own = planned(tmp_path, arms, set={"training.steps": 25, "training.warmup_steps": 3})
    assert plain.config is not None
    assert own.config is not None
    assert plain.config.training is not None
    assert own.config.training is not None
    assert (plain.config.training.steps, plain.config.training.warmup_steps) == (25, 3)
    assert (own.config.training.steps, own.config.training.warmup_steps, own.config.llc) == (30, 3, None)
    assert own.measurements == ("circuits",)


def test_a_grid_over_a_samplers_settings(tmp_path: Path) -> None:
    runs = planned(tmp_path, {"a": {"grid": {"llc.sampler.step_size": [0.01, 0.02]}}})
    assert [run.config.llc.sampler.step_size for run in runs if run.config is not None] == [0.01, 0.02]
    assert len({run.name for run in runs}) == 2


def test_a_study_measures_what_its_configuration_asks_for(tmp_path: Path) -> None:
    arms = {"plain": {}, "more": {"set": {"refined": {}, "llc": None}}, "none": {"measurements": []}}
    plain, more, none = planned(tmp_path, arms, measurements=None)
    assert {"circuits", "circuit_null", "circuit_maps", "llc"} <= set(plain.measurements)
    assert "landscape" not in plain.measurements  # null in the base
    assert "refined" not in plain.measurements  # made only if asked for
    assert "llc" not in more.measurements
    assert none.measurements == ()


def test_dotted_keys_leave_the_rest_and_begin_sections() -> None:
    base = {"a": {"b": 1, "c": 2}, "d": None}
    assert changed(base, {"a.b": 5, "d.e.f": [1]}) == {"a": {"b": 5, "c": 2}, "d": {"e": {"f": [1]}}}
    assert base == {"a": {"b": 1, "c": 2}, "d": None}


def test_a_run_is_found_again_after_the_study_has_grown(tmp_path: Path) -> None:
    few = planned(tmp_path, {"a": {"grid": {"model.d_mlp": [8]}}}, seeds=4, batch=2)
    more = planned(
        tmp_path, {"b": {"set": {"task.modulus": 7}}, "a": {"grid": {"model.d_mlp": [4, 8]}}}, seeds=6, batch=2
    )
    assert {run.name for run in few} < {run.name for run in more}


def test_a_bad_value_refuses_its_own_runs_alone(tmp_path: Path) -> None:
    grid = {"training.learning_rate": [0.01, -1], "task.train_fraction": [0.5, 0.001]}
    arms = {"a": {"grid": grid}, "typo": {"set": {"task.moduluss": 7}}, "heads": {"set": {"model.kind": "resnet"}}}
    runs = planned(tmp_path, arms, seeds=3, batch=2)
    refused = {(run.arm, *run.varied.values()): run.reason for run in runs if run.config is None}
    assert set(refused) == {("a", -1, 0.5), ("a", -1, 0.001), ("a", 0.01, 0.001), ("typo",), ("heads",)}
    assert "training.learning_rate: expected greater than 0, got -1" in refused["a", -1, 0.5]
    assert "task.train_fraction" in refused["a", 0.01, 0.001]
    assert "task.moduluss: unknown key" in refused["typo",]
    assert "arms.typo" in refused["typo",]
    assert "model.kind: expected one of" in refused["heads",]
    assert sum(run.config is not None for run in runs) == 2


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"seed": 3}, "seed: unknown key"),
        ({"seeds": 0}, "seeds"),
        ({"seeds": [1, 1]}, "seeds: expected distinct seeds"),
        ({"measurements": ["llc", "topografy"]}, "got 'topografy'"),
        ({"base": "none.yaml"}, "none.yaml: no such configuration file"),
        ({"arms": {}}, "arms"),
        ({"arms": {"a": {"grids": {}}}}, "arms.a.grids: unknown key; expected one of "),
        ({"arms": {"a": {"grids": {}}}}, "; did you mean grid?"),
        ({"arms": {"a": {"grid": {"task.modulus": []}}}}, "arms.a.grid.task.modulus"),
        ({"arms": {"a": {"grid": {"task.modulus": [5, 5]}}}}, "arms.a: expected distinct runs"),
        ({"arms": {"a": {"grid": {"model.d_mlp": [8, 8.0]}}}}, "arms.a: expected distinct runs"),
        ({"arms": {"a": {}, "b": {}}}, "arms.b: expected distinct runs"),
        ({"arms": {"a": {}, "b": {"set": {"training.weight_decay": 1}}}}, "arms.b: expected distinct runs"),
        ({"seeds": True}, "seeds: expected a list"),
        ({"seeds": 10**18}, "seeds: expected from 1 to 100000 of them"),
        ({"batch": True}, "batch: expected a number"),
        ({"base": "a\0b"}, "base: "),
        ({"arms": {"x" * 300: {}}}, "arms"),
        ({"arms": {"a": {"grid": {f"task.{k}": list(range(3, 13)) for k in "abcdefg"}}}}, "at most 100000 runs"),
        ({"arms": {"a": {"grid": {"llc.seed": list(range(6000))}}}}, "at most 5000 combinations"),
        ({"arms": {"../a": {}}}, "arms"),
    ],
)
def test_a_study_that_is_wrong_itself(tmp_path: Path, keys: dict[str, Any], named: str) -> None:
    with pytest.raises(SltGrokError) as error:
        planned(tmp_path, **{"arms": {"a": {}}, **keys})
    assert named in str(error.value)
    assert "study.yaml" in str(error.value) or "none.yaml" in str(error.value)


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_shipped_studies_are_named_after_their_file_and_refuse_nothing(path: Path) -> None:
    study = load_study_file(path)
    assert study.name == path.stem
    assert [run.reason for run in study.runs if run.config is None] == []


def test_the_study_of_seeds_has_the_controls_that_were_promised() -> None:
    arms: dict[str, set[int]] = {}
    for run in load_study_file(ROOT / "configs" / "studies" / "seeds.yaml").runs:
        arms.setdefault(run.arm, set()).update(run.seeds)
    assert len(arms.pop("main")) >= 20
    assert all(len(seeds) >= 5 for seeds in arms.values())
    assert len(arms) >= 7


def test_a_measurement_without_settings_is_refused(tmp_path: Path) -> None:
    (run,) = planned(tmp_path, {"a": {}}, measurements=["landscape"])
    assert "landscape: expected settings" in run.reason


def test_runs_that_differ_in_seeds_share_what_was_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = []
    monkeypatch.setattr(
        grid, "parse_config", lambda *arguments, **keys: parsed.append(1) or parse_config(*arguments, **keys)
    )
    runs = planned(tmp_path, {"a": {}, "b": {"set": {"llc": None}, "measurements": []}}, seeds=2000, batch=1)
    assert len({run.name for run in runs}) == 4000
    assert len(parsed) == 2
    last = runs[-1].config
    assert last is not None
    assert (last.seeds, last.content["seeds"], last.network is runs[-2].config.network) == ([1999], [1999], True)
    assert parse_config(last.content, "again") == last

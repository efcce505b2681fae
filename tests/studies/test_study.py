"""A small study from its file to its table: nothing is dropped, nothing is made twice."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import slt_grok
from slt_grok.errors import SltGrokError
from slt_grok.studies import scheduler
from slt_grok.training import loop
from tests.conftest import Command
from tests.studies.small import all_made, without_processes, write_study

ARMS = {
    "main": {"seeds": [0, 1, 2]},
    "wide": {"grid": {"model.d_mlp": [4, 16]}},
    "hot": {"set": {"training.optimizer": "sgd", "training.learning_rate": 1e30}},
    "wrong": {"set": {"llc.gamma": -1}},
}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path, list[str]]]:
    folder = tmp_path_factory.mktemp("study")
    file = write_study(folder, ARMS, seeds=2, batch=2)
    with pytest.MonkeyPatch.context() as patch:
        made = without_processes(patch)
        assert not all_made(file, folder / "out")  # hot and wrong
        yield file, folder / "out", made


def test_every_seed_of_every_run_has_a_row(study: tuple[Path, Path, list[str]]) -> None:
    table = slt_grok.load_study(study[1]).table
    rows = list(zip(table.arm, table["model.d_mlp"].fillna(0), table.seed, table.status, strict=True))
    assert rows == [
        *(("main", 8, seed, "available") for seed in (0, 1, 2)),
        *(("wide", width, seed, "available") for width in (4, 16) for seed in (0, 1)),
        *(("hot", 8, seed, "failed") for seed in (0, 1)),
        *(("wrong", 0, seed, "refused") for seed in (0, 1)),
    ]
    reasons = table.set_index("arm").reason
    assert all("the loss is not finite at step" in reason for reason in reasons["hot"])
    assert all("llc.gamma" in reason for reason in reasons["wrong"])
    # 20 steps are not enough to memorize: that is said of each network, and is no failure
    assert all("never reached" in reason for reason in reasons["main"])
    assert set(table.loc[table.arm == "main", "outcome"]) == {"neither"}


def test_the_row_is_what_was_measured(study: tuple[Path, Path, list[str]]) -> None:
    results = slt_grok.load_study(study[1])
    row = results.rows(arm="main", seed=2).iloc[0]
    run = slt_grok.load(study[1] / row.run)
    assert row["final.training.train_loss"] == float(run["training"].train_loss.sel(seed=2, step=20))
    assert row["final.circuits.loss.test"] == float(run["circuits"].loss.sel(seed=2, step=20, split="test"))
    assert row["final.llc.llc"] == float(run["llc"].llc.sel(seed=2, step=20)) == row["llc_final"]
    assert row["parameters"] == 132  # 5 x 4 tokens, 8 x 8 and 8 biases, 8 x 5
    assert row["train_pairs"] == 20
    assert row["llc.gamma"] == 10
    assert row["wall_seconds.training"] >= 0
    assert row["seeds_in_run"] == 1


def test_datasets_of_an_arm_over_its_seeds(study: tuple[Path, Path, list[str]]) -> None:
    results = slt_grok.load_study(study[1])
    joint = results.dataset("llc", arm="main")
    assert joint.seed.values.tolist() == [0, 1, 2]
    (one,) = results.datasets("llc", arm="main", seed=2).values()
    xr.testing.assert_identical(joint.llc.sel(seed=[2]), one.llc)
    assert results.dataset("training", arm="wide", **{"model.d_mlp": 4}).seed.size == 2
    with pytest.raises(SltGrokError, match="identify one point"):
        results.dataset("training", arm="wide")
    with pytest.raises(SltGrokError, match="no rows match"):
        results.rows(arm="narrow")
    with pytest.raises(SltGrokError, match="no finished run"):
        results.dataset("training", arm="hot")
    with pytest.raises(SltGrokError, match=r"table\.parquet"):
        slt_grok.load_study(study[1] / "main")


def test_a_second_time_makes_nothing(study: tuple[Path, Path, list[str]]) -> None:
    file, out, made = study
    before, count = pd.read_parquet(out / "table.parquet"), len(made)
    assert not all_made(file, out)
    assert len(made) == count
    pd.testing.assert_frame_equal(before, pd.read_parquet(out / "table.parquet"))


def test_what_was_taken_away_is_made_again_with_the_same_values(study: tuple[Path, Path, list[str]]) -> None:
    file, out, made = study
    before, count = pd.read_parquet(out / "table.parquet"), len(made)
    run = before.run[0]
    (out / run / "measurements" / "llc.nc").unlink()
    all_made(file, out)
    assert made[count:] == [run]
    after = pd.read_parquet(out / "table.parquet")
    same = [name for name in before if not name.startswith("wall_seconds")]
    pd.testing.assert_frame_equal(before[same], after[same])


def test_a_seed_that_diverges_takes_no_other_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = without_processes(monkeypatch)
    plain = loop._initial

    def with_a_bad_seed(network: object, settings: object, streams: list[np.random.SeedSequence]) -> object:
        parameters = plain(network, settings, streams)  # type: ignore[arg-type]
        for row, stream in enumerate(streams):
            if stream.entropy == 1:
                parameters["W_U"].data[row] = float("nan")
        return parameters

    monkeypatch.setattr(loop, "_initial", with_a_bad_seed)
    file = write_study(tmp_path, {"main": {"seeds": 3, "batch": 3}}, measurements=["circuits"])
    assert not all_made(file, tmp_path / "out")
    table = slt_grok.load_study(tmp_path / "out").table
    assert table.status.tolist() == ["available", "failed", "available"]
    assert "not finite" in table.reason[1]
    assert len(made) == 4  # the batch, then each seed
    all_made(file, tmp_path / "out")
    assert len(made) == 4


def test_a_process_that_always_dies_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler.Work, "_run_once", lambda self: -9)
    file = write_study(tmp_path, {"main": {}}, measurements=["circuits"])
    assert not all_made(file, tmp_path / "out")
    row = slt_grok.load_study(tmp_path / "out").table.iloc[0]
    assert row.status == "failed"
    assert "its process crashed 2 times" in row.reason
    made = without_processes(monkeypatch)
    assert all_made(file, tmp_path / "out")  # that may pass, and is tried again
    assert len(made) == 1


def test_the_plan_alone_makes_no_run(tmp_path: Path, slt_grok_command: Command) -> None:
    file = write_study(tmp_path, ARMS, seeds=2, batch=2)
    code, text = slt_grok_command("study", file, "--out", tmp_path / "out", "--plan")
    assert code == 1  # as the study itself: settings are refused
    for words in ("main", "d_mlp=16", "refused", "missing", "5 of 6 runs to execute", "llc.gamma"):
        assert words in text, text
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"costs.json"}


def test_a_wrong_file_is_one_sentence(tmp_path: Path, slt_grok_command: Command) -> None:
    code, text = slt_grok_command("study", tmp_path / "none.yaml", "--out", tmp_path / "out")
    assert code == 2
    assert "none.yaml: no such configuration file" in text
    assert not (tmp_path / "out").exists()

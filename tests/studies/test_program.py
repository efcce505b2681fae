"""Programs of a run as a measurement of its own, and as rows of a study's table."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import slt_grok
from slt_grok import program
from slt_grok.config import RunConfig, parse_config
from slt_grok.errors import SltGrokError
from slt_grok.store import RunDirectory
from slt_grok.studies.run import MEASUREMENTS, ONLY_WHEN_ASKED, make_measurements
from slt_grok.studies.table import _found
from slt_grok.trajectories import Trajectory
from tests.studies.small import PLANTED, planted_run


def settings(**changes: int) -> RunConfig:
    return parse_config(PLANTED | {"program": changes}, "test")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return planted_run(tmp_path / "run")


def test_every_checkpoint_or_some_of_them(run: Path) -> None:
    make_measurements(run, ["program"])
    found = slt_grok.load(run)["program"].to_dataset()
    assert found.step.values.tolist() == [0, 1, 2, 5, 9]
    assert found.seed.values.tolist() == [3]
    stage = RunDirectory(run).manifest["stages"]["program"]
    assert stage["wall_seconds"] >= 0
    expected = program.measure(Trajectory.from_run(run))
    xr.testing.assert_identical(found.drop_attrs(), expected.drop_attrs())
    make_measurements(run, ["program"], settings(checkpoints=3), "some")
    some = slt_grok.load(run)["program@some"].to_dataset()
    assert some.step.values.tolist() == [0, 2, 9]
    xr.testing.assert_identical(some.drop_attrs(), expected.isel(step=[0, 2, 4]).drop_attrs())
    with pytest.raises(SltGrokError, match="checkpoints"):
        make_measurements(run, ["program"], settings(checkpoints=2))


def test_it_goes_on_where_it_was_killed(run: Path, monkeypatch: pytest.MonkeyPatch, in_this_process: None) -> None:
    calls = []

    def measure(shard: Trajectory, *rest: object) -> xr.Dataset:
        calls.append(shard.coords["step"].tolist())
        if len(calls) == 2:
            raise KeyboardInterrupt
        return whole(shard)

    whole = program.measure
    monkeypatch.setattr(program, "measure", measure)
    with pytest.raises(KeyboardInterrupt):
        make_measurements(run, ["program"])
    assert "program" not in RunDirectory(run).labels
    make_measurements(run, ["program"])
    assert calls == [[0, 1, 2, 5], [9], [9]]
    found = slt_grok.load(run)["program"].to_dataset()
    xr.testing.assert_identical(found.drop_attrs(), whole(Trajectory.from_run(run)).drop_attrs())


def test_it_is_made_when_asked_for(finished: Path) -> None:
    assert "program" in MEASUREMENTS
    assert "program" in ONLY_WHEN_ASKED
    assert "program" not in slt_grok.load(finished)


def test_settings_that_are_none(run: Path) -> None:
    with pytest.raises(SltGrokError, match=r"program.checkpoints: expected"):
        settings(checkpoints=0)
    with pytest.raises(SltGrokError, match=r"program.bits: unknown key"):
        settings(bits=3)
    with pytest.raises(SltGrokError, match="expected settings for program"):
        make_measurements(run, ["program"], parse_config(PLANTED | {"program": None}, "test"))


def test_a_row_of_the_table_has_the_end_and_the_drop() -> None:
    bits = np.array(
        [[[900.0, 700.0], [50.0, 60.0]], [[np.nan, 800.0], [np.nan, 300.0]], [[40.0, 800.0], [30.0, 300.0]]]
    )
    found = xr.Dataset(
        {"program_bits": (("step", "keeps", "mixture"), bits),
         "chosen": (("step", "keeps"), [["table", "clock"], ["table", "table"], ["clock", "clock"]])},
        {"step": [0, 10, 30], "keeps": ["answers", "loss"], "mixture": ["clock", "table"]},
    ).expand_dims(seed=[1], axis=1)  # fmt: skip
    row = _found({"program": found}, 1)
    assert row["final.program.shortest_bits.answers"] == 40
    assert row["final.program.shortest_bits.loss"] == 30
    assert row["program_bits_drop.answers"] == 800 - 40
    assert row["program_bits_drop.loss"] == 300 - 30
    assert row["final.program.chosen.loss"] == "clock"

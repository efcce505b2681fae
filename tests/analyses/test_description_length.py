"""The script from two measurements of a run to its JSON and figure."""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from slt_grok.store import RunDirectory
from tests.plots.test_description_length import datasets

SCRIPT = Path(__file__).parents[2] / "analyses" / "description_length.py"


def run_script(monkeypatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, arguments)])
    runpy.run_path(str(SCRIPT), run_name="__main__")


@pytest.fixture
def run(tmp_path) -> Path:
    directory = RunDirectory(tmp_path / "run")
    task = {"modulus": 5, "train_fraction": 0.8}
    config = {"name": "small", "seeds": [0, 1], "task": task, "model": {"kind": "mlp"}}
    directory.write_manifest({"config": config, "stages": {}})
    program, llc = datasets(2)
    level = np.array([["table", "table"], ["clock", "table"], ["clock", "clock"], ["clock", "clock"]])
    program = program.assign(chosen=(("seed", "step", "keeps"), np.stack([level, level])),
                             bits_per_weight=(("seed", "step", "keeps"), np.full((2, 4, 2), 7)))  # fmt: skip
    directory.write_measurement("program", program, {})
    directory.write_measurement("llc", llc, {})
    return directory.path


def test_numbers_and_figure(run, tmp_path, monkeypatch) -> None:
    run_script(monkeypatch, "--out", tmp_path / "out", run)
    content = json.loads((tmp_path / "out" / "description_length.json").read_text())
    assert content["command"] == "python analyses/description_length.py run"
    own = content["runs"]["small"]
    assert own["train_pairs"] == 20
    seed = own["seeds"]["1"]
    assert seed["checkpoints"] == {"peak": 10, "middle": 100, "end": 1000}
    assert seed["measures"]["program_loss"]["bits"] == [12_000, 10_000, 80]
    assert seed["measures"]["llc"]["bits"] == pytest.approx([200 * np.log2(20), 100 * np.log2(20), 20 * np.log2(20)])
    assert seed["table_share"]["loss"] == [0.9, 0.4, 0]
    assert seed["level"]["loss"] == ["table", "clock", "clock"]
    assert own["lags_behind_the_llc"]["program_loss"] == {
        "lag": None, "lag_low": None, "lag_high": None, "p_value": None, "seeds": 0,
    }  # fmt: skip
    assert "python" in content["environment"]
    assert (tmp_path / "out" / "description_length_small.png").stat().st_size > 10_000


def test_what_it_does_not_take(run, finished, tmp_path, monkeypatch) -> None:
    with pytest.raises(SystemExit, match="small has seed 0 twice"):
        run_script(monkeypatch, "--out", tmp_path, run, run)
    with pytest.raises(SystemExit, match="expected program measured"):
        run_script(monkeypatch, "--out", tmp_path, finished)

"""The script from two measurements of a run to its JSON and figure."""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from slt_grok.store import RunDirectory

STEPS = np.array([0, 10, 100, 1000])
SCRIPT = Path(__file__).parents[2] / "analyses" / "description_length.py"


def datasets(seeds: int) -> tuple[xr.Dataset, xr.Dataset]:
    factor = 2.0 ** np.arange(seeds)[:, None]  # over seeds
    loss = np.array([10, 6000, 5000, 40]) * factor
    answers = np.array([16_000, 12_000, 8000, 41]) * factor
    shortest = np.stack([answers, loss], -1)
    bits = np.stack([shortest * 3, shortest], -1)
    share = np.broadcast_to([[1.0, 1.0], [1, 0.9], [0.6, 0.4], [0, 0]], (seeds, 4, 2))
    coords = {"seed": np.arange(seeds), "step": STEPS}
    program = xr.Dataset(
        {"program_bits": (("seed", "step", "keeps", "mixture"), bits),
         "network_bits": (("seed", "step", "keeps", "compression"), bits * 100),
         "table_share": (("seed", "step", "keeps"), share)},
        {**coords, "keeps": ["answers", "loss"], "mixture": ["clock", "table"], "compression": ["quantized", "pruned"]},
    )  # fmt: skip
    value = np.array([-1.0, 100, 50, 10]) * factor
    status = np.full(value.shape, "effective")
    values = {"llc": value, "llc_se": value / 20, "llc_status": status}
    llc = xr.Dataset({name: (("seed", "step"), array) for name, array in values.items()}, coords)
    return program, llc


def run_script(monkeypatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, arguments)])
    runpy.run_path(str(SCRIPT), run_name="__main__")


@pytest.fixture
def run(tmp_path) -> Path:
    directory = RunDirectory(tmp_path / "run")
    task = {"modulus": 5, "train_fraction": 0.8}
    config = {"name": "small", "seeds": [0, 1], "task": task, "model": {"kind": "mlp"}, "training": None}
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

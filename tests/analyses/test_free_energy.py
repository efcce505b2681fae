"""The scripts on free energy and finite size, on run directories that are made up."""

import json
import runpy
import sys
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from slt_grok.store import RunDirectory

ANALYSES = Path(__file__).parents[2] / "analyses"
STEPS = np.array([0, 10, 100, 200, 400, 800, 1600])


def made_up(folder: Path, manifest: dict, modulus: int, fraction: float, generalizes: bool, peak: float) -> None:
    """Three seeds that memorize at step 10 and generalize at 800 or never, with LLCs near `peak` and a tenth of it."""
    run = RunDirectory(folder / f"p{modulus}_r{fraction}")
    manifest = deepcopy(manifest)
    manifest["config"]["task"] |= {"modulus": modulus, "train_fraction": fraction}
    manifest["config"]["name"] = "made_up"
    run.write_manifest(manifest)
    seeds = np.arange(3)
    factor = np.array([0.95, 1.0, 1.05])
    train = np.array([0.1, 1, 1, 1, 1, 1, 1])
    test = np.array([0.1, 0.1, 0.1, 0.2, 0.6, 1, 1]) if generalizes else np.full(7, 0.1)
    llc = np.array([0.5, 1, 1, 0.9, 0.5, 0.12, 0.1]) if generalizes else np.ones(7)
    loss = np.array([4, 0.1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6])

    def stacked(curve: np.ndarray, by: np.ndarray | float = 1.0) -> tuple[tuple[str, str], np.ndarray]:
        return ("step", "seed"), curve[:, None] * by * np.ones(3)

    coords = {"step": STEPS, "seed": seeds}
    training = {"train_accuracy": stacked(train), "test_accuracy": stacked(test), "train_loss": stacked(loss)}
    run.write_measurement("training", xr.Dataset({**training, "test_loss": stacked(loss)}, coords), {})
    values = {"llc": stacked(peak * llc, factor), "llc_se": stacked(0.01 * peak * llc), "baseline_loss": stacked(loss)}
    attrs = {"n": round(fraction * modulus**2), "n_beta": 30.0, "gamma": 100.0}
    run.write_measurement("llc", xr.Dataset(values, coords, attrs), {})


def run_script(monkeypatch: pytest.MonkeyPatch, name: str, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
    runpy.run_path(str(ANALYSES / f"{name}.py"), run_name="__main__")


def test_free_energy_over_a_sweep_of_fractions(finished, tmp_path, monkeypatch):
    manifest = RunDirectory(finished).manifest
    for fraction, generalizes, peak in ((0.2, False, 60.0), (0.4, True, 150.0), (0.6, True, 250.0)):
        made_up(tmp_path / "study", manifest, 53, fraction, generalizes, peak)
    (tmp_path / "study" / "study.json").write_text(
        json.dumps({"runs": [{"run": "p53_r0.8", "status": "failed", "reason": "no memory"}]})
    )
    run_script(monkeypatch, "free_energy", "--out", tmp_path / "out", tmp_path / "study")
    content = json.loads((tmp_path / "out" / "free_energy.json").read_text())
    assert content["not_used"] == ["p53_r0.8: failed, no memory"]
    found = content["groups"]["made_up"]
    middle = found["fractions"][1]
    n = round(0.4 * 53**2)
    memorizing = [n * loss + 150 * f * np.log(n) for f, loss in ((0.95, 0.1), (1.0, 0.1), (1.05, 0.1))]
    assert middle["memorizing"]["mean_free_energy"] == pytest.approx(np.mean(memorizing))
    assert middle["seeds_with_both"] == 3
    assert found["fractions"][0]["mean_difference"] is None
    assert 0.2 <= found["crossing_seen"]["fraction"] <= 0.4
    assert any("no seed has the generalizing phase" in note for note in found["notes"])
    assert "0 of 3 seeds generalized" in found["training_against_posterior"][0]
    assert str(tmp_path) not in content["command"]
    assert (tmp_path / "out" / "free_energy.png").stat().st_size > 10_000


def test_finite_size_over_a_sweep_of_moduli(finished, tmp_path, monkeypatch):
    manifest = RunDirectory(finished).manifest
    for modulus in (23, 31, 43, 59, 83):
        made_up(tmp_path / "study", manifest, modulus, 0.4, True, 3.0 * modulus)
    run_script(monkeypatch, "finite_size", "--out", tmp_path / "out", tmp_path / "study")
    found = json.loads((tmp_path / "out" / "finite_size.json").read_text())["groups"]["made_up"]
    assert (found["llc_peak"]["verdict"], found["llc_peak"]["law"]) == ("supported", "proportional")
    assert found["llc_peak"]["laws"]["power"]["exponent"][0] == pytest.approx(1, abs=0.01)
    assert found["llc_peak"]["laws"]["proportional"]["a"][0] == pytest.approx(3, rel=0.01)
    assert found["width_test"]["exponent"] == pytest.approx(0, abs=0.01)  # the same curve at all moduli
    assert found["collapse_of_test_accuracy"]["exponent"] == pytest.approx(0, abs=0.01)
    assert (tmp_path / "out" / "finite_size.png").stat().st_size > 10_000


def test_what_cannot_be_used(finished, tmp_path, monkeypatch):
    with pytest.raises(SystemExit, match="expected a run directory or a folder with some"):
        run_script(monkeypatch, "free_energy", "--out", tmp_path, tmp_path)
    run = RunDirectory(tmp_path / "empty")
    run.write_manifest(RunDirectory(finished).manifest)
    with pytest.raises(SystemExit, match="empty: training and llc not measured"):
        run_script(monkeypatch, "finite_size", "--out", tmp_path, run.path)
    made_up(tmp_path / "one", RunDirectory(finished).manifest, 53, 0.4, True, 100.0)
    made_up(tmp_path / "two", RunDirectory(finished).manifest, 53, 0.4, True, 100.0)
    with pytest.raises(SystemExit, match="every seed once"):
        run_script(monkeypatch, "free_energy", "--out", tmp_path, tmp_path / "one", tmp_path / "two")

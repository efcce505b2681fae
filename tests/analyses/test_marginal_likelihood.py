"""The script on both phases' marginal likelihood: differences by hand, one small run from checkpoints to JSON."""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from slt_grok.store import RunDirectory
from tests.studies.small import planted_run

SCRIPT = Path(__file__).parents[2] / "analyses" / "marginal_likelihood.py"


def seeds(integrated: list[float], formula: float, se: float = 1.0, quadrature: float = 0.0) -> list[dict]:
    """Seeds whose generalizing phase has so much more marginal likelihood than the memorizing one."""
    return [
        {
            "phases": {
                "memorizing": {"log_marginal_likelihood": -500.0, "log_marginal_likelihood_se": se}
                | {"log_marginal_likelihood_quadrature": quadrature, "minus_n_L_plus_lambda_log_n": -400.0},
                "generalizing": {
                    "log_marginal_likelihood": -500.0 + more,
                    "log_marginal_likelihood_se": se,
                    "log_marginal_likelihood_quadrature": quadrature,
                    "minus_n_L_plus_lambda_log_n": -400.0 + formula,
                },
            }
        }
        for more in integrated
    ]


@pytest.mark.parametrize(
    ("integrated", "formula", "quadrature", "interval", "preferred", "agrees"),
    [
        ([1.0, 2.0, 3.0], 4.0, 0.0, (-0.484, 4.484), "undecided", True),  # Student: 4.303 / sqrt 3 = 2.484
        ([10.0, 11.0, 12.0], 30.0, 0.0, (8.516, 13.484), "generalizing", False),
        ([1.0, 2.0, 3.0], 5.0, 0.5, (-0.484, 4.484), "undecided", None),  # an error of 0.5 of each phase: 1 in all
        ([1.0, 2.0, 3.0], 5.6, 0.5, (-0.484, 4.484), "undecided", False),
        ([10.0, 11.0, 12.0], 11.0, 4.0, (8.516, 13.484), "generalizing", True),
        ([10.0, 11.0, 12.0], 11.0, 4.5, (8.516, 13.484), "undecided", True),
        ([-10.0], -8.0, 0.0, (-12.772, -7.228), "memorizing", True),  # 1.96 sqrt 2
        ([-10.0], -5.0, 4.0, (-12.772, -7.228), "undecided", None),
    ],
)
def test_differences_by_hand(monkeypatch, integrated, formula, quadrature, interval, preferred, agrees):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    found = runpy.run_path(str(SCRIPT))["differences"](seeds(integrated, formula, quadrature=quadrature))
    assert found["integrated"] == pytest.approx([np.mean(integrated), *interval], abs=2e-3)
    assert found["formula"] == pytest.approx(formula)
    assert (found["preferred"], found["formula_agrees"], found["seeds"]) == (preferred, agrees, len(integrated))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Memorized from step 1 on, with its largest LLC at 2, generalized at 9."""
    path = planted_run(tmp_path / "runs" / "small")
    coords = {"step": [0, 1, 2, 5, 9], "seed": [3]}
    train, test, llc, loss = [0.1, 1, 1, 1, 1], [0.1, 0.1, 0.2, 0.5, 1], [1.0, 8, 9, 4, 3], [2.0, 0.1, 0.1, 0.01, 0.01]

    def stacked(values: list[float]) -> tuple[tuple[str, str], np.ndarray]:
        return ("step", "seed"), np.array(values)[:, None]

    names = {"train_accuracy": train, "test_accuracy": test, "train_loss": loss, "test_loss": loss}
    training = xr.Dataset({name: stacked(values) for name, values in names.items()}, coords)
    directory = RunDirectory(path)
    directory.measurement_path("training").unlink()
    directory.write_measurement("training", training, {})
    values = {"llc": stacked(llc), "llc_se": stacked([0.1] * 5), "baseline_loss": stacked(loss)}
    directory.write_measurement("llc", xr.Dataset(values, coords, {"n": 50, "gamma": 100.0}), {})
    return path


def script(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["marginal_likelihood", *map(str, arguments)])
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    runpy.run_path(str(SCRIPT), run_name="__main__")


@pytest.mark.slow
def test_a_run(run, tmp_path, monkeypatch, capsys):
    script(monkeypatch, run, "--out", tmp_path / "out")
    content = json.loads((tmp_path / "out" / "marginal_likelihood.json").read_text())
    assert content["command"] == "python analyses/marginal_likelihood.py runs/small"
    (row,) = content["runs"]["runs/small"]["seeds"]
    assert [one["step"] for one in row["phases"].values()] == [2, 9]
    by_hand = [-(50 * 0.1 + 9 * np.log(50)), -(50 * 0.01 + 3 * np.log(50))]
    assert [one["minus_n_L_plus_lambda_log_n"] for one in row["phases"].values()] == pytest.approx(by_hand)
    for one in row["phases"].values():  # two estimators on the same draws
        error = 4 * one["log_marginal_likelihood_se"]
        assert one["log_marginal_likelihood"] == pytest.approx(one["log_marginal_likelihood_bar"], abs=error)
    assert (tmp_path / "out" / "marginal_likelihood.png").stat().st_size > 10_000
    assert "the posterior's phase is" in capsys.readouterr().out


def test_a_run_without_both_phases(run, tmp_path, monkeypatch):
    directory = RunDirectory(run)
    training = directory.read_measurement("training")
    directory.measurement_path("training").unlink()
    directory.write_measurement("training", training.assign(test_accuracy=0.5 * training.test_accuracy), {})
    with pytest.raises(SystemExit, match="expected a seed that memorizes and then generalizes, none does"):
        script(monkeypatch, run, "--out", tmp_path / "out")

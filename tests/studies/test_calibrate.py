"""`slt-grok calibrate` on a tiny run: the rule, what is saved, what is measured with it, resuming, bad input."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import slt_grok
from slt_grok.config import load_config
from slt_grok.errors import SltGrokError
from slt_grok.llc import choice
from slt_grok.report import page as report
from slt_grok.studies.calibrate import calibrate_run, places, settings_block
from slt_grok.studies.run import Run, execute_run, measure_run
from tests.conftest import CONFIG

UPDATES = 90


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run whose configuration says nothing about the LLC."""
    folder = tmp_path_factory.mktemp("trained")
    content = {**CONFIG, "llc": None, "landscape": None}
    content["training"] = {**CONFIG["training"], "steps": 60, "checkpoints": {"linear": 7}}
    (folder / "tiny.yaml").write_text(yaml.safe_dump(content))
    execute_run(load_config(folder / "tiny.yaml"), folder / "run")
    return folder / "run"


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of it to work on."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.fixture(scope="module")
def calibrated(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = Path(shutil.copytree(trained, tmp_path_factory.mktemp("calibrated") / "run"))
    calibrate_run(Run(copy), UPDATES)
    return copy


def test_gamma_is_the_largest_of_the_rule_over_the_checkpoints(calibrated: Path) -> None:
    content = json.loads((calibrated / "calibration.json").read_text())
    networks = slt_grok.trajectory(calibrated)
    stack = networks.stacked(torch.float64)
    d = sum(tensor[0].numel() for tensor in stack.values())
    rule = {
        label["step"]: d / (0.7 * sum(float(tensor[i].square().sum()) for tensor in stack.values()))
        for i, label in enumerate(networks.labels())
    }
    assert content["llc"]["gamma"] == float(f"{max(rule[step] for step in content['checkpoints']):.3g}")
    for row in content["measured"]:
        assert row["gamma_rule"] == pytest.approx(rule[row["step"]])


def test_the_curvature_is_what_the_updates_allow_and_the_step_follows_from_it(calibrated: Path) -> None:
    content = json.loads((calibrated / "calibration.json").read_text())
    llc, rows = content["llc"], content["measured"]
    assert llc["n_beta"] == float(f"{min(row['n_beta_rule'] for row in rows):.3g}")
    stiffest = min(rows, key=lambda row: row["n_beta_rule"])
    assert llc["sampler"]["step_size"] == pytest.approx(0.7 / stiffest["curvature_rule"] ** 0.5, rel=0.01)
    # A / gamma = (S/60)^2 up to what pilots of four chains see
    assert stiffest["curvature_rule"] / llc["gamma"] == pytest.approx((UPDATES / 60) ** 2, rel=0.3)
    assert (llc["burn_in"], llc["draws"], llc["chains"]) == (27, 63, 4)
    assert llc["batch_size"] is None  # of 20 samples a quarter is no batch


def test_the_printed_block_is_a_section_of_a_configuration(calibrated: Path, tmp_path: Path) -> None:
    block = yaml.safe_load(settings_block(json.loads((calibrated / "calibration.json").read_text())))
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({**CONFIG, **block}))
    assert load_config(tmp_path / "c.yaml").llc is not None


def test_what_is_saved(calibrated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = slt_grok.load(calibrated)["calibration"].to_dataset()
    assert dict(found.sizes) == {"step": 3, "seed": 1, "batch": 2, "step_size": 3, "n_beta": 3, "gamma": 5}
    assert all(found[name].attrs["long_name"] for name in found.data_vars)
    finite = found.llc_hmc.notnull().values.ravel().tolist()
    assert finite == [True, False, True]  # two checkpoints are checked
    monkeypatch.setattr(report, "drawn", lambda *_: [])  # the figures are drawn in tests/report
    page = report.write(Run(calibrated)).read_text()
    assert len(found.attrs["reasons"]) >= 5
    for reason in found.attrs["reasons"]:
        assert reason.split(":")[0].replace("'", "&#39;") in page


def test_the_effective_value_agrees_with_hmc(calibrated: Path) -> None:
    found = slt_grok.load(calibrated)["calibration"].to_dataset().isel(seed=0, step=[0, 2])
    apart = abs(found.llc.sel(batch="full") - found.llc_hmc)
    assert (apart < 4 * np.hypot(found.llc_se.sel(batch="full"), found.llc_hmc_se)).all()
    assert (found.acceptance_hmc > 0.8).all()


def test_the_same_question_twice_is_nothing_to_do_and_another_one_is_refused(calibrated: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (calibrated / "measurements").iterdir()}
    content = calibrate_run(Run(calibrated), UPDATES)
    assert content == json.loads((calibrated / "calibration.json").read_text())
    assert {path: path.stat().st_mtime_ns for path in (calibrated / "measurements").iterdir()} == before
    with pytest.raises(SltGrokError, match=r"calibration.nc: was measured with other settings \(updates: 90 -> 120\)"):
        calibrate_run(Run(calibrated), 120)


def test_a_run_without_settings_is_measured_with_its_calibration(calibrated: Path) -> None:
    measure_run(Run(calibrated), ["llc"])
    llc = slt_grok.load(calibrated)["llc"].to_dataset()
    chosen = json.loads((calibrated / "calibration.json").read_text())["llc"]
    chosen |= chosen["sampler"]
    assert {key: llc.attrs[key] for key in ("n_beta", "gamma", "step_size", "draws", "longest_flight")} == {
        key: chosen[key] for key in ("n_beta", "gamma", "step_size", "draws", "longest_flight")
    }
    assert llc.sizes["step"] == 7


def test_a_calibration_that_was_stopped_goes_on_to_the_same_choice(
    calibrated: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = choice.sample
    monkeypatch.setattr(choice, "sample", lambda *a, **k: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        calibrate_run(Run(run), UPDATES)  # stopped in the check by HMC
    assert not (run / "calibration.json").exists()
    finished = sorted(path.parent.name for path in (run / "state" / "calibration").rglob("*.nc"))
    assert finished == ["chains"] * 3 + ["rule"] * 3
    monkeypatch.setattr(choice, "sample", before)
    monkeypatch.setattr(choice.calibration, "calibrate", None)  # what is finished is not asked for again
    assert calibrate_run(Run(run), UPDATES) == json.loads((calibrated / "calibration.json").read_text())
    assert not (run / "state").exists()


def test_a_damaged_calibration_is_one_sentence(run: Path) -> None:
    for content in ("{}", '{"llc": {"gamma": -1}}', "not JSON"):
        (run / "calibration.json").write_text(content)
        with pytest.raises(SltGrokError, match=r"calibration.json|expected settings for llc"):
            measure_run(Run(run), ["llc"])


def test_bad_questions_are_one_sentence(calibrated: Path, run: Path) -> None:
    with pytest.raises(SltGrokError, match=r"--updates \(10\) must be at least 60"):
        calibrate_run(Run(calibrated), 10)
    with pytest.raises(SltGrokError, match=r"--batch-size \(21\) must be between 1 and the 20 samples"):
        calibrate_run(Run(run), UPDATES, batch_size=21)
    short = Run(run)
    short.trajectory = short.trajectory.isel(step=[0, 1])
    with pytest.raises(SltGrokError, match="expected at least three for calibration, the run has 2"):
        calibrate_run(short, UPDATES)


@pytest.mark.parametrize(
    ("memorized", "generalized", "expected"),
    [
        (15, 45, [2, 3, 6]),  # first at or after 15; nearest to half way, 30; the last
        (15, np.nan, [2, 4, 6]),  # never generalizes: half way to the end, 37.5
        (np.nan, np.nan, [2, 4, 6]),  # not recorded: a third, two thirds
        (55, 58, [2, 4, 6]),  # memorized too late to have three
        (0, 1, [0, 1, 6]),
    ],
)
def test_checkpoints_are_memorized_half_way_and_last(memorized: float, generalized: float, expected: list[int]) -> None:
    assert places(np.arange(0, 61, 10), memorized, generalized) == expected

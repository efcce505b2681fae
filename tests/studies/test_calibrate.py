"""`slt-grok calibrate` on a tiny run: the rules, what is saved, what is measured with it, resuming, bad input."""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
import yaml

import slt_grok
from slt_grok.config import load_config
from slt_grok.errors import SltGrokError
from slt_grok.llc import choice
from slt_grok.llc.settings import LLCSettings
from slt_grok.report import page as report
from slt_grok.studies.calibrate import calibrate_run, places, settings_block
from slt_grok.studies.run import Run, execute_run, measure_run
from slt_grok.trajectories import Trajectory
from tests.conftest import CONFIG


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


@pytest.fixture(scope="module", autouse=True)
def once() -> Iterator[None]:
    """Estimates are not made longer, except in the test of this rule."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choice, "LENGTHS", {1: (0.0, 0.6)})
        yield


@pytest.fixture(scope="module")
def calibrated(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = Path(shutil.copytree(trained, tmp_path_factory.mktemp("calibrated") / "run"))
    calibrate_run(Run(copy))
    return copy


def stored(run: Path) -> dict[str, Any]:
    return json.loads((run / "calibration.json").read_text())


class Here:
    """A context that measures at once and says nothing."""

    def in_shards(self, trajectory: Trajectory, measure: Callable[..., xr.Dataset], size: int, **_: Any) -> xr.Dataset:
        return xr.concat([measure(shard, None) for shard in trajectory.shards(size)], "step", data_vars="all")

    def announce(self, text: str) -> None:
        pass


def test_gamma_keeps_the_window_within_the_norm_from_memorization_on(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks = Run(trained).trajectory
    by_step = torch.tensor([3.0, 0.1, 2.0, 3.0, 3.0, 0.5, 3.0])
    scaled = {name: torch.einsum("s...,s->s...", tensor, by_step) for name, tensor in networks.parameters.items()}
    networks = replace(networks, parameters=scaled)
    squares = torch.stack([tensor.flatten(1).double().square().sum(1) for tensor in scaled.values()]).sum(0).tolist()
    d = sum(tensor[0].numel() for tensor in scaled.values())
    stub = {"llc": [1.0], "llc_se": [0.0], "rhat": [1.0], "draws": [480], "llc_status": ["effective"]}
    exact = {"llc_hmc": [1.0], "llc_hmc_se": [0.1]}

    def chains(_: LLCSettings, network: Trajectory, __: object) -> xr.Dataset:
        return choice.CalibrationResult().dataset(network, stub).assign(end=0.0)

    monkeypatch.setattr(choice, "_chains", chains)
    monkeypatch.setattr(choice, "_hmc", lambda _, __, network, ___: choice.CalibrationResult().dataset(network, exact))
    values, chosen = choice.choose(networks, [2, 4, 6], None, 0, Here())  # pyright: ignore[reportArgumentType]
    np.testing.assert_allclose(values.gamma_rule.values.ravel(), [d / (0.7 * squares[i]) for i in (2, 4, 6)])
    # the norm is smallest at checkpoint 5, which is not sampled; the one before memorization does not count
    assert chosen["llc"]["gamma"] == float(f"{d / (0.7 * squares[5]):.3g}")
    assert f"at step {networks.coords['step'][5]}:" in chosen["reasons"][2]


@pytest.mark.parametrize(
    ("errors", "rhat", "expected"),
    [
        # at 480 draws; they fall with the square root of the draws, to 3% and to 5% at the last checkpoint
        ((0.029, 0.05, 0.049), 1.0, [480, 1920, 480]),  # 0.05 / sqrt(2) is above 0.03, 0.05 / 2 is below
        ((0.042, 0.02, 0.06), 1.0, [960, 480, 960]),
        ((0.02, 0.02, 0.2), 1.0, [480, 480, 3840]),  # three doublings are all there are
        ((0.02, 0.02, 0.02), 1.06, [3840, 3840, 3840]),
    ],
)
def test_draws_are_doubled_where_r_hat_or_the_error_is_too_large(
    trained: Path, monkeypatch: pytest.MonkeyPatch, errors: Sequence[float], rhat: float, expected: list[int]
) -> None:
    networks = Run(trained).trajectory.isel(step=[2, 4, 6])
    by_step = dict(zip(networks.coords["step"].tolist(), errors, strict=True))

    def chains(settings: LLCSettings, network: Trajectory, _: object) -> xr.Dataset:
        assert settings.burn_in * 3 == settings.draws
        error = 10 * by_step[network.coords["step"].item()] * (480 / settings.draws) ** 0.5
        values = {"llc": [-10.0], "llc_se": [error], "rhat": [rhat], "draws": [settings.draws]}
        return choice.CalibrationResult().dataset(network, values)

    monkeypatch.setattr(choice, "_chains", chains)
    monkeypatch.setattr(choice, "LENGTHS", dict.fromkeys((1, 2, 4, 8)))
    found = choice._long_enough(networks, LLCSettings(gamma=10.0), Here())  # pyright: ignore[reportArgumentType]
    assert found.step.values.tolist() == list(by_step)
    assert found.draws.values.ravel().tolist() == expected


def test_the_printed_block_is_a_section_of_a_configuration(calibrated: Path, tmp_path: Path) -> None:
    block = yaml.safe_load(settings_block(stored(calibrated)))
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({**CONFIG, **block}))
    llc = load_config(tmp_path / "c.yaml").llc  # pyright: ignore[reportAttributeAccessIssue]
    assert (llc.sampler.name, llc.n_beta, llc.chains, llc.draws, llc.burn_in) == ("adaptive", "n", 2, 480, 160)


def test_what_is_saved(calibrated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = slt_grok.load(calibrated)["calibration"].to_dataset()
    assert dict(found.sizes) == {"step": 3, "seed": 1}
    assert all(found[name].attrs["long_name"] for name in found.data_vars)
    monkeypatch.setattr(report, "drawn", lambda *_: [])  # the figures are drawn in tests/report
    page = report.write(Run(calibrated)).read_text()
    assert len(found.attrs["reasons"]) >= 5
    for reason in found.attrs["reasons"]:
        assert reason.split(":")[0] in page


def test_the_mean_of_the_draws_agrees_with_hmc_and_disagreement_is_stated(calibrated: Path) -> None:
    found = slt_grok.load(calibrated)["calibration"].to_dataset()
    apart = abs(found.llc - found.llc_hmc) / np.hypot(found.llc_se, found.llc_hmc_se)
    assert (apart < 4).all()  # three of them: one in 5,000 by chance
    assert (found.llc_hmc_se < 0.1 * found.llc_hmc).all()
    assert (found.acceptance_hmc > 0.5).all()
    gammas = found.gamma_rule
    assert "Carlo agrees" in choice._reasons(found, found.attrs, gammas)[-1]
    wrong = found.assign(llc_hmc=found.llc + xr.where(found.step == found.step[1], 5, 0) * found.llc_hmc_se)
    assert "Carlo does not agree" in choice._reasons(wrong, found.attrs, gammas)[-1]


def test_the_same_question_twice_is_nothing_to_do_and_another_one_is_refused(calibrated: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (calibrated / "measurements").iterdir()}
    assert calibrate_run(Run(calibrated)) == stored(calibrated)
    assert {path: path.stat().st_mtime_ns for path in (calibrated / "measurements").iterdir()} == before
    with pytest.raises(SltGrokError, match=r"calibration.nc: was measured with other settings \(n_beta: null -> 7.0\)"):
        calibrate_run(Run(calibrated), 7.0)


def test_a_run_without_settings_is_measured_with_its_calibration(calibrated: Path) -> None:
    measure_run(Run(calibrated), ["llc"])
    llc = slt_grok.load(calibrated)["llc"].to_dataset()
    chosen = stored(calibrated)["llc"]
    assert {key: llc.attrs[key] for key in ("gamma", "draws", "burn_in")} == {
        key: chosen[key] for key in ("gamma", "draws", "burn_in")
    }
    assert (llc.attrs["sampler"], llc.attrs["n_beta"]) == ("adaptive", 20)  # of 25 pairs, 20 are the train set
    assert llc.sizes["step"] == 7


def test_setting_and_cost_are_printed_before_any_checkpoint_is_sampled(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(choice, "sample", lambda *a, **k: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        calibrate_run(Run(run), 7.0)
    printed = capsys.readouterr().err
    assert "n_beta = 7" in printed
    assert "gamma = " in printed
    assert "s per checkpoint" in printed


def test_a_calibration_that_was_stopped_goes_on_to_the_same_choice(
    calibrated: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = choice.curvature_at
    monkeypatch.setattr(choice, "curvature_at", lambda *a, **k: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        calibrate_run(Run(run))  # stopped in the check by HMC
    assert not (run / "calibration.json").exists()
    finished = sorted(path.parent.name for path in (run / "state" / "calibration").rglob("*.nc"))
    assert finished == ["length_1"] * 3
    monkeypatch.setattr(choice, "curvature_at", before)
    monkeypatch.setattr(choice, "_chains", lambda *_: pytest.fail("what is finished was asked again"))
    assert calibrate_run(Run(run)) == stored(calibrated)
    assert not (run / "state").exists()


def test_a_damaged_calibration_is_one_sentence(run: Path) -> None:
    for content in ("{}", '{"llc": {"gamma": -1}}', "not JSON"):
        (run / "calibration.json").write_text(content)
        with pytest.raises(SltGrokError, match=r"calibration.json|expected settings for llc"):
            measure_run(Run(run), ["llc"])


def test_bad_questions_are_one_sentence(run: Path) -> None:
    for n_beta in (0.0, -1.0, float("nan")):
        with pytest.raises(SltGrokError, match=rf"--n-beta \({n_beta:g}\) must be above 0"):
            calibrate_run(Run(run), n_beta)
    short = Run(run)
    short.trajectory = short.trajectory.isel(step=[0, 1])
    with pytest.raises(SltGrokError, match="expected at least three for calibration, the run has 2"):
        calibrate_run(short)


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

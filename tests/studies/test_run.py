"""One run: what a measurement stores, networks that cannot be measured, settings from elsewhere."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import xarray as xr

from slt_grok.config import load_config
from slt_grok.errors import SltGrokError
from slt_grok.measurement import Measurement, Variable
from slt_grok.settings import Settings
from slt_grok.studies.run import SUMMARY, Run, run_measurement, run_measurements, train_run
from tests.conftest import CONFIG, write_config


class Sums(Measurement):
    """The sum of all weights; it gets its name in a test, so that it is in no registry."""

    variables = {"sum": Variable((), "sum of the weights", "sum of all weights")}

    def __init__(self, reason: str = "", extra: str = "") -> None:
        self.name, self.reason, self.extra = "sums", reason, extra  # type: ignore[misc]

    def unmeasurable(self, network: Any) -> str:
        return self.reason

    def measure(self, trajectory: Any, settings: Any, context: Any) -> xr.Dataset:
        if self.extra == "unmeasurable":
            return xr.Dataset(attrs={"unmeasurable": "of one seed"})
        total = sum(w.double().flatten(1).sum(1) for w in trajectory.stacked().values())
        dataset = self.dataset(trajectory, {"sum": total})
        return dataset.assign({self.extra: 1}) if self.extra else dataset


CONFIG_OF_SUMS: Any = SimpleNamespace(settings=lambda measurement: Settings())


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return train_run(load_config(write_config(tmp_path / "c.yaml")), tmp_path / "run")


def test_a_measurement_is_stored_once_with_its_declared_attributes(run: Run) -> None:
    (run.path / SUMMARY).write_text("{}")
    run_measurement(run, Sums(), CONFIG_OF_SUMS, "sums")
    assert not (run.path / SUMMARY).exists()  # it is made again from all measurements
    stored = Run(run.path).data["sums"]
    assert stored["sum"].attrs["definition"] == "sum of all weights"
    last = sum(w[-1, 0].double().sum() for w in run.trajectory.parameters.values())
    np.testing.assert_allclose(stored["sum"].sel(step=20, seed=0), float(last), rtol=1e-12)
    assert "sums" in run.manifest["stages"]
    run_measurement(run, Sums(extra="other"), CONFIG_OF_SUMS, "sums")  # there already: not measured again
    with pytest.raises(SltGrokError, match="other is measured but not declared"):
        run_measurement(run, Sums(extra="other"), CONFIG_OF_SUMS, "sums@again")


@pytest.mark.parametrize("measurement", [Sums("no group"), Sums(extra="unmeasurable")])
def test_the_reason_is_stored_where_networks_cannot_be_measured(run: Run, measurement: Sums) -> None:
    run_measurement(run, measurement, CONFIG_OF_SUMS, "sums")
    assert Run(run.path).data["sums"].attrs["unmeasurable"] in ("no group", "of one seed")


def test_a_long_measurement_is_announced_with_its_predicted_time(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kind = Measurement.find("llc")
    for seconds, announced in ((1e5, True), (1e-3, False)):
        monkeypatch.setattr(kind, "seconds", lambda *_, seconds=seconds: seconds)
        monkeypatch.setattr(kind, "measure", lambda *_: xr.Dataset(attrs={"unmeasurable": "not now"}))
        run_measurement(run, kind(), run.config, f"llc@{seconds}")
        assert ("takes about" in capsys.readouterr().err) == announced


def test_the_manifest_has_what_was_written_and_the_run_its_defaults(run: Run) -> None:
    assert run.manifest["config"] == CONFIG
    assert Run(run.path).config.training.weight_decay == 1  # type: ignore[union-attr]
    assert Run(run.path).config.model_dump() == run.config.model_dump()


def test_a_calibration_gives_a_run_the_llc_section_that_it_lacks(tmp_path: Path) -> None:
    config = load_config(write_config(tmp_path / "c.yaml", ("llc", None)))
    run = train_run(config, tmp_path / "run")
    with pytest.raises(SltGrokError, match=r"settings for llc.*--config, or choose them by slt-grok calibrate"):
        run_measurements(run, ["llc"])
    run.directory.write_result("calibration.json", {"llc": CONFIG["llc"]})
    resumed = train_run(config, tmp_path / "run")  # the same configuration as before
    assert resumed.calibrated.llc.gamma == CONFIG["llc"]["gamma"]  # type: ignore[attr-defined]
    assert resumed.config.llc is None  # type: ignore[attr-defined]


def test_settings_from_another_configuration_are_for_the_runs_own_network(run: Run, tmp_path: Path) -> None:
    other = load_config(write_config(tmp_path / "o.yaml", ("task.modulus", 7), ("llc.gamma", 20)))
    run_measurements(run, ["llc"], other, "other")
    stored = run.data["llc@other"]
    assert json.loads(stored.attrs["settings"])["gamma"] == 20
    assert stored.attrs["n"] == 20  # train pairs of p = 5


def test_changed_settings_of_measurements_name_the_keys_and_the_remedy(tmp_path: Path) -> None:
    path, file = tmp_path / "run", tmp_path / "c.yaml"
    run = train_run(load_config(write_config(file)), path)
    run.store("llc", xr.Dataset(), run.config.settings(Measurement.find("llc")).model_dump(mode="json"), 0.0)
    before = (path / "manifest.json").read_bytes()
    changed = load_config(write_config(file, ("llc.gamma", 20), ("circuits", None)))
    with pytest.raises(SltGrokError, match=r"llc with other settings \(llc.gamma: 10.0 -> 20.0\).*--label.*llc\.nc"):
        train_run(changed, path)
    assert (path / "manifest.json").read_bytes() == before
    (path / "measurements" / "llc.nc").unlink()
    train_run(changed, path)
    assert Run(path).config.settings(Measurement.find("llc")).gamma == 20

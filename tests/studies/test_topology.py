"""The topology of a run as a measurement of its own."""

from pathlib import Path

import numpy as np
import pytest

import slt_grok
from slt_grok.circuits import topology
from slt_grok.config import RunConfig, parse_config
from slt_grok.errors import SltGrokError
from slt_grok.store import RunDirectory
from slt_grok.studies.run import Run, measure_run
from tests.studies.small import PLANTED, planted_run


def settings(**topology: float) -> RunConfig:
    return parse_config(PLANTED | {"topology": {"landmarks": 30, **topology}}, "test")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return planted_run(tmp_path_factory.mktemp("topology") / "run")


def test_it_is_measured_at_some_checkpoints(run: Path) -> None:
    measure_run(Run(run), ["topology"], settings())
    found = slt_grok.load(run)["topology"].to_dataset()
    assert found.step.values.tolist() == [0, 2, 9]
    assert found.seed.values.tolist() == [3]
    assert "topology" in RunDirectory(run).manifest["stages"]
    expected = topology.measure(slt_grok.trajectory(run).isel(step=[0, 2, 4]), landmarks=30)
    assert np.isfinite(expected.betti.sel(frequency=2)).all()
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name])


def test_other_settings_need_another_label(run: Path) -> None:
    measure_run(Run(run), ["topology"], settings())
    with pytest.raises(SltGrokError, match=r"threshold: 0\.5 -> 0\.4"):
        measure_run(Run(run), ["topology"], settings(threshold=0.4))
    measure_run(Run(run), ["topology"], settings(threshold=0.4, checkpoints=1), "low")
    found = slt_grok.load(run)["topology@low"]
    assert found.attrs["threshold"] == 0.4
    assert found.step.values.tolist() == [9]


def test_it_is_not_measured_unless_asked_for(finished: Path) -> None:
    assert "topology" not in slt_grok.load(finished)

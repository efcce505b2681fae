"""The topology of a run as a measurement of its own."""

from pathlib import Path

import numpy as np
import pytest
import torch

import slt_grok
from slt_grok.circuits import topology
from slt_grok.config import RunConfig, parse_config
from slt_grok.errors import SltGrokError
from slt_grok.models import planted
from slt_grok.store import RunDirectory
from slt_grok.studies.run import measure_run
from slt_grok.trajectories import Trajectory
from tests import synthetic

CONFIG = {
    "name": "planted",
    "task": {"modulus": 13},
    "model": {"kind": "quadratic", "width": 32},
    "training": None,
    "landscape": None,
    "seeds": [3],
}


def settings(**topology: float) -> RunConfig:
    return parse_config(CONFIG | {"topology": {"landmarks": 30, **topology}}, "test")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = RunDirectory(tmp_path_factory.mktemp("topology") / "run")
    directory.write_manifest({"config": CONFIG, "stages": {}})
    network = planted.gromov(13, [2], 32)
    for step in (0, 1, 2, 5, 9):
        noise = torch.Generator().manual_seed(step)
        weights = {name: w + 0.05 * torch.randn(w.shape, generator=noise) for name, w in network.named_parameters()}
        directory.write_checkpoint(step, {name: w[None].float() for name, w in weights.items()})
    directory.write_measurement("training", synthetic.training().assign_coords(seed=[3]), {})
    return directory.path


def test_it_is_measured_at_some_checkpoints(run: Path) -> None:
    measure_run(run, ["topology"], settings())
    found = slt_grok.load(run)["topology"].to_dataset()
    assert found.step.values.tolist() == [0, 2, 9]
    assert found.seed.values.tolist() == [3]
    assert "topology" in RunDirectory(run).manifest["stages"]
    expected = topology.measure(Trajectory.from_run(run).isel(step=[0, 2, 4]), landmarks=30)
    assert np.isfinite(expected.betti.sel(frequency=2)).all()
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name])


def test_other_settings_need_another_label(run: Path) -> None:
    measure_run(run, ["topology"], settings())
    with pytest.raises(SltGrokError, match=r"threshold: 0\.5 -> 0\.4"):
        measure_run(run, ["topology"], settings(threshold=0.4))
    measure_run(run, ["topology"], settings(threshold=0.4, checkpoints=1), "low")
    found = slt_grok.load(run)["topology@low"]
    assert found.attrs["threshold"] == 0.4
    assert found.step.values.tolist() == [9]


def test_it_is_not_measured_unless_asked_for(finished: Path) -> None:
    assert "topology" not in slt_grok.load(finished)

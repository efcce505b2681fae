"""A measurement, a sampler and a task with its model from outside the package, each in one file."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import slt_grok
from slt_grok.config import parse_config
from slt_grok.errors import SltGrokError
from slt_grok.listing import listing
from slt_grok.measurement import Measurement, Variable
from slt_grok.registry import Registered, load_plugins

IMPORTS = """
from slt_grok.llc.samplers.sampler import Sampler
from slt_grok.measurement import Measurement
from slt_grok.models import Model
from slt_grok.settings import Settings
from slt_grok.tasks import GroupTask
"""
PLUGINS = Path(__file__).parent / "plugins"
CONFIG = {
    "name": "outside",
    "plugins": ["top_weights", "averaged_sgld", "s3"],
    "task": {"kind": "s3", "train_fraction": 0.8},
    "model": {"kind": "pair_mlp", "width": 24},
    "training": {"steps": 60, "learning_rate": 0.01, "checkpoints": {"linear": 6}, "evaluate_every": 10},
    "llc": {
        "sampler": {"name": "averaged_sgld", "step_size": 1e-3, "reach": 0.1},
        "n_beta": 20,
        "gamma": 50,
        "chains": 2,
        "draws": 20,
        "burn_in": 5,
    },
    "top_weights": {"fraction": 0.2, "pause": 1.0},
}
STUDY = {
    "name": "grid",
    "base": "outside.yaml",
    "seeds": 2,
    "measurements": ["top_weights"],
    "set": {"top_weights.pause": 0},
    "arms": {"plain": {"grid": {"model.width": [8, 12]}}},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plugins")
    (folder / "outside.yaml").write_text(yaml.safe_dump(CONFIG))
    (folder / "grid.yaml").write_text(yaml.safe_dump(STUDY))
    return folder


def slt_grok_command(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(PLUGINS), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", "slt_grok", *arguments]
    return subprocess.Popen(
        command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def run(folder: Path, *arguments: str) -> str:
    process = slt_grok_command(folder, *arguments)
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return output


@pytest.fixture(scope="module")
def measured(folder: Path, importable: Callable[[Path], None]) -> Path:
    """The run, killed in the middle of the new measurement and resumed."""
    importable(PLUGINS)
    path = folder / "runs" / "outside"
    process = slt_grok_command(folder, "run", "outside.yaml")
    shards = path / "state" / "top_weights"
    deadline = time.monotonic() + 240
    while len(list(shards.glob("*.nc"))) < 2 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert process.poll() is None, process.communicate()[1]
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (path / "measurements" / "top_weights.nc").exists()
    kept = {shard: shard.stat().st_mtime_ns for shard in shards.glob("shard_*.nc")}
    assert len(kept) >= 2
    resumed = slt_grok_command(folder, "measure", "runs/outside", "--only", "top_weights")
    while shards.is_dir() and resumed.poll() is None:
        assert all(shard.stat().st_mtime_ns == at for shard, at in kept.items() if shard.exists()), "measured again"
        time.sleep(0.2)
    assert resumed.wait(timeout=240) == 0, resumed.communicate()[1]
    run(folder, "run", "outside.yaml")
    return path


def test_the_measurement_resumes_to_what_the_weights_say(measured: Path) -> None:
    dataset = slt_grok.load(measured)["top_weights"]
    last = slt_grok.trajectory(measured).isel(step=[-1])
    weights = np.concatenate([tensor.flatten().double().numpy() for tensor in last.parameters.values()])
    ordered = np.sort(weights**2)[::-1]
    expected = ordered[: int(0.2 * len(ordered))].sum() / ordered.sum()
    assert dataset.top_share.isel(step=-1, seed=0).item() == pytest.approx(expected, rel=1e-12)
    assert dataset.sizes["step"] == 6
    assert dataset.top_share.attrs["definition"] == "sum of w^2 over the largest / over all"


def test_the_sampler_measures_the_llc(measured: Path) -> None:
    dataset = slt_grok.load(measured)["llc"]
    assert dataset.attrs["sampler"] == "averaged_sgld"
    assert dataset.attrs["reach"] == 0.1
    assert np.isfinite(dataset.llc).all()


def test_circuits_on_s3_are_those_of_a_group(measured: Path) -> None:
    dataset = slt_grok.load(measured)["circuits"]
    assert dataset.sizes["frequency"] == 2  # the sign and the plane of the triangle
    np.testing.assert_allclose(dataset.embedding_spectrum.sum("frequency"), 1)
    assert "pizza_fve" not in dataset  # cosines are for cyclic groups
    assert "cyclic" in dataset.attrs["omitted"]


def test_the_page_shows_the_figure(measured: Path) -> None:
    page = (measured / "report.html").read_text()
    assert "Largest weights" in page
    assert "Share of the largest weights in the squared norm over training." in page
    assert (measured / "figures" / "top_weights.svg").is_file()


@pytest.mark.slow
def test_the_study_has_the_column(folder: Path) -> None:
    run(folder, "study", "grid.yaml", "--workers", "2")
    table = slt_grok.load_study(folder / "runs" / "grid").table
    assert len(table) == 4
    assert table.top_share_final.between(0, 1).all()
    assert (table.status == "available").all()


def test_everything_is_listed(folder: Path) -> None:
    output = run(folder, "list", "--plugin", "top_weights", "--plugin", "averaged_sgld", "--plugin", "s3")
    for name in ("top_weights", "averaged_sgld", "s3", "pair_mlp"):
        assert name in output


WRONG = {
    "class (": "SyntaxError",
    "unknown": "NameError",
    "raise SystemExit(3)": "SystemExit",
    "class A(Measurement):\n  name = 'a/b'\n  def measure(self, *_): ...": "A: expected a name of letters",
    "class A(Measurement):\n  name = '7'\n  def measure(self, *_): ...": "A: expected a name of letters",
    "class A(Measurement):\n  name = 'a'": "A: expected it to define measure",
    "class A(Measurement):\n  name = 'seeds'\n  def measure(self, *_): ...": "measurement seeds: this name is",
    "class A(Measurement):\n  name = 'network'\n  def measure(self, *_): ...": "measurement network: this name is",
    "class A(Measurement):\n  name = 'a'\n  class Settings(Settings): k: int = 'three'\n  def measure(self, *_): ...": (
        "measurement a: defaults: k: expected an integer"
    ),
    "class A(Sampler):\n  name = 'a'\n  def init(self, *_): ...": "A: expected it to define update",
    "class A(GroupTask):\n  name = 'a'": "A: expected it to define group",
    "class A(Model):\n  name = 'a'\n  def initialize(self, generator): ...": "A: expected it to define forward",
}


@pytest.mark.parametrize("code", WRONG)
def test_a_wrong_plugin_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    (tmp_path / "wrong_plugin.py").write_text(f"{IMPORTS}\n{code}\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "wrong_plugin", raising=False)
    for family in Registered.__subclasses__():
        family.load()
        monkeypatch.setattr(family, "registry", dict(family.registry))
    with pytest.raises(SltGrokError, match=WRONG[code]):
        parse_config(
            {"name": "wrong", "plugins": ["wrong_plugin"], "task": {}, "training": None}, "wrong.yaml", named=True
        )


@pytest.mark.parametrize("name", ["", ".x"])
def test_a_plugin_needs_a_full_name(name: str) -> None:
    with pytest.raises(SltGrokError, match="--plugin: plugins: cannot import"):
        load_plugins([name], "--plugin", named=True)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"b": [1.0]}, "expected only declared variables, got b"),
        ({"a": [1.0, 2.0]}, r"expected values of shape \(N, ...\) with N = 1"),
        ({"a": [[1.0]]}, r"expected values of shape \(N, ...\) with N = 1"),
        (None, "expected it to return a dataset, got None"),
    ],
)
def test_a_measurement_that_measures_something_else(values: dict[str, Any] | None, sentence: str) -> None:
    class Wrong(Measurement):  # without a name in the class: not registered
        variables = {"a": Variable((), "a", "a")}

        def measure(self, trajectory: Any, settings: Any, context: Any) -> Any:
            return None if values is None else self.dataset(trajectory, values)

    wrong, network = Wrong(), slt_grok.Trajectory.of(torch.nn.Linear(1, 1))
    Wrong.name = "wrong"
    with pytest.raises(SltGrokError, match=f"measurement wrong: {sentence}"):
        wrong.check(wrong.measure(network, None, None))


def test_a_plugin_without_a_docstring_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    find = Measurement.find("landscape")
    monkeypatch.setattr(find, "__doc__", None)
    assert "  landscape: " in list(listing())


def test_an_unknown_plugin_is_one_sentence(folder: Path) -> None:
    (folder / "wrong.yaml").write_text(yaml.safe_dump({**CONFIG, "plugins": ["no_such_module"]}))
    process = slt_grok_command(folder, "run", "wrong.yaml")
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "wrong.yaml: plugins: cannot import 'no_such_module'" in errors

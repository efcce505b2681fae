"""A tiny run that many tests read or damage, and the command line inside the test process."""

import json
import sys
from collections.abc import Callable, Iterator
from copy import deepcopy
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from slt_grok import user_code
from slt_grok.cli import main
from slt_grok.registry import Registered
from slt_grok.report.page import write
from slt_grok.studies.run import Run


def complete_torchvision() -> None:
    """Define the operators of a torchvision that was built for another torch, which devinterp imports and never calls.

    Importing it raises a RuntimeError then.
    """
    try:
        import_module("torchvision")
    except ImportError:
        pass
    except RuntimeError:
        for operator in ("nms", "qnms"):
            torch.library.define(
                f"torchvision::{operator}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            )


complete_torchvision()

CONFIG: dict[str, Any] = {
    "name": "tiny",
    "task": {"modulus": 5, "train_fraction": 0.8},
    "model": {"kind": "mlp", "d_embed": 4, "d_mlp": 8},
    "training": {"steps": 20, "learning_rate": 0.01, "checkpoints": {"linear": 3}, "evaluate_every": 10},
    "llc": {"sampler": {"step_size": 0.01}, "n_beta": 5, "gamma": 10, "chains": 2, "draws": 8, "burn_in": 2},
    "landscape": {"probe_checkpoints": 1, "eigenvalues": 1},
}


def write_config(path: Path, *changes: tuple[str, Any]) -> Path:
    """The tiny configuration with some dotted keys changed."""
    content = deepcopy(CONFIG)
    for dotted, value in changes:
        *parents, key = dotted.split(".")
        place = content
        for parent in parents:
            place = place[parent]
        place[key] = value
    path.write_text(yaml.safe_dump(content))
    return path


def edit_manifest(run: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    """Change the manifest of a run, without the digest that would give this away."""
    path = run / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest.pop("digest", None)
    edit(manifest)
    path.write_text(json.dumps(manifest))


def without_digests(run: Path) -> Path:
    """Make a run one of a version that stored no digests, so that what is damaged is looked at."""
    edit_manifest(run, lambda manifest: manifest.pop("digests", None))
    return run


def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: object) -> tuple[int, str]:
    monkeypatch.setattr("sys.argv", ["slt-grok", *map(str, arguments)])
    capsys.readouterr()
    try:
        main()
    except SystemExit as stop:
        return int(stop.code or 0), capsys.readouterr().err
    return 0, capsys.readouterr().err


Command = Callable[..., tuple[int, str]]


@pytest.fixture
def slt_grok_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    return lambda *arguments: command(capsys, monkeypatch, *arguments)


@pytest.fixture(scope="module", autouse=True)
def no_page(request: pytest.FixtureRequest) -> Iterator[None]:
    """Write an empty page, unless the module says `PAGES = True`: drawing takes longer than measuring a tiny run."""

    def empty(run: Run) -> Path:
        page = run.path / "report.html"
        page.touch()
        return page

    with pytest.MonkeyPatch.context() as patch:
        if not getattr(request.module, "PAGES", False):
            patch.setattr("slt_grok.report.write", empty)
        yield


@pytest.fixture(scope="session", autouse=True)
def state_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what tests name out of the state folder of whoever runs them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    config = write_config(folder / "tiny.yaml")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("slt_grok.report.write", write)
        patch.setattr("sys.argv", ["slt-grok", "run", str(config), "--out", str(folder / "run")])
        with pytest.raises(SystemExit) as stop:
            main()
    assert not stop.value.code
    return folder / "run"


@pytest.fixture
def nothing_permitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder on a machine where no code was named yet."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(user_code, "_permitted", set())
    for alias in [name for name in sys.modules if name.startswith("slt_grok_code_")]:
        monkeypatch.delitem(sys.modules, alias)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def in_this_process() -> Iterator[None]:
    """Do work here that would be shared among processes, so that calls can be counted."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def importable() -> Iterator[Callable[[Path], None]]:
    """Make the modules of a folder importable as plugins; afterwards nobody knows what they registered."""
    families = Registered.__subclasses__()
    for family in families:
        family.load()  # else what a plugin imports for the first time would be forgotten as well
    registries = [family.registry for family in families]
    before, path = [dict(registry) for registry in registries], list(sys.path)
    yield lambda folder: sys.path.append(str(folder))
    sys.path[:] = path
    for registry, content in zip(registries, before, strict=True):
        registry.clear()
        registry.update(content)

"""A user-supplied module and data on the command line: what is executed, what is measured, and what is refused."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from slt_grok import circuits, user_code
from slt_grok.errors import SltGrokError
from slt_grok.models import Adapter
from slt_grok.models.custom import CustomModule
from slt_grok.report.page import write
from slt_grok.studies.run import Run
from slt_grok.tasks import ModularTask
from slt_grok.trajectories import Trajectory
from tests.conftest import Command, edit_manifest

LINE = """
from pathlib import Path
import torch
from torch import nn
Path(__file__).with_name("executed").touch()
class Line(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = nn.Linear(3, 1)
    def forward(self, x):
        return self.model(x)[:, 0]
def build(): return Line()
def data():
    x = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    return {"train": (x[:150], x[:150].sum(1)), "test": (x[150:].numpy(), x[150:].sum(1).tolist())}
def loss(outputs, targets): return (outputs - targets) ** 2
class Masked(Line):
    def __init__(self):
        super().__init__()
        self.register_buffer("mask", torch.tensor([True, True, False]))
        self.register_buffer("num_batches_tracked", torch.tensor(0))
    def forward(self, x):
        return self.model(x * self.mask)[:, 0]
def masked(): return Masked()
def number(): return 3
def broken(): raise KeyError("no such file")
def odd(): return {"train": (torch.zeros(3, 3), torch.zeros(3)), "holdout": (torch.zeros(3, 3), torch.zeros(3))}
def mismatched(): return torch.zeros(3, 3), torch.zeros(4)
def wider(): return {"train": data()["train"], "test": (torch.zeros(3, 4), torch.zeros(3))}
def untested(): return {"train": data()["train"], "test": (torch.zeros(0, 3), torch.zeros(0))}
def none(): return {"train": (torch.zeros(0, 3), torch.zeros(0))}
def classes(): return nn.Sequential(nn.Linear(3, 4))
def labels(): return {"train": (torch.randn(9, 3), torch.arange(9) % 4), "test": (torch.randn(9, 3), torch.arange(9))}
def unseeded(): return torch.randn(150, 3), torch.zeros(150)
def stored(): return torch.load(Path(__file__).with_name("samples.pt")), torch.zeros(150)
calls = 0
def counted():
    global calls
    calls += 1
    return calls
class Other(nn.Linear):
    def __init__(self, width=1, mask=1.0, scale=1.0):
        super().__init__(3, width)
        self.scale = scale
        self.register_buffer("mask", torch.tensor(mask), persistent=False)
    def forward(self, x): return super().forward(x)[:, 0] * self.mask * self.scale
def shapes(): return Other(width=counted())
def masks(): return Other(mask=float(counted()))
def scales(): return Other(scale=float(counted()))
class Random(Other):
    def forward(self, x): return nn.functional.dropout(super().forward(x), 0.5, training=True)
def random(): return Random()
"""
PAIRS = """
import torch
from torch import nn
class Pairs(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.hidden, self.act = nn.Embedding(7, 6), nn.Linear(12, 10), nn.ReLU()
        self.unembed = nn.Linear(10, 7, bias=False)
    def forward(self, pairs):
        return self.unembed(self.act(self.hidden(self.embed(pairs).flatten(1))))
def build(): return Pairs()
"""
LLC = {"llc": {"gamma": 3.0, "chains": 2, "draws": 400, "burn_in": 160}, "landscape": None, "circuits": None}
SITES = {
    "sites": {"neurons_pre": "act:input", "neurons_post": "act:output"},
    "roles": {"input": ["embed.weight", -2], "output": ["unembed.weight", -2]},
}


@pytest.fixture(autouse=True)
def home(nothing_permitted: Path) -> Path:
    """A folder with the person's files."""
    (nothing_permitted / "line.py").write_text(LINE)
    (nothing_permitted / "pairs.py").write_text(PAIRS)
    (nothing_permitted / "checkpoints").mkdir()
    for step in (0, 50, 100):
        state = {"model.weight": torch.full((1, 3), step / 100), "model.bias": torch.zeros(1)}
        torch.save(state, nothing_permitted / "checkpoints" / f"{step}.pt")
    return nothing_permitted


def bring(slt_grok_command: Command, *changes: str) -> tuple[int, str]:
    options = {"--module": "line.py:build", "--data": "line.py:data", "--loss": "line.py:loss", "--out": "runs/line"}
    options |= dict(zip(changes[::2], changes[1::2], strict=True))
    return slt_grok_command("import", "checkpoints", *(word for pair in options.items() for word in pair if pair[1]))


def measure(slt_grok_command: Command, folder: Path, sections: dict[str, Any], *options: str) -> tuple[int, str]:
    (folder / "sections.yaml").write_text(yaml.safe_dump(sections))
    return slt_grok_command("measure", "runs/line", "--config", "sections.yaml", *options)


def test_from_checkpoints_to_an_llc_with_a_known_answer(home: Path, slt_grok_command: Command) -> None:
    error = bring(slt_grok_command)[1]
    assert "gamma = " in error
    run = Run(home / "runs" / "line")
    curves = run.data["training"].isel(seed=0)
    x = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    for step, fraction in ((0, 1), (50, 0.5), (100, 0)):
        for split, rows in (("train", x[:150]), ("test", x[150:])):
            expected = (fraction * rows.sum(1)).square().mean()
            assert np.isclose(curves[f"{split}_loss"].sel(step=step), expected, atol=1e-12)
    assert np.isnan(curves.test_accuracy).all()
    # w ~ N(w*, (2 n beta E[xx^T] + gamma)^-1) for a squared loss: lambda = sum_i h_i / (h_i + gamma) / 2, h_i = n eig H
    assert measure(slt_grok_command, home, LLC, "--only", "llc")[0] == 0
    design = torch.cat([x[:150], torch.ones(150, 1)], 1)
    curvature = torch.linalg.eigvalsh(2 * design.T @ design).numpy()
    expected = (curvature / (curvature + 3) / 2).sum()
    llc = Run(home / "runs" / "line").data["llc"].isel(seed=0).sel(step=100)
    assert abs(llc.llc.item() - expected) < 3 * llc.llc_se.item() < 0.5


def test_code_runs_only_if_it_was_named_here_and_has_not_changed(
    home: Path, slt_grok_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bring(slt_grok_command)[0] == 0
    (home / "executed").unlink()
    for alias in [name for name in sys.modules if name.startswith("slt_grok_code_")]:
        monkeypatch.delitem(sys.modules, alias)
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "elsewhere"))  # someone else's machine
    monkeypatch.setattr(user_code, "_permitted", set())
    for command in ("report", "measure", "calibrate"):
        exit_code, error = slt_grok_command(command, "runs/line")
        assert not (home / "executed").exists(), command
        assert exit_code == (2 if command in ("measure", "calibrate") else 0), error
    assert "never named on this machine" in slt_grok_command("measure", "runs/line")[1]
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "state"))
    (home / "line.py").write_text(LINE + "\n# changed\n")
    assert "has changed since the import" in slt_grok_command("measure", "runs/line")[1]
    (home / "line.py").unlink()
    assert "restore it" in slt_grok_command("measure", "runs/line")[1]
    assert write(Run(home / "runs/line")).stat().st_size > 10_000  # the page is still there to read


def test_data_of_another_precision_and_no_accuracy(home: Path, slt_grok_command: Command) -> None:
    (home / "line.py").write_text(LINE.replace("manual_seed(0))", "manual_seed(0), dtype=torch.float64)"))
    assert bring(slt_grok_command)[0] == 0
    sections = {"landscape": {"probe_checkpoints": 1, "eigenvalues": 1}, "circuits": None}
    assert measure(slt_grok_command, home, sections, "--only", "landscape")[0] == 0
    run = Run(home / "runs/line")
    assert np.isfinite(run.data["landscape"].hessian_trace).any()
    assert "there are no accuracies" in " ".join(json.loads((run.path / "summary.json").read_text())["flags"])
    assert "train_fraction" not in run.config.model_dump(mode="json")["task"]


def test_a_module_inside_what_was_saved_is_found_and_the_rest_named(home: Path, slt_grok_command: Command) -> None:
    for path in (home / "checkpoints").iterdir():
        state = torch.load(path, weights_only=True)
        saved = {f"net.{name}": tensor for name, tensor in state.items()} | {"criterion.weight": torch.ones(2)}
        torch.save({"state_dict": saved, "global_step": int(path.stem)}, path)
    exit_code, error = bring(slt_grok_command)
    assert exit_code == 0
    assert "outside net., which holds the module: criterion.weight" in error
    assert Run(home / "runs/line").trajectory.parameters["model.weight"][2, 0].eq(1).all()


def test_a_copy_of_a_permitted_file_next_to_other_neighbors_does_not_run(home: Path, slt_grok_command: Command) -> None:
    assert bring(slt_grok_command)[0] == 0
    (home / "elsewhere").mkdir()
    (home / "elsewhere/line.py").write_text(LINE)
    build, elsewhere = f"{home}/line.py", f"{home}/elsewhere/line.py"
    edit_manifest(
        home / "runs/line", lambda manifest: manifest.update(json.loads(json.dumps(manifest).replace(build, elsewhere)))
    )
    assert slt_grok_command("measure", "runs/line")[0] == 2
    assert not (home / "elsewhere/executed").exists()


def test_an_edited_manifest_runs_no_other_function_of_a_permitted_file(home: Path, slt_grok_command: Command) -> None:
    assert bring(slt_grok_command)[0] == 0
    edit_manifest(
        home / "runs/line",
        lambda manifest: manifest["config"]["model"].update(
            build=manifest["config"]["model"]["build"].replace("line.py:build@", "line.py:broken@")
        ),
    )
    exit_code, error = slt_grok_command("measure", "runs/line")
    assert exit_code == 2
    assert "manifest.json" in error
    with pytest.raises(SltGrokError, match="function broken, which was never named on this machine"):
        _ = Run(home / "runs/line").config.network


def test_sites_give_the_circuit_measures_of_an_adapter(home: Path, slt_grok_command: Command) -> None:
    torch.manual_seed(0)
    names: dict[str, Any] = {}
    exec(PAIRS, names)
    modules = [names["build"]() for _ in range(2)]
    for step, module in enumerate(modules):
        torch.save(module.state_dict(), home / f"pairs_{step}.pt")
    (home / "task.yaml").write_text("{modulus: 7, train_fraction: 0.6}")
    (home / "sites.yaml").write_text(yaml.safe_dump(SITES))
    options = ("--module", "pairs.py:build", "--task", "task.yaml", "--sites", "sites.yaml", "--out", "runs/line")
    assert slt_grok_command("import", "pairs_0.pt", "pairs_1.pt", *options)[0] == 0
    assert measure(slt_grok_command, home, {"circuits": {"gradient_triples": 20}}, "--only", "circuits")[0] == 0
    adapter = Adapter(modules[0], 7, SITES["sites"], SITES["roles"])
    states = {step: adapter.named(module.state_dict()) for step, module in enumerate(modules)}
    expected = circuits.measure(Trajectory.stack(adapter, states, ModularTask(modulus=7, train_fraction=0.6)))
    stored = Run(home / "runs/line").data["circuits"].isel(seed=0)
    for name in ("gini_embedding", "neuron_share", "restricted_loss_sum"):
        np.testing.assert_allclose(stored[name], expected[name], rtol=1e-6)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        (("--module", "line.py"), "--module: expected FILE.py:FUNCTION"),
        (("--module", "nowhere.py:build"), "nowhere.py"),
        (("--module", "line.py:nothing"), "expected a function nothing"),
        (("--module", "line.py:number"), "line.py:number: expected it to return a torch.nn.Module, got 3"),
        (("--module", "line.py:broken"), "fails with KeyError"),
        (("--module", "pairs.py:build"), "which Pairs does not have"),
        (("--data", ""), "either --data"),
        (("--data", "line.py:odd"), "expected train and test, got train, holdout"),
        (("--data", "line.py:mismatched"), "line.py:mismatched"),
        (("--data", "line.py:number"), "line.py:number"),
        (("--data", "line.py:wider"), "line.py:wider: test: expected inputs as in train"),
        (("--data", "line.py:untested"), "line.py:untested: test: expected samples, got none"),
        (("--data", "line.py:none"), "line.py:none: train: expected samples, got none"),
        (("--loss", ""), "line.py:data: cross-entropy expects integer targets; name a loss by --loss"),
        (("--loss", "line.py:data"), "loss"),
        (("--task", "line.py"), "either --data"),
        (("--format", "clock_pizza"), "--format"),
        (("--module", ""), "expected --module too"),
    ],
)
def test_what_does_not_fit_is_one_sentence_and_writes_nothing(
    home: Path, slt_grok_command: Command, changes: tuple[str, ...], named: str
) -> None:
    exit_code, error = bring(slt_grok_command, *changes)
    assert exit_code == 2, error
    assert named in error
    assert len(error.splitlines()) == 1, error
    assert not (home / "runs").exists()


def test_data_that_differ_from_call_to_call_are_refused(home: Path, slt_grok_command: Command) -> None:
    exit_code, error = bring(slt_grok_command, "--data", "line.py:unseeded")
    assert exit_code == 2
    assert "line.py:unseeded: returns other samples than at the import" in error
    assert len(error.splitlines()) == 1
    assert not list((home / "runs").iterdir())


def test_samples_that_changed_after_the_import_are_refused(home: Path, slt_grok_command: Command) -> None:
    x = torch.randn(150, 3, generator=torch.Generator().manual_seed(1))
    torch.save(x, home / "samples.pt")
    assert bring(slt_grok_command, "--data", "line.py:stored")[0] == 0
    torch.save(x * (1 + 1e-7), home / "samples.pt")  # as another number of threads rounds
    assert len(Run(home / "runs/line").config.task.labels) == 150
    x[7, 1] += 1
    torch.save(x, home / "samples.pt")
    exit_code, error = measure(slt_grok_command, home, LLC, "--only", "llc")
    assert exit_code == 2
    assert "line.py:stored: returns other samples than at the import" in error
    assert len(error.splitlines()) == 1


def test_test_labels_beyond_the_outputs_are_one_sentence(home: Path, slt_grok_command: Command) -> None:
    for path in (home / "checkpoints").iterdir():
        torch.save(torch.nn.Sequential(torch.nn.Linear(3, 4)).state_dict(), path)
    changes = ("--module", "line.py:classes", "--data", "line.py:labels", "--loss", "")
    exit_code, error = bring(slt_grok_command, *changes)
    assert exit_code == 2
    assert "line.py:labels: network or loss fails on the test set" in error
    assert len(error.splitlines()) == 1
    assert not (home / "runs").exists()


@pytest.mark.parametrize(
    ("function", "difference"),
    [
        ("shapes", "line.py:shapes: expected the same module from every call, got two with weight of shapes (1, 3)"),
        ("masks", "the buffer mask"),
        ("scales", "outputs that differ at the same weights"),
        ("random", "module: expected the same values in every evaluation at the same weights"),
    ],
)
def test_a_module_that_differs_from_call_to_call_is_refused(
    home: Path, slt_grok_command: Command, function: str, difference: str
) -> None:
    for path in (home / "checkpoints").iterdir():
        torch.save({"weight": torch.ones(1, 3), "bias": torch.zeros(1)}, path)
    exit_code, error = bring(slt_grok_command, "--module", f"line.py:{function}")
    assert exit_code == 2
    assert difference in error
    assert len(error.splitlines()) == 1
    assert not (home / "runs").exists()


def test_an_interrupted_import_leaves_nothing(
    home: Path, slt_grok_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("slt_grok.studies.imports.choose_window", interrupted)
        assert bring(slt_grok_command)[0] == 130
    assert not list((home / "runs").iterdir())
    assert bring(slt_grok_command)[0] == 0
    run = home / "runs" / "line"
    assert [path.name for path in run.parent.iterdir()] == ["line"]
    shutil.copy(run / "checkpoints/step_00000050.safetensors", run / "checkpoints/step_00000075.safetensors")
    with pytest.raises(SltGrokError, match=r"step_00000075\.safetensors: not a checkpoint of this run"):
        _ = Run(run).trajectory
    (run / "manifest.json").unlink()
    exit_code, error = bring(slt_grok_command)
    assert exit_code == 2
    assert "choose another by --out NEW" in error


@pytest.mark.parametrize("mask", [[True, True, False], [True, False, True]])
def test_a_mask_must_be_that_of_the_built_module(home: Path, slt_grok_command: Command, mask: list[bool]) -> None:
    for file in (home / "checkpoints").iterdir():
        constants = {"mask": torch.tensor(mask), "num_batches_tracked": torch.tensor(5)}
        torch.save({**torch.load(file, weights_only=True), **constants}, file)
    exit_code, error = bring(slt_grok_command, "--module", "line.py:masked")
    if mask[1]:
        assert exit_code == 0, error
    else:
        assert exit_code == 2
        assert "0.pt: expected mask as line.py:masked makes it" in error
        assert len(error.splitlines()) == 1
        assert not (home / "runs").exists()


def test_a_stored_loss_that_contradicts_the_weights_comes_first(home: Path, slt_grok_command: Command) -> None:
    for path in (home / "checkpoints").iterdir():
        torch.save({"state_dict": torch.load(path, weights_only=True), "train_loss": 7.0}, path)
    exit_code, error = bring(slt_grok_command)
    assert exit_code == 0
    source = Run(home / "runs/line").config.source
    assert source is not None
    assert error.startswith("Stored train_loss at step 0 7, computed ")
    assert source["contradictions"] == error.splitlines()[:1]
    assert not set(source["contradictions"]) & set(source["notes"])


def test_a_bad_tensor_is_named_with_its_file(home: Path, slt_grok_command: Command) -> None:
    path = home / "checkpoints" / "50.pt"
    torch.save(torch.load(path, weights_only=True) | {"model.bias": torch.tensor([torch.nan])}, path)
    exit_code, error = bring(slt_grok_command)
    assert exit_code == 2
    assert "checkpoints/50.pt" in error
    assert "model.bias holds NaN" in error
    assert not (home / "runs").exists()


def test_a_reference_is_checked(home: Path) -> None:
    for text in ("line.py:build", "line.py:build@12", "line.py@" + "0" * 64, "line.txt:build@" + "0" * 64):
        with pytest.raises(SltGrokError, match="expected a reference"):
            user_code.load(text)


def test_a_custom_module_needs_no_more_than_tokens_and_a_function(home: Path) -> None:
    module = CustomModule.create(tokens=3, build=user_code.permit("line.py:build", "--module"))
    assert type(module).__name__ == "Line"


def test_training_a_custom_module_is_refused(home: Path, slt_grok_command: Command) -> None:
    model = {"kind": "custom", "build": user_code.permit("line.py:build", "--module")}
    task = {"kind": "custom", "samples": user_code.permit("line.py:data", "--data")}
    content = {"name": "mine", "model": model, "task": task, "training": {"steps": 3, "checkpoints": {"linear": 2}}}
    (home / "mine.yaml").write_text(yaml.safe_dump(content))
    exit_code, error = slt_grok_command("run", "mine.yaml")
    assert exit_code == 2
    assert "training: expected null" in error

"""Losses that a file holds next to its weights: which are read as curves, and which are compared with the weights'."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import slt_grok
from slt_grok.store import importers
from slt_grok.studies.imports import import_custom, import_published
from tests.store import foreign
from tests.store.foreign import PAIRS, P
from tests.store.test_checkpoints import trainer_folder

STATES = [foreign.lens(1, seed=seed) for seed in (1, 2, 3)]
LOSSES = [torch.nn.functional.cross_entropy(foreign.lens_logits(s), PAIRS.sum(1) % P).item() for s in STATES]


def curve(path: Path, run: Path, name: str = "train_loss") -> tuple[dict[int, float], str]:
    """Import a file; return the curve of a run, and the notes."""
    notes = import_published([path], run)
    training = slt_grok.load(run)["training"].to_dataset().isel(seed=0)
    return training[name].to_series().to_dict(), " ".join(notes)


@pytest.mark.parametrize("stored", [math.inf, math.nan, -math.inf])
@pytest.mark.parametrize("key", ["train_losses", "train_loss", "before"])
def test_a_loss_that_is_not_finite_agrees_with_nothing(tmp_path: Path, key: str, stored: float) -> None:
    losses = {"train_losses": [LOSSES[0], stored], "train_loss": stored, "before": [stored, 9.0]}[key]
    content = {"model": STATES[0], "epoch": 1, "train_indices": list(range(P * P))}
    torch.save(content | {key.replace("before", "train_losses"): losses}, tmp_path / "a.pt")
    notes = " ".join(importers.read(tmp_path / "a.pt").notes)
    assert "they agree" not in notes
    assert ("not a finite number" in notes) == (key != "before")
    del content["train_indices"]  # the train set has to be assumed
    torch.save(content | {"train_loss": stored}, tmp_path / "a.pt")
    assert importers.read(tmp_path / "a.pt").task.train_fraction == 1


@pytest.mark.parametrize("key", ["train_losses", "train_loss", "loss"])
@pytest.mark.parametrize("tensors", [False, True])
@pytest.mark.parametrize(
    ("content", "steps"),
    [
        ({"checkpoints": STATES, "checkpoint_steps": [0, 50, 700]}, [0, 50, 700]),
        ({"checkpoints": dict(zip((700, 0, 50), STATES, strict=True))}, [700, 0, 50]),
        ({"checkpoints": [{"step": 2 * i, "model": state} for i, state in enumerate(STATES)]}, [0, 2, 4]),
        ({"model": STATES[2], "epoch": 2}, [0, 1, 2]),
        ({"model": STATES[2], "step": 2}, [0, 1, 2]),
    ],
)
def test_lists_of_losses_by_any_usual_name_are_curves(
    tmp_path: Path, content: dict[str, Any], steps: list[int], key: str, tensors: bool
) -> None:
    values = torch.tensor(LOSSES, dtype=torch.float64) if tensors else LOSSES
    torch.save(content | {key: values}, tmp_path / "a.pt")
    found, notes = curve(tmp_path / "a.pt", tmp_path / "run")
    assert found == pytest.approx(dict(zip(steps, LOSSES, strict=True)))
    assert "they agree" in notes


@pytest.mark.parametrize(
    "content", [{"checkpoints": STATES, "checkpoint_steps": [0, 5, 7]}, {"model": STATES[0], "step": 70}]
)
def test_lists_that_fit_nothing_are_omitted_with_a_note(tmp_path: Path, content: dict[str, Any]) -> None:
    torch.save(content | {"train_loss": [1.0, 2.0]}, tmp_path / "a.pt")
    found, notes = curve(tmp_path / "a.pt", tmp_path / "run")
    assert found == pytest.approx(dict(zip(content.get("checkpoint_steps", [70]), LOSSES, strict=False)))
    assert "The 2 values of train_loss fit neither" in notes


def test_the_mean_loss_of_a_trainers_log_is_not_compared(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint-10"
    trainer_folder(folder, 10, foreign.notebook().state_dict())
    log = [{"loss": 1e-3, "step": step} for step in (5, 10)]
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": 10, "log_history": log}))
    found, notes = curve(folder, tmp_path / "run")
    assert found == {5: 1e-3, 10: 1e-3}
    assert "means over the steps" in notes
    assert "they differ" not in notes
    assert np.isfinite(importers.read(folder).evaluate()["train_loss"])


CODE = """
import torch
from torch import nn
from torch.nn.functional import cross_entropy
class Table(nn.Module):
    def __init__(self):
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(4, 3))
    def forward(self, x): return self.logits[x].movedim(-1, 1) if x.ndim > 1 else self.logits[x]
def build(): return Table()
def classes():
    x = torch.arange(40) % 4
    return {"train": (x, x % 3), "validation": (x[:9], (x[:9] + 1) % 3)}
def tokens():
    x = torch.arange(60).reshape(10, 6) % 4
    y = torch.where(x > 1, -100, x)
    y[3] = -100
    return x, y
def ignoring(o, t): return cross_entropy(o, t, ignore_index=-100)
def weighted(o, t): return cross_entropy(o, t, weight=torch.tensor([1.0, 5.0, 20.0]).to(o))
"""


@pytest.mark.parametrize(
    ("data", "loss", "key"),
    [("classes", "weighted", "train_loss"), ("tokens", "ignoring", "train_loss"), ("classes", "weighted", "loss")],
)
def test_a_loss_that_weights_samples_is_that_of_the_split(
    nothing_permitted: Path, data: str, loss: str, key: str
) -> None:
    """Class weights and ignored tokens: the mean over single samples would be another number, or none."""
    (nothing_permitted / "net.py").write_text(CODE)
    namespace: dict[str, Any] = {}
    exec(CODE, namespace)
    found = namespace[data]()
    x, y = found["train"] if isinstance(found, dict) else found
    state = {"logits": torch.randn(4, 3, generator=torch.Generator().manual_seed(0))}
    outputs = state["logits"][x].movedim(-1, 1)
    expected = namespace[loss](outputs, y).item()
    content = {"model_state_dict": state, key: expected, "epoch": 5, "best_loss": 3.0}
    torch.save(content, nothing_permitted / "a.pt")
    code = "net.py:build", f"net.py:{data}", f"net.py:{loss}"
    notes = " ".join(import_custom([Path("a.pt")], Path("run"), *code))
    training = slt_grok.load(Path("run"))["training"].to_dataset().isel(seed=0)
    assert training.train_loss.item() == pytest.approx(expected)
    assert np.isfinite(training.test_loss.item()) == (data == "classes")
    assert "they agree" in notes
    assert "best_loss" in notes
    torch.save(content | {key: 99.0}, nothing_permitted / "a.pt")
    assert import_custom([Path("a.pt")], Path("other"), *code)[0].startswith(f"Stored {key} 99, computed")

"""The recipes of docs/extending.md, run as they are printed."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import slt_grok

TEXT = (Path(__file__).parents[1] / "docs" / "extending.md").read_text()
LINES = {"logit_spread.py": 20, "two_step.py": 30, "worst_pair.py": 32, "dihedral.py": 52}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, importable: Callable[[Path], None]) -> Path:
    folder = tmp_path_factory.mktemp("extending")
    importable(folder)
    for name, code in re.findall(r"`(\w+\.py)`:\n\n```python\n(.*?)```", TEXT, re.DOTALL):
        (folder / name).write_text(code)
    (folder / "extended.yaml").write_text(re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)[-1])
    environment = {**os.environ, "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    done = subprocess.run(
        [sys.executable, "-m", "slt_grok", "run", "extended.yaml"],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder / "runs" / "extended"


def test_each_recipe_is_a_short_file() -> None:
    recipes = dict(re.findall(r"`(\w+\.py)`:\n\n```python\n(.*?)```", TEXT, re.DOTALL))
    assert recipes.keys() == LINES.keys()
    for name, code in recipes.items():
        assert len([line for line in code.splitlines() if line.strip()]) <= LINES[name], name


def test_the_circuit_measure_and_the_probe_measure_what_they_say(run: Path) -> None:
    tree = slt_grok.load(run)
    last = slt_grok.trajectory(run).isel(step=[-1])
    task = last.task
    logits = last.network.stacked_outputs(last.stacked(torch.float64), task.inputs)[0]
    spread = tree["circuits"].logit_spread.isel(step=-1, seed=0).item()
    assert spread == pytest.approx(logits.std(correction=0).item(), rel=1e-9)
    labels = task.data("train")[1]
    losses = torch.nn.functional.cross_entropy(logits[task.indices("train")], labels, reduction="none")
    assert tree["worst_pair"].worst_loss.isel(step=-1, seed=0).item() == pytest.approx(losses.max().item(), rel=1e-9)
    assert (run / "figures" / "worst_pair.png").is_file()


def test_the_sampler_samples_and_the_task_is_the_group(run: Path) -> None:
    llc = slt_grok.load(run)["llc"]
    assert llc.attrs["sampler"] == "two_step"
    assert np.isfinite(llc.llc).all()
    task = slt_grok.trajectory(run).task
    assert task.classes == 8
    table = task.labels.view(8, 8)
    assert not torch.equal(table, table.T)  # not abelian

"""Small studies: a file with its base, runs made inside the test's process, and a run with a circuit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
import yaml

from slt_grok.config import parse_config
from slt_grok.store import RunDirectory
from slt_grok.studies import costs, scheduler, worker
from slt_grok.studies.study import run_study
from tests.conftest import CONFIG
from tests.gromov import gromov

# networks of twenty steps have hardly learned: their chains would count as melted
BASE = {**CONFIG, "landscape": None, "llc": {**CONFIG["llc"], "melting_loss": 100.0}}
STUDY: dict[str, Any] = {"name": "small", "base": "base.yaml", "measurements": ["circuits", "llc"]}
PRICES = dict.fromkeys(("step", "evaluation", "seed"), 0.01)
PLANTED: dict[str, Any] = {
    "name": "planted",
    "task": {"modulus": 13},
    "model": {"kind": "quadratic", "width": 32},
    "training": None,
    "landscape": None,
    "seeds": [3],
}


def planted_run(path: Path) -> Path:
    """A run directory with a circuit of frequency 2 under noise, at five steps of one seed."""
    directory = RunDirectory(path)
    directory.write_manifest({"config": PLANTED, "stages": {}})
    network = gromov(13, [2], 32)
    for step in (0, 1, 2, 5, 9):
        noise = torch.Generator().manual_seed(step)
        weights = {name: w + 0.05 * torch.randn(w.shape, generator=noise) for name, w in network.named_parameters()}
        directory.write_checkpoint(step, {name: w[None].float() for name, w in weights.items()})
    step = np.arange(0, 10)
    accuracy = np.where(step >= 2, 1.0, 0.1), np.where(step >= 5, 1.0, 0.1)
    curves = dict(
        zip(
            ("train_accuracy", "test_accuracy", "train_loss", "test_loss"),
            (*accuracy, *(1.01 - a for a in accuracy)),
            strict=True,
        )
    )
    coords = {"step": step, "seed": [3]}
    training = xr.Dataset({name: (("step", "seed"), values[:, None]) for name, values in curves.items()}, coords)
    directory.write_measurement("training", training, {})
    return path


def write_study(folder: Path, arms: dict[str, Any], **keys: Any) -> Path:
    (folder / "base.yaml").write_text(yaml.safe_dump(BASE))
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump({**STUDY, "arms": arms, **keys}, sort_keys=False))
    return path


def without_processes(patch: pytest.MonkeyPatch) -> list[str]:
    """Let runs be made inside this process, without trials; the list is filled with the names of those made."""
    patch.setattr(costs, "trial", lambda _, names: dict.fromkeys((*names, "training"), PRICES))
    made = []

    def run_once(self: scheduler.Work) -> int:
        made.append(self.planned.name)
        assert self.planned.config is not None
        order = parse_config(self.planned.config.content, "order")
        worker.complete(order, self.path, self.planned.measurements, self.planned.page)
        return 0

    patch.setattr(scheduler.Work, "_run_once", run_once)
    return made


def all_made(file: Path, out: Path) -> bool:
    return run_study(file, out, workers=1, only_plan=False)[1]

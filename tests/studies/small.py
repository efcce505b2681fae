"""Small studies: a file beside a base, and carrying one out inside the test's process, and a run with a circuit."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from slt_grok.config import parse_config
from slt_grok.models import planted
from slt_grok.store import RunDirectory
from slt_grok.studies import costs, scheduler, worker
from slt_grok.studies.study import run_study
from tests import synthetic
from tests.conftest import CONFIG

BASE = {**CONFIG, "landscape": None}
STUDY: dict[str, Any] = {"name": "small", "base": "base.yaml", "measurements": ["circuits", "llc"]}
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
    network = planted.gromov(13, [2], 32)
    for step in (0, 1, 2, 5, 9):
        noise = torch.Generator().manual_seed(step)
        weights = {name: w + 0.05 * torch.randn(w.shape, generator=noise) for name, w in network.named_parameters()}
        directory.write_checkpoint(step, {name: w[None].float() for name, w in weights.items()})
    directory.write_measurement("training", synthetic.training().assign_coords(seed=[3]), {})
    return path


def write_study(folder: Path, arms: dict[str, Any], **keys: Any) -> Path:
    (folder / "base.yaml").write_text(yaml.safe_dump(BASE))
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump({**STUDY, "arms": arms, **keys}, sort_keys=False))
    return path


def without_processes(patch: pytest.MonkeyPatch) -> list[str]:
    """Let runs be made inside this process, without trials; the list fills with the names of those that were made."""
    patch.setattr(costs, "_trial", lambda *_: dict.fromkeys(costs.PIECES, 0.01))
    made = []

    def run_once(self: scheduler.Work) -> int:
        made.append(self.planned.name)
        assert self.planned.config is not None
        order = parse_config(self.planned.config.model_dump(mode="json"), "order")
        worker.complete(order, self.path, self.planned.measurements, self.planned.page)
        return 0

    patch.setattr(scheduler.Work, "_run_once", run_once)
    return made


def carried_out(file: Path, out: Path) -> bool:
    return run_study(file, out, workers=1, only_plan=False)[1]

"""A run killed with SIGKILL at random moments ends with the same values as one never killed."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import xarray as xr
import yaml

import slt_grok

CONFIG = {
    "name": "killed",
    "seeds": [0, 1],
    "task": {"modulus": 13, "train_fraction": 0.6},
    "model": {"kind": "transformer", "d_model": 16, "n_heads": 2, "d_mlp": 32},
    "training": {"steps": 400, "batch_size": 50, "evaluate_every": 100, "checkpoints": {"logarithmic": 4, "linear": 6}},
    "llc": {
        "sampler": {"step_size": 0.01},
        "n_beta": 20,
        "gamma": 50,
        "chains": 4,
        "draws": 60,
        "burn_in": 20,
        "batch_size": 40,
    },
    "landscape": {"probe_checkpoints": 4, "eigenvalues": 2},
}


def start(config: Path, out: Path) -> subprocess.Popen:
    # saving at every step makes each moment of training a possible place to resume from
    program = (
        "import slt_grok.training.loop as loop; loop.SAVE_SECONDS = 0.2\n"
        "import slt_grok.llc.measurement as llc; llc.SHARD_CHAINS = 16\n"
        "import slt_grok.report as report; report.write = lambda run: run.path\n"  # drawn again in any case
        "from slt_grok.cli import main; main()"
    )
    command = [sys.executable, "-c", program, "run", str(config), "--out", str(out)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)


def finish(process: subprocess.Popen) -> None:
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors.decode()


def files(out: Path) -> set[Path]:
    walk = (Path(folder) / name for folder, _, names in os.walk(out) for name in names)  # folders may vanish meanwhile
    return {path for path in walk if path.suffix in (".safetensors", ".nc")}


def wait_for_files(process: subprocess.Popen, out: Path, count: int) -> None:
    """Wait until there are so many new checkpoints, shards or measurements, or the process has ended."""
    before = files(out)
    while process.poll() is None and len(files(out) - before) < count:
        time.sleep(0.01)


@pytest.mark.parametrize(("kills", "most"), [(3, 8), pytest.param(10, 3, marks=pytest.mark.slow)])
def test_a_killed_run_ends_in_the_same_values(kills: int, most: int, tmp_path: Path) -> None:
    """Each kill is at a random moment up to `most` files after the one before."""
    config = tmp_path / "killed.yaml"
    config.write_text(yaml.safe_dump(CONFIG))
    finish(start(config, tmp_path / "through"))

    moments = random.Random(0)
    out = tmp_path / "killed"
    killed_in = []
    for _ in range(kills):
        process = start(config, out)
        wait_for_files(process, out, moments.randint(1, most))
        time.sleep(moments.uniform(0, 0.3))  # at some point before the next file
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert process.stderr is not None
        process.stderr.close()
        stages = json.loads((out / "manifest.json").read_text())["stages"] if out.exists() else {}
        killed_in.append((process.returncode, len(stages)))
    assert sum(code == -signal.SIGKILL for code, _ in killed_in) >= 0.7 * kills, killed_in
    assert max(stages for _, stages in killed_in) >= 3, killed_in  # in measurements, not in training alone
    finish(start(config, out))

    through, resumed = slt_grok.load(tmp_path / "through"), slt_grok.load(out)
    assert set(through.children) == set(resumed.children) >= {"training", "llc", "circuits", "landscape", "transitions"}
    for label in through.children:
        xr.testing.assert_identical(through[label].to_dataset(), resumed[label].to_dataset())
    assert (tmp_path / "through" / "summary.json").read_text() == (out / "summary.json").read_text()
    assert not list(out.rglob("*.part"))
    assert not [path for path in (out / "state").rglob("*") if path.is_file()]

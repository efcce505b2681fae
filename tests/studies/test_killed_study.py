"""A study whose workers and whose own process are killed ends with the values of one never killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from tests.studies.small import write_study

ARMS = {"main": {"seeds": 4, "batch": 2}, "more": {"set": {"training.weight_decay": 0.1}}}
CHANGES = {
    "training.steps": 3000,
    "training.checkpoints": {"linear": 12},
    "llc.draws": 60,
    "training.evaluate_every": 100,
}


def start(file: Path, out: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "slt_grok", "study", str(file), "--out", str(out), "--workers", "2"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def workers(of: int) -> list[int]:
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(of)], capture_output=True, text=True).stdout
    return [int(pid) for pid in found.split()]


def wait_for_files(process: subprocess.Popen, out: Path, count: int) -> None:
    def files() -> int:
        return sum(path.suffix in (".safetensors", ".nc") for path in out.rglob("*.*"))

    before = files()
    while process.poll() is None and files() < before + count:
        time.sleep(0.02)


@pytest.mark.slow
def test_kills_change_nothing(tmp_path: Path) -> None:
    file = write_study(tmp_path, ARMS, set=CHANGES)
    through = start(file, tmp_path / "through")
    _, errors = through.communicate(timeout=1500)
    assert through.returncode == 0, errors.decode()

    out, kills = tmp_path / "killed", 0
    for count in (1, 8):  # a worker dies: the study starts it again by itself
        process = start(file, out)
        wait_for_files(process, out, count)
        for pid in workers(process.pid)[:1]:
            os.kill(pid, signal.SIGKILL)
            kills += 1
        wait_for_files(process, out, 3)
        orphans = workers(process.pid)
        process.send_signal(signal.SIGKILL)  # the whole
        process.wait()
        kills += process.returncode == -signal.SIGKILL
        deadline = time.monotonic() + 30
        while any(Path(f"/proc/{pid}/cmdline").exists() for pid in orphans) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not any(Path(f"/proc/{pid}/cmdline").exists() for pid in orphans), "workers outlive their study"
    assert kills >= 3
    process = start(file, out)
    _, errors = process.communicate(timeout=1500)
    assert process.returncode == 0, errors.decode()

    expected, found = (pd.read_parquet(tmp_path / name / "table.parquet") for name in ("through", "killed"))
    same = [name for name in expected if not name.startswith("wall_seconds")]
    pd.testing.assert_frame_equal(expected[same], found[same], check_exact=True)
    assert not list(out.rglob("*.part"))

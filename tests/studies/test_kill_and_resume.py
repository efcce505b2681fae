"""A run killed with SIGKILL at random moments ends with the same values as one never killed."""

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.fuzz.kills import Case, ended, start, wait_for_files


@pytest.mark.parametrize(("kills", "most"), [(3, 8), pytest.param(10, 3, marks=pytest.mark.slow)])
def test_a_killed_run_ends_in_the_same_values(kills: int, most: int, tmp_path: Path) -> None:
    """Each kill is at a random moment up to `most` files after the one before."""
    case, moments, out = Case("run", tmp_path / "case"), random.Random(0), tmp_path / "killed"
    killed_in = []
    for _ in range(kills):
        process = start(*case.arguments(out))
        wait_for_files(process, out, moments.randint(1, most))
        time.sleep(moments.uniform(0, 0.3))  # at some point before the next file
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        code, _ = ended(process)
        stages = json.loads((out / "manifest.json").read_text())["stages"] if out.exists() else {}
        killed_in.append((code, len(stages)))
    assert sum(code == -signal.SIGKILL for code, _ in killed_in) >= 0.7 * kills, killed_in
    assert max(stages for _, stages in killed_in) >= 3, killed_in  # in measurements, not in training alone
    code, errors = ended(start(*case.arguments(out)), 600)
    assert code == 0, errors

    assert set(case.expected["."]) >= {"training", "llc", "circuits", "landscape", "transitions"}
    assert not case.differs(out)
    assert (case.folder / "through" / "summary.json").read_text() == (out / "summary.json").read_text()
    assert not list(out.rglob("*.part"))
    assert not [path for path in (out / "state").rglob("*") if path.is_file()]

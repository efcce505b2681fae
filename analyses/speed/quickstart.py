"""W7: the quickstart from command to report, against the commit that the work on speed started from.

That commit is checked out next to the peers' environments and timed once; it runs in this environment.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from .material import ROOT
from .peers import PeerMissing
from .timing import compare
from .workload import Bench

START = "1c08e4f"
REPETITIONS = 3  # at most: one takes more than a minute
TARGET = {"seconds": 75}


def run(bench: Bench) -> dict[str, Any]:
    """Return the record of W7."""
    seconds: dict[str, list[float]] = {"slt_grok": []}
    missing = []
    for repetition in range(min(REPETITIONS, bench.repetitions)):
        seconds["slt_grok"].append(_say(bench, "slt_grok", report_of(ROOT, bench.threads)))
        if repetition == 0:
            try:
                folder = checked_out(bench.environments / "start")
                seconds[START] = [_say(bench, START, report_of(folder, bench.threads))]
            except PeerMissing as sentence:
                missing.append(str(sentence))
                bench.say(str(sentence))
    count = len(seconds["slt_grok"])
    rows = {name: (values * count)[:count] for name, values in seconds.items()}
    record = compare({name: [{"seconds": s, "units": 1} for s in values] for name, values in rows.items()})
    return {
        **record,
        "repetitions": seconds,
        "unit": "command",
        "what": "slt-grok run configs/quickstart.yaml into an empty folder, from command to report",
        "computed": {"slt_grok": "this commit", START: "the commit at the start of the work on speed, once"},
        "threads": dict.fromkeys(seconds, bench.threads),
        "missing": missing,
        "target": TARGET,
        "agreement": {},
        "floor_fraction": None,
    }


def report_of(source: Path, threads: int) -> float:
    """Seconds of the quickstart by the package that lies in a folder.

    Raises
    ------
    PeerMissing
        The command fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        found = subprocess.run(
            [sys.executable, "-m", "slt_grok", "run", "configs/quickstart.yaml", "--out", folder + "/quickstart"],
            cwd=source, env={**os.environ, "OMP_NUM_THREADS": str(threads)}, capture_output=True, text=True,
        )  # fmt: skip
        seconds = time.perf_counter() - start
        if found.returncode or not (Path(folder) / "quickstart" / "report.html").exists():
            last = ([line for line in found.stderr.splitlines() if line.strip()] or ["no message"])[-1]
            raise PeerMissing(f"{source.name}: left out, since its quickstart failed ({last.strip()}).")
    return seconds


def checked_out(folder: Path) -> Path:
    """Return the commit `START` as files in a folder.

    Raises
    ------
    PeerMissing
        This is no checkout of the repository, or one without that commit.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    archive = folder / "source.tar"
    commands = [
        ["git", "-C", str(ROOT), "archive", "--output", str(archive.absolute()), START],
        ["tar", "-xf", str(archive), "-C", str(folder)],
    ]
    for command in commands:
        found = subprocess.run(command, capture_output=True, text=True)
        if found.returncode:
            raise PeerMissing(f"{START}: left out, since git does not have that commit here.")
    archive.unlink()
    return folder


def _say(bench: Bench, name: str, seconds: float) -> float:
    bench.say(f"{name:18} {seconds:8.2f} s")
    return seconds

"""Execute the missing runs of a study, several at a time, each in its own process.

A run's status is read from its directory alone, so that a killed study can be resumed. A run of several seeds whose
training fails is repeated one seed at a time, so that a diverging seed does not take the others with it.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Literal

from slt_grok.progress import ProgressCallback
from slt_grok.store import RunDirectory
from slt_grok.store.files import write_json
from slt_grok.studies.grid import PlannedRun, Study
from slt_grok.studies.run import SUMMARY, TRAINING
from slt_grok.studies.worker import FAILURES, failures

MAX_CRASHES = 2  # crashes of a run's process, for whatever reason, after which the run counts as failed
WORKER = [sys.executable, "-m", "slt_grok.studies.worker"]
LOG = "log.txt"

Status = Literal["available", "missing", "failed", "refused"]


def cores() -> int:
    """Count the processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def is_started(run: PlannedRun, folder: Path) -> bool:
    """Return whether a run has a directory; of a large study most have none, and nothing else need be looked for."""
    return os.path.isdir(os.path.join(folder, run.name))


def status(run: PlannedRun, folder: Path) -> Status:
    """Read the status of a run; `missing` includes runs that were started but are not complete."""
    if run.config is None:
        return "refused"
    if not is_started(run, folder):
        return "missing"
    path = folder / run.name
    if failures(path):
        return "failed"
    directory = RunDirectory(path)
    stages = directory.manifest["stages"] if directory.exists else {}
    labels = (TRAINING, *run.measurements)
    complete = all(label in stages and directory.measurement_path(label).is_file() for label in labels)
    complete = complete and (path / SUMMARY).is_file()
    return "available" if complete and (not run.page or (path / "report.html").is_file()) else "missing"


def current_runs(study: Study, folder: Path) -> list[PlannedRun]:
    """List the runs to execute; a batch whose training failed for good is replaced by single-seed runs."""
    runs = []
    for run in study.runs:
        several = run.config is not None and len(run.seeds) > 1 and is_started(run, folder)
        split = several and failures(folder / run.name).get(TRAINING, {}).get("final", False)
        runs += [run.with_single_seed(seed) for seed in run.seeds] if split else [run]
    return runs


def pending_runs(study: Study, folder: Path) -> list[PlannedRun]:
    """List the runs that are missing or have a failure that may be retried."""

    def is_pending(run: PlannedRun) -> bool:
        if (current := status(run, folder)) == "failed":
            return not all(failure["final"] for failure in failures(folder / run.name).values())
        return current == "missing"

    return [run for run in current_runs(study, folder) if is_pending(run)]


def execute_runs(
    study: Study, folder: Path, workers: int, cost: Callable[[PlannedRun], float], on_progress: ProgressCallback
) -> None:
    """Execute `pending_runs`, the most expensive ones first.

    Parameters
    ----------
    study, folder : Study, Path
        The study and its directory.
    workers : int
        Number of concurrent processes; they share the cores equally.
    cost : callable
        Predicted seconds of a run, the unit of progress.
    on_progress : callable
        Called with the completed fraction of the predicted seconds and a description of the current work.
    """
    threads = max(1, cores() // workers)
    works: dict[Future[None], Work] = {}
    tried: set[str] = set()
    finished = total = 0.0
    with ThreadPoolExecutor(workers) as pool:
        try:
            while True:
                for run in sorted(pending_runs(study, folder), key=cost, reverse=True):
                    if run.name not in tried:
                        tried.add(run.name)
                        total += cost(run)
                        work = Work(run, folder, threads)
                        works[pool.submit(work.run)] = work
                if not works:
                    return
                ended, _ = wait(works, timeout=1, return_when=FIRST_COMPLETED)
                for future in ended:
                    finished += cost(works.pop(future).planned)
                    future.result()
                running = [work for work in works.values() if work.started is not None]
                part = sum(min(work.seconds, cost(work.planned)) for work in running)
                lines = " | ".join(f"{work.planned.name}: {work.line}" for work in running)
                on_progress((finished + part) / total if total else 1.0, lines)
        finally:
            for future, work in works.items():
                future.cancel()
                work.stop()


class Work:
    """The process of one run, restarted if it crashes.

    Parameters
    ----------
    run, folder : PlannedRun, Path
        The run and the study's directory.
    threads : int
        Number of threads of the process.
    """

    def __init__(self, run: PlannedRun, folder: Path, threads: int) -> None:
        self.planned, self.path, self.threads = run, folder / run.name, threads
        self.started: float | None = None
        self.line = "starts"
        self.process: subprocess.Popen[str] | None = None
        self.stopped = False

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return 0.0 if self.started is None else time.monotonic() - self.started

    def run(self) -> None:
        """Work until the run is complete or its failures are recorded."""
        self.started = time.monotonic()
        codes: list[int] = []
        while len(codes) < MAX_CRASHES:
            codes.append(self._run_once())
            if codes[-1] == 0 or self.stopped:
                return
        reason = (
            f"its process crashed {len(codes)} times, with exit codes {codes} (-9: killed, out of memory?); see {LOG}"
        )
        write_json(self.path / FAILURES, {**failures(self.path), "process": {"reason": reason, "final": False}})

    def stop(self) -> None:
        """End the process; the next study resumes the run."""
        self.stopped = True
        if self.process is not None:
            self.process.kill()

    def _run_once(self) -> int:
        assert self.planned.config is not None
        order = {
            "path": str(self.path),
            "config": self.planned.config.content,
            "measurements": self.planned.measurements,
            "page": self.planned.page,
        }
        threads = {name: str(self.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
        self.path.mkdir(parents=True, exist_ok=True)
        with (
            open(self.path / LOG, "a") as log,
            subprocess.Popen(
                [*WORKER, *sys.argv[1:]],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,  # so that interrupting the study does not look like a crash of a worker
                env={**os.environ, **threads},
            ) as self.process,
        ):
            assert self.process.stdin is not None
            assert self.process.stderr is not None
            if self.stopped:  # before there was a process to kill
                self.process.kill()
            # the pipe stays open: when it closes, the worker knows that the study was killed
            self.process.stdin.write(json.dumps(order) + "\n")
            self.process.stdin.flush()
            for line in self.process.stderr:
                log.write(line)
                log.flush()
                self.line = line.strip()
            return self.process.wait()

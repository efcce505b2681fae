"""The missing runs of a study, each in a process of its own, several at a time; what a kill leaves is gone on with.

A run's state is read from its directory alone. A run of several seeds whose training fails is made again one seed at a
time, so that a seed that diverges takes no other with it.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

from slt_grok.progress import ProgressCallback
from slt_grok.store import RunDirectory
from slt_grok.store.files import write_json
from slt_grok.studies.grid import PlannedRun, Study
from slt_grok.studies.worker import FAILURES, TRAINING, failures

DEATHS = 2  # times that a run's process may die, by whatever kills it, before the run counts as failed
LOG = "log.txt"


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def state(run: PlannedRun, folder: Path) -> str:
    """`missing`, `begun`, `done`; `failed` for good, `failed, to be tried again`; or `refused`, without a run."""
    if run.config is None:
        return "refused"
    directory = RunDirectory(folder / run.name)
    failed = failures(directory.path)
    if failed:
        return "failed" if all(failure["final"] for failure in failed.values()) else "failed, to be tried again"
    if not directory.exists:
        return "missing"
    stages = directory.manifest["stages"]
    made = all(stage in stages for stage in (TRAINING, *run.measurements, "transitions"))
    return "done" if made and (not run.page or (directory.path / "report.html").is_file()) else "begun"


def current_runs(study: Study, folder: Path) -> list[PlannedRun]:
    """Return the runs as they are to be made: a batch whose training failed for good is replaced by its seeds alone."""
    runs = []
    for run in study.runs:
        failure = failures(folder / run.name).get(TRAINING, {}) if run.config is not None else {}
        alone = len(run.seeds) > 1 and failure.get("final", False)
        runs += [run.of_one_seed(seed) for seed in run.seeds] if alone else [run]
    return runs


def missing_runs(study: Study, folder: Path) -> list[PlannedRun]:
    """Those that there is something left to do for."""
    return [run for run in current_runs(study, folder) if state(run, folder) not in ("done", "failed", "refused")]


def run_missing(
    study: Study, folder: Path, workers: int, cost: Callable[[PlannedRun], float], report: ProgressCallback
) -> None:
    """Make the runs that are missing or begun, the most expensive ones first.

    Parameters
    ----------
    workers : int
        Processes at a time; each has an equal share of the cores.
    cost : callable
        Predicted seconds of a run, in which the progress is counted.
    report : ProgressCallback
        Told the predicted seconds that are done, and what is at work.
    """
    threads = max(1, cores() // workers)
    works: dict[Future[None], Work] = {}
    tried: set[str] = set()
    finished = 0.0
    with ThreadPoolExecutor(workers) as pool:
        try:
            while True:
                for run in sorted(missing_runs(study, folder), key=cost, reverse=True):
                    if run.name not in tried:
                        tried.add(run.name)
                        work = Work(run, folder, threads)
                        works[pool.submit(work.run)] = work
                if not works:
                    return
                ended, _ = wait(works, timeout=1, return_when=FIRST_COMPLETED)
                for future in ended:
                    finished += cost(works.pop(future).planned)
                    future.result()
                at_work = [work for work in works.values() if work.started is not None]
                part = sum(min(work.seconds, cost(work.planned)) for work in at_work)
                report(int(finished + part), " | ".join(f"{work.planned.name}: {work.line}" for work in at_work))
        finally:
            for future, work in works.items():
                future.cancel()
                work.stop()


class Work:
    """One run's process, started again where it dies.

    Parameters
    ----------
    run, folder : PlannedRun, Path
        What is to be made, in the study's directory.
    threads : int
        Of the process.
    """

    def __init__(self, run: PlannedRun, folder: Path, threads: int) -> None:
        self.planned, self.path, self.threads = run, folder / run.name, threads
        self.started: float | None = None
        self.line = "starts"
        self.process: subprocess.Popen[str] | None = None
        self.stopped = False

    @property
    def seconds(self) -> float:
        """Since it was started."""
        return 0.0 if self.started is None else time.monotonic() - self.started

    def run(self) -> None:
        """Work until the run is complete or what failed is written down."""
        self.started = time.monotonic()
        codes: list[int] = []
        while len(codes) < DEATHS:
            codes.append(self._run_once())
            if codes[-1] == 0 or self.stopped:
                return
        reason = f"its process ended {DEATHS} times by itself, with {codes} (-9: killed, out of memory?); see {LOG}"
        write_json(self.path / FAILURES, {**failures(self.path), "process": {"reason": reason, "final": False}})

    def stop(self) -> None:
        """End the process; the run goes on from there the next time."""
        self.stopped = True
        if self.process is not None:
            self.process.kill()

    def _run_once(self) -> int:
        assert self.planned.config is not None
        order = {
            "path": str(self.path),
            "config": self.planned.config.model_dump(mode="json"),
            "measurements": self.planned.measurements,
            "page": self.planned.page,
        }
        threads = {name: str(self.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
        self.path.mkdir(parents=True, exist_ok=True)
        with (
            open(self.path / LOG, "a") as log,
            subprocess.Popen(
                [sys.executable, "-m", "slt_grok.studies.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,  # what interrupts the study is not to look like a death of the worker
                env={**os.environ, **threads},
            ) as self.process,
        ):
            assert self.process.stdin is not None
            assert self.process.stderr is not None
            # the pipe stays open: when it closes, the worker knows that the study was killed
            self.process.stdin.write(json.dumps(order) + "\n")
            self.process.stdin.flush()
            for line in self.process.stderr:
                log.write(line)
                log.flush()
                self.line = line.strip()
            return self.process.wait()

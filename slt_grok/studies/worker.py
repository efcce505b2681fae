"""One run of a study in its own process: train, measure, derive; failures are recorded and do not stop the rest.

    python -m slt_grok.studies.worker < order

The order is a line of JSON on standard input. The parent keeps the pipe open; when it closes because the study was
killed, the worker exits at once, and its own processes with it. Arguments are those of the study, for `ps` and for the
lock; they are not read.
"""

import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from slt_grok.config import RunConfig, parse_config
from slt_grok.errors import FileError, SltGrokError
from slt_grok.store.files import read_json, write_json
from slt_grok.studies import run as stages
from slt_grok.studies.lock import locked

FAILURES, DERIVED = "failures.json", "derived"


def failures(path: Path) -> dict[str, dict[str, Any]]:
    """Read the failures in a run directory: stage -> `reason`, and `final` if a retry would fail in the same way."""
    return read_json(path / FAILURES) if (path / FAILURES).is_file() else {}


def complete(config: RunConfig, path: Path, measurements: Sequence[str], page: bool) -> dict[str, dict[str, Any]]:
    """Do the missing work of a run up to its summary; record and return the failures.

    A failed measurement does not stop the others. A final failure is not retried.
    """
    known = failures(path)
    failed = {stage: failure for stage, failure in known.items() if failure["final"]}

    def attempt(stage: str, work: Callable[[], Any]) -> Any:
        if stage in failed:
            return None
        try:
            return work()
        except SltGrokError as error:
            # a full disk can be freed and a file restored, but a non-finite loss will not become finite on a retry
            passing = isinstance(error, FileError) or isinstance(error.__cause__, OSError | SafetensorError)
            failed[stage] = {"reason": str(error), "final": not passing}
        except Exception as error:
            traceback.print_exc()
            failed[stage] = {"reason": f"{type(error).__name__}: {error}", "final": False}

    run = attempt(stages.TRAINING, lambda: stages.train_run(config, path))
    if run is not None:
        for measurement in measurements:
            attempt(measurement, lambda name=measurement: stages.run_measurements(run, [name]))
        attempt(DERIVED, lambda: stages.derive(run))
        if page and DERIVED not in failed:
            from slt_grok import report

            attempt("page", lambda: report.write(run))
    if failed != known:
        write_json(path / FAILURES, failed)
    return failed


def end_with_the_study() -> None:
    """Exit as soon as the other end of standard input is closed; standard input itself becomes the null device.

    The pipe is watched by another descriptor and without Python's buffer: a thread that waits in `sys.stdin.read()`
    holds a lock, which a forked process, where that thread does not exist, would wait for forever.
    """
    pipe, null = os.dup(0), os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)

    def watch() -> None:
        while os.read(pipe, 1024):
            pass
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main() -> None:
    """Execute the order read from standard input."""
    from slt_grok.memory import keep_freed_memory

    signal.signal(signal.SIGINT, signal.SIG_DFL)  # end without a traceback
    if not (line := sys.stdin.readline()):
        return  # the study was killed
    order = json.loads(line)
    end_with_the_study()
    keep_freed_memory()
    path = Path(order["path"])
    with locked(path, wait=True):
        complete(parse_config(order["config"], str(path), named=True), path, order["measurements"], order["page"])


if __name__ == "__main__":
    main()

"""One run of a study in a process of its own: train, measure, derive; failures are recorded and do not stop the rest.

    python -m slt_grok.studies.worker < order

The order is a line of JSON on standard input. Its writer holds the pipe open; when it is closed, because the study was
killed, the worker ends at once, so that no run is worked on by two processes after a restart.
"""

import json
import os
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from slt_grok.config import RunConfig, parse_config
from slt_grok.errors import SltGrokError
from slt_grok.store.files import read_json, write_json
from slt_grok.studies import run as stages
from slt_grok.studies.lock import locked

FAILURES, DERIVED = "failures.json", "derived"


def failures(path: Path) -> dict[str, dict[str, Any]]:
    """Return what failed in a run directory: stage -> `reason`, and `final` if another attempt would end the same."""
    return read_json(path / FAILURES) if (path / FAILURES).is_file() else {}


def complete(config: RunConfig, path: Path, measurements: Sequence[str], page: bool) -> dict[str, dict[str, Any]]:
    """Do what is missing of a run up to its summary; return what failed, which is recorded as well.

    A measurement that fails does not stop the others. A final failure is not attempted again.
    """
    known = failures(path)
    failed = {stage: failure for stage, failure in known.items() if failure["final"]}

    def attempt(stage: str, work: Callable[[], Any]) -> Any:
        if stage in failed:
            return None
        try:
            return work()
        except SltGrokError as error:
            # a full disk may be emptied; a loss that is not finite will not be finite the next time
            failed[stage] = {"reason": str(error), "final": not isinstance(error.__cause__, OSError | SafetensorError)}
        except Exception as error:
            traceback.print_exc()
            failed[stage] = {"reason": f"{type(error).__name__}: {error}", "final": False}

    run = attempt(stages.TRAINING, lambda: stages.train_run(config, path))
    if run is not None:
        for measurement in measurements:
            attempt(measurement, lambda name=measurement: stages.make_measurements(run, [name]))
        attempt(DERIVED, lambda: stages.derive(run))
        if page and DERIVED not in failed:
            from slt_grok import report

            attempt("page", lambda: report.write(run))
    if failed != known:
        write_json(path / FAILURES, failed)
    return failed


def _end_with_the_study() -> None:
    """Exit when nobody holds the other end of standard input."""

    def watch() -> None:
        sys.stdin.read()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main() -> None:
    """Do what the order says."""
    from slt_grok.memory import keep_freed_memory

    order = json.loads(sys.stdin.readline())
    _end_with_the_study()
    keep_freed_memory()
    path = Path(order["path"])
    with locked(path, wait=True):
        complete(parse_config(order["config"], str(path)), path, order["measurements"], order["page"])


if __name__ == "__main__":
    main()

"""One run of a study in a process of its own: train, measure, conclude; what fails is written down, the rest goes on.

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
from slt_grok.studies.lock import locked

FAILURES = "failures.json"
TRAINING, MEASURING = "training", "conclusions"


def failures(path: Path) -> dict[str, dict[str, Any]]:
    """Return what failed in a run directory: stage -> `reason`, and `final` where trying again would give the same."""
    return read_json(path / FAILURES) if (path / FAILURES).is_file() else {}


def complete(config: RunConfig, path: Path, measurements: Sequence[str], page: bool) -> dict[str, dict[str, Any]]:
    """Carry a run to its summary, doing only what is missing; return what failed, which is written down too.

    A measurement that fails does not hold up the others. What failed before for a reason that holds is not tried again.
    """
    from slt_grok.studies.run import conclude, make_measurements, train_run

    known = failures(path)
    found = {stage: failure for stage, failure in known.items() if failure["final"]}

    def attempt(stage: str, work: Callable[[], Any]) -> None:
        if stage in found:
            return
        try:
            work()
        except SltGrokError as error:
            # a full disk may be emptied; a loss that is not finite will not be finite the next time
            found[stage] = {"reason": str(error), "final": not isinstance(error.__cause__, OSError | SafetensorError)}
        except Exception as error:
            traceback.print_exc()
            found[stage] = {"reason": f"{type(error).__name__}: {error}", "final": False}

    attempt(TRAINING, lambda: train_run(config, path))
    if TRAINING not in found:
        for measurement in measurements:
            attempt(measurement, lambda name=measurement: make_measurements(path, [name]))
        attempt(MEASURING, lambda: conclude(path))
        if page and MEASURING not in found:
            from slt_grok import report

            attempt("page", lambda: report.write(path))
    if found != known:
        write_json(path / FAILURES, found)
    return found


def _end_with_the_study() -> None:
    """Leave when nobody holds the other end of standard input."""

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

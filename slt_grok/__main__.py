"""The command `slt-grok`, also as `python -m slt_grok`: Ctrl-C ends it with one line, at any moment.

The handler is set before imports, which take seconds; some of them turn an interruption into another exception.
"""

import os
import signal
import sys
from typing import Any

RESUMED = ("run", "study", "measure", "calibrate")  # commands that store finished parts

_interrupted = False


def main() -> None:
    """Run the command line."""
    try:
        signal.signal(signal.SIGINT, _interrupt)
        sys.unraisablehook = _on_unraisable
        try:
            from slt_grok.cli import main as command

            command()
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command has ended
    except BaseException:
        if _interrupted:
            _leave()
        raise


def _interrupt(*_: Any) -> None:
    global _interrupted
    _interrupted = True
    signal.signal(signal.SIGINT, _leave)  # a second Ctrl-C does not wait for the processes and files of the command
    raise KeyboardInterrupt


def _on_unraisable(unraisable: Any) -> None:
    """Leave if an interruption came where no exception can be raised, such as in a destructor."""
    if isinstance(unraisable.exc_value, KeyboardInterrupt):
        _leave()
    sys.__unraisablehook__(unraisable)


def _leave(*_: Any) -> None:
    how = "to resume" if sys.argv[1:2] and sys.argv[1] in RESUMED else "to start again"
    os.write(2, f"interrupted; re-run the same command {how}\n".encode())
    os._exit(130)


if __name__ == "__main__":
    main()

"""What became of a command on bad input, and the table that counts it."""

import io
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import xarray as xr

from slt_grok.cli import main
from slt_grok.errors import LONGEST, SltGrokError

LONGEST_SECONDS = 60
KINDS = ("right", "sentence", "malformed", "traceback", "silent", "hang", "lost")
"""right: as if the input were good, as it should be; malformed: a message, but not one sentence that names the file;
silent: accepted without a word; lost: something else changed or vanished."""
GOOD = KINDS[:2]


@dataclass
class Part:
    """One part of the harness: how often each outcome occurred, with examples of the bad ones."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def add(self, kind: str, example: str) -> None:
        """Count an outcome."""
        self.counts[kind] += 1
        if kind not in GOOD:
            self.examples.append(f"{kind}: {example}")


class Hang(BaseException):
    """A command took too long."""


@contextmanager
def timed() -> Iterator[None]:
    """Raise `Hang` in the block after a minute."""

    def stop(*_: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(LONGEST_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def judge_call(call: Callable[[], Any], name: str) -> tuple[str, str]:
    """Call a function that may raise an error for the user about something of that name: outcome and its text."""
    try:
        with timed():
            call()
    except Hang:
        return "hang", name
    except SltGrokError as error:
        return judge_message(f"slt-grok: {error}\n", name)
    except Exception:
        return "traceback", traceback.format_exc()
    return "right", ""


def judge_message(words: str, name: str) -> tuple[str, str]:
    """Judge the words of a command that ended with exit code 2."""
    errors = [line for line in words.splitlines() if line.startswith("slt-grok: ")]
    if "Traceback" in words:
        return "traceback", words
    well_formed = len(errors) == 1 and words.strip().endswith(errors[0]) and name in errors[0]
    return ("sentence" if well_formed and len(errors[0]) <= len("slt-grok: ") + LONGEST else "malformed"), words


def judge_command(arguments: list[object], name: str) -> tuple[str, str]:
    """Run the command line in this process on something bad of that name: outcome and what it printed."""
    printed, before = io.StringIO(), sys.argv
    sys.argv = ["slt-grok", *map(str, arguments)]
    try:
        with timed(), redirect_stdout(printed), redirect_stderr(printed):
            main()
        code = 0
    except SystemExit as stop:
        code = stop.code or 0
    except Hang:
        return "hang", f"{arguments}"
    except Exception:
        return "traceback", traceback.format_exc()
    finally:
        sys.argv = before
    if code == 0:
        return "right", printed.getvalue()
    return judge_message(printed.getvalue(), name) if code == 2 else ("traceback", printed.getvalue())


def same_data(found: Mapping[str, xr.Dataset], expected: Mapping[str, xr.Dataset]) -> bool:
    """Return whether the datasets of two runs are the same."""
    return found.keys() == expected.keys() and all(found[label].identical(expected[label]) for label in expected)


def snapshot(folder: Path) -> dict[str, bytes]:
    """Read every file of a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

"""Ctrl-C ends a command with one line, also while modules are imported and where no exception can be raised."""

import subprocess
import sys

import pytest

PROGRAM = """
import os, signal, sys
MODULE = sys.argv.pop()

class Finder:
    def find_spec(self, name, *_):
        if name == MODULE:
            {how}

class Destructor:
    def __del__(self):
        press()

def press():
    os.kill(os.getpid(), signal.SIGINT)

def disguised():
    try:
        press()
    except KeyboardInterrupt:
        raise ImportError("a module that could not be imported")

sys.meta_path.insert(0, Finder())
from slt_grok.__main__ import main
main()
"""


@pytest.mark.parametrize(
    ("command", "module", "how"),
    [("list", "torch", "press()"), *(("run", "typer", how) for how in ("press()", "Destructor()", "disguised()"))],
)
def test_ctrl_c_while_modules_are_imported(command: str, module: str, how: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(how=how), command, module], capture_output=True, text=True, check=False
    )
    to = "to resume" if command == "run" else "to start again"
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == f"interrupted; re-run the same command {to}\n"

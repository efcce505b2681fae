"""A lock that admits one process at a time to a directory and is released however the process ends.

It is `flock` on the file `.lock`, which exists while the directory is in use, or after a kill, and says who uses it.
On network file systems, `flock` holds across machines on NFS (Linux 2.6.12 or later, mounted with locks) and on most
parallel file systems; where it is only local, as with NFS's `local_lock` or Lustre's `localflock`, two machines may
enter the same directory. Where locks are not supported, the directory is refused.
"""

import fcntl
import json
import os
import platform
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from slt_grok.errors import SltGrokError
from slt_grok.progress import announce
from slt_grok.store.files import TEMPORARY

LOCK = ".lock"
SHOWN = 80  # characters of the holder's command in messages

_held = set[int]()  # descriptors


def _close_held() -> None:
    """Close the locks in a forked process, which could otherwise hold them after the end of the process they are of."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_close_held)


@contextmanager
def locked(folder: Path, wait: bool = False) -> Iterator[None]:
    """Hold the lock of a directory, which is created if missing, and remove temporary files of killed processes.

    Parameters
    ----------
    folder : Path
        The directory. Runs inside it have their own locks and are not covered.
    wait : bool, optional
        Whether to wait for another process that holds the lock.

    Raises
    ------
    SltGrokError
        Another process holds the lock and `wait` is not set, or the directory is not writable.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = _acquire(folder, wait)
    except OSError as error:
        raise SltGrokError(
            f"{folder}: cannot be written and locked ({error.strerror}); choose another directory, or change this one"
        ) from error
    _held.add(descriptor)
    try:
        _remove_leftovers(folder)
        yield
    finally:
        _held.discard(descriptor)
        with suppress(OSError):
            (folder / LOCK).unlink()
        os.close(descriptor)


def _acquire(folder: Path, wait: bool) -> int:
    """Open and lock the file, and write into it who holds it."""
    path, told = folder / LOCK, False
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                message = f"{folder}: {_holder(descriptor)} is working here"
                if not wait:
                    raise SltGrokError(f"{message}; wait for it, or stop it first") from error
                if not told:
                    announce("waiting", message)
                told = True
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), os.stat(path)):  # else its holder has removed it meanwhile
                    command = shlex.join(["slt-grok", *sys.argv[1:]])
                    facts = {"process": os.getpid(), "machine": platform.node(), "command": command}
                    os.ftruncate(descriptor, 0)
                    os.write(descriptor, json.dumps({**facts, "since": time.strftime("%Y-%m-%d %H:%M:%S")}).encode())
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _holder(descriptor: int) -> str:
    """Describe the process that holds a lock, as far as it has written who it is."""
    try:
        facts = json.loads(os.pread(descriptor, 1 << 16, 0))
        command = facts["command"] if len(facts["command"]) <= SHOWN else f"{facts['command'][:SHOWN]}..."
        return f"process {facts['process']} on {facts['machine']} ({command}, since {facts['since']})"
    except (ValueError, KeyError, TypeError, RecursionError):
        return "another process"


def _remove_leftovers(folder: Path) -> None:
    for place, folders, files in os.walk(folder):
        # other runs, and imports that are being written
        folders[:] = [name for name in folders if not (name.endswith(TEMPORARY) or _is_run(Path(place, name)))]
        for name in files:
            if name.startswith(".") and name.endswith(TEMPORARY):
                with suppress(OSError):
                    Path(place, name).unlink()


def _is_run(folder: Path) -> bool:
    return any(os.path.exists(folder / name) for name in (LOCK, "manifest.json"))

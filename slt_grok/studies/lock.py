"""A lock that admits one process at a time to a directory and is released however the process ends."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from slt_grok.errors import SltGrokError


@contextmanager
def locked(folder: Path, wait: bool = False) -> Iterator[None]:
    """Hold the lock of a directory, which is created if missing.

    Raises
    ------
    SltGrokError
        Another process holds the lock and `wait` is not set, or the directory is not writable.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / ".lock", "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
    except BlockingIOError as error:
        raise SltGrokError(f"{folder}: another process is working here; wait for it, or stop it first") from error

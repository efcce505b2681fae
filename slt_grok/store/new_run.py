"""Create a run directory as a whole or not at all."""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from slt_grok.errors import SltGrokError
from slt_grok.store.run_directory import RunDirectory


@contextmanager
def new_run(out: Path) -> Iterator[RunDirectory]:
    """Yield a run directory next to `out`; rename it to `out` if the block succeeds, remove it otherwise.

    Raises
    ------
    SltGrokError
        There already is a run, or anything else, at `out`.
    """
    path = out.resolve()

    def check() -> None:
        if RunDirectory(path).exists:
            raise SltGrokError(f"{out}: expected a new folder, but it already holds a run; choose another by --out NEW")
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise SltGrokError(f"{out}: expected a new folder, but it already exists; choose another by --out NEW")

    check()
    run = RunDirectory(path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part"))
    try:
        yield run
        try:
            os.replace(run.path, path)
        except OSError as error:
            check()  # another process may have been quicker
            raise SltGrokError(f"{out}: cannot be written ({error.strerror}); choose another by --out NEW") from error
    finally:
        shutil.rmtree(run.path, ignore_errors=True)

"""Published checkpoints brought into our names, layouts and run directories.

    >>> from slt_grok.store import importers
    >>> importers.recognise(path)                    # "progress_measures"
    >>> importers.read(path).notes                   # what was found, assumed or contradictory
    >>> importers.import_run([path], "runs/theirs")  # a run directory that every measurement takes

Files are read without executing code from them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from slt_grok.errors import SltGrokError
from slt_grok.store.files import read_torch
from slt_grok.store.importers import clock_pizza, progress_measures
from slt_grok.store.importers.imported import Imported
from slt_grok.store.importers.run import write_run

FORMATS = {module.NAME: module for module in (progress_measures, clock_pizza)}


def recognise(path: str | Path) -> str:
    """The name of a file's format, one of `FORMATS`.

    Raises
    ------
    SltGrokError : the file is missing, cut short, or of no supported format.
    """
    path = Path(path)
    return _recognise(path, read_torch(path))


def read(path: str | Path, format: str | None = None) -> Imported:
    """The network in a published file.

    Parameters
    ----------
    path : the file.
    format : one of `FORMATS`; None recognises it.

    Raises
    ------
    SltGrokError : the file is missing, cut short, of another format, or holds a network that is not supported.
    """
    path = Path(path)
    if format is not None and format not in FORMATS:
        raise SltGrokError(f"format: expected one of {list(FORMATS)}, got {format!r}")
    content = read_torch(path)
    return FORMATS[format or _recognise(path, content)].convert(path, content)


def import_run(files: Sequence[str | Path], out: str | Path, format: str | None = None) -> list[str]:
    """Published files of one network, one for each step, written as a run directory.

    Parameters
    ----------
    files : one file a step; the step is the file's epoch, or the number in its name.
    out : a new folder.
    format : one of `FORMATS`; None recognises it.

    Returns
    -------
    Sentences on what was found, assumed or contradictory; they are in the manifest too.

    Raises
    ------
    SltGrokError : a file that cannot be read as such a network, files of different networks, or `out` holds a run.
    """
    if not files:
        raise SltGrokError("import: expected at least one file")
    return write_run([read(path, format) for path in files], Path(out))


def _recognise(path: Path, content: Any) -> str:
    for name, module in FORMATS.items():
        if module.recognises(content):
            return name
    raise SltGrokError(
        f"{path}: expected a one-layer transformer as published with 2301.05217 (tokens [a, b, =]) or 2306.17844 "
        f"(tokens [a, b]); other published formats are not supported"
    )


__all__ = ["FORMATS", "Imported", "import_run", "read", "recognise"]

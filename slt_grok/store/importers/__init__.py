"""Importers that convert external checkpoints to this package's names, layouts and run directories.

    >>> from slt_grok.store import importers
    >>> importers.recognize(path)                    # "progress_measures"
    >>> importers.read(path).notes                   # what was read, assumed, or contradictory
    >>> importers.import_run([path], "runs/theirs")  # a run directory that can be measured

| format | files |
|---|---|
| `progress_measures` | code of 2301.05217: transformers on [a, b, =] with config, loss curves and train split |
| `clock_pizza` | code of 2306.17844: transformers of any depth on [a, b] and linear models, with config JSON |
| `transformer_lens` | state dicts of TransformerLens without LayerNorm |
| `devinterp_mlp` | the MLP of devinterp's grokking notebook |

Files are read without executing code from them, whether they come from `torch.save` or are safetensors. A format is a
subclass of `Importer` in a module of this folder or of a plugin. Any other `nn.Module` becomes a trajectory in a
script, through `slt_grok.models.Adapter`.
"""

from collections.abc import Sequence
from pathlib import Path

from slt_grok.errors import SltGrokError
from slt_grok.store.importers.checkpoints import read_checkpoints
from slt_grok.store.importers.imported import Imported
from slt_grok.store.importers.importer import Importer
from slt_grok.store.importers.run import write_run
from slt_grok.store.importers.source import SourceFile


def recognize(path: str | Path) -> str:
    """Recognize a file's format and return its name.

    Raises
    ------
    SltGrokError
        The file is missing, truncated, or in no supported format.
    """
    return _importer_of(_only(path)).name


def read(path: str | Path, format: str | None = None) -> Imported:
    """Read the network in a published file.

    Parameters
    ----------
    path : str or Path
        The file.
    format : str, optional
        The name of an importer; recognized by default.

    Raises
    ------
    SltGrokError
        The file is missing, truncated, in another format, or holds an unsupported network.
    """
    importer, file = _importer(format), _only(path)
    return (importer or _importer_of(file)).read(file)


def import_run(files: Sequence[str | Path], out: str | Path, format: str | None = None) -> list[str]:
    """Write files of one network, one per step, as a run directory and return notes on them.

    Parameters
    ----------
    files : sequence of str or Path
        One file per step, or folders of such files; the step is the file's epoch, or the number in its name.
    out : str or Path
        A new folder.
    format : str, optional
        The name of an importer; recognized by default.

    Returns
    -------
    list of str
        Sentences on what was read, assumed, or contradictory; the manifest contains them too.

    Raises
    ------
    SltGrokError
        A file does not hold such a network, the files are of different networks, or `out` already holds a run.
    """
    if not files:
        raise SltGrokError("import: expected at least one file")
    importer = _importer(format)
    checkpoints = read_checkpoints(files)
    return write_run([(importer or _importer_of(file)).read(file) for file in checkpoints], Path(out))


def _only(path: str | Path) -> SourceFile:
    """Read the only checkpoint of a file or folder."""
    found = read_checkpoints([path])
    if len(found) > 1:
        raise SltGrokError(f"{path}: expected a single checkpoint, it has {len(found)}: read them with import_run")
    return found[0]


def _importer(format: str | None) -> Importer | None:
    try:
        return Importer.find(format)() if format is not None else None
    except SltGrokError as error:
        raise SltGrokError(f"format: {error}") from error


def _importer_of(file: SourceFile) -> Importer:
    importers = [kind() for kind in Importer.all()]
    for importer in importers:
        if importer.recognizes(file):
            return importer
    names = ", ".join(importer.name for importer in importers)
    raise file.error(f"expected one of the formats {names}; for a network of another kind use slt_grok.models.Adapter")


__all__ = ["Imported", "Importer", "SourceFile", "import_run", "read", "recognize"]

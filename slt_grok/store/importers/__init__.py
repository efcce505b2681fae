"""Importers that convert external checkpoints to this package's names, layouts and run directories.

    >>> from slt_grok.store import importers
    >>> importers.recognize(path)   # "progress_measures"
    >>> importers.read(path).notes  # what was read, assumed, or contradictory

| format | files |
|---|---|
| `progress_measures` | code of 2301.05217: transformers on [a, b, =] with config, loss curves and train split |
| `clock_pizza` | code of 2306.17844: transformers of any depth on [a, b] and linear models, with config JSON |
| `transformer_lens` | state dicts of TransformerLens without LayerNorm |
| `devinterp_mlp` | the MLP of devinterp's grokking notebook |

Files are read without executing code from them, whether they come from `torch.save` or are safetensors. A format is a
subclass of `Importer` in a module of this folder or of a plugin; `checkpoints` reads files and folders before a format
is recognized. `slt_grok.studies.imports` writes what they read as a run directory that can be measured; it also
imports any other `nn.Module`, with its own code.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from slt_grok.errors import SltGrokError
from slt_grok.store.importers.checkpoints import read_checkpoints
from slt_grok.store.importers.imported import Imported
from slt_grok.store.importers.importer import Importer
from slt_grok.store.importers.source import SourceFile
from slt_grok.store.importers.splits import compared, settle


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
    [network], notes = settle([(importer or _importer_of(file)).read(file)])
    contradictions, agreements = compared([network])
    return replace(network, notes=[*network.notes, *contradictions, *notes, *agreements])


def read_run(
    files: Sequence[str | Path],
    format: str | None = None,
    step_from: str | None = None,
    train_indices: str | Path | None = None,
) -> tuple[list[Imported], list[str]]:
    """Read checkpoints of one network.

    Parameters
    ----------
    files : sequence of str or Path
        Files and folders, see `read_checkpoints`.
    format : str, optional
        The name of an importer; recognized by default.
    step_from : str, optional
        What states the training step, see `read_checkpoints`.
    train_indices : str or Path, optional
        A JSON, text, .npy or .pt file with the numbers a p + b of the train pairs. It replaces what `files` state.

    Returns
    -------
    networks, notes : list of Imported, list of str
        One network per checkpoint, and sentences on what was assumed for all of them.

    Raises
    ------
    SltGrokError
        A file does not hold such a network, the files are of different networks, or stored losses contradict every
        train set that could be assumed.
    """
    if not files:
        raise SltGrokError("import: expected at least one file")
    importer, checkpoints = _importer(format), read_checkpoints(files, step_from)
    networks = []
    for file in checkpoints:
        network = (importer or _importer_of(file)).read(file)
        if step_from is not None:
            network = replace(network, step=file.step)
        if network.step is None:
            network.notes.append(file.without_step(alone=len(checkpoints) == 1))
        networks.append(network)
    return settle(networks, None if train_indices is None else Path(train_indices))


def _only(path: str | Path) -> SourceFile:
    """Read the only checkpoint of a file or folder."""
    found = read_checkpoints([path])
    if len(found) > 1:
        raise SltGrokError(f"{path}: expected a single checkpoint, it has {len(found)}; import them as a run")
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
    names, tensors = ", ".join(importer.name for importer in importers), ", ".join(list(file.state)[:3])
    raise file.error(
        f"layout not recognized: expected one of the formats {names}, got {tensors}, ...; bring a network of another "
        f"kind with its own code: slt-grok import ... --module my_net.py:build --data my_net.py:data"
    )


__all__ = ["Imported", "Importer", "SourceFile", "read", "read_checkpoints", "read_run", "recognize"]

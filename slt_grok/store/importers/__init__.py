"""Checkpoints from elsewhere brought into our names, layouts and run directories.

    >>> from slt_grok.store import importers
    >>> importers.recognize(path)                    # "progress_measures"
    >>> importers.read(path).notes                   # what was found, assumed or contradictory
    >>> importers.import_run([path], "runs/theirs")  # a run directory that every measurement takes

| format | files |
|---|---|
| `progress_measures` | code of 2301.05217: transformers on [a, b, =] with config, loss curves and train split |
| `clock_pizza` | code of 2306.17844: transformers of any depth on [a, b] and linear models, with config JSON |
| `transformer_lens` | state dicts of TransformerLens without LayerNorm |
| `devinterp_mlp` | the MLP of devinterp's grokking notebook |

Files are `torch.save`d or safetensors, and are read without executing code from them. Any other `nn.Module` becomes a
trajectory in a script, through `slt_grok.models.Adapter`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from slt_grok.errors import SltGrokError
from slt_grok.store.files import read_tensors, read_torch
from slt_grok.store.importers import clock_pizza, devinterp_mlp, progress_measures, transformer_lens
from slt_grok.store.importers.imported import Imported
from slt_grok.store.importers.run import write_run

FORMATS = {module.NAME: module for module in (clock_pizza, progress_measures, transformer_lens, devinterp_mlp)}
SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".safetensors")  # of the checkpoints in a folder


def recognize(path: str | Path) -> str:
    """Return the name of a file's format, one of `FORMATS`.

    Raises
    ------
    SltGrokError
        The file is missing, cut short, or of no supported format.
    """
    path = Path(path)
    return _recognize(path, _content(path))


def read(path: str | Path, format: str | None = None) -> Imported:
    """Return the network in a published file.

    Parameters
    ----------
    path : str or Path
        The file.
    format : str or None, optional
        One of `FORMATS`; None recognizes it.

    Raises
    ------
    SltGrokError
        The file is missing, cut short, of another format, or holds a network that is not supported.
    """
    path = Path(path)
    if format is not None and format not in FORMATS:
        raise SltGrokError(f"format: expected one of {list(FORMATS)}, got {format!r}")
    content = _content(path)
    return FORMATS[format or _recognize(path, content)].convert(path, content)


def import_run(files: Sequence[str | Path], out: str | Path, format: str | None = None) -> list[str]:
    """Files of one network, one for each step, written as a run directory.

    Parameters
    ----------
    files : Sequence[str or Path]
        One file a step, or folders of such files; the step is the file's epoch, or the number in its name.
    out : str or Path
        A new folder.
    format : str or None, optional
        One of `FORMATS`; None recognizes it.

    Returns
    -------
    list[str]
        Sentences on what was found, assumed or contradictory; they are in the manifest too.

    Raises
    ------
    SltGrokError
        A file that cannot be read as such a network, files of different networks, or `out` holds a run.
    """
    if not files:
        raise SltGrokError("import: expected at least one file")
    return write_run([read(path, format) for given in files for path in _files(Path(given))], Path(out))


def _files(path: Path) -> list[Path]:
    """Return a file itself, or the checkpoints in a folder."""
    if not path.is_dir():
        return [path]
    found = sorted(child for child in path.iterdir() if child.suffix in SUFFIXES)
    if not found:
        raise SltGrokError(f"{path}: expected checkpoints in this folder ({', '.join(SUFFIXES)}), it has none")
    return found


def _content(path: Path) -> Any:
    return read_tensors(path)[0] if path.suffix == ".safetensors" else read_torch(path)


def _recognize(path: Path, content: Any) -> str:
    for name, module in FORMATS.items():
        if module.recognizes(path, content):
            return name
    raise SltGrokError(
        f"{path}: expected one of the formats {', '.join(FORMATS)}; a network of another kind comes in by "
        f"slt_grok.models.Adapter"
    )


__all__ = ["FORMATS", "Imported", "import_run", "read", "recognize"]

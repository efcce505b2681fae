"""Find the files that hold checkpoints in folders, and read them."""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from slt_grok.errors import SltGrokError
from slt_grok.store.files import read_json, read_tensors, read_torch

SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".safetensors")  # of checkpoint files in a folder
WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # in a Hugging Face folder; with .index.json if in shards
INDEX = ".index.json"
TRAINER_STATE = "trainer_state.json"
NO_WEIGHTS = re.compile(r"(optimizer|scheduler|scaler|training_args|rng_state(_\d+)?)\.(pt|pth|bin)")
SHARD = re.compile(r"-\d+-of-\d+\.")
FOLDER = "version_*/checkpoints/*"  # as Lightning writes it
VERSIONS = ("checkpoints/*", FOLDER, f"lightning_logs/{FOLDER}")  # below the folder that the user names
SHOWN = 8  # of the files or folders in a sentence

Source = tuple[Path, Any, list[str]]


def sources(paths: Iterable[Path]) -> list[Source]:
    """Read the files that hold checkpoints.

    Of several files, those that neither have the suffix of a checkpoint nor can be read are ignored with a note.

    Returns
    -------
    path, content, notes : Path, object, list of str
        The file, or the folder of a Hugging Face checkpoint; what it holds; what was ignored next to it.

    Raises
    ------
    SltGrokError
        A file is missing or damaged, or a folder has no checkpoints.
    """
    found: list[Source] = []
    strays: dict[Path, SltGrokError] = {}
    for path in paths:
        try:
            found.extend(_of_folder(path) if path.is_dir() else [(path, _content(path), [])])
        except SltGrokError as error:
            if not path.is_file() or set(path.suffixes) & set(SUFFIXES):
                raise
            strays[path] = error
    if strays and not found:
        raise next(iter(strays.values()))
    return [(path, content, [*notes, *_ignored(strays)]) for path, content, notes in found]


def _of_folder(path: Path) -> Iterator[Source]:
    if _weights_in(path) and not any(map(_weights_in, _folders(path))):
        yield _folder(path)
        return
    folders = [folder for folder in _folders(path) if _weights_in(folder)]
    if folders:
        others = [file for file in path.iterdir() if file.suffix in SUFFIXES]
        for folder in folders:
            weights, content, notes = _folder(folder)
            yield weights, content, [*notes, *_ignored(others, "of which no step is stated")]
        return
    files = sorted(child for child in path.iterdir() if child.is_file())
    used = [file for file in files if _is_checkpoint(file)]
    if not used:
        yield from _of_folder(_version(path))
        return
    for file in used:
        if SHARD.search(file.name):
            raise SltGrokError(f"{file}: expected the index of this shard, a file *{INDEX}, next to it")
        yield file, _content(file), _ignored(set(files) - set(used))


def _is_checkpoint(file: Path) -> bool:
    hidden = file.name.startswith(".")  # such as ._500.pt, which macOS writes
    return file.suffix in SUFFIXES and not hidden and not NO_WEIGHTS.fullmatch(file.name)


def _version(path: Path) -> Path:
    """Find the only folder of checkpoints inside another, in the layout of Lightning."""
    found = {file.parent for pattern in VERSIONS for file in path.glob(pattern) if _is_checkpoint(file)}
    if not found:
        raise SltGrokError(f"{path}: expected checkpoints ({', '.join(SUFFIXES)}) in this folder, found none")
    if len(found) > 1:
        names = _shortened(str(child.parent.relative_to(path)) for child in found)
        raise SltGrokError(f"{path}: expected the checkpoints of a single training run, got {names}; name one of them")
    return found.pop()


def stem(path: Path) -> str:
    """Get the name of a file without its suffix, or that of a folder."""
    return path.name if path.is_dir() else path.stem


def _folders(path: Path) -> list[Path]:
    return sorted(child for child in path.iterdir() if child.is_dir())


def _weights_in(folder: Path) -> Path | None:
    """Find the weights in a Hugging Face folder, or the index of their shards."""
    names = [name + end for name in WEIGHTS for end in ("", INDEX)]
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _folder(folder: Path) -> tuple[Path, Any, list[str]]:
    """Read a Hugging Face folder; the state of its trainer has the step and the losses."""
    weights = _weights_in(folder)
    assert weights is not None
    content = {"model": _content(weights)}
    if (folder / TRAINER_STATE).is_file():
        content = read_json(folder / TRAINER_STATE) | content
    others = [child for child in folder.iterdir() if child.suffix in SUFFIXES and child != weights]
    return folder, content, _ignored(other for other in others if not SHARD.search(other.name))


def _ignored(files: Iterable[Path], why: str = "not the network's weights") -> list[str]:
    """Note which files are ignored; a JSON file may be the configuration that an importer reads."""
    names = [file.name for file in files if file.suffix != ".json"]
    return [f"Ignored: {_shortened(names)}, {why}."] if names else []


def _shortened(names: Iterable[str]) -> str:
    names = sorted(set(names))
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} others" if len(names) > SHOWN else "")


def _content(path: Path) -> Any:
    if path.name.endswith(INDEX):
        return _shards(path)
    if path.suffix != ".safetensors":
        return read_torch(path)
    tensors, metadata = read_tensors(path)
    return {**metadata, "model": tensors} if metadata else tensors


def _shards(index: Path) -> dict[str, Tensor]:
    table = read_json(index).get("weight_map")
    if not isinstance(table, Mapping) or not table or not all(isinstance(name, str) for name in table.values()):
        raise SltGrokError(f"{index}: expected weight_map, the file of each tensor")
    paths = {name: index.parent / Path(name).name for name in sorted(set(table.values()))}
    shards = {k: read_tensors(p)[0] if p.suffix == ".safetensors" else read_torch(p) for k, p in paths.items()}
    for name, file in table.items():
        if not isinstance(shards[file], Mapping) or name not in shards[file]:
            raise SltGrokError(f"{index}: expected a tensor {name} in {file}, but it is missing")
    return {name: shards[file][name] for name, file in table.items()}

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


def sources(path: Path) -> Iterator[tuple[Path, Any, list[str]]]:
    """Read the files that hold checkpoints.

    Yields
    ------
    path, content, notes : Path, object, list of str
        The file, or the folder of a Hugging Face checkpoint; what it holds; what was ignored next to it.

    Raises
    ------
    SltGrokError
        A file is missing or damaged, or a folder has no checkpoints.
    """
    if not path.is_dir():
        yield path, _content(path), []
        return
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
    files = sorted(child for child in path.iterdir() if child.suffix in SUFFIXES and child.is_file())
    used = [file for file in files if not NO_WEIGHTS.fullmatch(file.name)]
    if not used:
        raise SltGrokError(f"{path}: expected checkpoints ({', '.join(SUFFIXES)}) in this folder, found none")
    for file in used:
        if SHARD.search(file.name):
            raise SltGrokError(f"{file}: expected the index of this shard, a file *{INDEX}, next to it")
        yield file, _content(file), _ignored(set(files) - set(used))


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
    names = sorted({file.name for file in files})
    return [f"Ignored: {', '.join(names)}, {why}."] if names else []


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
    tensors: dict[str, Tensor] = {}
    for name in sorted(set(table.values())):
        shard = index.parent / Path(name).name
        tensors |= read_tensors(shard)[0] if shard.suffix == ".safetensors" else read_torch(shard)
    missing = [name for name in table if name not in tensors]
    if missing:
        raise SltGrokError(f"{index}: expected a tensor {missing[0]} in {table[missing[0]]}, but it is missing")
    return tensors

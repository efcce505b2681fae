"""Read checkpoints from files and folders of any origin, without executing code from them.

| given | checkpoints |
|---|---|
| a file of `torch.save` or safetensors | a state dict, alone or under a key such as `model` or `state_dict` |
| a file with several | a dict {step: state dict}, a list, or `checkpoints` with `checkpoint_epochs` |
| a folder of files, as Lightning writes it | one per file |
| a folder of Hugging Face folders `checkpoint-500/`, or one of them | weights in one file, or in shards with an index |

Prefixes that wrappers put before all names (`model.`, `module.`, `_orig_mod.`) are stripped, with a note.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from slt_grok.errors import SltGrokError
from slt_grok.store.files import read_json, read_tensors, read_torch
from slt_grok.store.importers import steps
from slt_grok.store.importers.source import SourceFile, whole

SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".safetensors")  # of checkpoint files in a folder
WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # in a Hugging Face folder; with .index.json if in shards
INDEX = ".index.json"
TRAINER_STATE = "trainer_state.json"
NO_WEIGHTS = re.compile(r"(optimizer|scheduler|scaler|training_args|rng_state(_\d+)?)\.(pt|pth|bin)")
SHARD = re.compile(r"-\d+-of-\d+\.")
HOLDERS = ("model", "state_dict", "model_state_dict")  # keys under which a file may hold its state dict
PREFIX = re.compile(r"((?:_orig_mod|module|model)\.)")
OF_LAST = ("epoch", "step", "global_step", "train_loss", "test_loss")  # entries on the last of several checkpoints
DEPTH = 4  # of containers inside each other


def read_checkpoints(paths: Iterable[str | Path], step_from: str | None = None) -> list[SourceFile]:
    """Read all checkpoints of one network.

    Parameters
    ----------
    paths : iterable of str or Path
        Files and folders.
    step_from : str, optional
        What states the training step: an entry of each file, or the word before a number in its name. For a list of
        state dicts, the number of steps between two of them, from step 0.

    Returns
    -------
    list of SourceFile
        One per checkpoint, in the order given; its step is None if nothing states it.

    Raises
    ------
    SltGrokError
        A file is missing, damaged, or holds no named tensors, or has nothing called `step_from`.
    """
    sources = [source for path in paths for source in _sources(Path(path))]
    column = steps.differing([_stem(path) for path, *_ in sources])
    return [
        _with_step(checkpoint, step_from, column)
        for path, content, notes in sources
        for checkpoint in _checkpoints(path, content, notes, step_from)
    ]


# -- folders and files ------------------------------------------------------------------------------------------


def _sources(path: Path) -> Iterator[tuple[Path, Any, list[str]]]:
    """Read the files that hold checkpoints: path, content and notes of each."""
    if not path.is_dir():
        yield path, _content(path), []
        return
    if _weights_in(path) and not any(map(_weights_in, _folders(path))):
        yield _folder(path)
        return
    folders = [folder for folder in _folders(path) if _weights_in(folder)]
    if folders:
        for folder in folders:
            yield _folder(folder)
        return
    files = sorted(child for child in path.iterdir() if child.suffix in SUFFIXES and child.is_file())
    used = [file for file in files if not NO_WEIGHTS.fullmatch(file.name)]
    if not used:
        raise SltGrokError(f"{path}: expected checkpoints ({', '.join(SUFFIXES)}) in this folder, found none")
    for file in used:
        if SHARD.search(file.name):
            raise SltGrokError(f"{file}: expected the index of this shard, a file *{INDEX}, next to it")
        yield file, _content(file), _ignored(set(files) - set(used))


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


def _ignored(files: Iterable[Path]) -> list[str]:
    names = sorted({file.name for file in files})
    return [f"Ignored, since not the network's weights: {', '.join(names)}."] if names else []


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


# -- state dicts in a file's content ------------------------------------------------------------------------------


def _checkpoints(path: Path, content: Any, notes: list[str], step_from: str | None) -> list[SourceFile]:
    found = [_stripped(replace(file, notes=[*notes, *file.notes])) for file in _inside(path, content, step_from)]
    for file in found:
        for name, tensor in file.state.items():
            if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_nested or tensor.is_meta:
                raise file.error(f"expected {name} to be an ordinary tensor, got a sparse, quantized or empty one")
    return found


def _inside(path: Path, content: Any, step_from: str | None, depth: int = 0) -> list[SourceFile]:
    """Find the state dicts in a file's content."""
    wrong = SltGrokError(f"{path}: expected a state dict of named tensors")
    if _is_state(content):
        return [SourceFile(path, content)]
    if depth > DEPTH or not isinstance(content, Mapping | list | tuple) or not content:
        raise wrong
    if not isinstance(content, Mapping):
        return _several(path, list(content), _spaced(path, content, step_from), {}, step_from, depth)
    if any(isinstance(value, Tensor) and value.ndim for value in content.values()) and not _holder(content):
        name, value = next((k, v) for k, v in content.items() if not isinstance(k, str) or not isinstance(v, Tensor))
        raise SltGrokError(f"{wrong}, but {name} is {_described(value)}")
    if isinstance(content.get("checkpoints"), Mapping | list | tuple) and content["checkpoints"]:
        return _recorded(path, content, step_from, depth)
    holder = _holder(content)
    if holder is None:
        by_step = {key: _key_step(path, key) for key in content}
        if None in by_step.values() or not all(isinstance(value, Mapping) for value in content.values()):
            raise wrong
        return _several(path, list(content.values()), list(by_step.values()), {}, step_from, depth)
    outer = {key: value for key, value in content.items() if key != holder}
    inner = _inside(path, content[holder], step_from, depth + 1)
    return [replace(file, extras=outer | dict(file.extras)) for file in inner]


def _is_state(content: Any) -> bool:
    named = isinstance(content, Mapping) and bool(content)
    return named and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items())


def _described(value: Any) -> str:
    return "a tensor without a name" if isinstance(value, Tensor) else f"a {type(value).__name__}"


def _holder(content: Mapping[Any, Any]) -> str | None:
    """Find the key that holds the state dict: a usual one, or the only one with named tensors."""
    usual = [key for key in HOLDERS if isinstance(content.get(key), Mapping | list | tuple)]
    named = [key for key, value in content.items() if isinstance(key, str) and _is_state(value)]
    return usual[0] if usual else named[0] if len(named) == 1 and _key_number(named[0]) is None else None


def _key_number(key: Any) -> Any:
    return key if isinstance(key, int) else steps.step_in_name(key)[0] if isinstance(key, str) else None


def _key_step(path: Path, key: Any) -> int | None:
    found = _key_number(key)
    return None if found is None else whole(path, "the key of a checkpoint", found)


def _spaced(path: Path, content: Sequence[Any], step_from: str | None) -> list[int | None]:
    """Get the steps of a list of checkpoints from their spacing."""
    if step_from is None or not step_from.isdecimal():
        return [None] * len(content)
    return [whole(path, "a step", i * int(step_from)) for i in range(len(content))]


def _recorded(path: Path, content: Mapping[Any, Any], step_from: str | None, depth: int) -> list[SourceFile]:
    """Read `checkpoints`, whose steps are in another entry."""
    checkpoints = content["checkpoints"]
    names = [step_from] if step_from in content else ["checkpoint_steps", "checkpoint_epochs"]
    extras = {key: value for key, value in content.items() if key not in ("checkpoints", *HOLDERS, *OF_LAST)}
    notes = []
    if isinstance(checkpoints, Mapping):
        items, known = list(checkpoints.values()), [_key_step(path, key) for key in checkpoints]
    else:
        items, known = list(checkpoints), _spaced(path, checkpoints, step_from)
        name = next((name for name in names if name in content), None)
        if name is not None:
            listed = content[name].tolist() if isinstance(content[name], Tensor) else content[name]
            if not isinstance(listed, list | tuple) or len(listed) != len(items):
                raise SltGrokError(f"{path}: expected {name} to list the step of each of the {len(items)} checkpoints")
            known = [whole(path, name, step) for step in listed]
            notes = [f"The steps are those of {name}."]
    found = _several(path, items, known, extras, step_from, depth)
    holder = next((key for key in HOLDERS if _is_state(content.get(key))), None)
    if holder is not None and not any(_same(content[holder], file.state) for file in found):
        notes.append(f"Ignored, since its step is not stated: the network under {holder}, besides the checkpoints.")
    return [replace(file, notes=[*notes, *file.notes]) for file in found]


def _several(
    path: Path,
    items: Sequence[Any],
    known: Sequence[int | None],
    extras: Mapping[Any, Any],
    step_from: str | None,
    depth: int,
) -> list[SourceFile]:
    found = []
    for item, step in zip(items, known, strict=True):
        inner = _inside(path, item, step_from, depth + 1)
        if len(inner) > 1:
            raise SltGrokError(f"{path}: expected a list of state dicts, got lists in a list")
        entries = {**extras, **inner[0].extras}
        found.append(replace(inner[0], extras=entries, step=_entry_step(path, entries) if step is None else step))
    if len(found) > 1 and any(file.step is None for file in found):
        raise SltGrokError(
            f"{path}: expected the training step of each of its {len(found)} checkpoints: save a dict {{step: state "
            f"dict}}, or give the number of steps between two of them, such as --step-from 100"
        )
    return found


def _same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


# -- names and steps ----------------------------------------------------------------------------------------------


def _stripped(file: SourceFile) -> SourceFile:
    """Strip the prefixes that all names have, and those of compiled submodules anywhere."""
    state, prefix = dict(file.state), ""
    while found := PREFIX.match(next(iter(state))):
        if not all(name.startswith(found[1]) and len(name) > len(found[1]) for name in state):
            break
        prefix += found[1]
        state = {name.removeprefix(found[1]): tensor for name, tensor in state.items()}
    notes = [f"The prefix {prefix} of all names was stripped."] if prefix else []
    return replace(file, state=state, prefix=prefix, notes=[*file.notes, *notes])


def _entry_step(path: Path, extras: Mapping[Any, Any]) -> int | None:
    name = next((name for name in steps.ENTRIES if name in extras), None)
    return None if name is None else whole(path, name, extras[name])


def _stem(path: Path) -> str:
    return path.name if path.is_dir() else path.stem


def _with_step(file: SourceFile, step_from: str | None, column: int | None) -> SourceFile:
    """Add the step of a checkpoint that is not one of several in its file."""
    if file.step is not None:
        return file
    stem = _stem(file.path)
    if step_from is not None:
        found = file.extras.get(step_from, steps.named_step(stem, step_from))
        if found is None:
            known = steps.choices(stem, file.extras)
            raise file.error(f"expected --step-from to be one of {', '.join(known) or 'its entries'}, got {step_from}")
        return replace(file, step=whole(file.path, step_from, found))
    stated = _entry_step(file.path, file.extras)
    if stated is not None:
        return replace(file, step=stated)
    text, note = steps.step_in_name(stem, column)
    if text is None:
        return file
    step = whole(file.path, "the number in its name", text)
    if note and file.epoch not in (None, step):  # the two disagree
        return file
    return replace(file, step=step, notes=[*file.notes, note] if note else file.notes)

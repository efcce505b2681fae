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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from slt_grok.errors import SltGrokError
from slt_grok.format import listing
from slt_grok.store.importers import steps
from slt_grok.store.importers.curves import STEPS, is_list
from slt_grok.store.importers.folders import sources, stem
from slt_grok.store.importers.source import SourceFile, whole

HOLDERS = ("model", "state_dict", "model_state_dict")  # keys under which a file may hold its state dict
PREFIX = re.compile(r"((?:_orig_mod|module|model)\.)")
COMPILED = "_orig_mod."
# entries on the last of several checkpoints
OF_LAST = ("epoch", "step", "global_step", "train_loss", "test_loss", "loss")
REMEDY = "save model.state_dict()"
OPTIMIZER = re.compile(  # keys: whole words between _ or .
    r"(.*[_.])?(((optim(izers?)?|sched(ulers?)?)(states?)?|exp_avg|param_groups)([_.].*)?"
    r"|(momentum|grads?|gradients?)([_.]buffers?)?|opt(_?states?)?)",
    re.IGNORECASE,
)
OPTIMIZER_STATE = {"exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer", "square_avg", "grad_avg", "step"}
AVERAGE = re.compile(r"(?:.*[_.])?(?:ema|avg|averaged?|swa|shadow)(?:[_.].*)?", re.IGNORECASE)  # over steps
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
    files = sources(map(Path, paths))
    column = steps.differing([stem(path) for path, *_ in files])
    return [
        _with_step(checkpoint, step_from, column)
        for path, content, notes in files
        for checkpoint in _checkpoints(path, content, notes, step_from)
    ]


# -- state dicts in a file's content ------------------------------------------------------------------------------


def _checkpoints(path: Path, content: Any, notes: list[str], step_from: str | None) -> list[SourceFile]:
    return [_stripped(replace(file, notes=[*notes, *file.notes])) for file in _inside(path, content, step_from)]


def _inside(path: Path, content: Any, step_from: str | None, depth: int = 0) -> list[SourceFile]:
    """Find the state dicts in a file's content."""
    wrong = f"{path}: expected a state dict of named tensors"
    if _is_state(content):
        return [_network(path, content)]
    if depth > DEPTH or not isinstance(content, Mapping | list | tuple) or not content:
        raise SltGrokError(f"{wrong}; {REMEDY}")
    if not isinstance(content, Mapping):
        return _several(path, list(content), _spaced(path, content, step_from), {}, step_from, depth)
    if isinstance(content.get("checkpoints"), Mapping | list | tuple) and content["checkpoints"]:
        return _recorded(path, content, step_from, depth)
    if any(isinstance(value, Tensor) and value.ndim for value in content.values()) and not _holder(content):
        name, value = next((k, v) for k, v in content.items() if not isinstance(k, str) or not isinstance(v, Tensor))
        raise SltGrokError(f"{wrong}, but {name} is {_described(value)}; {REMEDY}")
    holder = _holder(content)
    if holder is None:
        if any(map(OPTIMIZER.fullmatch, map(str, content))) and not _named(content):
            raise SltGrokError(f"{path}: expected a network, got the state of an optimizer only; {REMEDY}")
        by_step = {key: _key_step(path, key) for key in content}
        if None in by_step.values() or not all(isinstance(value, Mapping) for value in content.values()):
            raise SltGrokError(f"{wrong}; {REMEDY}")
        return _several(path, list(content.values()), list(by_step.values()), {}, step_from, depth)
    outer = {key: value for key, value in content.items() if key != holder}
    inner = _inside(path, content[holder], step_from, depth + 1)
    others = [key for key in outer if _holds_tensors(outer[key])]
    notes = [f"The network is that under `{holder}`; ignored the tensors under {listing(others)}."] if others else []
    if AVERAGE.fullmatch(holder):
        notes.append(f"The network is that under `{holder}`, whose weights seem to be averages over training.")
    return [replace(file, extras=outer | dict(file.extras), notes=[*notes, *file.notes]) for file in inner]


def _network(path: Path, state: Mapping[str, Tensor]) -> SourceFile:
    """Check that tensors can be stored in float32, and convert those of types without arithmetic."""
    if state.keys() <= OPTIMIZER_STATE:
        raise SltGrokError(f"{path}: expected a network, got the state of an optimizer ({listing([*state])}); {REMEDY}")
    kinds = {str(tensor.dtype) for tensor in state.values() if tensor.is_floating_point()} - {"torch.float32"}
    notes = [f"The weights are {', '.join(sorted(kinds))}; they are stored as torch.float32."] if kinds else []
    converted = {}
    for name, tensor in state.items():
        ordinary = tensor.layout == torch.strided and not (tensor.is_quantized or tensor.is_nested or tensor.is_meta)
        packed = "float4" in str(tensor.dtype)  # two numbers in one entry
        if packed or not ordinary:
            got = f"one of {tensor.dtype}" if packed else "a sparse, quantized or empty one"
            raise SltGrokError(f"{path}: expected {name} to be an ordinary tensor, got {got}")
        single = tensor.float() if tensor.is_floating_point() else tensor
        if tensor.dtype == torch.float64 and (single.isinf() & ~tensor.isinf()).any():
            raise SltGrokError(
                f"{path}: expected {name} in the range of float32, in which weights are stored, up to "
                f"{torch.finfo(torch.float32).max:.2g}, got {tensor[single.isinf()].abs().max():.2g}"
            )
        converted[name] = single if "float8" in str(tensor.dtype) else tensor
    return SourceFile(path, converted, notes=notes)


def _holds_tensors(content: Any) -> bool:
    """Check for named tensors, or a list of them, directly or one level below."""
    if not isinstance(content, Mapping) or not content:
        return False
    return any(
        _is_state(part) or (isinstance(part, list | tuple) and part and isinstance(part[0], Tensor))
        for part in (content, *content.values())
    )


def _is_state(content: Any) -> bool:
    named = isinstance(content, Mapping) and bool(content)
    return named and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items())


def _described(value: Any) -> str:
    if isinstance(value, Tensor):
        return "a tensor without a name"
    kind = type(value).__name__
    return f"{'an' if kind[0].lower() in 'aeiou' else 'a'} {kind}"


def _holder(content: Mapping[Any, Any]) -> str | None:
    """Find the key that holds the state dict: a usual one, or the only one with named tensors."""
    usual = [key for key in HOLDERS if isinstance(content.get(key), Mapping | list | tuple)]
    named = _named(content)
    named = [key for key in named if not AVERAGE.fullmatch(key)] or named
    return usual[0] if usual else named[0] if len(named) == 1 and _key_number(named[0]) is None else None


def _named(content: Mapping[Any, Any]) -> list[str]:
    """List the keys with named tensors that can be a network's."""
    states = [key for key, value in content.items() if isinstance(key, str) and _is_state(value)]
    return [key for key in states if not OPTIMIZER.fullmatch(key)]


def _key_number(key: Any) -> Any:
    return key if isinstance(key, int) else steps.step_in_name(key)[0] if isinstance(key, str) else None


def _key_step(path: Path, key: Any) -> int | None:
    number = _key_number(key)
    return None if number is None else whole(path, "the key of a checkpoint", number)


def _spaced(path: Path, content: Sequence[Any], step_from: str | None) -> list[int | None]:
    """Get the steps of a list of checkpoints from their spacing."""
    if step_from is None or not step_from.isdecimal():
        return [None] * len(content)
    return [whole(path, "a step", i * int(step_from)) for i in range(len(content))]


def _recorded(path: Path, content: Mapping[Any, Any], step_from: str | None, depth: int) -> list[SourceFile]:
    """Read `checkpoints`, whose steps are in another entry."""
    checkpoints = content["checkpoints"]
    names = STEPS if step_from is None else [step_from]
    last = {key for key in OF_LAST if not (key.endswith("loss") and is_list(content.get(key)))}
    extras = {key: value for key, value in content.items() if key not in {"checkpoints", *HOLDERS, *last}}
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
    files = _several(path, items, known, extras, step_from, depth)
    extras = {STEPS[0]: [file.step for file in files]} if len(files) > 1 else {}
    files = [replace(file, extras=dict(file.extras) | extras) for file in files]
    holder = next((key for key in HOLDERS if _is_state(content.get(key))), None)
    final = _network(path, content[holder]).state if holder else {}
    if holder and not any(same_tensors(final, file.state) for file in files):
        notes.append(f"Ignored the network under `{holder}`: it equals no checkpoint and has no step.")
    return [replace(file, notes=[*notes, *file.notes]) for file in files]


def _several(
    path: Path,
    items: Sequence[Any],
    known: Sequence[int | None],
    extras: Mapping[Any, Any],
    step_from: str | None,
    depth: int,
) -> list[SourceFile]:
    files = []
    for item, listed in zip(items, known, strict=True):
        inner = _inside(path, item, step_from, depth + 1)
        if len(inner) > 1:
            raise SltGrokError(f"{path}: expected a list of state dicts, got lists in a list")
        entries = {**extras, **inner[0].extras}
        step = _entry_step(path, entries, step_from) if listed is None else listed
        files.append(replace(inner[0], extras=entries, step=step))
    if len(files) > 1 and any(file.step is None for file in files):
        lists = [key for key, value in extras.items() if is_list(value) and len(value) == len(files)]
        named = [str(key) for key in lists if all(map(steps.could_be_step, extras[key]))]
        entries = [{str(key): str(value) for key, value in file.extras.items()} for file in files]
        named += [key for key in steps.choices("", files[0].extras) if len({each.get(key) for each in entries}) > 1]
        spacing = "the number of steps between two of them, such as 100"
        raise SltGrokError(
            f"{path}: expected the training step of each of its {len(files)} checkpoints; name it by --step-from, here "
            f"{' or '.join([*named, spacing])}, or save a dict {{step: state dict}}"
        )
    return files


def same_tensors(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    """Check whether two state dicts have the same names and values."""
    return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


# -- names and steps ----------------------------------------------------------------------------------------------


def _stripped(file: SourceFile) -> SourceFile:
    """Strip the prefixes that all names have, and those of compiled modules anywhere."""
    state, prefix, notes = dict(file.state), "", list(file.notes)
    while found := PREFIX.match(next(iter(state))):
        if not all(name.startswith(found[1]) and len(name) > len(found[1]) for name in state):
            break
        prefix += found[1]
        state = {name.removeprefix(found[1]): tensor for name, tensor in state.items()}
    if prefix:
        notes.append(f"The prefix {prefix} of all names was stripped.")
    plain = {name.replace(COMPILED, ""): tensor for name, tensor in state.items()}
    if plain.keys() != state.keys() and len(plain) == len(state):
        notes.append(f"{COMPILED} in the names of compiled modules was removed.")
        state = plain
    return replace(file, state=state, prefix=prefix, notes=notes)


def _entry_step(path: Path, extras: Mapping[Any, Any], step_from: str | None = None) -> int | None:
    names = steps.ENTRIES if step_from is None else [step_from]
    name = next((name for name in names if name in extras), None)
    return None if name is None else whole(path, name, extras[name])


def _with_step(file: SourceFile, step_from: str | None, column: int | None) -> SourceFile:
    """Add the step of a checkpoint that is not one of several in its file."""
    if file.step is not None:
        return file
    name = stem(file.path)
    if step_from is not None:
        number = file.extras.get(step_from, steps.named_step(name, step_from))
        if number is None:
            known = steps.choices(name, file.extras)
            raise file.error(f"expected --step-from to be one of {', '.join(known) or 'its entries'}, got {step_from}")
        return replace(file, step=whole(file.path, step_from, number))
    stated = _entry_step(file.path, file.extras)
    if stated is not None:
        return replace(file, step=stated)
    text, note = steps.step_in_name(name, column)
    if text is None:
        return file
    step = whole(file.path, "the number in its name", text)
    if note and file.epoch not in (None, step):  # the two disagree
        return file
    return replace(file, step=step, notes=[*file.notes, note] if note else file.notes)

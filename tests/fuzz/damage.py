"""Damaged run directories: a command either notices or gives the values of the undamaged run."""

import json
import random
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from slt_grok.store.datasets import read_dataset, write_dataset
from slt_grok.studies.run import Run
from tests.fuzz.outcomes import Part, judge_command, same_data, snapshot

Damage = Callable[[random.Random, Path, Path], Path]
"""Damage something in a run, perhaps by something of another run; return the path of what was damaged."""

VALUES: list[Any] = [None, 5, -1, 0.5, True, "text", [], [1], {}, {"a": 1}, 10**400, "\0"]
DTYPES = [torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.bool]
DERIVED = {"summary.json", "report.html", "figures"}  # made anew by every command that writes


def some(rng: random.Random, run: Path, pattern: str) -> Path:
    return rng.choice(sorted(run.glob(pattern)))


def flip(rng: random.Random, run: Path, _: Path, pattern: str) -> Path:
    path = some(rng, run, pattern)
    content = bytearray(path.read_bytes())
    for _ in range(rng.choice([1, 1, 1, 16])):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)
    return path


def cut(rng: random.Random, run: Path, _: Path, pattern: str) -> Path:
    path = some(rng, run, pattern)
    content = path.read_bytes()
    kept = rng.choice([0, 1, len(content) // 2, len(content) - 1])
    path.write_bytes(content[:kept] + rng.choice([b"", bytes(len(content) - kept)]))
    return path


def exchange(rng: random.Random, run: Path, other: Path, pattern: str) -> Path:
    """Put the file of another run in place of this one's."""
    path = some(rng, run, pattern)
    shutil.copy(other / path.relative_to(run), path)
    return path


def swap(rng: random.Random, run: Path, _: Path, pattern: str) -> Path:
    """Put a file in place of another one of the same run."""
    path, instead = rng.sample(sorted(run.glob(pattern)), 2)
    shutil.copy(instead, path)
    return path


def add(rng: random.Random, run: Path, other: Path, pattern: str) -> Path:
    """Add a file under a new name."""
    path = some(rng, rng.choice([run, other]), pattern)
    name = {".nc": "llc@more.nc", ".safetensors": f"step_{rng.randrange(10**8):08d}.safetensors"}[path.suffix]
    return Path(shutil.copy(path, run / path.parent.name / name))


def remove(rng: random.Random, run: Path, _: Path, pattern: str) -> Path:
    path = some(rng, run, pattern)
    path.unlink()
    return path


def retype(rng: random.Random, run: Path, _: Path) -> Path:
    """Rewrite tensors in another type or shape."""
    path, way = some(rng, run, "checkpoints/*"), rng.randrange(4)
    tensors = load_file(path)
    name = rng.choice(sorted(tensors))
    if way == 0:
        tensors = {key: tensor.to(rng.choice(DTYPES)) for key, tensor in tensors.items()}
    elif way == 1:
        tensors[name] = torch.cat([tensors[name]] * 2)
    elif way == 2:
        tensors[name] = tensors[name][:0].clone()
    else:
        tensors[name] = torch.full_like(tensors[name], rng.choice([torch.nan, torch.inf, 1e-3]))
    save_file(tensors, path)
    return path


def rework(rng: random.Random, run: Path, _: Path) -> Path:
    """Change a dataset."""
    path, way = some(rng, run, "measurements/*"), rng.randrange(4)
    dataset = read_dataset(path)
    if way == 0:
        dataset = dataset.drop_attrs()
    elif way == 1 and dataset.data_vars:
        dataset = dataset.drop_vars(rng.choice(sorted(map(str, dataset.data_vars))))
    elif way == 2 and "step" in dataset.dims:
        dataset = dataset.isel(step=slice(rng.choice([0, 1])))
    else:
        dataset = dataset.assign_attrs(settings=rng.choice(["{", "[1]", "5", '{"a": 1}']))
    write_dataset(path, dataset)
    return path


def rewrite(rng: random.Random, run: Path, _: Path, pattern: str) -> Path:
    """Replace a JSON file, or one value in it."""
    path = some(rng, run, pattern)
    content = json.loads(path.read_text())
    if rng.random() < 0.2:
        content = rng.choice(VALUES)
    else:
        place = content
        while True:
            key = rng.choice(sorted(place) if isinstance(place, Mapping) else range(len(place)))
            if not isinstance(place[key], dict | list) or not place[key] or rng.random() < 0.2:
                break
            place = place[key]
        if isinstance(place, dict) and rng.random() < 0.2:
            del place[key]
        else:
            place[key] = rng.choice([value for value in VALUES if value != place[key]])
    path.write_text(json.dumps(content))
    return path


FILES = ("checkpoints/*", "measurements/*")
WAYS: list[Damage] = [
    *(partial(way, pattern=pattern) for way in (flip, cut, exchange, swap, add, remove) for pattern in FILES),
    *(partial(way, pattern="*.json") for way in (flip, cut, remove)),
    *[partial(rewrite, pattern="manifest.json")] * 3,
    partial(rewrite, pattern="summary.json"),
    retype,
    rework,
]
COMMANDS = ("measure", "measure", "report", "show")


def damage_runs(cases: range, run: Path, other: Path, folder: Path) -> Part:
    """Damage copies of a run, and run a command on each."""
    part, whole, (_, shown) = Part(), Run(run).data, judge_command(["show", run], "")
    for case in cases:
        rng, copy = random.Random(f"damage {case}"), folder / "run"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(run, copy)
        way = rng.choice(WAYS)
        path = way(rng, copy, other)
        command = rng.choice(COMMANDS)
        if path.parent.name == "checkpoints":  # only read if something is to be measured
            command = "measure"
            (copy / "measurements" / "llc.nc").unlink()
        before = snapshot(copy)
        kind, words = judge_command([command, copy], path.name)
        if kind == "sentence" and not _kept(before, snapshot(copy)):
            kind = "lost"
        elif kind == "right" and command == "show" and words != shown:
            kind = "silent"
        elif kind == "right" and command != "show" and not same_data(Run(copy).data, whole):
            missing = command == "report" and f"{path.name} is missing" in words
            kind = "right" if missing else "silent"
        part.add(kind, f"case {case}: {command} after {way} of {path.relative_to(copy)}: {words[-600:]}")
    return part


def _kept(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> bool:
    """Return whether a command that was refused left everything as it was."""
    return all(after.get(name) == before[name] for name in before if name.split("/")[0] not in DERIVED)

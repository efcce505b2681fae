"""Files of the code of Nanda et al. 2301.05217: transformers on [a, b, =].

A file is a dict with `model` (a state dict), and, as far as it was saved so, `config`, `optimizer`, `epoch`,
`train_loss`, `test_loss`, `train_losses` (every epoch) and `test_losses` (every epoch or every tenth); or the state
dict alone. Losses of an epoch were recorded before its update.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from slt_grok.errors import SltGrokError
from slt_grok.store.importers.imported import (
    Imported,
    activation_name,
    check_stored_losses,
    number,
    number_in_name,
    run_name,
)
from slt_grok.store.importers.layouts import beside_state, state_in, tensors_of
from slt_grok.store.importers.transformers import layout_of, parameters_of

NAME = "progress_measures"
OPERATIONS = {"add": "addition", "subtract": "subtraction", "x2xyy2": "x^2+xy+y^2"}
RECORDED_EVERY = (1, 10)  # epochs from one entry of a list of losses to the next


def recognizes(path: Path, content: Any) -> bool:
    """Whether a file has this layout: transformer weights of its code, with its config or not on two positions."""
    layout, positions = layout_of(state_in(content))
    return layout == "own_code" and (positions != 2 or "config" in beside_state(content))


def convert(path: Path, content: Any) -> Imported:
    """Return the network in a file's content.

    Raises
    ------
    SltGrokError
        Tensors or a config that do not make a transformer on a supported task.
    """
    if not recognizes(path, content):
        raise SltGrokError(f"{path}: expected a transformer on the three tokens [a, b, =]")
    whole = beside_state(content)
    stored = whole.get("config") or {}
    if not isinstance(stored, Mapping):
        raise SltGrokError(f"{path}: expected config to be a table of settings, got {type(stored).__name__}")
    activation = activation_name(path, stored.get("act_type", "ReLU"))
    vocabulary = int(number(path, "config.p", stored["p"])) + 1 if "p" in stored else None
    modulus, model, parameters = parameters_of(
        path, tensors_of(path, content), "own_code", activation, positions=3, vocabulary=vocabulary
    )
    if vocabulary not in (None, modulus + 1):
        raise SltGrokError(f"{path}: expected weights for p = {stored['p']} as its config says, got p = {modulus}")
    depth = model.get("n_layers", 1)
    if stored.get("num_layers", depth) != depth:
        raise SltGrokError(
            f"{path}: expected {stored['num_layers']} layers as its config says, the weights have {depth}"
        )
    notes: list[str] = []
    task = _task(path, stored, modulus, notes)
    settings = _settings(whole, stored, notes)
    step = whole.get("epoch", 0 if path.stem == "init" else number_in_name(path))
    imported = Imported(
        path=path,
        format=NAME,
        config={"name": run_name(path.stem), "task": task, "model": model},
        step=None if step is None else int(number(path, "epoch", step)),
        parameters=parameters,
        curves=_curves(path, whole, notes),
        settings=settings,
        task_known="fn_name" in stored,
        notes=notes,
    )
    if imported.task_known:
        check_stored_losses(imported, whole)
    return imported


def _task(path: Path, stored: Mapping[str, Any], modulus: int, notes: list[str]) -> dict[str, Any]:
    if "fn_name" not in stored:
        notes.append("The file has no config: addition is assumed, and all pairs are taken as the train set.")
        return {"modulus": modulus, "operation": "addition", "train_fraction": 1.0}
    if stored["fn_name"] not in OPERATIONS:
        raise SltGrokError(f"{path}: expected fn_name to be one of {list(OPERATIONS)}, got {stored['fn_name']!r}")
    return {
        "modulus": modulus,
        "operation": OPERATIONS[stored["fn_name"]],
        "train_fraction": float(stored.get("frac_train", 0.3)),
        "split_seed": int(stored.get("seed", 0)),
        "split_rule": "progress_measures",
    }


def _settings(whole: Mapping[str, Any], stored: Mapping[str, Any], notes: list[str]) -> dict[str, Any]:
    """Training settings; where config and optimizer differ the optimizer's word counts, since it did the work."""
    settings = {
        ours: stored[theirs] for ours, theirs in (("learning_rate", "lr"), ("weight_decay",) * 2) if theirs in stored
    }
    groups = (whole.get("optimizer") or {}).get("param_groups") or [{}]
    used = {"learning_rate": groups[0].get("initial_lr"), "weight_decay": groups[0].get("weight_decay")}
    for name, value in used.items():
        if value is not None and settings.get(name, value) != value:
            notes.append(
                f"The config says {name} {settings[name]:g}, the optimizer's state {value:g}: the optimizer's is taken."
            )
        if value is not None:
            settings[name] = value
    return settings


def _curves(path: Path, whole: Mapping[str, Any], notes: list[str]) -> dict[str, tuple[np.ndarray, np.ndarray]] | None:
    lists = {name: whole.get(f"{name}es") for name in ("train_loss", "test_loss")}
    values = {name: [number(path, name, x) for x in found] for name, found in lists.items() if found}
    if not values:
        return None
    epochs = max(map(len, values.values()))
    curves = {}
    for name, curve in values.items():
        every = next((n for n in RECORDED_EVERY if len(curve) == (epochs - 1) // n + 1), None)
        if every is None:
            notes.append(f"The {len(curve)} values of {name} fit no known spacing over {epochs} epochs: left out.")
        else:
            curves[name] = (np.arange(len(curve)) * every, np.array(curve))
    return curves

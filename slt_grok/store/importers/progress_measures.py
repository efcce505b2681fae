"""Files written by the code of Nanda et al. 2301.05217: transformers on [a, b, =].

A file is the state dict alone, or a dict with `model` (a state dict) and optionally `config`, `optimizer`, `epoch`,
`train_loss`, `test_loss`, `train_losses` (every epoch) and `test_losses` (every epoch or every tenth). Losses of an
epoch were recorded before its update.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from slt_grok.store.importers.imported import Curves, Imported
from slt_grok.store.importers.importer import Importer, run_name
from slt_grok.store.importers.source import SourceFile, known_activation
from slt_grok.store.importers.transformers import layout_of, transformer_in

OPERATIONS = {"add": "addition", "subtract": "subtraction", "x2xyy2": "x^2+xy+y^2"}
RECORDED_EVERY = (1, 10)  # possible epochs between two entries of a list of losses


class ProgressMeasures(Importer):
    """Files of the code of 2301.05217: transformers on [a, b, =] with config, loss curves and train split."""

    name = "progress_measures"
    layout = "a transformer on the three tokens [a, b, =]"

    def recognizes(self, file: SourceFile) -> bool:
        """Check for transformer weights of that code, either with its config or on other than two positions."""
        layout, positions = layout_of(file.state)
        return layout == "own_code" and (positions != 2 or "config" in file.extras)

    def convert(self, file: SourceFile) -> Imported:
        """Convert the network with its task, training settings and curves."""
        stored = file.table("config")
        activation = known_activation(file.path, stored.get("act_type", "ReLU"))
        vocabulary = int(file.number("config.p", stored["p"])) + 1 if "p" in stored else None
        p, model, parameters = transformer_in(
            file, file.state, "own_code", activation, positions=3, vocabulary=vocabulary
        )
        if vocabulary not in (None, p + 1):
            raise file.error(f"expected weights for p = {stored['p']} as stated in its config, got p = {p}")
        depth = model.get("n_layers", 1)
        if stored.get("num_layers", depth) != depth:
            raise file.error(f"expected {stored['num_layers']} layers as its config says, the weights have {depth}")
        notes: list[str] = []
        return Imported(
            path=file.path,
            format=self.name,
            config={"name": run_name(file.path.stem), "task": _task(file, stored, p, notes), "model": model},
            step=_step(file),
            parameters=parameters,
            curves=_curves(file, notes),
            settings=_settings(file, stored, notes),
            task_known="fn_name" in stored,
            notes=notes,
        )


def _step(file: SourceFile) -> int | None:
    known = file.epoch if file.step is None else file.step
    return 0 if known is None and file.path.stem == "init" else known


def _task(file: SourceFile, stored: Mapping[str, Any], p: int, notes: list[str]) -> dict[str, Any]:
    if "fn_name" not in stored:
        notes.append("The file has no config: addition is assumed, with all pairs as the train set.")
        return {"modulus": p, "operation": "addition", "train_fraction": 1.0}
    if stored["fn_name"] not in OPERATIONS:
        raise file.error(f"expected fn_name to be one of {list(OPERATIONS)}, got {stored['fn_name']!r}")
    return {
        "modulus": p,
        "operation": OPERATIONS[stored["fn_name"]],
        "train_fraction": float(stored.get("frac_train", 0.3)),
        "split_seed": int(stored.get("seed", 0)),
        "split_rule": "progress_measures",
    }


def _settings(file: SourceFile, stored: Mapping[str, Any], notes: list[str]) -> dict[str, Any]:
    """Collect the training settings; the optimizer's state overrides the config, since it was actually used."""
    names = {"learning_rate": "lr", "weight_decay": "weight_decay"}
    settings = {ours: stored[theirs] for ours, theirs in names.items() if theirs in stored}
    groups = (file.extras.get("optimizer") or {}).get("param_groups") or [{}]
    used = {"learning_rate": groups[0].get("initial_lr"), "weight_decay": groups[0].get("weight_decay")}
    for name, value in used.items():
        if value is not None and settings.get(name, value) != value:
            notes.append(
                f"The config states {name} {settings[name]:g}, the optimizer's state {value:g}: the latter is used."
            )
        if value is not None:
            settings[name] = value
    return settings


def _curves(file: SourceFile, notes: list[str]) -> Curves | None:
    lists = {name: file.extras.get(f"{name}es") for name in ("train_loss", "test_loss")}
    values = {name: [file.number(name, x) for x in losses] for name, losses in lists.items() if losses}
    if not values:
        return None
    epochs = max(map(len, values.values()))
    curves = {}
    for name, curve in values.items():
        every = next((n for n in RECORDED_EVERY if len(curve) == (epochs - 1) // n + 1), None)
        if every is None:
            notes.append(f"The {len(curve)} values of {name} fit no known spacing of {epochs} epochs and are omitted.")
        else:
            curves[name] = (np.arange(len(curve)) * every, np.array(curve))
    return curves

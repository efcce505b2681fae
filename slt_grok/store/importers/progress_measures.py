"""Files written by the code of Nanda et al. 2301.05217: transformers on [a, b, =].

A file is the state dict alone, or a dict with `model` (a state dict) and optionally `config`, `optimizer`, `epoch`,
`train_loss`, `test_loss`, `train_losses` (every epoch) and `test_losses` (every epoch or every tenth). Losses of an
epoch were recorded before its update.
"""

from collections.abc import Mapping
from typing import Any

from slt_grok.store.importers.curves import curves_in
from slt_grok.store.importers.imported import Imported
from slt_grok.store.importers.importer import Importer, full_batch_step, run_name
from slt_grok.store.importers.source import SourceFile, known_activation, whole
from slt_grok.store.importers.splits import ALL
from slt_grok.store.importers.transformers import layout_of, transformer_in

OPERATIONS = {"add": "addition", "subtract": "subtraction", "x2xyy2": "x^2+xy+y^2"}
SEEDS = range(10)  # of splits to try where the config is missing; the code's default first


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
        vocabulary = whole(file.path, "config.p", stored["p"]) + 1 if "p" in stored else None
        p, model, parameters = transformer_in(
            file, file.state, "own_code", activation, positions=3, vocabulary=vocabulary
        )
        if vocabulary not in (None, p + 1):
            raise file.error(f"expected weights for p = {stored['p']} as stated in its config, got p = {p}")
        depth = model.get("n_layers", 1)
        if stored.get("num_layers", depth) != depth:
            raise file.error(f"expected {stored['num_layers']} layers as its config says, the weights have {depth}")
        notes: list[str] = []
        task, assumed = _task(file, stored, p)
        step = full_batch_step(file)
        return Imported(
            path=file.path,
            format=self.name,
            config={"name": run_name(file.path.stem), "task": task, "model": model},
            step=0 if step is None and file.path.stem == "init" else step,
            parameters=parameters,
            curves=curves_in(file, notes),
            settings=_settings(file, stored, notes),
            assumed=assumed,
            notes=notes,
        )


def _task(file: SourceFile, stored: Mapping[str, Any], p: int) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Get the task of the config, and what to assume without one: the splits of that code, then all pairs."""
    if "fn_name" not in stored:
        every = {"modulus": p, "operation": "addition", "train_fraction": 1.0}
        split = every | {"train_fraction": 0.3, "split_rule": "progress_measures"}
        words = "the train set of that code for seed {}, 30% of the pairs"
        return every, {words.format(seed): split | {"split_seed": seed} for seed in SEEDS} | {ALL: every}
    if stored["fn_name"] not in OPERATIONS:
        raise file.error(f"expected fn_name to be one of {list(OPERATIONS)}, got {stored['fn_name']!r}")
    return {
        "modulus": p,
        "operation": OPERATIONS[stored["fn_name"]],
        "train_fraction": file.number("frac_train", stored.get("frac_train", 0.3)),
        "split_seed": whole(file.path, "seed", stored.get("seed", 0)),
        "split_rule": "progress_measures",
    }, {}


def _settings(file: SourceFile, stored: Mapping[str, Any], notes: list[str]) -> dict[str, Any]:
    """Collect the training settings; the optimizer's state overrides the config, since it was actually used."""
    names = {"learning_rate": "lr", "weight_decay": "weight_decay"}
    settings = {ours: file.number(theirs, stored[theirs]) for ours, theirs in names.items() if theirs in stored}
    groups = file.table("optimizer").get("param_groups")
    group = groups[0] if isinstance(groups, list) and groups and isinstance(groups[0], Mapping) else {}
    for name, key in {"learning_rate": "initial_lr", "weight_decay": "weight_decay"}.items():
        value = None if group.get(key) is None else file.number(key, group[key])
        if value is not None and settings.get(name, value) != value:
            notes.append(
                f"The config states {name} {settings[name]:g}, the optimizer's state {value:g}: the latter is used."
            )
        if value is not None:
            settings[name] = value
    return settings

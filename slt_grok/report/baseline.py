"""Comparison of a run that has an intervention in training with the baseline run named in its configuration."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from slt_grok.errors import SltGrokError
from slt_grok.format import flat, known, percent, plus_minus, step
from slt_grok.measurement import Data, Table
from slt_grok.report.summary import seeds_of
from slt_grok.store.files import read_json

TITLE = "Comparison with the baseline run"
CAPTION = (
    "This run (solid) and {name} (dashed): test accuracy, LLC, excluded loss on the train set for the key frequencies "
    "of each run, and the norm of all weights. Dotted: changes in training. LLCs are only comparable at the same "
    "setting. With label noise, train loss and LLC use the training labels, the circuit's losses the "
    "correct answers."
)
NOISE = {"label_noise", "noise_seed"}  # settings of the task that count as an intervention
COMPARED = ("training", "llc", "circuits", "landscape")


class Baseline(NamedTuple):
    """The baseline run: its name, settings, datasets and summary; empty if there is no such run."""

    name: str
    settings: Mapping[str, Any] = {}
    data: Data = {}
    summary: Mapping[str, Any] = {}
    notes: tuple[str, ...] = ()


def read(run: Any) -> Baseline | None:
    """Read the run that the configuration names as `baseline`, from the same folder; None if it names none.

    Raises
    ------
    SltGrokError
        The other run has a different task or network, or is damaged.
    """
    name = run.config.baseline
    if name is None:
        return None
    path = run.path.resolve().parent / name
    if not (path / "manifest.json").is_file():
        return Baseline(name, notes=(f"Not compared: there is no run {name} in the parent folder of this run.",))
    other = type(run)(path)
    own, theirs = (one.config.model_dump(mode="json") for one in (run, other))
    for key in ("model", "task"):
        first, second = ({k: v for k, v in one[key].items() if k not in NOISE} for one in (own, theirs))
        if first != second:
            raise SltGrokError(f"{run.path}: baseline: expected a run with the same {key} as this one, got {path}")
    summary = path / "summary.json"
    numbers = read_json(summary) if summary.is_file() else {}
    return Baseline(name, theirs, {label: other.data[label] for label in COMPARED if label in other.data}, numbers)


def changes(training: Any) -> list[int]:
    """List the steps at which training was changed."""
    if training is None:
        return []
    steps = [change.step for change in training.weight_decay_changes]
    penalty = training.frequency_penalty
    return sorted({*steps, *([penalty.from_step] if penalty is not None else [])} - {0})


def tables(run: Any, other: Baseline, summary: Mapping[str, Any]) -> list[Table]:
    """Tabulate the settings that differ, and milestones, LLC and accuracy of both runs, one row per run and seed."""
    if not other.settings:
        return []
    own = run.config.model_dump(mode="json")
    first, second = (flat({key: one[key] for key in ("task", "training") if one[key]}) for one in (other.settings, own))
    differ = [key for key in sorted({*first, *second}) if first.get(key) != second.get(key)]
    rows = []
    for name, content in ((other.name, other.summary), (run.config.name, summary)):
        seeds = seeds_of(content) or ({"": content} if content else {})
        rows += [[f"{name}, seed {seed}" if len(seeds) > 1 else name, *_cells(one)] for seed, one in seeds.items()]
    header = [
        "Run",
        "Memorized by step",
        "Generalized by step",
        "Peak LLC",
        "Final LLC",
        "Test accuracy",
        "Key frequencies",
    ]
    return [
        Table("Settings that differ", ["Key", other.name, run.config.name], [
            [key, first.get(key, "–"), second.get(key, "–")] for key in differ
        ]),
        Table("Both runs", header, rows),
    ]  # fmt: skip


def _cells(one: Mapping[str, Any]) -> list[str]:
    peak, last = (plus_minus(one.get(f"llc_{key}"), one.get(f"llc_{key}_se")) for key in ("peak", "final"))
    if known(one.get("llc_peak")):
        peak += f" at step {step(one.get('llc_peak_step'))}"
    accuracy = one.get("test_accuracy_final")
    milestones = [step(one.get(f"{kind}_step")) for kind in ("memorization", "generalization")]
    keys = ", ".join(map(str, one.get("key_frequencies") or [])) or "–"
    return [*milestones, peak, last, percent(accuracy) if known(accuracy) else "–", keys]

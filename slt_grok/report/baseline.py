"""A run with an intervention in its training beside the plain one that its configuration names."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import xarray as xr

from slt_grok.errors import SltGrokError
from slt_grok.report.findings import by_seed
from slt_grok.report.llc import Summary
from slt_grok.report.tables import Table
from slt_grok.report.words import known, listing, number, percent, plus_minus, step
from slt_grok.store import RunDirectory
from slt_grok.store.files import read_json

NOISE = {"label_noise", "noise_seed"}  # the part of the task that is an intervention
COMPARED = ("training", "llc", "circuits", "landscape")


class Plain(NamedTuple):
    """The plain run: its name, its measurements over training, its summary; no measurement where it is not there."""

    name: str
    datasets: Mapping[str, xr.Dataset]
    summary: Summary


def read_plain(run: RunDirectory) -> Plain | None:
    """Return the run that `baseline` of the configuration names, from the folder of this run; None where none is named.

    Raises
    ------
    SltGrokError
        The other run is of another task or network, so that there is nothing to compare, or damaged.
    """
    config = run.manifest["config"]
    if not config.get("baseline"):
        return None
    other = RunDirectory(run.path.resolve().parent / config["baseline"])
    if not other.exists:
        return Plain(config["baseline"], {}, {})
    theirs = other.manifest["config"]
    for key in ("model", "task"):
        shared = (set(config[key]) & set(theirs[key])) - NOISE  # an older manifest lacks what was added since
        if any(config[key][k] != theirs[key][k] for k in shared):
            raise SltGrokError(
                f"{run.path}: baseline: expected a run with the same {key} as this one, got {other.path}"
            )
    path = other.path / "summary.json"
    summary = read_json(path) if path.is_file() else {}
    return Plain(config["baseline"], {n: other.read_measurement(n) for n in COMPARED if n in other.labels}, summary)


def changes(config: Mapping[str, Any]) -> list[int]:
    """Return the steps at which something was changed in training."""
    training = config.get("training") or {}
    penalty = (training.get("frequency_penalty") or {}).get("from_step") or 0
    found = [change["step"] for change in training.get("weight_decay_changes") or []]
    return sorted({step for step in [*found, penalty] if step})


def sentences(plain: Plain, config: Mapping[str, Any]) -> list[str]:
    """Return what was changed, and where the plain run is missing, that it is."""
    found = [f"Beside {plain.name}, this run has {listing(_interventions(config) or ['no intervention'])}."]
    if not plain.datasets:
        found.append(
            f"The plain run {plain.name} was not found: it is expected in the same folder as this one, under that name."
        )
    if (config.get("task") or {}).get("label_noise"):
        found.append(
            "Train loss, train accuracy and LLC are those of the answers as taught; the circuit's losses, excluded "
            "loss among them, those of the right answers."
        )
    return found


def table(plain: Plain, summary: Summary, config: Mapping[str, Any]) -> Table:
    """Milestones, LLC and accuracies of both runs, a row for each run and seed."""
    rows = []
    for name, content in ((plain.name, plain.summary), (str(config.get("name")), summary)):
        seeds = by_seed(content) or ({"": content} if content else {})
        for seed, one in seeds.items():
            peak, last = (plus_minus(one.get(f"llc_{k}"), one.get(f"llc_{k}_se")) for k in ("peak", "final"))
            if known(one.get("llc_peak")):
                peak = f"{peak} at step {step(one.get('llc_peak_step'))}"
            milestones = [step(one.get(f"{kind}_step")) for kind in ("memorization", "generalization")]
            accuracy = one.get("test_accuracy_final")
            keys = ", ".join(map(str, one.get("key_frequencies") or [])) or "–"
            label = f"{name}, seed {seed}" if len(seeds) > 1 else name
            rows.append([label, *milestones, peak, last, percent(accuracy) if known(accuracy) else "–", keys])
    header = ["Run", "Memorized at", "Generalized at", "LLC, largest", "LLC, last", "Test accuracy", "Key frequencies"]
    return Table("The intervened run and the plain one", header, rows)


def _interventions(config: Mapping[str, Any]) -> list[str]:
    """Return the interventions of a configuration in words."""
    training, task, found = config.get("training") or {}, config.get("task") or {}, []
    if penalty := training.get("frequency_penalty"):
        late = f" from step {step(penalty['from_step'])} on" if penalty.get("from_step") else ""
        strength = number(penalty["strength"])
        found.append(f"a penalty of strength {strength} on the embedding at {listing(penalty['frequencies'])}{late}")
    for change in training.get("weight_decay_changes") or []:
        found.append(f"a weight decay of {change['weight_decay']:g} from step {step(change['step'])} on")
    if planted := training.get("start"):
        found.append(
            f"a planted {planted['circuit']} of the frequencies {listing(planted['frequencies'])} to start from"
        )
    if task.get("label_noise"):
        found.append(f"a wrong answer for {percent(task['label_noise'])} of its train pairs")
    return found

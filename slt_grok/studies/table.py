"""One table of a study, a row for each seed of each run: settings, what became of it, and every summary there is.

Columns
-------
study, arm, run, seed           where it is: `run` is the directory, relative to the study's
status                          done, failed, refused (settings that are not valid) or missing (not made yet)
outcome                         generalized, memorized (test accuracy below its threshold to the end) or neither
reason                          a sentence wherever the status is not done or the outcome is not generalized
task.*, model.*, training.*, llc.*      the settings, by the configuration's dotted keys
parameters, train_pairs         numbers of both
wall_seconds.STAGE              of the run, that is of all its seeds together: `seeds_in_run`
the rest                        `slt_grok.transitions.summarize` of the seed, with phases as phases.NAME.start and
                                .end and the order of events as event.MEASURE.step, .low and .high
final.LABEL.VARIABLE            the last checkpoint's value of every measured number of a network, for LABEL of
                                training, circuits, landscape, program and llc; with a split as .train, .test, .all,
                                of programs with what is kept as .answers, .loss
final.program.shortest_bits.KEEPS       the shortest program's; program_bits_drop.KEEPS by how much that is below the
                                largest of all checkpoints
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr

from slt_grok import models
from slt_grok.errors import SltGrokError
from slt_grok.store import RunDirectory
from slt_grok.store.files import atomic
from slt_grok.studies.grid import PlannedRun, Study
from slt_grok.studies.scheduler import current_runs, state
from slt_grok.studies.worker import failures
from slt_grok.tasks import ModularTask
from slt_grok.transitions import summarize

SECTIONS = ("task", "model", "training", "llc")
FINAL = ("training", "circuits", "landscape", "program", "llc")


def make_table(study: Study, folder: Path) -> pd.DataFrame:
    """Return the table of a study as it is now, in the order of its file.

    Raises
    ------
    SltGrokError
        A file of a run is damaged.
    """
    rows = [row for run in current_runs(study, folder) for row in _rows(study, folder, run)]
    table = pd.DataFrame(rows)
    for name in table.columns[table.map(lambda value: isinstance(value, str)).any()]:
        # a number in one run and a rule's name in another: parquet has one type a column
        table[name] = table[name].map(
            lambda value: str(value) if isinstance(value, int | float) and value == value else value
        )
    return table


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table as parquet, atomically."""
    with atomic(path) as temporary:
        table.to_parquet(temporary, index=False)


def read_table(path: Path) -> pd.DataFrame:
    """Return a table from parquet.

    Raises
    ------
    SltGrokError
        The file is missing or damaged.
    """
    try:
        return pd.read_parquet(path)
    except FileNotFoundError as error:
        raise SltGrokError(f"{path}: no such table; slt-grok study makes it") from error
    except (OSError, ValueError) as error:
        raise SltGrokError(f"{path}: expected a whole parquet file ({error})") from error


def _rows(study: Study, folder: Path, run: PlannedRun) -> list[dict[str, Any]]:
    place = {"study": study.name, "arm": run.arm, "run": run.name}
    varied = flat(run.varied)
    if run.config is None:
        return [
            {**place, "seed": seed, "status": "refused", "outcome": None, "reason": run.reason, **varied}
            for seed in run.seeds
        ]
    now, failed = state(run, folder), failures(folder / run.name)
    status = now if now in ("done", "missing") else "failed" if failed else "missing"
    reasons = [f"{stage}: {failure['reason'].removeprefix(f'{stage}: ')}" for stage, failure in failed.items()]
    if status == "missing":
        reasons = ["not made yet" if now == "missing" else "begun, not finished yet"]
    directory = RunDirectory(folder / run.name)
    data = {label: directory.read_measurement(label) for label in (*FINAL, "transitions") if label in directory.labels}
    stages = directory.manifest["stages"] if directory.exists else {}
    task = ModularTask(**run.config.task.model_dump())
    network = models.build(modulus=task.modulus, **run.config.model.model_dump())
    sizes = {
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "train_pairs": len(task.indices("train")),
        "seeds_in_run": len(run.seeds),
    }
    settings = flat({k: v for k, v in run.config.model_dump(mode="json").items() if k in SECTIONS and v is not None})
    walls = {f"wall_seconds.{stage}": facts.get("wall_seconds") for stage, facts in stages.items()}
    rows = []
    for seed in run.seeds:
        found = _found(data, seed)
        outcome, why = _outcome(run, data, seed)
        reason = "; ".join([*reasons, *([why] if why else [])])
        own = {"seed": seed, "status": status, "outcome": outcome, "reason": reason}
        rows.append({**place, **own, **varied, **settings, **sizes, **walls, **found})
    return rows


def flat(content: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted keys; lists are values."""
    if not isinstance(content, Mapping):
        return {prefix: content}
    pieces = [flat(value, f"{prefix}.{key}" if prefix else str(key)) for key, value in content.items()]
    return {key: value for piece in pieces for key, value in piece.items()}


def _found(data: Mapping[str, xr.Dataset], seed: int) -> dict[str, Any]:
    """Everything that was measured of a seed."""
    found = {}
    if "transitions" in data and "training" in data:
        summary = summarize(
            data["transitions"].sel(seed=[seed]), data["training"], data.get("llc"), data.get("circuits")
        )
        events = {event.pop("measure"): event for event in summary.pop("order_of_events")}
        phases = {
            name: dict(zip(("start", "end"), span or (None, None), strict=True))
            for name, span in summary.pop("phases").items()
        }
        found |= flat({**summary, "phases": phases, "event": events})
    for label in FINAL:
        if label in data:
            found |= _last(data[label].sel(seed=seed), f"final.{label}")
    if "program" in data:
        found |= _lengths(data["program"].sel(seed=seed))
    return found


def _lengths(program: xr.Dataset) -> dict[str, float]:
    """Bits of the shortest program at the last checkpoint, and how far they are below the most of all checkpoints."""
    bits = program.program_bits.min("mixture").sortby("step")
    found = {}
    for keeps in bits.keeps.values:
        own = bits.sel(keeps=keeps).values
        found[f"final.program.shortest_bits.{keeps}"] = float(own[-1])
        found[f"program_bits_drop.{keeps}"] = float(own.max() - own[-1])
    return found


def _last(dataset: xr.Dataset, prefix: str) -> dict[str, Any]:
    last = dataset.sortby("step").isel(step=-1)
    found: dict[str, Any] = {f"{prefix}.step": last.step.item()}
    for name, values in last.data_vars.items():
        if "step" not in dataset[name].dims:
            continue
        if values.dims == ("component",) and "total" in values.component:
            values = values.sel(component="total", drop=True)
        if values.dims == ():
            found[f"{prefix}.{name}"] = values.item()
        elif values.dims in (("split",), ("keeps",)):
            (dim,) = values.dims
            found |= {f"{prefix}.{name}.{of}": values.sel({dim: of}).item() for of in values[dim].values}
    return found


def _outcome(run: PlannedRun, data: Mapping[str, xr.Dataset], seed: int) -> tuple[str | None, str]:
    """Return what the training curves say of a seed, and a sentence where it did not generalize."""
    if "training" not in data:
        return None, ""
    assert run.config is not None
    thresholds, training = run.config.transitions, data["training"].sel(seed=seed)
    train, test = float(training.train_accuracy.max()), float(training.test_accuracy.max())
    if train < thresholds.train_threshold:
        return "neither", f"train accuracy never reached {thresholds.train_threshold:g}: at most {train:.3g}"
    if test >= thresholds.test_threshold:
        return "generalized", ""
    if test != test:
        return "memorized", "there is no test set: whether it generalizes is not known"
    return "memorized", f"test accuracy never reached {thresholds.test_threshold:g}: at most {test:.3g}"

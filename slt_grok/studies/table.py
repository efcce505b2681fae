"""The table of a study, one row per seed of each run: settings, status and every available summary.

Columns
-------
study, arm, run, seed           location: `run` is the directory, relative to the study's
status                          available, failed, refused (invalid settings) or missing (not run yet)
outcome                         generalized, memorized (test accuracy never reached its threshold) or neither
reason                          a sentence if the status is not available or the outcome is not generalized
task.*, model.*, training.*, MEASUREMENT.*      settings, by the configuration's dotted keys
parameters, train_pairs         number of weights and of train pairs
wall_seconds.STAGE              of the whole run, whose number of seeds is `seeds_in_run`
others                          `slt_grok.transitions.summarize` of the seed, with phases as phases.NAME.start and
                                .end and the order of events as event.MEASURE.step, .low and .high
final.LABEL.VARIABLE and others columns that each result adds; see `slt_grok.measurement.Result.columns`
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr

from slt_grok.errors import SltGrokError
from slt_grok.measurement import Result
from slt_grok.store import RunDirectory
from slt_grok.store.files import atomic
from slt_grok.studies.grid import PlannedRun, Study
from slt_grok.studies.run import TRAINING
from slt_grok.studies.scheduler import current_runs, status
from slt_grok.studies.worker import failures
from slt_grok.transitions import summarize


def build_table(study: Study, folder: Path) -> pd.DataFrame:
    """Tabulate a study in its current state, in the order of its file.

    Raises
    ------
    SltGrokError
        A file of a run is damaged.
    """
    rows = [row for run in current_runs(study, folder) for row in _rows(study, folder, run)]
    table = pd.DataFrame(rows)
    for name in table.columns[table.map(lambda value: isinstance(value, str)).any()]:
        # may mix numbers and names of rules, but parquet has one type per column
        table[name] = table[name].map(
            lambda value: str(value) if isinstance(value, int | float) and value == value else value
        )
    return table


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table as parquet, atomically."""
    with atomic(path) as temporary:
        table.to_parquet(temporary, index=False)


def read_table(path: Path) -> pd.DataFrame:
    """Read a table from parquet.

    Raises
    ------
    SltGrokError
        The file is missing or damaged.
    """
    try:
        return pd.read_parquet(path)
    except FileNotFoundError as error:
        raise SltGrokError(f"{path}: no such table; run slt-grok study to create it") from error
    except (OSError, ValueError) as error:
        raise SltGrokError(f"{path}: expected a complete parquet file ({error})") from error


def _rows(study: Study, folder: Path, run: PlannedRun) -> list[dict[str, Any]]:
    place = {"study": study.name, "arm": run.arm, "run": run.name}
    varied, now = flat(run.varied), status(run, folder)
    if run.config is None:
        facts = {"status": now, "outcome": None, "reason": run.reason, **varied}
        return [{**place, "seed": seed, **facts} for seed in run.seeds]
    directory = RunDirectory(folder / run.name)
    failed = failures(directory.path)
    reasons = [f"{stage}: {failure['reason'].removeprefix(f'{stage}: ')}" for stage, failure in failed.items()]
    if now == "missing":
        reasons = ["incomplete" if directory.exists else "not run yet"]
    data = {label: directory.read_measurement(label) for label in directory.labels}
    stages = directory.manifest["stages"] if directory.exists else {}
    content = run.config.model_dump(mode="json")
    settings = flat({section: content[section] for section in ("task", "model", "training", *run.measurements)})
    sizes = {
        "parameters": sum(parameter.numel() for parameter in run.config.network.module.parameters()),
        "train_pairs": run.config.task.train_size,
        "seeds_in_run": len(run.seeds),
    }
    walls = {f"wall_seconds.{stage}": facts.get("wall_seconds") for stage, facts in stages.items()}
    rows = []
    for seed in run.seeds:
        datasets = {
            label: dataset.sel(seed=[seed]) for label, dataset in data.items() if seed in dataset.get("seed", ())
        }
        outcome, why = _outcome(run, datasets)
        facts = {"status": now, "outcome": outcome, "reason": "; ".join(filter(None, [*reasons, why]))}
        rows.append({**place, "seed": seed, **facts, **varied, **settings, **sizes, **walls, **_columns(datasets)})
    return rows


def flat(content: Any, prefix: str = "") -> dict[str, Any]:
    """Flatten nested mappings to dotted keys; lists are values."""
    if not isinstance(content, Mapping):
        return {prefix: content}
    pieces = [flat(value, f"{prefix}.{key}" if prefix else str(key)) for key, value in content.items()]
    return {key: value for piece in pieces for key, value in piece.items()}


def _columns(data: Mapping[str, xr.Dataset]) -> dict[str, Any]:
    """Collect everything measured for the one seed in these datasets."""
    columns = {}
    if "transitions" in data and TRAINING in data:
        summary = summarize(data)
        events = {event.pop("measure"): event for event in summary.pop("order_of_events")}
        phases = {
            name: dict(zip(("start", "end"), span or (None, None), strict=True))
            for name, span in summary.pop("phases").items()
        }
        columns |= flat({**summary, "phases": phases, "event": events})
    for result in Result.ordered():
        if result.name in data:
            columns |= result.columns(data[result.name].isel(seed=0))
    return columns


def _outcome(run: PlannedRun, data: Mapping[str, xr.Dataset]) -> tuple[str | None, str]:
    """Classify a seed by its training curves, with a sentence if it did not generalize."""
    if TRAINING not in data:
        return None, ""
    assert run.config is not None
    thresholds, training = run.config.transitions, data[TRAINING]
    train, test = float(training.train_accuracy.max()), float(training.test_accuracy.max())
    if train < thresholds.train_threshold:
        return "neither", f"train accuracy never reached {thresholds.train_threshold:g}: at most {train:.3g}"
    if test >= thresholds.test_threshold:
        return "generalized", ""
    if test != test:
        return "memorized", "there is no test set, so generalization cannot be assessed"
    return "memorized", f"test accuracy never reached {thresholds.test_threshold:g}: at most {test:.3g}"

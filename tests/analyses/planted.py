"""Studies with planted effects: a table, and where a rule reads them the run directories behind it."""

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from scipy.special import expit

from slt_grok.store import RunDirectory
from slt_grok.store.files import write_json
from slt_grok.studies.results import StudyResults
from slt_grok.studies.table import write_table

TRUE, FALSE, SMALL = "supported", "refuted", "undecided at this power"
STEPS = np.unique(np.r_[0, np.geomspace(1, 2600, 12), np.linspace(0, 2600, 27)].round().astype(int))
EVERY = np.arange(0, 2601, 25)


def noisy(value: float, generator: np.random.Generator, spread: float = 0.05) -> float:
    """A value with a relative error."""
    return value * float(np.exp(spread * generator.standard_normal()))


def decided(name: str, planted: StudyResults) -> str:
    """The verdict of a script of claims/, which gives its reasons."""
    found = import_module(name).decide(planted)
    assert found.reasons
    return found.verdict


def row(arm: str, seed: int, **values: Any) -> dict[str, Any]:
    """One seed of a run that is done and generalized; dots in names are written as two underscores."""
    outcome = {"status": "available", "outcome": "generalized", "reason": ""}
    own = {"study": "planted", "arm": arm, "run": arm, "seed": seed, **outcome, "train_accuracy_final": 1.0}
    return own | {name.replace("__", "."): value for name, value in values.items()}


def study(rows: list[dict[str, Any]], path: Path = Path("planted")) -> StudyResults:
    """A study of these rows, in memory."""
    return StudyResults(path, pd.DataFrame(rows), {"name": "planted", "runs": []})


def written(folder: Path, name: str, rows: list[dict[str, Any]], data: dict[str, dict[str, xr.Dataset]]) -> Path:
    """A study on disk: its table, and of each run the measurements by label."""
    path = folder / name
    path.mkdir(parents=True)
    write_table(pd.DataFrame(rows), path / "table.parquet")
    write_json(path / "study.json", {"name": name, "runs": []})
    for run, datasets in data.items():
        directory = RunDirectory(path / run)
        config = {"name": run, "task": {"modulus": 5}, "model": {"kind": "mlp"}, "training": {"steps": 10}}
        directory.write_manifest({"config": config, "environment": {}, "stages": {}})
        for label, dataset in datasets.items():
            directory.write_measurement(label, dataset, {})
    return path


def rise(steps: np.ndarray, middles: np.ndarray, width: float = 0.15) -> np.ndarray:
    """Logistic courses from 0 to 1 in log(1 + step), (step, seed)."""
    return expit((np.log1p(steps)[:, None] - np.log1p(middles)) / width)


def courses(middles: dict[str, np.ndarray], generator: np.random.Generator) -> dict[str, xr.Dataset]:
    """Measurements of seeds whose measures change at these steps, with 1% of noise."""

    def over(steps: np.ndarray, name: str, start: float, end: float, log: bool = False) -> tuple:
        course = rise(steps, middles[name])
        values = np.exp(np.log(start) + np.log(end / start) * course) if log else start + (end - start) * course
        return ("step", "seed"), values * np.exp(0.01 * generator.standard_normal(values.shape))

    seeds = np.arange(len(middles["test_accuracy"]))
    of_training = {"step": EVERY, "seed": seeds}
    at = {"step": STEPS, "seed": seeds}
    training = {
        "train_accuracy": (("step", "seed"), rise(EVERY, np.full(len(seeds), 100.0))),
        "test_accuracy": (("step", "seed"), rise(EVERY, middles["test_accuracy"])),
    }
    circuits: dict[str, Any] = {"gini_embedding": over(STEPS, "gini_embedding", 0.2, 0.8)}
    circuits["sum_of_squared_weights"] = over(STEPS, "sum_of_squared_weights", 3000, 1000)
    circuits["unmirrored_test_accuracy"] = over(STEPS, "unmirrored_test_accuracy", 0.01, 0.98)
    of_loss = {"restricted_loss_sum": (4.0, 1e-6), "excluded_loss": (1e-3, 5.0)}
    for name, ends in of_loss.items():
        dims, values = over(STEPS, name, *ends, log=True)
        circuits[name] = ((*dims, "split"), values[..., None].repeat(3, -1))
    llc = {"llc": over(STEPS, "llc", 130, 16), "llc_se": (("step", "seed"), np.ones((len(STEPS), len(seeds))))}
    llc["llc_status"] = (("step", "seed"), np.full((len(STEPS), len(seeds)), "effective"))
    return {
        "training": xr.Dataset(training, of_training),
        "llc": xr.Dataset(llc, at),
        "circuits": xr.Dataset(circuits, at | {"split": ["train", "test", "all"]}),
    }

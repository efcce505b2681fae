"""One run: train, measure, derive, write the page; each stage only if it is missing.

Every stage is a function of what is in the run directory, so that the same command resumes a killed run, and `measure`
serves imported networks as well. The directory is read once a command, by `Run`.
"""

import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import xarray as xr

from slt_grok.config import RunConfig, parse_config
from slt_grok.errors import SltGrokError
from slt_grok.measurement import Derived, Measurement
from slt_grok.memory import peak_gib
from slt_grok.progress import progress
from slt_grok.store import RunDirectory
from slt_grok.store.files import read_json, write_json
from slt_grok.store.run_directory import changed_keys
from slt_grok.studies.context import RunContext
from slt_grok.studies.provenance import environment
from slt_grok.training import train
from slt_grok.trajectories import Trajectory

CALIBRATION = "calibration.json"


class Run:
    """A run directory with what is in it, each part read at most once.

    Parameters
    ----------
    path : Path
        The directory.
    config : RunConfig, optional
        Settings of measurements to use instead of the run's own.

    Raises
    ------
    SltGrokError
        Not a run directory, or a damaged file in it.
    """

    def __init__(self, path: Path, config: RunConfig | None = None) -> None:
        self.path, self.directory = path, RunDirectory(path)
        self.manifest = self.directory.manifest
        self.config = config or parse_config(self._content(), str(path / "manifest.json"))

    def _content(self) -> dict[str, Any]:
        """Return the run's configuration, its llc section from the calibration where it has none."""
        content, calibration = self.manifest["config"], self.path / CALIBRATION
        if content.get("llc") is None and calibration.is_file():
            content = {**content, "llc": read_json(calibration).get("llc")}
        return content

    @cached_property
    def trajectory(self) -> Trajectory:
        """All checkpoints, over (step, seed)."""
        return Trajectory.of_checkpoints(self.config.network, self.directory, self.config.seeds)

    @cached_property
    def data(self) -> dict[str, xr.Dataset]:
        """All datasets by label."""
        return {label: self.directory.read_measurement(label) for label in self.directory.labels}

    def keep(self, label: str, dataset: xr.Dataset, settings: Any, start: float) -> None:
        """Write a dataset and note its stage as done, with the wall time since `start` and the peak of memory."""
        self.directory.write_measurement(label, dataset, settings)
        self.data[label] = dataset
        self.note(label, start)

    def note(self, stage: str, start: float) -> None:
        """Note that a stage is done."""
        seconds = round(time.monotonic() - start, 1)
        self.directory.finish_stage(stage, wall_seconds=seconds, peak_memory_gib=round(peak_gib(), 2))


def execute_run(config: RunConfig, path: Path) -> Path:
    """Train and measure what is missing of a configuration, write its report and return the report's path.

    Raises
    ------
    SltGrokError
        As `train_run` and `measure_run`.
    """
    train_run(config, path)
    return measure_run(path)


def train_run(config: RunConfig, path: Path) -> None:
    """Create a run's directory where there is none, and train its networks where that is missing.

    Raises
    ------
    SltGrokError
        The directory holds a run of another configuration (the changed keys are named), a file cannot be read or
        written, or training diverges.
    """
    directory = RunDirectory(path)
    if directory.exists:
        stored = parse_config(directory.manifest["config"], str(path / "manifest.json"))
        changed = changed_keys(stored.model_dump(mode="json"), config.model_dump(mode="json"))
        if changed:
            raise SltGrokError(
                f"{path}: holds a run of another configuration ({'; '.join(changed)}); expected the same one, or "
                f"another --out"
            )
    else:
        directory.write_manifest({"config": config.content, "environment": environment(), "stages": {}})
    if config.training is None or "training" in directory.manifest["stages"]:
        return
    start = time.monotonic()
    with progress("training", config.training.steps, "steps") as bar:
        curves = train(directory, config.network, config.training, config.seeds, bar)
    Run(path, config).keep("training", curves, config.training.model_dump(mode="json"), start)


def measure_run(
    path: Path, only: Sequence[str] | None = None, settings: RunConfig | None = None, label: str | None = None
) -> Path:
    """Make the missing measurements of a run, then what is derived from them and its page; return the page's path.

    Parameters
    ----------
    path : Path
        A run directory with checkpoints.
    only : sequence of str, optional
        Names of measurements; by default all that the configuration asks for.
    settings : RunConfig, optional
        Settings of measurements to use instead of the run's own.
    label : str, optional
        What is measured is stored as MEASUREMENT@LABEL, next to what there is.

    Raises
    ------
    SltGrokError
        No run directory, no settings for a measurement that was asked for, a measurement that is stored with other
        settings, or a damaged file.
    """
    from slt_grok import report

    run = Run(path, settings)
    make_measurements(run, only, label)
    derive(run)
    with progress("report", 1, "page"):
        return report.write(run)


def make_measurements(run: Run, only: Sequence[str] | None = None, label: str | None = None) -> None:
    """Make the measurements of `measure_run` alone, without what is derived from them.

    Raises
    ------
    SltGrokError
        As `measure_run`.
    """
    chosen = [m for m in Measurement.ordered() if isinstance(m, Measurement)]
    if only is not None:
        chosen = [m for m in chosen if m.name in only]
    for measurement in chosen:
        settings = run.config.settings(measurement)
        if only is not None and settings is None:
            how = ", or choose them by slt-grok calibrate" if "llc" in (measurement.name, measurement.inherits) else ""
            raise SltGrokError(
                f"{run.path}: expected settings for {measurement.name}, it has none; name a configuration by "
                f"--config{how}"
            )
        if only is not None or run.config.asks_for(measurement):
            make_measurement(run, measurement, settings, f"{measurement.name}@{label}" if label else measurement.name)


def make_measurement(run: Run, measurement: Measurement, settings: Any, label: str) -> None:
    """Make one measurement, unless it is there with the same settings."""
    content = settings.model_dump(mode="json")
    if run.directory.measured(label, content):
        if label not in run.directory.manifest["stages"]:
            run.directory.finish_stage(label)  # killed after the measurement was written and before it was noted
        return
    start = time.monotonic()
    with progress(label, len(run.trajectory), "networks") as bar:
        context = RunContext(run, label, content, bar)
        reason = measurement.unmeasurable(run.trajectory.network)
        if reason:
            context.announce(f"not measured: {reason}")
            dataset = xr.Dataset(attrs={"unmeasurable": reason})
        else:
            dataset = measurement.check(measurement.measure(run.trajectory, settings, context))
    run.keep(label, dataset, content, start)


def derive(run: Run) -> None:
    """Make transitions, summary and whatever else follows from the datasets: it costs less than a check for change.

    Raises
    ------
    SltGrokError
        The training curves are missing, or a file is damaged.
    """
    from slt_grok import transitions

    if "training" not in run.data:
        path = run.directory.measurement_path("training")
        raise SltGrokError(f"{path}: no such measurement; expected the training curves")
    for result in Derived.ordered():
        start = time.monotonic()
        dataset = result.derive(run.data, run.config) if isinstance(result, Derived) else None
        if dataset is not None:
            run.keep(result.name, result.check(dataset), {}, start)
    write_json(run.path / "summary.json", {"name": run.config.name, **transitions.summarize(run.data)})

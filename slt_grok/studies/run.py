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

CALIBRATION, SUMMARY = "calibration.json", "summary.json"
TRAINING = "training"


class Run:
    """A run directory with what is in it, each part read at most once.

    Parameters
    ----------
    path : Path
        The directory.
    config : RunConfig, optional
        The run's own configuration, where it is parsed already.

    Raises
    ------
    SltGrokError
        Not a run directory, or a damaged manifest.
    """

    def __init__(self, path: Path, config: RunConfig | None = None) -> None:
        self.path, self.directory = path, RunDirectory(path)
        self.config = config or parse_config(self.manifest["config"], str(path / "manifest.json"))

    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest as it is now."""
        return self.directory.manifest

    @cached_property
    def calibrated(self) -> RunConfig:
        """The configuration, with an llc section from `slt-grok calibrate` where it has none."""
        path, content = self.path / CALIBRATION, self.config.content
        if content.get("llc") is not None or not path.is_file():
            return self.config
        return parse_config({**content, "llc": read_json(path).get("llc")}, str(path))

    @cached_property
    def trajectory(self) -> Trajectory:
        """All checkpoints, over (step, seed)."""
        return Trajectory.of_checkpoints(self.config.network, self.directory, self.config.seeds)

    @cached_property
    def data(self) -> dict[str, xr.Dataset]:
        """All datasets by label."""
        return {label: self.directory.read_measurement(label) for label in self.directory.labels}

    def store(self, label: str, dataset: xr.Dataset, settings: Any, start: float) -> None:
        """Write a dataset and record its stage as done, with the wall time since `start` and the peak of memory."""
        self.data[label] = self.directory.write_measurement(label, dataset, settings)
        seconds = round(time.monotonic() - start, 1)
        self.directory.finish_stage(label, wall_seconds=seconds, peak_memory_gib=round(peak_gib(), 2))


def execute_run(config: RunConfig, path: Path) -> Path:
    """Train and measure what is missing of a configuration, write its report and return the report's path.

    Raises
    ------
    SltGrokError
        As `train_run` and `measure_run`.
    """
    return measure_run(train_run(config, path))


def train_run(config: RunConfig, path: Path) -> Run:
    """Create a run's directory if there is none, train its networks if that is missing, and return the run.

    Raises
    ------
    SltGrokError
        The directory holds a run of another configuration (the changed keys are named), a file cannot be read or
        written, or training diverges.
    """
    directory = RunDirectory(path)
    if directory.exists:
        stored = Run(path).config
        changed = changed_keys(stored.model_dump(mode="json"), config.model_dump(mode="json"))
        if changed:
            raise SltGrokError(
                f"{path}: holds a run of another configuration ({'; '.join(changed)}); expected the same one, or "
                f"another --out"
            )
    else:
        directory.write_manifest({"config": config.content, "environment": environment(), "stages": {}})
    run = Run(path, config)
    if config.training is not None and TRAINING not in run.manifest["stages"]:
        start = time.monotonic()
        with progress(TRAINING, config.training.steps, "steps") as bar:
            curves = train(directory, config.network, config.training, config.seeds, bar)
        run.store(TRAINING, curves, config.training.model_dump(mode="json"), start)
    return run


def measure_run(
    run: Run, only: Sequence[str] | None = None, settings: RunConfig | None = None, label: str | None = None
) -> Path:
    """Make the missing measurements of a run, then what is derived from them and its page; return the page's path.

    Parameters
    ----------
    run : Run
        A run with checkpoints.
    only : sequence of str, optional
        Names of measurements; by default all that the configuration asks for.
    settings : RunConfig, optional
        Settings of measurements to use instead of the run's own.
    label : str, optional
        What is measured is stored as MEASUREMENT@LABEL, next to what there is.

    Raises
    ------
    SltGrokError
        No settings for a measurement that was asked for, a measurement that is stored with other settings, or a damaged
        file.
    """
    from slt_grok import report

    make_measurements(run, only, settings, label)
    derive(run)
    with progress("report", 1, "page"):
        return report.write(run)


def make_measurements(
    run: Run, only: Sequence[str] | None = None, settings: RunConfig | None = None, label: str | None = None
) -> None:
    """Make the measurements of `measure_run` alone, without what is derived from them.

    Raises
    ------
    SltGrokError
        As `measure_run`.
    """
    config = settings or run.calibrated
    for measurement in Measurement.ordered():
        assert isinstance(measurement, Measurement)
        if not (config.asks_for(measurement) if only is None else measurement.name in only):
            continue
        if config.settings(measurement) is None:
            how = ", or choose them by slt-grok calibrate" if "llc" in (measurement.name, measurement.inherits) else ""
            raise SltGrokError(
                f"{run.path}: expected settings for {measurement.name}, it has none; name a configuration by "
                f"--config{how}"
            )
        make_measurement(run, measurement, config, f"{measurement.name}@{label}" if label else measurement.name)


def make_measurement(run: Run, measurement: Measurement, config: RunConfig, label: str) -> None:
    """Make one measurement with the settings of a configuration, unless it is stored with the same ones."""
    settings = config.settings(measurement)
    content = settings.model_dump(mode="json")
    if label in run.data:
        run.directory.check_settings(label, run.data[label], content)
        if label not in run.manifest["stages"]:
            run.directory.finish_stage(label)  # killed after the measurement was written and before it was recorded
        return
    start = time.monotonic()
    with progress(label, len(run.trajectory), "networks") as bar:
        context = RunContext(run, label, config, content, bar)
        reason = measurement.unmeasurable(run.trajectory.network)
        refusal = xr.Dataset(attrs={"unmeasurable": reason})
        found = refusal if reason else measurement.measure(run.trajectory, settings, context)
        if "unmeasurable" in found.attrs:
            context.announce(f"not measured: {found.attrs['unmeasurable']}")
        else:
            found = measurement.check(found)
    run.store(label, found, content, start)
    (run.path / SUMMARY).unlink(missing_ok=True)  # it is no longer that of all measurements


def derive(run: Run) -> None:
    """Make transitions, summary and whatever else follows from the datasets: it costs less than a check for change.

    Raises
    ------
    SltGrokError
        The training curves are missing, or a file is damaged.
    """
    from slt_grok import transitions

    if TRAINING not in run.data:
        path = run.directory.measurement_path(TRAINING)
        raise SltGrokError(f"{path}: no such measurement; expected the training curves")
    for result in Derived.ordered():
        assert isinstance(result, Derived)
        start = time.monotonic()
        dataset = result.derive(run.data, run.config)
        if dataset is not None:
            run.store(result.name, result.check(dataset), {}, start)
    write_json(run.path / SUMMARY, {"name": run.config.name, **transitions.summarize(run.data)})

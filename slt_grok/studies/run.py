"""One run: train, measure, derive, write the page; each stage only if its result is missing.

Every stage is a function of the run directory's content, so that the same command resumes a killed run and `measure`
also serves imported networks. `Run` reads the directory once per command.
"""

import json
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import xarray as xr

from slt_grok.config import RunConfig, parse_config, read_yaml
from slt_grok.devices import device_named
from slt_grok.errors import FileError, SltGrokError
from slt_grok.format import listing
from slt_grok.measurement import Derived, Measurement
from slt_grok.memory import peak_gib
from slt_grok.progress import announce, progress
from slt_grok.store import RunDirectory
from slt_grok.store.digests import DETERMINING
from slt_grok.store.run_directory import changed_keys
from slt_grok.studies.context import RunContext
from slt_grok.studies.provenance import environment
from slt_grok.training import train
from slt_grok.trajectories import Trajectory
from slt_grok.units import in_units_of_loss

CALIBRATION, SUMMARY = "calibration.json", "summary.json"
TRAINING = "training"
LONG = 60.0  # seconds, from which a measurement is announced


class Run:
    """A run directory and its contents, each part read at most once.

    Parameters
    ----------
    path : Path
        The directory.
    config : RunConfig, optional
        The run's own configuration, if it is already parsed.

    Raises
    ------
    SltGrokError
        Not a run directory, or the manifest is damaged.
    """

    def __init__(self, path: Path, config: RunConfig | None = None) -> None:
        self.path, self.directory = path, RunDirectory(path)
        self.config = config or parse_config(self.manifest["config"], str(path / "manifest.json"))

    @property
    def manifest(self) -> dict[str, Any]:
        """The current manifest."""
        return self.directory.manifest

    @cached_property
    def calibrated(self) -> RunConfig:
        """The configuration; the choice of `slt-grok calibrate` fills in a missing llc section, or an import's."""
        path, content = self.path / CALIBRATION, self.config.content
        if not path.is_file() or (content.get("llc") is not None and self.config.source is None):
            return self.config
        return parse_config({**content, "llc": self.directory.read_result(CALIBRATION).get("llc")}, str(path))

    @cached_property
    def steps(self) -> list[int]:
        """Steps of all checkpoints; an error if a finished training or import has others."""
        stages, training, stored = self.manifest["stages"], self.config.training, set(self.directory.steps)
        steps = set(stages.get("import", {}).get("steps", ()))
        if training is not None and TRAINING in stages:
            last = int(self.directory.read_measurement(TRAINING).step[-1])  # earlier than configured if it stopped
            steps = {last, *(step for step in training.checkpoints.at(training.steps) if step < last)}
        if steps and stored and stored != steps:
            step = min(steps ^ stored)
            what = "checkpoint is missing; restore it" if step in steps else "not a checkpoint of this run; remove it"
            raise FileError(f"{self.directory.checkpoint_path(step)}: {what}")
        return sorted(stored)

    @cached_property
    def trajectory(self) -> Trajectory:
        """All checkpoints, over (step, seed)."""
        return Trajectory.of_checkpoints(self.config.network, self.directory, self.config.seeds, self.steps)

    @cached_property
    def data(self) -> dict[str, xr.Dataset]:
        """All datasets by label."""
        return {label: self.directory.read_measurement(label) for label in self.directory.labels}

    def store(self, label: str, dataset: xr.Dataset, settings: Any, start: float) -> None:
        """Write a dataset and record its stage as finished, with wall time since `start` and peak memory."""
        dataset = in_units_of_loss(dataset, self.config.task.loss_units)
        self.data[label] = self.directory.write_measurement(label, dataset, settings)
        seconds = round(time.monotonic() - start, 1)
        self.directory.finish_stage(label, wall_seconds=seconds, peak_memory_gib=round(peak_gib(), 2))


def open_run(path: Path) -> Run:
    """Open a run for a command, whether or not this reads all files; note if damage to them cannot be noticed.

    Raises
    ------
    SltGrokError
        As in `Run`, or a file was damaged, exchanged or added.
    """
    run = Run(path)
    _ = run.steps
    run.directory.verify()
    for name in run.directory.missing:
        if Path(name).stem != TRAINING:
            announce(run.config.name, f"{name} is missing; restore it, or {run.directory.digests.remedy(name)}")
    if run.manifest["stages"] and not run.directory.digests.known:
        announce(
            run.config.name,
            "has no stored digests, so damage to its files cannot be detected; the next measurement adds them",
        )
    return run


def execute_run(config: RunConfig, path: Path) -> Path:
    """Train and measure whatever a configuration's run still lacks, write its report and return the report's path.

    Raises
    ------
    SltGrokError
        As in `train_run` and `measure_run`, or a missing measurement has settings for a device that is not here.
    """
    stored = RunDirectory(path).labels
    for kind in Measurement.all():  # before training
        if config.asks_for(kind) and kind.name not in stored:
            device_named(getattr(config.settings(kind), "device", None), f"{kind.name}.device")
    return measure_run(train_run(config, path))


def train_run(config: RunConfig, path: Path) -> Run:
    """Create the run's directory if needed, train its networks if they are missing, and return the run.

    Raises
    ------
    SltGrokError
        The directory holds a run with another configuration, or measurements made with other settings (the error names
        the differing keys); a file cannot be read or written, or training diverges.
    """
    directory = RunDirectory(path)
    if directory.exists:
        adopt_settings(open_run(path), config)
    else:
        directory.write_manifest({"config": config.content, "environment": environment(), "stages": {}})
    run = Run(path, config)
    if config.training is not None and TRAINING not in run.manifest["stages"]:
        start = time.monotonic()
        with progress(TRAINING, config.training.steps, "steps") as bar:
            curves = train(directory, config.network, config.training, config.seeds, bar)
        run.store(TRAINING, curves, config.training.model_dump(mode="json"), start)
    return run


def adopt_settings(run: Run, config: RunConfig) -> None:
    """Store a changed configuration if only measurements that the run does not have yet are affected.

    Raises
    ------
    SltGrokError
        The change affects the networks, or a stored measurement.
    """
    old, new = run.config.model_dump(mode="json"), config.model_dump(mode="json")
    measurements = {kind.name for kind in Measurement.all()}
    changed = changed_keys(old, new)
    fixed, wanted = ({key: part[key] for key in part if key not in measurements} for part in (old, new))
    if fixed != wanted:
        raise SltGrokError(
            f"{run.path}: holds a run with another configuration ({'; '.join(changed)}); expected the same one, or "
            f"another --out"
        )
    if not changed:
        return
    affected = {
        label: changed_keys(json.loads(run.data[label].attrs["settings"]), new[label], label)
        for label in run.directory.labels
        if label in measurements and new[label] is not None
    }
    labels = [label for label, lines in affected.items() if lines]
    if labels:
        lines = "; ".join(line for label in labels for line in affected[label])
        raise SltGrokError(
            f"{run.path}: already has {listing(labels)} with other settings ({lines}); measure "
            f"under another label by slt-grok measure {run.path} --config FILE --only {','.join(labels)} --label NAME, "
            f"or remove {listing([f'measurements/{label}.nc' for label in labels])}"
        )
    # what determines the networks is the same, perhaps in other words, which would not fit the files' digests
    kept = {key: part for key, part in run.config.content.items() if key in DETERMINING}
    content = {key: part for key, part in config.content.items() if key not in DETERMINING}
    run.directory.write_manifest({**run.manifest, "config": {**content, **kept}})


def settings_for(run: Run, path: Path, only: Sequence[str] | None = None) -> RunConfig:
    """Read the settings of a run's measurements from a file: a configuration, or only sections, for the run's network.

    The keys of a section override those of the run's own, unless it names a `preset`; a configuration is used as it is.
    With `only`, the sections of measurements that are not named, and from which no named one inherits, are not read.

    Raises
    ------
    SltGrokError
        As in `load_config`.
    """
    content = read_yaml(path)
    named = isinstance(content, Mapping) and "plugins" in content  # rather than by the run's manifest
    if only is not None and isinstance(content, Mapping):
        kinds = Measurement.all()
        used = {*only, *(kind.inherits for kind in kinds if kind.name in only)}
        unused = {kind.name for kind in kinds} - used
        content = {key: part for key, part in content.items() if key not in unused}
    if isinstance(content, Mapping) and "model" not in content:
        content = {**run.calibrated.content, **_merged(run.calibrated.content, content)}
    return parse_config(content, str(path), named)


def _merged(stored: Mapping[str, Any], content: Mapping[str, Any]) -> dict[str, Any]:
    """Fill the keys that sections of measurements omit with a run's own."""
    partial = {
        kind.name: {**stored[kind.name], **content[kind.name]}
        for kind in Measurement.all()
        if all(isinstance(sections.get(kind.name), Mapping) for sections in (stored, content))
        and "preset" not in content[kind.name]
    }
    return {**content, **partial}


def measure_run(
    run: Run, only: Sequence[str] | None = None, settings: RunConfig | None = None, label: str | None = None
) -> Path:
    """Make a run's missing measurements, then its derived results and page; return the path of the page.

    Parameters
    ----------
    run : Run
        A run with checkpoints.
    only : sequence of str, optional
        Names of measurements; all that the configuration requests by default.
    settings : RunConfig, optional
        Settings of measurements to use instead of the run's own.
    label : str, optional
        Suffix under which to store the results, as MEASUREMENT@LABEL, alongside existing ones.

    Raises
    ------
    SltGrokError
        A requested measurement has no settings or is already stored with other settings, or a file is damaged.
    """
    from slt_grok import report

    run_measurements(run, only, settings, label)
    derive(run)
    with progress("report", 1, "page"):
        return report.write(run)


def run_measurements(
    run: Run, only: Sequence[str] | None = None, settings: RunConfig | None = None, label: str | None = None
) -> None:
    """Run a run's missing measurements without deriving further results; see `measure_run`.

    Raises
    ------
    SltGrokError
        As in `measure_run`.
    """
    config = settings or run.calibrated
    for measurement in Measurement.ordered():
        if not (config.asks_for(measurement) if only is None else measurement.name in only):
            continue
        if config.settings(measurement) is None:
            how = ", or choose them by slt-grok calibrate" if "llc" in (measurement.name, measurement.inherits) else ""
            raise SltGrokError(
                f"{run.path}: expected settings for {measurement.name}, it has none; name a configuration by "
                f"--config{how}"
            )
        run_measurement(run, measurement, config, f"{measurement.name}@{label}" if label else measurement.name)


def run_measurement(run: Run, measurement: Measurement, config: RunConfig, label: str) -> None:
    """Run one measurement with a configuration's settings, unless it is already stored with the same ones."""
    from slt_grok.studies import costs

    settings = config.settings(measurement)
    content = settings.model_dump(mode="json")
    if label in run.data:
        run.directory.check_settings(label, run.data[label], content)
        if label not in run.manifest["stages"]:
            run.directory.finish_stage(label)  # killed between writing the measurement and recording it
        return
    start, (steps, seeds) = time.monotonic(), run.trajectory.shape
    if reason := measurement.unmeasurable(run.trajectory.network):
        announce(label, f"not measured: {reason}")
        dataset = xr.Dataset(attrs={"unmeasurable": reason})
    else:
        if "llc" in (measurement.name, measurement.inherits) and getattr(settings, "device", None) is None:
            seconds, sentence = costs.forecast(run, measurement, config)
            if seconds > LONG:
                announce(label, sentence)
        with progress(label, seeds * measurement.checkpoints_of(settings, steps), "networks") as bar:
            context = RunContext(run, label, config, content, bar)
            dataset = measurement.check(measurement.measure(run.trajectory, settings, context))
            if "unmeasurable" in dataset.attrs:
                context.announce(f"not measured: {dataset.attrs['unmeasurable']}")
    run.store(label, dataset, content, start)
    (run.path / SUMMARY).unlink(missing_ok=True)  # it no longer covers all measurements


def derive(run: Run) -> None:
    """Derive transitions, summary and other results from the datasets; always redone, which is cheaper than checking.

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
        start = time.monotonic()
        dataset = result.derive(run.data, run.config)
        if dataset is not None:
            run.store(result.name, result.check(dataset), {}, start)
    run.directory.write_result(SUMMARY, {"name": run.config.name, **transitions.summarize(run.data)})

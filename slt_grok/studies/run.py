"""One run: train, measure, find transitions, draw, write the page; each stage only if it is missing.

Every stage is a function of what lies in the run directory, so that the same command goes on where a killed run
stopped, and `measure` serves imported networks as well.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from slt_grok import models
from slt_grok.config import RunConfig, parse_config
from slt_grok.errors import SltGrokError
from slt_grok.llc_settings import ConfoundSettings, IntervenedSettings
from slt_grok.memory import peak_gib
from slt_grok.models.network import Network
from slt_grok.progress import progress
from slt_grok.store import RunDirectory
from slt_grok.store.files import write_json
from slt_grok.store.run_directory import changed_keys
from slt_grok.studies.causal import measure_causal
from slt_grok.studies.confound import measure_confound
from slt_grok.studies.interventions import measure_interventions
from slt_grok.studies.landscape import measure_landscape
from slt_grok.studies.llc import calibrated, measure_llc
from slt_grok.studies.milestones import at_milestones
from slt_grok.studies.probes import measure_connectivity, measure_curvature, measure_shape
from slt_grok.studies.program import measure_program
from slt_grok.studies.provenance import environment
from slt_grok.studies.refined import measure_refined
from slt_grok.studies.shards import measure_in_shards
from slt_grok.studies.topology import measure_topology
from slt_grok.tasks import ModularTask
from slt_grok.training import train
from slt_grok.trajectories import Trajectory

ONLY_WHEN_ASKED = ("confound", "topology", "causal", "interventions", "program", "curvature", "connectivity", "shape")
MEASUREMENTS = ("circuits", "landscape", "llc", "refined", *ONLY_WHEN_ASKED)
NEED_LLC = ("llc", "confound", "interventions")  # have its settings
OVER_TRAINING = ("training", "circuits", "landscape", "llc")  # what transitions are found in


def execute_run(config: RunConfig, path: Path) -> Path:
    """Carry a configuration to its report, doing only what is missing, and return the report's path.

    Raises
    ------
    SltGrokError
        As `train_run` and `measure_run`.
    """
    train_run(config, path)
    return measure_run(path)


def train_run(config: RunConfig, path: Path) -> None:
    """Begin a run's directory where there is none, and train its networks where that is missing.

    Raises
    ------
    SltGrokError
        The directory holds a run of another configuration (the changed keys are named), a file cannot be read or
        written, or training diverges.
    """
    run = RunDirectory(path)
    content = config.model_dump(mode="json")
    if run.exists:
        changed = changed_keys(_own(run).model_dump(mode="json"), content)
        if changed:
            raise SltGrokError(
                f"{path}: holds a run of another configuration ({'; '.join(changed)}); expected the same one, or "
                f"another --out"
            )
    else:
        run.write_manifest({"config": content, "environment": environment(), "stages": {}})
    if config.training is not None and "training" not in run.manifest["stages"]:
        _train(run, config)


def measure_run(
    path: Path, only: Sequence[str] | None = None, settings: RunConfig | None = None, label: str | None = None
) -> Path:
    """Make the measurements of a run that are missing, then its transitions, figures and page; return the page's path.

    Parameters
    ----------
    path : Path
        A run directory with checkpoints.
    only : Sequence[str] or None, optional
        Which of `MEASUREMENTS`; where left out all that have settings, but those of `ONLY_WHEN_ASKED`. A run whose
        configuration has none for `llc` uses those of its calibration, if there is one; `confound` has those of `llc`.
    settings : RunConfig or None, optional
        Measurement settings to use instead of the run's own.
    label : str or None, optional
        What is measured is kept as MEASUREMENT@LABEL, beside what there is.

    Raises
    ------
    SltGrokError
        No run directory, no settings for a measurement that was asked for, a measurement that is there with other
        settings, or a damaged file.
    """
    make_measurements(path, only, settings, label)
    conclude(path)
    from slt_grok import report

    with progress("report", 1, "page"):
        return report.write(path)


def make_measurements(
    path: Path, only: Sequence[str] | None = None, settings: RunConfig | None = None, label: str | None = None
) -> None:
    """Make the measurements of `measure_run` alone, without what is made from them.

    Raises
    ------
    SltGrokError
        As `measure_run`.
    """
    run = RunDirectory(path)
    config = settings or _own(run)
    trajectory = Trajectory.from_run(path)
    for measurement in only or [name for name in MEASUREMENTS if name not in ONLY_WHEN_ASKED]:
        part = _settings(run, config, measurement, own=settings is None)
        if part is None and only:
            raise SltGrokError(
                f"{path}: expected settings for {measurement}, it has none; name a configuration by --config"
                + (", or choose them by slt-grok calibrate" if measurement in NEED_LLC else "")
            )
        if part is None:
            continue
        full_label = f"{measurement}@{label}" if label else measurement
        if not run.measured(full_label, part.model_dump(mode="json")):
            _measure(run, measurement, full_label, part, trajectory)
        elif full_label not in run.manifest["stages"]:
            run.finish_stage(full_label)  # killed after the measurement was written and before it was noted


def _own(run: RunDirectory) -> RunConfig:
    """Return a run's own configuration, with keys that are newer than the run."""
    return parse_config(run.manifest["config"], str(run.path / "manifest.json"))


def _settings(run: RunDirectory, config: RunConfig, measurement: str, own: bool) -> Any:
    """Return what a measurement is to be made with, or None; `own` says that the configuration is the run's."""
    llc = config.llc if config.llc is not None or not own else calibrated(run)
    match measurement:
        case "llc":
            return llc
        case "confound":
            return None if llc is None else ConfoundSettings.model_validate(llc.model_dump())
        case "interventions":
            own_part = config.interventions
            if llc is None or own_part is None:
                return None
            return IntervenedSettings.model_validate(llc.model_dump() | own_part.model_dump())
        case _:
            return getattr(config, measurement)


def _train(run: RunDirectory, config: RunConfig) -> None:
    assert config.training is not None
    task = ModularTask(**config.task.model_dump())
    network = Network(models.build(modulus=task.modulus, **config.model.model_dump()), task)
    start = time.monotonic()
    with progress("training", config.training.steps, "steps") as report:

        def on_step(step: int, losses: Any) -> None:
            report(step, "  ".join(f"{name} {value:.3g}" for name, value in losses.items()))

        curves = train(run, network, config.training, config.seeds, on_step)
    run.write_measurement("training", curves, config.training.model_dump(mode="json"))
    finish(run, "training", start)


def _measure(run: RunDirectory, measurement: str, label: str, settings: Any, trajectory: Trajectory) -> None:
    start = time.monotonic()
    content = settings.model_dump(mode="json")
    with progress(label, len(trajectory), "networks") as report:
        dataset = STAGES[measurement](run, label, settings, trajectory, content, report)
    run.write_measurement(label, dataset, content)
    finish(run, label, start)


def _circuits(run: RunDirectory, label: str, s: Any, trajectory: Trajectory, content: Any, report: Any) -> xr.Dataset:
    from slt_grok import circuits
    from slt_grok.circuits import maps

    steps, seeds = trajectory.coords["step"], trajectory.coords["seed"].tolist()
    last = trajectory.isel(step=-1)
    keys = circuits.key_frequencies(last)
    run.write_measurement(f"{label}@null", circuits.null(last), content)
    drawn = trajectory.isel(step=np.flatnonzero(np.isin(steps, at_milestones(run, steps, seeds))).tolist())
    run.write_measurement(f"{label}@maps", maps.measure(drawn, keys), content)

    def measure(shard: Trajectory, done: Any) -> xr.Dataset:
        return circuits.measure(shard, keys, lambda n, total: done(n / total), s.gradient_triples)

    return measure_in_shards(
        run, label, trajectory, measure, content, size=8,
        on_progress=lambda checkpoints, total, facts: report(int(checkpoints * trajectory.shape[1])),
    )  # fmt: skip


STAGES = {
    "llc": measure_llc,
    "confound": measure_confound,
    "circuits": _circuits,
    "curvature": measure_curvature,
    "connectivity": measure_connectivity,
    "shape": measure_shape,
    "landscape": measure_landscape,
    "refined": measure_refined,
    "topology": measure_topology,
    "causal": measure_causal,
    "interventions": measure_interventions,
    "program": measure_program,
}


def conclude(path: Path) -> None:
    """Transitions and summary, made anew from the measurements there are: they cost less than a check for change.

    Raises
    ------
    SltGrokError
        The training curves are missing, or a file is damaged.
    """
    from slt_grok import transitions
    from slt_grok.transitions import attribution

    run = RunDirectory(path)
    config = _own(run)
    start = time.monotonic()
    data = {label: run.read_measurement(label) for label in OVER_TRAINING if label in run.labels}
    if "training" not in data:
        raise SltGrokError(f"{run.measurement_path('training')}: no such measurement; expected the training curves")
    settings = config.transitions.model_dump(mode="json")
    found = transitions.measure(**data, **settings)
    run.write_measurement("transitions", found, settings)
    refined = run.read_measurement("refined") if "refined" in run.labels else None
    if refined is not None and refined.sizes["step"] > 1:  # a single checkpoint has no drop to split
        run.write_measurement("attribution", attribution.attribute(refined), {})
    summary = transitions.summarize(found, data["training"], data.get("llc"), data.get("circuits"))
    write_json(run.path / "summary.json", {"name": config.name, **summary})
    finish(run, "transitions", start)


def finish(run: RunDirectory, stage: str, start: float) -> None:
    """Note that a stage is done, with its wall time since `start` and the peak of memory."""
    run.finish_stage(stage, wall_seconds=round(time.monotonic() - start, 1), peak_memory_gib=round(peak_gib(), 2))

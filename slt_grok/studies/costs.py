"""Predicted cost of a study's runs on this machine, from a short trial of each kind of run.

seconds = steps x step + evaluations x evaluation                        training
        + seeds x predicted seconds for one network                      each measurement, `Measurement.seconds`
        + 6 s per run and 1 s per network                                process start, derived results

A trial trains for a few steps from random weights and lets each measurement predict its cost from one network on one
thread. Times are core-seconds, which equal wall time when every process has a free core. They depend only on sizes and
settings, so runs of the same sizes share a trial; a study stores its trials in `costs.json`.
"""

import heapq
import tempfile
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import torch

from slt_grok.config import RunConfig
from slt_grok.errors import SltGrokError
from slt_grok.format import duration, plural
from slt_grok.measurement import Measurement
from slt_grok.progress import announce, ignore
from slt_grok.store.files import read_json, write_json
from slt_grok.studies.context import RunContext
from slt_grok.studies.grid import PlannedRun, digest
from slt_grok.studies.run import TRAINING, Run
from slt_grok.training import CheckpointSchedule, train
from slt_grok.trajectories import Trajectory

PER_RUN, PER_NETWORK = 6.0, 1.0  # seconds, as measured for quickstart
FEW = 10  # checkpoints
STEPS = (4, 12)  # lengths of two trainings, whose difference gives the time per step

Prices = dict[str, float]


class Costs:
    """The trial timings of a study.

    Parameters
    ----------
    path : Path
        File in which they are stored.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.known: dict[str, Prices] = read_json(path) if path.is_file() else {}
        self.refused: dict[str, str] = {}
        self._keys: dict[Any, dict[str, str]] = {}
        self._parts: dict[Any, Prices] = {}

    def measure(self, runs: Sequence[PlannedRun]) -> None:
        """Run the missing trials and store their results; `refused` says why a trial failed, by the run's name."""
        failed: dict[str, str] = {}
        for run in runs:
            missing = {stage: key for stage, key in self.keys(run).items() if key not in self.known}
            if not missing or run.config is None:
                continue
            if reason := next((failed[key] for key in missing.values() if key in failed), ""):
                self.refused[run.name] = reason
                continue
            announce("trial", f"{run.arm} {dict(run.varied) or ''}: cost of {', '.join(missing)}")
            threads = torch.get_num_threads()
            torch.set_num_threads(1)
            try:
                prices = trial(run.config, [stage for stage in missing if stage != TRAINING])
                self.known |= {key: prices[stage] for stage, key in missing.items()}
            except SltGrokError as error:
                failed |= dict.fromkeys(missing.values(), str(error))
                self.refused[run.name] = str(error)
            finally:
                torch.set_num_threads(threads)
            write_json(self.path, self.known)

    def by_stage(self, run: PlannedRun) -> Prices:
        """Predict the single-threaded seconds of each stage; empty if no trial was possible."""
        keys, kind = self.keys(run), self._kind(run)
        if run.config is None or run.config.training is None or not all(key in self.known for key in keys.values()):
            return {}
        if kind not in self._parts:
            training, unit = run.config.training, self.known[keys[TRAINING]]
            evaluations = training.steps / training.evaluate_every + _checkpoints(run.config)
            parts = {TRAINING: training.steps * unit["step"] + evaluations * unit["evaluation"]}
            parts |= {name: len(run.seeds) * self.known[keys[name]]["seed"] for name in run.measurements}
            self._parts[kind] = parts
        return self._parts[kind]

    def total(self, run: PlannedRun, finished: Collection[str] = ()) -> float:
        """Predict the single-threaded seconds of a run without its finished stages; 0 if no trial was possible."""
        stages = self.by_stage(run)
        remaining = [seconds for stage, seconds in stages.items() if stage not in finished]
        return sum(remaining) + PER_RUN + PER_NETWORK * len(run.seeds) if stages else 0.0

    def keys(self, run: PlannedRun) -> dict[str, str]:
        """Compute a digest for each stage of everything its cost depends on."""
        config, kind = run.config, self._kind(run)
        if config is None or config.training is None:
            return {}
        if kind not in self._keys:
            content, task = config.model_dump(mode="json"), config.task
            sizes = [type(task).name, task.tokens, task.classes, len(task.inputs), task.train_size, content["model"]]
            sizes += [len(run.seeds)]
            training = [content["training"][key] for key in ("optimizer", "batch_size")]
            stages = {TRAINING: training} | {name: [content[name], _checkpoints(config)] for name in run.measurements}
            self._keys[kind] = {stage: f"{stage} {digest([sizes, keys], 16)}" for stage, keys in stages.items()}
        return self._keys[kind]

    def _kind(self, run: PlannedRun) -> Any:
        """Everything that the cost of a run follows from."""
        return run.fingerprint, run.measurements, len(run.seeds)


def makespan(seconds: Sequence[float], workers: int) -> float:
    """Compute the wall time of tasks distributed over a number of workers, longest first."""
    busy = [0.0] * workers
    for piece in sorted(seconds, reverse=True):
        heapq.heapreplace(busy, busy[0] + piece)
    return max(busy)


def forecast(run: Run, measurement: Measurement, config: RunConfig) -> tuple[float, str]:
    """Predict the seconds that a measurement takes here, from a trial on the last network, and say so in a sentence.

    Parameters
    ----------
    run : Run
        A run with checkpoints.
    measurement : Measurement
        One that samples, so that its trial is short.
    config : RunConfig
        Where its settings come from.
    """
    (steps, seeds), settings, cores = run.trajectory.shape, config.settings(measurement), torch.get_num_threads()
    context = TrialContext(run, measurement.name, config, {}, ignore)
    network = run.trajectory.isel(step=[-1], seed=[0])
    seconds = seeds * measurement.seconds(network, settings, steps, context) / cores
    count = seeds * measurement.checkpoints_of(settings, steps)
    key = "most_checkpoints" if "most_checkpoints" in type(settings).model_fields else "checkpoints"
    fewer = f"; for fewer, pass --config FILE with {measurement.name}: {{{key}: 10}}" if steps > FEW else ""
    return seconds, f"takes about {duration(seconds)} for {plural(count, 'network')} on {plural(cores, 'core')}{fewer}"


class TrialContext(RunContext):
    """The context of a measurement that is only being timed."""

    def announce(self, text: str) -> None:
        """Print nothing."""


def trial(config: RunConfig, measurements: Collection[str]) -> dict[str, Prices]:
    """Measure the core-seconds of training (`step`, `evaluation`) and predict those of each measurement (`seed`)."""
    assert config.training is not None
    settings = config.training
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder), config)

        def training(steps: int) -> None:
            changes = {"steps": steps, "evaluate_every": steps, "checkpoints": CheckpointSchedule(), "stop": None}
            train(run.directory, config.network, settings.model_copy(update=changes), config.seeds)

        training(1)  # the first call is slower
        few, many = _seconds(lambda: training(STEPS[0])), _seconds(lambda: training(STEPS[1]))
        step = max(many - few, 0.0) / (STEPS[1] - STEPS[0])
        prices = {TRAINING: {"step": step, "evaluation": max(few - STEPS[0] * step, 0.0) / 2}}
        # read directly, since the run has neither a manifest nor the checkpoints that its configuration plans
        run.trajectory = Trajectory.of_checkpoints(config.network, run.directory, config.seeds)
        network = run.trajectory.isel(step=[-1], seed=[0])
        for measurement in Measurement.ordered():
            if measurement.name in measurements:
                chosen, context = config.settings(measurement), TrialContext(run, measurement.name, config, {}, ignore)
                measurable = measurement.unmeasurable(config.network) is None
                seconds = measurement.seconds(network, chosen, _checkpoints(config), context) if measurable else 0.0
                prices[measurement.name] = {"seed": seconds}
    return prices


def _checkpoints(config: RunConfig) -> int:
    assert config.training is not None
    return len(config.training.checkpoints.at(config.training.steps))


def _seconds(work: Callable[[], Any]) -> float:
    start = time.process_time()  # CPU time, so that other programs' work does not count
    work()
    return time.process_time() - start

"""Predicted cost of a study's runs on this machine: a short trial of each kind of run, times the number of pieces.

seconds = steps x step + evaluations x evaluation                        training
        + seeds x what the measurement predicts for one                  each measurement, `Measurement.seconds`
        + 6 s a run and 1 s a network                                    start of the process, derived results

A trial trains for some steps from random weights and lets each measurement predict from one network, on one thread and
in seconds of a core, which are seconds of time where there is a free core for each process. It depends on sizes and
settings alone, so that runs of the same sizes share one; a study stores its trials in `costs.json`.
"""

import hashlib
import heapq
import json
import tempfile
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import torch

from slt_grok.config import RunConfig
from slt_grok.errors import SltGrokError
from slt_grok.measurement import Measurement
from slt_grok.progress import announce, ignore
from slt_grok.store.files import read_json, write_json
from slt_grok.studies.context import RunContext
from slt_grok.studies.grid import PlannedRun
from slt_grok.studies.run import TRAINING, Run
from slt_grok.training import CheckpointSchedule, train

PER_RUN, PER_NETWORK = 6.0, 1.0  # seconds, as measured for quickstart
STEPS = (4, 12)  # of two trainings whose difference is that of so many steps

Prices = dict[str, float]


class Costs:
    """The trials of a study.

    Parameters
    ----------
    path : Path
        Where they are stored.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.known: dict[str, Prices] = read_json(path) if path.is_file() else {}

    def measure(self, runs: Sequence[PlannedRun]) -> None:
        """Make the missing trials and store them."""
        for run in runs:
            missing = {stage: key for stage, key in _keys(run).items() if key not in self.known}
            if not missing or run.config is None:
                continue
            announce("trial", f"{run.arm} {dict(run.varied) or ''}: what {', '.join(missing)} cost")
            threads = torch.get_num_threads()
            torch.set_num_threads(1)
            try:
                prices = trial(run.config, [stage for stage in missing if stage != TRAINING])
                self.known |= {key: prices[stage] for stage, key in missing.items()}
            except SltGrokError:
                continue  # the run itself will fail by it, and say so
            finally:
                torch.set_num_threads(threads)
            write_json(self.path, self.known)

    def of(self, run: PlannedRun) -> Prices:
        """Return the predicted seconds of each stage on one thread; empty where no trial could be made."""
        keys = _keys(run)
        if run.config is None or run.config.training is None or not all(key in self.known for key in keys.values()):
            return {}
        training, unit = run.config.training, self.known[keys[TRAINING]]
        evaluations = training.steps / training.evaluate_every + _checkpoints(run.config)
        parts = {TRAINING: training.steps * unit["step"] + evaluations * unit["evaluation"]}
        return parts | {name: len(run.seeds) * self.known[keys[name]]["seed"] for name in run.measurements}

    def total(self, run: PlannedRun, made: Collection[str] = ()) -> float:
        """Return the predicted seconds of a run on one thread, without the stages made; 0 where no trial could be."""
        parts = self.of(run)
        left = [seconds for stage, seconds in parts.items() if stage not in made]
        return sum(left) + PER_RUN + PER_NETWORK * len(run.seeds) if parts else 0.0


def makespan(seconds: Sequence[float], workers: int) -> float:
    """Return how long pieces of work take by some workers, the longest pieces first."""
    busy = [0.0] * workers
    for piece in sorted(seconds, reverse=True):
        heapq.heapreplace(busy, busy[0] + piece)
    return max(busy)


class TrialContext(RunContext):
    """The context of a measurement that is only timed."""

    def announce(self, text: str) -> None:
        """Print nothing."""


def trial(config: RunConfig, measurements: Collection[str]) -> dict[str, Prices]:
    """Return the prices of training (`step`, `evaluation`) and of each measurement (`seed`) in core-seconds."""
    assert config.training is not None
    settings = config.training
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder), config)

        def training(steps: int) -> None:
            changes = {"steps": steps, "evaluate_every": steps, "checkpoints": CheckpointSchedule(), "stop": None}
            train(run.directory, config.network, settings.model_copy(update=changes), config.seeds)

        training(1)  # the first time is slower
        few, many = _seconds(lambda: training(STEPS[0])), _seconds(lambda: training(STEPS[1]))
        step = max(many - few, 0.0) / (STEPS[1] - STEPS[0])
        prices = {TRAINING: {"step": step, "evaluation": max(few - STEPS[0] * step, 0.0) / 2}}
        one = run.trajectory.isel(step=[-1], seed=[0])
        for measurement in Measurement.ordered():
            if measurement.name in measurements and isinstance(measurement, Measurement):
                own, context = config.settings(measurement), TrialContext(run, measurement.name, config, {}, ignore)
                measurable = not measurement.unmeasurable(one.network)
                seconds = measurement.seconds(one, own, _checkpoints(config), context) if measurable else 0.0
                prices[measurement.name] = {"seed": seconds}
    return prices


def _checkpoints(config: RunConfig) -> int:
    assert config.training is not None
    return len(config.training.checkpoints.at(config.training.steps))


def _keys(run: PlannedRun) -> dict[str, str]:
    """Return for each stage a digest of what its price depends on."""
    if run.config is None or run.config.training is None:
        return {}
    content, task = run.config.model_dump(mode="json"), run.config.task
    sizes = [type(task).name, task.tokens, task.classes, len(task.inputs), task.train_size, content["model"]]
    training = [content["training"][key] for key in ("optimizer", "batch_size")] + [len(run.seeds)]
    stages = {TRAINING: training} | {name: [content[name], _checkpoints(run.config)] for name in run.measurements}
    return {
        stage: f"{stage} {hashlib.sha256(json.dumps([sizes, own], sort_keys=True).encode()).hexdigest()[:16]}"
        for stage, own in stages.items()
    }


def _seconds(work: Callable[[], Any]) -> float:
    start = time.process_time()  # a core's seconds: another program's work is not this one's cost
    work()
    return time.process_time() - start

"""What a study's runs will cost on this machine: a short trial of each kind of run, times the number of pieces.

seconds = steps x step + evaluations x evaluation                        training
        + networks x circuit                                             circuits, the null's networks among them
        + networks x line + probed networks x probe                      landscape
        + networks x program                                             program
        + checkpoints x seeds x chains x updates x update                LLC
        + 6 s a run and 1 s a network                                    start of the process, transitions

A trial trains for some steps from random weights, measures the circuit, the landscape and the program of one network
and makes some updates of the chains of one checkpoint, all on one thread and in seconds of a core, which are seconds of
time where there is a free core for each process. That network has no frequency yet: a program of `KEYS` frequencies is
timed beside. It depends on sizes alone, so that runs of the same sizes share one; a study keeps its trials in
`costs.json`. Other measurements (refined, and the other ones only made when asked) are not predicted.
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

from slt_grok import models
from slt_grok.config import RunConfig
from slt_grok.errors import SltGrokError
from slt_grok.models.network import Network
from slt_grok.progress import announce
from slt_grok.store import RunDirectory
from slt_grok.store.files import read_json, write_json
from slt_grok.studies.grid import PlannedRun
from slt_grok.studies.llc import estimate_by
from slt_grok.tasks import ModularTask
from slt_grok.training import CheckpointSchedule, train
from slt_grok.trajectories import Trajectory

PER_RUN, PER_NETWORK = 6.0, 1.0  # seconds, as measured for quickstart
PIECES = ("step", "evaluation", "circuit", "line", "probe", "program", "update")
STEPS = (4, 12)  # of two trainings whose difference is that of so many steps
DRAWS = (4, 12)
KEYS = 5  # frequencies of a trained network's program


class Costs:
    """The trials of a study.

    Parameters
    ----------
    path : Path
        Where they are kept.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.known: dict[str, dict[str, float]] = read_json(path) if path.is_file() else {}

    def time(self, runs: Sequence[PlannedRun]) -> None:
        """Make the trials that are missing and keep them."""
        for run in runs:
            if run.config is None or _sizes(run) in self.known:
                continue
            announce("trial", f"{run.arm} {dict(run.varied) or ''}: what a step, an update and a probe take")
            threads = torch.get_num_threads()
            torch.set_num_threads(1)
            try:
                self.known[_sizes(run)] = _trial(run.config, run.measurements)
            except SltGrokError:
                continue  # the run itself will fail by it, and say so
            finally:
                torch.set_num_threads(threads)
            write_json(self.path, self.known)

    def of(self, run: PlannedRun) -> dict[str, float]:
        """Predicted seconds of each stage on one thread; empty where no trial could be made."""
        unit = self.known.get(_sizes(run)) if run.config is not None else None
        if unit is None or run.config is None or run.config.training is None:
            return {}
        config, seeds, training = run.config, len(run.seeds), run.config.training
        checkpoints = len(training.checkpoints.at(training.steps))
        evaluations = training.steps / training.evaluate_every + checkpoints
        parts = {"training": training.steps * unit["step"] + evaluations * unit["evaluation"]}
        if "circuits" in run.measurements:
            parts["circuits"] = seeds * (checkpoints + 1) * unit["circuit"]
        if "landscape" in run.measurements and config.landscape is not None:
            asked = config.landscape.probe_checkpoints
            probed = checkpoints if asked is None else min(asked, checkpoints)
            parts["landscape"] = seeds * (checkpoints * unit["line"] + probed * unit["probe"])
        if "program" in run.measurements and config.program is not None:
            parts["program"] = seeds * min(config.program.checkpoints or checkpoints, checkpoints) * unit["program"]
        if "llc" in run.measurements and config.llc is not None:
            updates = config.llc.burn_in + config.llc.draws * config.llc.thinning
            parts["llc"] = checkpoints * seeds * config.llc.chains * updates * unit["update"]
        return parts

    def total(self, run: PlannedRun, made: Collection[str] = ()) -> float:
        """Predicted seconds of a run on one thread, without the stages made; 0 where no trial could be."""
        parts = self.of(run)
        left = [seconds for stage, seconds in parts.items() if stage not in made]
        return sum(left) + PER_RUN + PER_NETWORK * len(run.seeds) if parts else 0.0


def makespan(seconds: Sequence[float], workers: int) -> float:
    """How long pieces of work take by some workers, the longest pieces first."""
    busy = [0.0] * workers
    for piece in sorted(seconds, reverse=True):
        heapq.heapreplace(busy, busy[0] + piece)
    return max(busy)


def _sizes(run: PlannedRun) -> str:
    """Return a digest of what the time of a piece depends on."""
    assert run.config is not None
    content = run.config.model_dump(mode="json")
    task, training, llc = content["task"], content["training"] or {}, content["llc"] or {}
    sizes = [
        {key: task[key] for key in ("modulus", "train_fraction")},
        content["model"],
        {key: training.get(key) for key in ("optimizer", "batch_size")},
        content["circuits"],
        {key: value for key, value in (content["landscape"] or {}).items() if key != "probe_checkpoints"},
        {key: llc.get(key) for key in ("sampler", "chains", "batch_size", "data", "weights", "precision", "leapfrog")},
        len(run.seeds),
        sorted(run.measurements),
    ]
    return hashlib.sha256(json.dumps(sizes, sort_keys=True).encode()).hexdigest()[:16]


def _trial(config: RunConfig, measurements: Sequence[str]) -> dict[str, float]:
    """Seconds of each kind of piece."""
    assert config.training is not None
    task = ModularTask(**config.task.model_dump())
    network = Network(models.build(modulus=task.modulus, **config.model.model_dump()), task)
    with tempfile.TemporaryDirectory() as folder:
        run = RunDirectory(folder)

        def training(steps: int) -> None:
            changes: dict[str, Any] = {"steps": steps, "evaluate_every": steps, "checkpoints": CheckpointSchedule()}
            assert config.training is not None
            train(run, network, config.training.model_copy(update={**changes, "stop": None}), config.seeds)

        training(1)  # the first time is slower
        few, many = _seconds(lambda: training(STEPS[0])), _seconds(lambda: training(STEPS[1]))
        states = run.read_checkpoint(STEPS[1], network.shapes)
    step = max(many - few, 0.0) / (STEPS[1] - STEPS[0])
    unit = {"step": step, "evaluation": max(few - STEPS[0] * step, 0.0) / 2}
    networks = Trajectory(
        network,
        {name: tensor[None] for name, tensor in states.items()},
        ("step", "seed"),
        {"step": torch.tensor([STEPS[1]]).numpy(), "seed": torch.tensor(config.seeds).numpy()},
    )
    one = networks.isel(seed=[0])
    if "circuits" in measurements and config.circuits is not None:
        from slt_grok import circuits

        triples = config.circuits.gradient_triples
        unit["circuit"] = _seconds(lambda: circuits.measure(one, gradient_triples=triples))
    if "landscape" in measurements and config.landscape is not None:
        from slt_grok import landscape

        s = config.landscape
        unit["line"] = _seconds(lambda: landscape.between_checkpoints(one))
        unit["probe"] = _seconds(lambda: landscape.at_checkpoints(one, eigenvalues=s.eigenvalues, radii=s.radii))
    if "program" in measurements and config.program is not None:
        unit["program"] = _seconds(lambda: _program(one))
    if "llc" in measurements and config.llc is not None:
        llc = config.llc

        def chains(draws: int) -> None:
            estimate_by(llc.model_copy(update={"draws": draws, "burn_in": 0, "thinning": 1}), networks)

        chains(DRAWS[0])
        few, many = _seconds(lambda: chains(DRAWS[0])), _seconds(lambda: chains(DRAWS[1]))
        unit["update"] = max(many - few, 0.0) / ((DRAWS[1] - DRAWS[0]) * len(networks) * llc.chains)
    return unit


def _program(one: Trajectory) -> None:
    """Do what `slt_grok.program.measure` does of a network that has frequencies."""
    from slt_grok import program

    program.measure(one)
    reading = program.read(one)
    if reading.tokens is None or reading.neurons is None:
        return
    neurons = program.neurons(reading, reading.tokens.frequencies[:KEYS])
    program.codes(reading, neurons)
    program.match(reading, neurons)


def _seconds(work: Callable[[], Any]) -> float:
    start = time.process_time()  # a core's seconds: another program's work is not this one's cost
    work()
    return time.process_time() - start

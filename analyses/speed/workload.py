"""What a workload is given, and the record that it gives back."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .floor import Floor
from .peers import Worker, start_all
from .timing import Answers, compare, interleaved

Job = dict[str, Any]


@dataclass
class Bench:
    """One run of the benchmark.

    Parameters
    ----------
    repetitions : int
        Of every contestant.
    threads : int
        That each may use.
    environments : Path
        Where the peers' environments lie.
    scratch : Path
        A folder for files that nobody needs afterwards.
    peer_path : Path or None, optional
        A file with the paper's measures, for W4; see `plain_measures.measure`.
    say : callable, optional
        Takes a line of progress.
    """

    repetitions: int
    threads: int
    environments: Path
    scratch: Path
    peer_path: Path | None = None
    say: Callable[[str], None] = lambda line: print(line, flush=True)

    def race(
        self, contestants: list[tuple[str, str, Job]], floor: Callable[[Floor], dict[str, Any]] | None = None
    ) -> tuple[dict[str, Any], Answers]:
        """Run (name, script, job) against each other: the record of how fast, and every answer.

        `floor` measures what the machine allows, see `Floor.facts`; that is done after each round, since a machine that
        others share changes its pace. The share that is reached is the median over the rounds.
        """
        workers: list[Worker] = []
        floors: list[dict[str, Any]] = []

        def measure_floor() -> None:
            if floor is not None:
                floors.append(floor(Floor(self.threads)))

        try:
            workers, missing = start_all(contestants, self.environments, self.scratch, self.threads, self.say)
            answers, lost = interleaved(workers, self.repetitions, self.say, measure_floor)
        finally:
            for worker in workers:
                worker.close()
        for sentence in lost:
            self.say(sentence)
        record = compare(answers)
        record["computed"] = {worker.name: worker.hello["computed"] for worker in workers}
        record["warm_up_seconds"] = {worker.name: worker.hello["warm_up_seconds"] for worker in workers}
        record["threads"] = {worker.name: worker.hello["threads"] for worker in workers}
        record["missing"] = [*missing, *lost]
        if floors:
            shares = [one["seconds"] / own for one, own in zip(floors, record["repetitions"]["slt_grok"], strict=True)]
            record["floor"] = sorted(floors, key=lambda one: one["seconds"])[len(floors) // 2]
            record["floor_fraction"] = float(np.median(shares))
            record["floor_fraction_repetitions"] = shares
        return record, answers

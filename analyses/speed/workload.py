"""What a workload is given, and the record that it gives back."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .floor import Floor
from .peers import Worker, start_all
from .timing import Answers, compare, interleaved

Job = dict[str, Any]


@dataclass
class Bench:
    """One run of the benchmark.

    Parameters
    ----------
    repetitions : of every contestant.
    threads : that each may use.
    environments : where the peers' environments lie.
    scratch : a folder for files that nobody needs afterwards.
    peer_path : a file with the paper's measures, for W4; see `plain_measures.measure`.
    say : takes a line of progress.
    """

    repetitions: int
    threads: int
    environments: Path
    scratch: Path
    peer_path: Path | None = None
    say: Callable[[str], None] = lambda line: print(line, flush=True)
    floor: Floor = field(init=False)

    def __post_init__(self) -> None:
        self.floor = Floor(self.threads)

    def race(self, contestants: list[tuple[str, str, Job]]) -> tuple[dict[str, Any], Answers]:
        """Run (name, script, job) against each other: the record of how fast, and every answer."""
        workers: list[Worker] = []
        try:
            workers, missing = start_all(contestants, self.environments, self.scratch, self.threads, self.say)
            answers, lost = interleaved(workers, self.repetitions, self.say)
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
        return record, answers

    def against_floor(self, record: dict[str, Any], floor: dict[str, Any]) -> None:
        """Put the floor of one piece of work into a record, and the share of it that is reached."""
        record["floor"] = floor
        record["floor_fraction"] = floor["seconds"] / record["seconds_per_unit"]["slt_grok"]

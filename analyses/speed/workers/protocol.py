"""The worker's end of the benchmark: read the job, warm up, then one repetition for each line of standard input.

Answers, one JSON object a line, go through a pipe of their own, so that libraries may print what they like.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def read_job() -> dict[str, Any]:
    """Return the job named on the command line."""
    return json.loads(Path(sys.argv[1]).read_text())


def chains_of(job: dict[str, Any], repetition: int) -> tuple[list[int], int]:
    """Checkpoints and draws of a repetition that samples one checkpoint after the other; a few draws to warm up."""
    chosen = job["checkpoints"][repetition % len(job["checkpoints"])]
    return (chosen, job["draws"]) if repetition >= 0 else (chosen[:1], 20)


def serve(
    hello: dict[str, Any],
    repeat: Callable[[int], dict[str, Any]],
    set_threads: Callable[[int], None] | None = None,
    threads: int = 1,
) -> None:
    """Say hello, then answer each repetition's number with what `repeat` gives and the seconds that it took.

    A `repeat` that times a part of itself gives `seconds` on its own; `repeat(-1)` is the warm-up, and may be shorter.
    With `set_threads` the warm-up finds out whether one thread is faster than `threads`, and keeps it then.
    """
    answers = os.fdopen(read_job()["answers"], "w")

    def say(content: dict[str, Any]) -> None:
        answers.write(json.dumps(content) + "\n")
        answers.flush()

    start = time.perf_counter()
    repeat(-1)  # warm: caches, thread pools, compilation
    if set_threads is not None and threads > 1:
        quickest: dict[int, float] = {}
        for number in (1, threads):
            set_threads(number)
            quickest[number] = min(_seconds(repeat) for _ in range(3))
        threads = min(quickest, key=lambda number: quickest[number])
        set_threads(threads)
    say({**hello, "threads": threads, "warm_up_seconds": round(time.perf_counter() - start, 2)})
    for line in sys.stdin:
        start = time.perf_counter()
        found = repeat(int(line))
        say({"seconds": time.perf_counter() - start, **found})


def _seconds(repeat: Callable[[int], dict[str, Any]]) -> float:
    start = time.perf_counter()
    repeat(-1)
    return time.perf_counter() - start

"""Progress of long computations: a bar with rate and time left, or plain lines if standard error is not a terminal."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LINE_SECONDS, LINE_FRACTION = 30, 0.1  # between plain lines, at least, so that a log stays short

PERCENT = "%"  # a unit without a rate

console = Console(stderr=True, highlight=False)


class ProgressCallback(Protocol):
    """A callback that receives the progress of a computation."""

    def __call__(self, fraction: float, note: str = "") -> None:
        """Report the completed fraction, in [0, 1], and a short status."""


def ignore(fraction: float, note: str = "") -> None:
    """Report nothing."""


def stretch(on_progress: ProgressCallback, start: float, end: float) -> ProgressCallback:
    """Map the progress of a part of the work to `start`..`end` of the whole."""
    return lambda fraction, note="": on_progress(start + (end - start) * fraction, note)


def portion(on_progress: ProgressCallback, index: int, count: int) -> ProgressCallback:
    """Map the progress of one of `count` equal parts of the work, counted from 0, to the whole."""
    return stretch(on_progress, index / count, (index + 1) / count)


def announce(title: str, text: str) -> None:
    """Print a persistent line, above the bar if there is one, such as the predicted cost of the work."""
    console.print(f"{title}: {text}", soft_wrap=True)


@contextmanager
def progress(title: str, total: int, unit: str) -> Iterator[ProgressCallback]:
    """Yield a bar of `total` units, or a plain line every 10% and at least 30 s if standard error is not a terminal.

    A rate is shown unless the unit is %.
    """
    start = time.monotonic()
    if not console.is_terminal:
        last_time, last_fraction = start, 0.0

        def line(fraction: float, note: str = "") -> None:
            nonlocal last_time, last_fraction
            now = time.monotonic()
            if now - last_time > LINE_SECONDS and fraction - last_fraction >= LINE_FRACTION:
                last_time, last_fraction = now, fraction
                left = f"{(1 - fraction) / fraction * (now - start):.0f} s left"
                done = f"{int(fraction * total)}/{total} {unit}, {fraction * total / (now - start):.3g} per second"
                if unit == PERCENT:
                    done = f"{fraction:.0%}"
                print(f"{title}: {done}, {left}  {note}", file=sys.stderr, flush=True)

        yield line
        print(f"{title}: done in {time.monotonic() - start:.1f} s", file=sys.stderr, flush=True)
        return
    columns = (
        TextColumn("{task.description:<11}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]} {task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console, refresh_per_second=4) as bar:
        task = bar.add_task(title, total=total, unit=unit, rate="", note="")

        def update(fraction: float, note: str = "") -> None:
            rate = fraction * total / max(time.monotonic() - start, 1e-9)
            shown = "" if unit == PERCENT else f"{rate:.3g}/s"
            bar.update(task, completed=int(fraction * total), note=note, rate=shown)

        yield update
        bar.update(task, completed=total)

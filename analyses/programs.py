"""How well each level of program accounts for a network, what the program proves of it, and how fast it is.

For the last network of the first seed of each run:
  agreement, left      of clock, pizza and neurons: share of all pairs where it gives the network's answer, and of the
                       variance of the network's logits that it leaves (`slt_grok.program.match`)
  random frequencies   the same for as many frequencies that are not the network's (mean over draws)
  certified            the lower bound on the accuracy that the program's margins prove, with the program's frequencies
                       and with more of them, by their size in the logits (`slt_grok.program.certificate`); all of them
                       are the network itself
  extraction           seconds of one thread from the network to the text of its file
  speed                how many times as long as `answer` of a level's written file the network's forward pass takes for
                       all pairs: one thread, the network in float32, the least of several rounds of all in turn
Writes analyses/results/programs.json and a figure.

Usage: python analyses/programs.py RUN... [--out FOLDER]
RUN is a run directory, such as runs/quickstart, or one that `slt-grok import` made.
"""

import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import seaborn as sns
import torch
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from runs_below import below_runs, command_line, picture, plain

import slt_grok
from slt_grok.errors import SltGrokError
from slt_grok.plots.palette import GRAY
from slt_grok.plots.style import WIDTH, panel_letters, styled
from slt_grok.program import Reading, certificate, clock, extract, match, pairs, read
from slt_grok.program.extraction import candidates
from slt_grok.program.writing import source
from slt_grok.store.files import write_json
from slt_grok.studies.provenance import environment
from slt_grok.trajectories import Trajectory

ROUNDS = 7
RANDOM_DRAWS = 5
CERTIFIED = ("accuracy_bound", "tightness", "margin", "bound_neurons", "bound_output")
STEPS = 8  # numbers of frequencies of the certificate


def measured(one: Trajectory) -> dict[str, Any]:
    """Return the row of one network."""
    start = time.process_time()
    reading = read(one)
    found = extract(reading)
    text = source(found)
    seconds = time.process_time() - start
    programs, stack = candidates(reading), one.stacked(torch.float32)
    answers = [partial(answer_of(source(extract(reading, name))), *pairs(reading.p)) for name in programs]
    network, *own = least_seconds([lambda: one.network.stacked_outputs(stack, one.task.inputs), *answers])
    levels = {
        name: {**match(reading, program)._asdict(), "times_as_fast": network / own[place]}
        for place, (name, program) in enumerate(programs.items())
    }
    return {
        "keys": reading.keys.tolist(),
        "levels": levels,
        "random_frequencies": random_frequencies(reading),
        "accuracy": float((reading.answers == reading.labels).mean()),
        "certificates": certificates(one, reading),
        "extraction": {"program": found.program.level, "seconds": seconds, "lines": len(text.splitlines())},
    }


def random_frequencies(reading: Reading) -> dict[str, float]:
    """Return agreement and unexplained variance of clocks of as many frequencies that are not the network's."""
    assert reading.tokens is not None
    others = np.setdiff1d(reading.tokens.frequencies, reading.keys)
    if len(others) < len(reading.keys):
        raise SltGrokError(f"controls: expected at most {len(others)} key frequencies, got {len(reading.keys)}")
    generator = np.random.default_rng(np.random.SeedSequence(0))
    draws = [generator.choice(others, len(reading.keys), replace=False) for _ in range(RANDOM_DRAWS)]
    fits = np.mean([match(reading, clock(reading, draw)) for draw in draws], 0)
    return {"agreement": float(fits[0]), "unexplained": float(fits[1])}


def answer_of(text: str) -> Callable[..., np.ndarray]:
    """Return the function of a written program."""
    names: dict[str, Any] = {}
    exec(text, names)  # what was written a moment ago
    return names["answer"]


def least_seconds(jobs: list[Callable[[], object]]) -> list[float]:
    """Return the least time of each job, all in turn."""
    seconds = np.full((ROUNDS, len(jobs)), np.nan)
    for row in seconds:
        for place, job in enumerate(jobs):
            start = time.process_time()
            job()
            row[place] = time.process_time() - start
    return seconds.min(0).tolist()


def certificates(one: Trajectory, reading: Reading) -> list[dict[str, Any]] | str:
    """Return a row per number of frequencies, the program's first, then those of the largest clocks; or why not."""
    assert reading.tokens is not None
    order = np.abs(reading.clock_amplitudes).argsort()[::-1] + 1
    order = np.concatenate([order[np.isin(order, reading.keys)], order[~np.isin(order, reading.keys)]])
    numbers = np.unique(np.geomspace(len(reading.keys), len(order), STEPS).round().astype(int))
    rows = []
    for number in numbers.tolist():
        try:
            found = certificate(one, np.sort(order[:number]))
        except SltGrokError as error:
            return str(error)
        about = asdict(found)
        rows.append({"frequencies": number, **{name: about[name] for name in CERTIFIED}})
    return rows


@styled
def draw(rows: list[dict[str, Any]]) -> Figure:
    """Draw what clock and neurons leave of a network, and how tight the certificate is by number of frequencies."""
    figure = Figure(figsize=(WIDTH, 1.0 + 0.26 * max(len(rows), 7)), layout="constrained")
    left, right = figure.subplots(1, 2)
    colors = sns.color_palette("colorblind")
    for place, row in enumerate(rows):
        color, marker = colors[place % len(colors)], "osD^v<>Pp"[place % 9]
        for name, filled in (("clock", True), ("neurons", False)):
            if name in row["levels"]:
                value = row["levels"][name]["unexplained"]
                left.plot(value, place, marker, color=color, mfc=color if filled else "white", ms=5)
        if isinstance(row["certificates"], list):
            below_all = row["certificates"][:-1]  # all frequencies are the network: nothing is left to bound
            x, y = ([one[name] for one in below_all] for name in ("frequencies", "tightness"))
            right.plot(x, y, f"{marker}-", color=color, ms=4, lw=1)
    right.axhline(1, color=GRAY, lw=0.8, ls="--")
    left.set(xscale="log", xlabel="Share of the logits' variance left\n(filled: clock, open: neurons)")
    left.set_yticks(range(len(rows)), [row["run"].removeprefix("runs/") for row in rows])
    left.invert_yaxis()
    right.set(xscale="log", yscale="log", xlabel="Frequencies of the program")
    right.set_ylabel("Bound over margin, median\n(a pair below 1 is certified)")
    right.set_xticks([2, 5, 10, 20, 50], ["2", "5", "10", "20", "50"], minor=False)
    right.set_xticks([], minor=True)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    panel_letters([left, right])
    return figure


def say(rows: list[dict[str, Any]], console: Console) -> None:
    """Print a line for each network."""
    names = (
        "network",
        "keys",
        "left by clock",
        "neurons",
        "agreement",
        "certified",
        "accuracy",
        "extracted",
        "times as fast",
    )
    table = Table(*names)
    for row in rows:
        levels = row["levels"]
        first = row["certificates"][0]["accuracy_bound"] if isinstance(row["certificates"], list) else None
        neurons = levels.get("neurons")
        table.add_row(
            row["run"],
            str(len(row["keys"])),
            f"{levels['clock']['unexplained']:.4f}",
            "-" if neurons is None else f"{neurons['unexplained']:.4f}",
            f"{min(level['agreement'] for level in levels.values()):.5f}",
            "-" if first is None else f"{first:.4f}",
            f"{row['accuracy']:.4f}",
            f"{row['extraction']['seconds']:.1f} s",
            " ".join(f"{level['times_as_fast']:.2g}" for level in levels.values()),
        )
    console.print(table)


def main(paths: list[Path], out: Path) -> None:
    """Measure, print, write."""
    torch.set_num_threads(1)
    start, console = time.monotonic(), Console(highlight=False, width=150)
    rows = []
    for path in paths:
        one = slt_grok.trajectory(path).isel(step=[-1], seed=[0])
        place = {dim: int(values[0]) for dim, values in one.coords.items()}
        rows.append({"run": below_runs(path), **place, **measured(one)})
    say(rows, console)
    content = {
        "command": " ".join(["python analyses/programs.py", *map(below_runs, paths)]),
        "networks": rows,
        "wall_seconds": round(time.monotonic() - start, 1),
        "environment": environment(),
    }
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "programs.json", plain(content))
    picture(draw(rows), out, "programs")


if __name__ == "__main__":
    command_line(main, __doc__)

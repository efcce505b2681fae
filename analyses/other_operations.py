"""What the extractor explains of networks that learned another operation than addition.

For the last network of every seed of each run: what each level of program holds of the variance of its logits and gives
of its answers, and the program of `slt-grok extract`. For comparison two controls and a bound.
  read as another operation   the clock of the network read as if it had learned addition, subtraction, multiplication:
                              what the wrong group explains
  by the answer               the part of the logits that is a function of the right answer s and of c alone, sum over
                              pairs of one s: no clock of any group on the answers holds more. In noise it has 1/p
  by c - s, by c / s          the part of it that is a function of c - s (of all additive clocks of the answer together)
                              and of c / s (all multiplicative ones; what has a 0 is counted to it whole)
  by c + s, by c              of c + s, the clocks' mirror image: cos w s cos w c and sin w s sin w c of unequal sizes
                              are cos w (s - c) and cos w (s + c); and of c alone, whatever the pair
x^2 + xy + y^2 has no level: it is no sum of angles of its tokens (slt_grok.program.tokens). It is the norm
(x - w y)(x - w^2 y), w a primitive cube root of unity, which lies in Z_p where p = 1 mod 3 and in the field of p^2
elements where p = 2 mod 3: a product of logarithms of sums of the tokens.
Accuracy is that on all test pairs, and on those whose mirror (b, a) was not trained on: the others have the same answer
where the operation is symmetric.
Writes analyses/results/other_operations.json and a figure.

Usage: python analyses/other_operations.py RUN... [--out FOLDER]
RUN is a run directory, such as runs/quickstart, those of configs/studies/operations.yaml, and
runs/seeds/multiplication/seeds0to4-27ec716c.
"""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from rich.console import Console
from runs_below import below_runs, command_line, picture, plain

import slt_grok
from slt_grok.errors import SltGrokError
from slt_grok.plots.palette import BLUE, GRAY, GREEN, ORANGE, VERMILION
from slt_grok.plots.style import WIDTH, styled
from slt_grok.program import Reading, Tokens, extract, read
from slt_grok.program.extraction import candidates, match
from slt_grok.program.tokens import ANGLES
from slt_grok.store import RunDirectory
from slt_grok.store.files import write_json
from slt_grok.studies.provenance import environment
from slt_grok.trajectories import Trajectory

BOUNDS = ("by the answer", "by c - s", "by c / s", "by c + s", "by c")
LOOKS = {  # color, marker, filled
    "clock": (BLUE, "o", True),
    "pizza": (ORANGE, "s", False),
    "neurons": (GREEN, "^", True),
    "wrong group": (VERMILION, "x", True),
    "by the answer": (GRAY, "|", True),
}


def measured(one: Trajectory) -> dict[str, Any]:
    """Return what is explained of one network, and the controls."""
    reading = read(one)
    levels = {name: _shares(reading, program) for name, program in candidates(reading).items()}
    operation = reading.task.operation  # pyright: ignore[reportAttributeAccessIssue]
    others = [other for other in ANGLES if other != operation]
    try:
        found = extract(reading)
        said = found.program.level + ("" if found.explained else ": no formula explains it by itself")
        explained = found.explained
    except SltGrokError as error:
        said, explained = str(error), False
    return {
        "operation": operation,
        "modulus": reading.p,
        "accuracy": accuracies(reading),
        "keys": reading.keys.tolist(),
        "levels": levels,
        "read_as": {other: read_as(reading, other) for other in others},
        "bounds": bounds(reading),
        "explained": explained,
        "said": said,
    }


def read_as(reading: Reading, operation: str) -> dict[str, float]:
    """Return the clock of the network under another operation.

    Nothing where its logits have none of its frequencies.
    """
    other = Reading(replace(reading.task, operation=operation), reading.logits, reading.neurons)
    found = candidates(other).get("clock")
    return {"explained_variance": 0.0, "agreement": np.nan} if found is None else _shares(other, found)


def bounds(reading: Reading) -> dict[str, float]:
    """Shares of the logits' variance that are functions of (s, c) and of what `BOUNDS` says, s the right answer."""
    p, answers = reading.p, np.arange(reading.p)
    s, c = np.broadcast_arrays(reading.labels[:, None], answers)
    log = Tokens(p, "multiplication").position
    quotient = (log[c] - log[s]) % (p - 1)
    whole = p * p + s * p + c  # pairs with a 0, each its own class
    classes = {
        "by the answer": s * p + c,
        "by c - s": (c - s) % p,
        "by c / s": np.where((s == 0) | (c == 0), whole, quotient),
        "by c + s": (c + s) % p,
        "by c": c,
    }
    return {name: held_by(reading, of) for name, of in classes.items()}


def held_by(reading: Reading, classes: np.ndarray) -> float:
    """Share of the variance of the logits that the means over classes of (pair, answer) hold, in [0, 1]."""
    _, index = np.unique(classes, return_inverse=True)
    index = index.ravel()
    count = np.bincount(index)
    mean = np.bincount(index, reading.logits.ravel()) / count
    return float((count * mean**2).sum() / reading.logits.size / reading.variance)


def accuracies(reading: Reading) -> dict[str, float]:
    """Accuracy on train pairs, on test pairs, and on test pairs whose mirror is none of the train pairs."""
    p, right = reading.p, reading.answers == reading.labels
    train, test = (reading.task.indices(split).numpy() for split in ("train", "test"))
    a, b = np.divmod(test, p)
    alone = test[~np.isin(b * p + a, train)]
    rows = {"train": train, "test": test, "unmirrored test": alone}
    return {name: float(right[of].mean()) if len(of) else np.nan for name, of in rows.items()}


def _shares(reading: Reading, program: Any) -> dict[str, float]:
    found = match(reading, program)
    return {"explained_variance": 1 - found.unexplained, "agreement": found.agreement}


def label(row: dict[str, Any]) -> str:
    """Operation and modulus, as a line of the figure."""
    return f"{row['operation'].replace('^2', '²')} mod {row['modulus']}"


@styled
def draw(rows: list[dict[str, Any]]) -> Figure:
    """Draw a line for each network: variance held and answers given, by every level and by the controls."""
    figure = Figure(figsize=(WIDTH, 1.3 + 0.24 * len(rows)), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, quantity in zip(panels, ("explained_variance", "agreement"), strict=True):
        for place, row in enumerate(rows):
            axes.axhspan(place - 0.5, place + 0.5, color="0.955" if place % 2 else "1.0", lw=0, zorder=0)
            values = {name: shares[quantity] for name, shares in row["levels"].items()}
            if quantity == "explained_variance":
                values["wrong group"] = max(shares[quantity] for shares in row["read_as"].values())
                values["by the answer"] = row["bounds"]["by the answer"]
            for name, value in values.items():
                color, marker, filled = LOOKS[name]
                size = {"|": 11.0, "s": 6.0}.get(marker, 3.8)
                axes.plot(100 * value, place, marker, color=color, mfc=color if filled else "none", ms=size)
            if quantity == "agreement":
                right = row["accuracy"]["unmirrored test"]
                axes.plot(100 * right, place, "D", color="0.2", mfc="none", ms=3.2)
        axes.set_xlim(-4, 104)
        axes.spines[["top", "right"]].set_visible(False)
    names = [f"{label(row)}, {row['name']}" for row in rows]
    panels[0].set_yticks(range(len(rows)), names)
    panels[0].set_ylim(len(rows) - 0.5, -0.5)
    panels[0].set_xlabel("Variance of the logits (%)")
    panels[1].set_xlabel("Network’s answers given, or accuracy (%)")
    for name, (color, marker, filled) in LOOKS.items():
        panels[0].plot([], [], marker, color=color, mfc=color if filled else "none", ms=5, label=NAMES.get(name, name))
    panels[1].plot([], [], "D", color="0.2", mfc="none", ms=3.2, label="accuracy, test pairs\nwithout trained mirror")
    handles = [one for axes in panels for one in axes.get_legend_handles_labels()[0]]
    figure.legend(handles=handles, loc="outside upper center", ncols=6)
    return figure


NAMES = {"wrong group": "best clock of a\nwrong operation", "by the answer": "any function of\nanswer and c"}


def table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Return the rows as a person reads them, in per cent."""
    cells = [
        {
            "network": f"{label(row)}, {row['name']}",
            **{name: 100 * value for name, value in row["accuracy"].items()},
            **{f"{name} R2": 100 * shares["explained_variance"] for name, shares in row["levels"].items()},
            **{f"{name} answers": 100 * shares["agreement"] for name, shares in row["levels"].items()},
            "wrong group R2": 100 * max(shares["explained_variance"] for shares in row["read_as"].values()),
            **{f"{name} R2": 100 * row["bounds"][name] for name in BOUNDS},
            "said": row["said"],
        }
        for row in rows
    ]
    return pd.DataFrame(cells)


def networks(path: Path) -> list[tuple[str, Trajectory]]:
    """Return the last checkpoint of every seed of a run, with the run's arm or name and the seed."""
    config = RunDirectory(path).manifest["config"]
    every = slt_grok.trajectory(path).isel(step=[-1])
    depth = f"{config['model'].get('n_layers', 1)} layer" if config["model"]["kind"].endswith("transformer") else ""
    seeds = every.coords["seed"].tolist()
    return [(", ".join(filter(None, [depth, f"seed {s}"])), every.isel(seed=[i])) for i, s in enumerate(seeds)]


def main(paths: list[Path], out: Path) -> None:
    """Measure, print, write."""
    torch.set_num_threads(1)
    start, console = time.monotonic(), Console(highlight=False, soft_wrap=True)
    rows = []
    for path in paths:
        config = RunDirectory(path).manifest["config"]
        for name, one in networks(path):
            facts = {"run": below_runs(path), "name": name, "step": int(one.coords["step"][0])}
            settings = {"train_fraction": config["task"]["train_fraction"], "model": config["model"]}
            rows.append(facts | settings | measured(one))
            console.print(f"{label(rows[-1])}, {name}: {rows[-1]['said']}", markup=False)
    console.print(table(rows).drop(columns="said").to_string(float_format="%.1f", na_rep="-"), markup=False)
    content = {
        "command": " ".join(["python analyses/other_operations.py", *map(below_runs, paths)]),
        "networks": rows,
        "wall_seconds": round(time.monotonic() - start, 1),
        "environment": environment(),
    }
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "other_operations.json", plain(content))
    picture(draw(rows), out, "other_operations")


if __name__ == "__main__":
    command_line(main, __doc__)

"""How the LLC's peak, end and drop grow with the modulus, and whether the transition is sharp in the limit.

Usage: python analyses/finite_size.py [--out FOLDER] PATH ...
A PATH is a study's directory or a run directory. Writes finite_size.json and its figure into results/.

Decision rules: those of `slt_grok.transitions.finite_size`. End, drop and widths are those of the seeds that
generalize; the peak is that of all. Runs that differ in more than modulus, seeds and length are groups of their own.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from figures.laws import finite_size
from rich.console import Console
from runs_below import below_runs, command_line, config_of, grouped, picture, plain, runs_below
from size_collapse import SizedCurve, collapse

from slt_grok import transitions
from slt_grok.errors import SltGrokError
from slt_grok.store import RunDirectory
from slt_grok.store.files import write_json
from slt_grok.studies.provenance import environment
from slt_grok.transitions.events import llc_drop
from slt_grok.transitions.finite_size import scaling, sharpness, widths
from slt_grok.transitions.measures import Curves

SCALED = {"llc_peak": "LLC at its peak", "llc_end": "LLC at the end", "llc_drop": "Drop of the LLC"}
WIDTHS = {
    "width_llc": "Width of the LLC's drop\n(log steps)",
    "width_test": "Width of the rise of\ntest accuracy (log steps)",
}


def rows_of(run: RunDirectory) -> tuple[list[dict[str, Any]], list[SizedCurve]]:
    """Return a row for each seed, NaN where it has no such number; and its test accuracy over training."""
    config, data = config_of(run), {label: run.read_measurement(label) for label in ("training", "llc")}
    found, measured = transitions.measure(data, **config["transitions"]), Curves(data)
    of_llc, of_test = (
        widths(found, measure) if measure in found.measure else xr.full_like(found.memorization_step, np.nan)
        for measure in ("llc", "test_accuracy")
    )
    rows, curves = [], []
    for seed in found.seed.values.tolist():
        drop, accuracy = llc_drop(measured.get("llc", seed)), measured.get("test_accuracy", seed)
        done = np.isfinite(found.generalization_step.sel(seed=seed).item())
        middle = float(found.transition_middle.sel(measure="test_accuracy", seed=seed)) if done else np.nan
        curves.append(SizedCurve(config["task"]["modulus"], seed, accuracy.steps, accuracy.values, middle))
        rows.append(
            {
                "modulus": config["task"]["modulus"],
                "seed": seed,
                "llc_peak": drop.peak,
                "llc_end": drop.final if done else np.nan,
                "llc_drop": drop.drop if done else np.nan,
                "width_llc": of_llc.sel(seed=seed).item() if done else np.nan,
                "width_test": of_test.sel(seed=seed).item() if done else np.nan,
            }
        )
    return rows, curves


def content_of(name: str, found: xr.Dataset) -> dict[str, Any]:
    """Return what was found of one quantity, as plain data."""
    laws = {}
    for law in found.law.values.tolist():
        one = found.sel(law=law)
        parameters = {
            p: [float(one[f"parameter_{end}"].sel(parameter=p)) for end in ("value", "low", "high")]
            for p in found.parameter.values.tolist()
            if np.isfinite(one.parameter_value.sel(parameter=p))
        }
        numbers = ("aicc", "aicc_weight", "bic", "prediction_error", "lack_of_fit")
        laws[law] = {"formula": str(one.formula.values), **parameters, **{key: float(one[key]) for key in numbers}}
    seeds = dict(zip(found.modulus.values.astype(int).tolist(), found.seeds.values.tolist(), strict=True))
    return {"quantity": name.replace("\n", " "), **found.attrs, "seeds_by_modulus": seeds, "laws": laws}


def main(paths: list[Path], out: Path) -> None:
    """Read, compare, draw, write."""
    runs, notes = runs_below(paths)
    console = Console(width=150, highlight=False, soft_wrap=True)
    out.mkdir(parents=True, exist_ok=True)
    groups: dict[str, Any] = {}
    for number, (name, members) in enumerate(grouped(runs, ["modulus"]).items()):
        found_of_runs = [rows_of(run) for run in members]
        table = pd.DataFrame([row for rows, _ in found_of_runs for row in rows])
        collapsed = collapse([curve for _, curves in found_of_runs for curve in curves])
        measured: dict[str, xr.Dataset] = {}
        without = []
        for column, measure in (*((c, scaling) for c in SCALED), *((c, sharpness) for c in WIDTHS)):
            try:
                measured[column] = measure(table, column, size="modulus")
            except SltGrokError as error:
                without.append(f"{column}: {error}")
        texts = SCALED | WIDTHS
        groups[name] = {column: content_of(texts[column], found) for column, found in measured.items()}
        groups[name] |= {"without_a_value": without, "collapse_of_test_accuracy": dict(collapsed.attrs)}
        console.print(f"{name}, collapse: {collapsed.attrs['verdict']}: {collapsed.attrs['reason']}")
        for column, found in measured.items():
            console.print(f"{name}, {column}: {found.attrs['verdict']}: {found.attrs['reason']}")
            for note in found.attrs["notes"]:
                console.print(f"  {note}")
        for sentence in without:
            console.print(f"{name}, {sentence}")
        figure = finite_size(list(measured.values()), [texts[column] for column in measured])
        picture(figure, out, "finite_size" if number == 0 else f"finite_size_{number + 1}")
    command = " ".join(["python analyses/finite_size.py", *map(below_runs, paths)])
    content = {"command": command, "groups": groups, "not_used": notes, "environment": environment()}
    write_json(out / "finite_size.json", plain(content))
    for sentence in notes:
        console.print(f"not used: {sentence}")


if __name__ == "__main__":
    command_line(main, __doc__, "PATH")

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
from runs_below import below_runs, command_line, config_of, grouped, llc_settings, picture, plain, runs_below
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


MEASURES = {"width_llc": "llc", "width_test": "test_accuracy"}


def rows_of(run: RunDirectory) -> tuple[list[dict[str, Any]], list[SizedCurve]]:
    """Return a row for each seed, NaN where it has no such number; and its test accuracy over training."""
    config, data = config_of(run), {label: run.read_measurement(label) for label in ("training", "llc")}
    events, curves = transitions.measure(data, **config["transitions"]), Curves(data)
    rows, accuracies = [], []
    for seed in events.seed.values.tolist():
        network = events.sel(seed=seed)
        drop, accuracy = llc_drop(curves.get("llc", seed)), curves.get("test_accuracy", seed)
        row = {"llc_end": drop.final, "llc_drop": drop.drop, "width_llc": np.nan}
        row |= {name: widths(network, m).item() for name, m in MEASURES.items() if m in network.measure}
        middle = network.transition_middle.sel(measure="test_accuracy").item()
        if np.isnan(network.generalization_step):
            row, middle = dict.fromkeys(row, np.nan), np.nan
        size = config["task"]["modulus"]
        accuracies.append(SizedCurve(size, seed, accuracy.steps, accuracy.values, middle))
        rows.append({"modulus": size, "seed": seed, "llc_peak": drop.peak, **row})
    return rows, accuracies


def content_of(name: str, comparison: xr.Dataset) -> dict[str, Any]:
    """Return the comparison of laws of one quantity as plain data."""
    numbers = ["aicc", "aicc_weight", "bic", "prediction_error", "lack_of_fit"]
    laws = {}
    for name_of_law in comparison.law.values.tolist():
        law = comparison.sel(law=name_of_law)
        table = law[["parameter_value", "parameter_low", "parameter_high"]].reset_coords(drop=True).to_dataframe()
        parameters = {str(p): row.tolist() for p, row in table.dropna(subset="parameter_value").iterrows()}
        laws[name_of_law] = {"formula": law.formula.item(), **parameters, **{n: law[n].item() for n in numbers}}
    seeds = dict(zip(comparison.modulus.values.astype(int).tolist(), comparison.seeds.values.tolist(), strict=True))
    return {"quantity": name.replace("\n", " "), **comparison.attrs, "seeds_by_modulus": seeds, "laws": laws}


def main(paths: list[Path], out: Path) -> None:
    """Read, compare, draw, write."""
    runs, notes = runs_below(paths)
    console = Console(width=150, highlight=False, soft_wrap=True)
    out.mkdir(parents=True, exist_ok=True)
    groups: dict[str, Any] = {}
    texts = SCALED | WIDTHS
    for number, (name, members) in enumerate(grouped(runs, ["modulus"]).items()):
        results = [rows_of(run) for run in members]
        table = pd.DataFrame([row for rows, _ in results for row in rows])
        collapsed = collapse([curve for _, curves in results for curve in curves])
        measured: dict[str, xr.Dataset] = {}
        missing = []
        for column in texts:
            try:
                measured[column] = (scaling if column in SCALED else sharpness)(table, column, size="modulus")
            except SltGrokError as error:
                missing.append(f"{column}: {error}")
        groups[name] = {column: content_of(texts[column], laws) for column, laws in measured.items()}
        groups[name] |= {"without_a_value": missing, "collapse_of_test_accuracy": dict(collapsed.attrs)}
        for column, attrs in {"collapse": collapsed.attrs, **{c: laws.attrs for c, laws in measured.items()}}.items():
            console.print(f"{name}, {column}: {attrs['verdict']}: {attrs['reason']}")
            for note in attrs["notes"] if column in measured else ():
                console.print(f"  {note}")
        for sentence in missing:
            console.print(f"{name}, {sentence}")
        figure = finite_size(list(measured.values()), [texts[column] for column in measured])
        picture(figure, out, "finite_size" if number == 0 else f"finite_size_{number + 1}")
    command = " ".join(["python analyses/finite_size.py", *map(below_runs, paths)])
    content = {"command": command, "llc_settings": llc_settings(paths), "groups": groups, "not_used": notes}
    write_json(out / "finite_size.json", plain(content | {"environment": environment()}))
    for sentence in notes:
        console.print(f"not used: {sentence}")


if __name__ == "__main__":
    command_line(main, __doc__, "PATH")

"""Keep what the LLC of a run owes to temperature, window, gauge and weight scale, under analyses/results/.

Usage: python analyses/llc_controls.py runs/quickstart [...]
The run has been measured by: slt-grok measure RUN --only temperature (likewise window, gauge, confound); those that are
missing are omitted. Writes NAME_llc_controls.json with the sentences and tables of each, and their figures.
"""

import shutil
import sys
from pathlib import Path
from typing import Any

from runs_below import RESULTS

from slt_grok.measurement import Measurement
from slt_grok.store.files import write_json
from slt_grok.studies.run import Run

CONTROLS = ("temperature", "window", "gauge", "confound")


def controls(run: Run) -> dict[str, Any]:
    """Collect the sentences, tables and settings of each control that was measured."""
    found = {}
    for kind in (kind() for kind in Measurement.all() if kind.name in CONTROLS and kind.name in run.data):
        tables = [
            {"caption": table.caption, "header": list(table.header), "rows": [list(row) for row in table.rows]}
            for table in kind.tables(run.data)
        ]
        found[kind.name] = {
            "command": f"slt-grok measure runs/{run.config.name} --only {kind.name}",
            "notes": list(kind.notes(run.data)),
            "tables": tables,
            "columns": kind.columns(run.data[kind.name].isel(seed=0)) if run.data[kind.name].sizes["seed"] == 1 else {},
            "stage": run.manifest["stages"][kind.name],
        }
    return found


def record(folder: Path) -> Path:
    """Write the JSON and copy the figures of one run."""
    run = Run(folder)
    name = run.config.name
    found = controls(run)
    path = RESULTS / f"{name}_llc_controls.json"
    content = {"command": f"python analyses/llc_controls.py runs/{name}", "environment": run.manifest["environment"]}
    write_json(path, content | {"controls": found})
    for label in found:
        figure = folder / "figures" / f"{label}.png"
        if figure.is_file():
            shutil.copyfile(figure, RESULTS / f"{name}_{label}.png")
    return path


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        print(record(Path(argument)))

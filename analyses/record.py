"""Keep what a finished run found, with the command and the provenance that made it, under analyses/results/.

Usage: python analyses/record.py runs/quickstart
"""

import json
import shutil
import sys
from pathlib import Path

from runs_below import RESULTS, config_of

from slt_grok.store import RunDirectory
from slt_grok.store.files import read_json, write_json

ROOT = Path(__file__).parents[1]


def record(run: Path) -> Path:
    """Write `results/NAME.json`, and the phase-transition figure; return the JSON's path."""
    directory = RunDirectory(run)
    summary = directory.read_result("summary.json")
    manifest, settings = directory.manifest, config_of(directory)
    name = settings["name"]
    config = next((ROOT / "configs").rglob(f"{name}.yaml")).relative_to(ROOT)
    content = {
        "command": f"slt-grok run {config}",
        "summary": summary,
        "llc_setting": llc_setting(directory),
        "stages": manifest["stages"],
        "wall_seconds": round(sum(stage.get("wall_seconds", 0) for stage in manifest["stages"].values()), 1),
        "environment": manifest["environment"],
        "config": settings,
    }
    path = RESULTS / f"{name}.json"
    write_json(path, content)
    shutil.copyfile(run / "figures" / "phase_transition.png", RESULTS / f"{name}_phase_transition.png")
    return path


def llc_setting(directory: RunDirectory) -> dict[str, float]:
    """Read the numbers that the LLC's values refer to, where the configuration may have a rule."""
    llc = directory.read_measurement("llc")
    return {key: float(llc.attrs[key]) for key in ("n_beta", "gamma", "n", "dimension")}


if __name__ == "__main__":
    for folder in sys.argv[1:]:
        written = record(Path(folder))
        print(written, json.dumps(read_json(written)["wall_seconds"]), "s")

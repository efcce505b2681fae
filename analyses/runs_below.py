"""What the scripts share: the runs that they are given, and how results are written."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from slt_grok import plots
from slt_grok.config import parse_config
from slt_grok.errors import SltGrokError
from slt_grok.store import RunDirectory
from slt_grok.store.files import read_json

RESULTS = Path(__file__).parent / "results"
OF_A_RUN = ("split_seed", "table_seed", "train_rows", "steps", "checkpoints", "evaluate_every", "stop")


def config_of(run: RunDirectory) -> dict[str, Any]:
    """Return a run's configuration as plain data, complete with defaults."""
    return parse_config(run.manifest["config"], str(run.path / "manifest.json")).model_dump(mode="json")


def runs_below(paths: Sequence[Path]) -> tuple[list[RunDirectory], list[str]]:
    """Run directories with training and LLC measured, and a sentence for each one that cannot be used.

    Raises
    ------
    SltGrokError
        A path with no run in it, or no run that can be used.
    """
    found, notes = [], []
    for path in paths:
        manifests = (
            [path / "manifest.json"] if (path / "manifest.json").exists() else sorted(path.rglob("manifest.json"))
        )
        if not manifests:
            raise SltGrokError(f"{path}: expected a run directory or a folder with some")
        if (path / "study.json").exists():
            notes += [
                f"{run['run']}: {run['status']}" + (f", {run['reason']}" if run.get("reason") else "")
                for run in read_json(path / "study.json")["runs"]
                if run["status"] != "available"
            ]
        for manifest in manifests:
            run = RunDirectory(manifest.parent)
            missing = [label for label in ("training", "llc") if label not in run.labels]
            if missing:
                notes.append(f"{run.path.name}: {' and '.join(missing)} not measured")
            else:
                found.append(run)
    if not found:
        raise SltGrokError(f"expected a run with training and llc measured, there is none: {'; '.join(notes)}")
    return found, notes


def llc_settings(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Return each n_beta and gamma that the LLCs of the runs below some paths were configured with."""
    runs = [RunDirectory(manifest.parent) for path in paths for manifest in sorted(path.rglob("manifest.json"))]
    configured = [config_of(run)["llc"] for run in runs if "llc" in run.labels]
    settings = [{key: llc[key] for key in ("n_beta", "gamma")} for llc in configured if llc]
    return [one for i, one in enumerate(settings) if one not in settings[:i]]


def grouped(runs: Sequence[RunDirectory], without: Sequence[str]) -> dict[str, list[RunDirectory]]:
    """Return the runs in groups of the same task, model and training, except for some keys of the task.

    Seeds of splits and tables, the length of the training and what is kept of it do not count either. A group has the
    name of its first run; its runs may differ in how they were measured.
    """
    groups: dict[str, list[RunDirectory]] = {}
    for run in runs:
        config = config_of(run)
        task, training = (
            {key: value for key, value in (config[part] or {}).items() if key not in (*without, *OF_A_RUN)}
            for part in ("task", "training")
        )
        groups.setdefault(json.dumps([task, config["model"], training], sort_keys=True), []).append(run)
    names: dict[str, list[RunDirectory]] = {}
    for members in groups.values():
        name = config_of(members[0])["name"]
        names[name if name not in names else f"{name} ({len(names) + 1})"] = members
    return names


def plain(value: Any) -> Any:
    """Return data that JSON can hold: what is not finite is None."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, float):
        return value if abs(value) != float("inf") and value == value else None
    return value


def picture(figure: Figure, folder: Path, name: str) -> Path:
    """Write a figure as `folder/name.png` and return its path."""
    return plots.save(figure, folder, name, ["png"])[0]


def below_runs(path: Path) -> str:
    """Return the path from the folder `runs` on, which is the same on every machine."""
    parts = path.resolve().parts
    return str(Path(*parts[parts.index("runs") :])) if "runs" in parts else path.name


def command_line(main: Callable[[list[Path], Path], None], doc: str | None, metavar: str = "RUN") -> None:
    """Run a script on the paths that it is given, with `--out FOLDER`; bad input ends it with one sentence."""
    parser = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    parser.add_argument("paths", nargs="+", type=Path, metavar=metavar)
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="FOLDER")
    arguments = parser.parse_args()
    try:
        main(arguments.paths, arguments.out)
    except SltGrokError as error:
        sys.exit(str(error))

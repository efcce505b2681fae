"""A study from its file to its table: plan, say the cost, run what is missing, collect."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.table import Table

from slt_grok.progress import announce, console, progress
from slt_grok.store import RunDirectory
from slt_grok.store.files import write_json
from slt_grok.studies.costs import Costs, makespan
from slt_grok.studies.grid import PlannedRun, Study, load_study_file
from slt_grok.studies.lock import locked
from slt_grok.studies.provenance import environment
from slt_grok.studies.results import INDEX, TABLE
from slt_grok.studies.scheduler import cores, current_runs, missing_runs, run_missing, state
from slt_grok.studies.table import make_table, write_table
from slt_grok.studies.worker import failures

SHOWN = ("training", "circuits", "landscape", "llc")


def run_study(file: Path, out: Path | None, workers: int | None, only_plan: bool) -> tuple[Path, bool]:
    """Plan a study, run what is missing of it and write its table; return the table's path and whether all went well.

    Parameters
    ----------
    file : Path
        See `slt_grok.studies.grid`.
    out : Path or None
        The study's directory; runs/NAME where left out.
    workers : int or None
        Processes at a time; one a core where left out.
    only_plan : bool
        Stop after the plan.

    Raises
    ------
    SltGrokError
        The study's file is wrong, another process works on the study, or a file cannot be written.
    """
    study = load_study_file(file)
    folder = out or Path("runs") / study.name
    workers = workers or cores()
    with locked(folder):
        costs = Costs(folder / "costs.json")
        runs, missing = current_runs(study, folder), missing_runs(study, folder)
        costs.time(missing)
        console.print(plan_table(study, folder, costs))
        left = {run.name: costs.total(run, _stages(run, folder)) for run in missing}
        seconds, span = sum(left.values()), makespan(list(left.values()), workers)
        announce(
            study.name,
            f"{len(missing)} of {len(runs)} runs to make, about {seconds / 60:.0f} core-minutes, "
            f"{span / 60:.0f} min by {workers} processes",
        )
        for reason in dict.fromkeys(run.reason for run in study.runs if run.reason):
            console.print(f"refused: {reason}", style="red", soft_wrap=True, markup=False)
        if only_plan:
            return folder / TABLE, True
        if missing:
            with progress(study.name, round(seconds), "predicted seconds") as report:
                run_missing(study, folder, workers, lambda run: left.get(run.name, costs.total(run)), report)
        table = make_table(study, folder)
        write_table(table, folder / TABLE)
        write_json(folder / INDEX, _index(study, file, folder))
    wrong = table.loc[table.status != "done"]
    for _, row in wrong.drop_duplicates(["run", "reason"]).iterrows():
        console.print(f"{row.run}: {row.status}: {row.reason}", style="red", soft_wrap=True, markup=False)
    return folder / TABLE, wrong.empty


def plan_table(study: Study, folder: Path, costs: Costs) -> Table:
    """Return a row for each point of each arm.

    Its settings, seeds, the states of its runs, and their predicted cost.
    """
    points: dict[str, list[PlannedRun]] = {}
    for run in current_runs(study, folder):
        points.setdefault(json.dumps([run.arm, run.varied], default=str), []).append(run)
    table = Table(title=f"{study.name}: predicted seconds on one thread", box=box.SIMPLE, padding=(0, 1, 0, 0))
    for column in ("arm", "settings", "seeds", "runs"):
        table.add_column(column, no_wrap=True)
    for column in (*SHOWN, "all"):
        table.add_column(column, justify="right")
    for runs in points.values():
        settings = "\n".join(f"{key.rpartition('.')[2]}={value}" for key, value in runs[0].varied.items())
        seeds = sorted(seed for run in runs for seed in run.seeds)
        states = Counter(state(run, folder) for run in runs)
        parts = [costs.of(run) for run in runs]
        numbers = [f"{sum(part[stage] for part in parts):.0f}" if stage in parts[0] else "" for stage in SHOWN]
        table.add_row(
            runs[0].arm,
            settings,
            _ranges(seeds),
            "\n".join(f"{count} {word}" for word, count in states.items()),
            *numbers,
            f"{sum(map(costs.total, runs)):.0f}" if parts[0] else "?",
        )
    return table


def _stages(run: PlannedRun, folder: Path) -> list[str]:
    directory = RunDirectory(folder / run.name)
    return list(directory.manifest["stages"]) if directory.exists else []


def _ranges(seeds: Sequence[int]) -> str:
    """0-4, 7."""
    ends = [seed for seed in seeds if seed - 1 not in seeds], [seed for seed in seeds if seed + 1 not in seeds]
    return ", ".join(f"{first}-{last}" if last > first else str(first) for first, last in zip(*ends, strict=True))


def _index(study: Study, file: Path, folder: Path) -> dict[str, object]:
    runs = [
        {
            "arm": run.arm,
            "run": run.name,
            "seeds": run.seeds,
            "varied": run.varied,
            "status": state(run, folder),
            "reason": run.reason,
            "failures": failures(folder / run.name),
        }
        for run in current_runs(study, folder)
    ]
    return {"name": study.name, "file": file.read_text(), "environment": environment(), "runs": runs}

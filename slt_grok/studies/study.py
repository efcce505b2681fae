"""A study from file to table: plan, predict the cost, execute the missing runs, collect the results."""

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
from slt_grok.studies.scheduler import cores, current_runs, execute_runs, is_started, pending_runs, status
from slt_grok.studies.table import build_table, write_table
from slt_grok.studies.worker import failures


def run_study(file: Path, out: Path | None, workers: int | None, only_plan: bool) -> tuple[Path, bool]:
    """Plan a study, execute its missing runs and write the table; return its path and whether everything succeeded.

    Parameters
    ----------
    file : Path
        The study's YAML file; see `slt_grok.studies.grid`.
    out : Path, optional
        The study's directory; runs/NAME by default.
    workers : int, optional
        Number of concurrent processes; one per core by default.
    only_plan : bool
        Whether to stop after the plan, which succeeds if no settings are rejected.

    Raises
    ------
    SltGrokError
        The study's file is invalid, another process is working on the study, or a file cannot be written.
    """
    study = load_study_file(file)
    folder = out or Path("runs") / study.name
    workers = workers or cores()
    with locked(folder):
        costs = Costs(folder / "costs.json")
        runs, pending = current_runs(study, folder), pending_runs(study, folder)
        costs.measure(pending)
        console.print(plan_table(study, folder, costs))
        predicted = {run.name: costs.total(run, _stages(run, folder)) for run in pending}
        seconds, span = sum(predicted.values()), makespan(list(predicted.values()), workers)
        announce(
            study.name,
            f"{len(pending)} of {len(runs)} runs to execute, about {seconds / 60:.0f} min of one core, "
            f"{span / 60:.0f} min with {workers} at a time",
        )
        failed = [f"{file}: arms.{run.arm}: {costs.refused[run.name]}" for run in runs if run.name in costs.refused]
        reasons = dict.fromkeys([*(run.reason for run in runs if run.reason), *failed])
        for reason in reasons:
            console.print(f"refused: {reason}", style="red", soft_wrap=True, markup=False)
        if only_plan:
            return folder / TABLE, not reasons
        if pending:
            with progress(study.name, round(seconds), "predicted seconds") as bar:
                execute_runs(study, folder, workers, lambda run: predicted.get(run.name, costs.total(run)), bar)
        table = build_table(study, folder)
        write_table(table, folder / TABLE)
        write_json(folder / INDEX, _index(study, file, folder))
    unavailable = table.loc[table.status != "available"]
    for _, row in unavailable.drop_duplicates(["run", "reason"]).iterrows():
        console.print(f"{row.run}: {row.status}: {row.reason}", style="red", soft_wrap=True, markup=False)
    return folder / TABLE, unavailable.empty


def plan_table(study: Study, folder: Path, costs: Costs) -> Table:
    """Tabulate each point of each arm: its settings, seeds, run statuses and predicted cost."""
    runs = current_runs(study, folder)
    parts = {run.name: costs.by_stage(run) for run in runs}
    stages = list(dict.fromkeys(stage for part in parts.values() for stage in part))
    points: dict[str, list[PlannedRun]] = {}
    for run in runs:
        points.setdefault(json.dumps([run.arm, run.varied], default=str), []).append(run)
    table = Table(title=f"{study.name}: predicted seconds on one thread", box=box.SIMPLE, padding=(0, 1, 0, 0))
    for column in ("arm", "settings", "seeds", "runs"):
        table.add_column(column, no_wrap=True)
    for column in (*stages, "all"):
        table.add_column(column, justify="right")
    for point in points.values():
        first, predicted = point[0], [sum(parts[run.name].get(stage, 0.0) for run in point) for stage in stages]
        table.add_row(
            first.arm,
            "\n".join(f"{key.rpartition('.')[2]}={value}" for key, value in first.varied.items()),
            _ranges(sorted(seed for run in point for seed in run.seeds)),
            "\n".join(f"{count} {word}" for word, count in Counter(status(run, folder) for run in point).items()),
            *(f"{seconds:.0f}" if seconds else "" for seconds in predicted),
            f"{sum(map(costs.total, point)):.0f}" if parts[first.name] else "?",
        )
    return table


def _stages(run: PlannedRun, folder: Path) -> list[str]:
    if not is_started(run, folder):
        return []
    directory = RunDirectory(folder / run.name)
    return list(directory.manifest["stages"]) if directory.exists else []


def _ranges(seeds: Sequence[int]) -> str:
    """Format numbers as ranges, such as `0-4, 7`."""
    all_ = set(seeds)
    ends = [seed for seed in seeds if seed - 1 not in all_], [seed for seed in seeds if seed + 1 not in all_]
    return ", ".join(f"{first}-{last}" if last > first else str(first) for first, last in zip(*ends, strict=True))


def _index(study: Study, file: Path, folder: Path) -> dict[str, object]:
    runs = [
        {
            "arm": run.arm,
            "run": run.name,
            "seeds": run.seeds,
            "varied": run.varied,
            "status": status(run, folder),
            "reason": run.reason,
            "failures": failures(folder / run.name),
        }
        for run in current_runs(study, folder)
    ]
    return {"name": study.name, "file": file.read_text(), "environment": environment(), "runs": runs}

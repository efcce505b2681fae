"""`slt-grok validate`: the zoo as a table on the terminal and as a JSON file."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from slt_grok.errors import SltGrokError
from slt_grok.progress import progress
from slt_grok.store.files import write_json
from slt_grok.zoo.cases import ZOO
from slt_grok.zoo.validation import Row, summarize, validate

SEEDS = (0, 1, 2)
COLUMNS = ("case", "seed", "truth", "m", "estimate", "95% interval", "error", "with m", "status", "seconds")


def run(cases: Sequence[str], seed: int | None, json: Path | None, command: str) -> None:
    """Run the validation, print the table and write the file.

    Parameters
    ----------
    cases : Sequence[str]
        Names of the cases; the entire zoo if empty.
    seed : int or None
        Seed; by default, 0 to 2 for the entire zoo and 0 for chosen cases.
    json : Path or None
        File to write {summary, cases} to.
    command : str
        The command line, recorded in the file.

    Raises
    ------
    SltGrokError
        A case cannot be parsed, or the file cannot be written.
    """
    if json is not None and (json.is_dir() or not json.resolve().parent.is_dir()):
        raise SltGrokError(f"--json: expected a file in a folder that exists, got {json}")
    seeds = [seed] if seed is not None else [0] if cases else list(SEEDS)
    cases, start, done = list(dict.fromkeys(cases)) or ZOO, time.monotonic(), []
    total = len(cases) * len(seeds)
    with progress("validate", total, "cases") as report:

        def on_row(row: Row) -> None:
            done.append(row)
            report(len(done) / total, f"{row['case']}: {_percent(row['relative_error'])}, {row['status']}")

        rows = validate(cases, seeds, on_row)
    summary = summarize(rows) | {"wall_seconds": round(time.monotonic() - start, 1)}
    _print(rows, summary)
    if json is not None:
        from slt_grok.studies.provenance import environment

        write_json(json, {"summary": summary | {"command": command, "environment": environment()}, "cases": rows})


def _print(rows: Sequence[Row], summary: dict[str, Any]) -> None:
    """Print a table on a terminal, or else aligned plain lines."""
    console, cells = Console(highlight=False), [_cells(row) for row in rows]
    if console.is_terminal:
        table = Table(*COLUMNS)
        for row in cells:
            table.add_row(*row)
        console.print(table)
    else:
        widths = [max(map(len, column)) for column in zip(COLUMNS, *cells, strict=True)]
        for row in (COLUMNS, *cells):
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print(
        f"error over {summary['aggregate_cases']} regular, deep-linear and modular cases: "
        f"median {_percent(summary['median_abs_relative_error'])}, p90 {_percent(summary['p90_abs_relative_error'])}; "
        f"{summary['failed']} failed"
    )
    print(
        f"converged: {summary['converged']}, {_percent(summary['converged_outside'])} outside their 95% interval, all "
        f"within {_percent(summary['converged_max_abs_relative_error'])}, median half-width "
        f"{_percent(summary['median_half_width'])}; approximate: {summary['approximate']}, "
        f"{_percent(summary['approximate_outside'])} outside; flagged: {_percent(summary['flagged_share'])}; "
        f"{summary['wall_seconds']:.0f} s"
    )


def _cells(row: Row) -> list[str]:
    facts = [row["case"], str(row["seed"]), f"{row['truth']:.4g}", str(row["multiplicity"])]
    if row["failed"]:
        return [*facts, "-", "-", "-", "-", f"failed ({row['reason']})", f"{row['seconds']:.1f}"]
    return [
        *facts,
        f"{row['estimate']:.4g}",
        f"{row['low']:.4g} to {row['high']:.4g}",
        _percent(row["relative_error"]),
        _percent(row["relative_error_with_multiplicity"]) if row["multiplicity"] > 1 else "",
        row["status"],
        f"{row['seconds']:.1f}",
    ]


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}%"

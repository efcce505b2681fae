"""Validate the estimator on the zoo: cases x seeds over worker processes, with a summary."""

import multiprocessing
import os
import statistics
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import resource_tracker
from typing import Any

import numpy as np

from slt_grok.errors import SltGrokError
from slt_grok.memory import keep_freed_memory
from slt_grok.processes import end_with_parent, uninterrupted
from slt_grok.zoo.cases import parse
from slt_grok.zoo.measure import failure, measure

WORKERS = 2
CLOSE = 0.05  # relative error below which a converged estimate counts as correct
AGGREGATE = ("regular", "deep linear", "modular")  # families included in the aggregate errors

Row = dict[str, Any]


def validate(cases: Sequence[str], seeds: Sequence[int], on_row: Callable[[Row], None] = lambda row: None) -> list[Row]:
    """Measure every case with every seed, on up to two processes of one thread each.

    Parameters
    ----------
    cases : Sequence[str]
        Names of the cases, see `slt_grok.zoo.cases.parse`.
    seeds : Sequence[int]
        Seeds of the problems and the chains; each row depends only on its case and seed.
    on_row : callable, optional
        Called with each row when it is finished.

    Returns
    -------
    list[Row]
        Rows of `slt_grok.zoo.measure.measure`, ordered by case, then seed.

    Raises
    ------
    SltGrokError
        There is no case or seed, or a case cannot be parsed; checked before anything is measured.
    """
    tasks = [(case, seed) for seed in seeds for case in cases]
    if not tasks:
        raise SltGrokError("validate: expected at least one case and one seed")
    for case in cases:
        parse(case)
    rows = {}
    workers = min(WORKERS, os.cpu_count() or 1, len(tasks))
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start_worker) as pool:
        resource_tracker.ensure_running()  # started later, it would end `uninterrupted`
        with uninterrupted():
            futures = {pool.submit(measure, *task): task for task in tasks}
        try:
            for future in as_completed(futures):
                task = futures[future]
                try:
                    rows[task] = future.result()
                except BrokenProcessPool:
                    rows[task] = failure(*task, "the process was killed")
                on_row(rows[task])
        except KeyboardInterrupt:
            for process in multiprocessing.active_children():  # otherwise the pool waits for them
                process.terminate()
            raise
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    return [rows[case, seed] for case in dict.fromkeys(cases) for seed in dict.fromkeys(seeds)]


def _start_worker() -> None:
    import torch

    end_with_parent()
    torch.set_num_threads(1)
    keep_freed_memory()


def summarize(rows: Sequence[Row]) -> dict[str, Any]:
    """Summarize the errors, statuses and coverage of some rows; a number without any row is None.

    Relative errors are |estimate / truth - 1|. `median_abs_relative_error` and `p90_abs_relative_error` are over the
    regular, deep-linear and modular cases (`aggregate_scope`), for raw estimates; the same errors with the known
    multiplicity correction are also reported. `converged_outside` is the fraction of converged cases, of any
    multiplicity, whose 95% interval misses the truth, `converged_max_abs_relative_error` the largest error of any of
    them; `approximate_outside` is the same fraction for the other trusted cases, and `coverage` that inside over both.
    """
    measured = [row for row in rows if not row["failed"]]
    scope = [row for row in measured if row["family"].startswith(AGGREGATE)]
    trusted = [row for row in measured if not row["flagged"]]
    converged = [row for row in trusted if row["converged"]]
    approximate = [row for row in trusted if not row["converged"]]
    simple = [row for row in converged if row["multiplicity"] == 1]
    widths = [(row["high"] - row["low"]) / 2 / abs(row["truth"]) for row in converged]
    families = dict.fromkeys(row["family"] for row in rows)
    return {
        **_errors(scope),
        "aggregate_scope": f"all cases of the families {', '.join(AGGREGATE)}, raw estimates",
        "aggregate_cases": len(scope),
        "failed": sum(row["failed"] for row in rows),
        "flagged_share": statistics.fmean(row["flagged"] for row in rows),
        "converged": len(converged),
        "converged_outside": _mean([not row["covered"] for row in converged]),
        "converged_max_abs_relative_error": max((abs(row["relative_error"]) for row in converged), default=None),
        "approximate": len(approximate),
        "approximate_outside": _mean([not row["covered"] for row in approximate]),
        "coverage": _mean([row["covered"] for row in trusted]),
        "coverage_scope": "cases with status converged or approximate, any multiplicity",
        "coverage_multiplicity_1": _mean([row["covered"] for row in trusted if row["multiplicity"] == 1]),
        "converged_within_5_percent": _mean([abs(row["relative_error"]) <= CLOSE for row in simple]),
        "converged_within_5_percent_scope": "cases with status converged and multiplicity 1",
        "median_half_width": statistics.median(widths) if widths else None,
        "median_half_width_scope": "half the 95% interval over the truth, cases with status converged",
        "cases": len(rows),
        "by_family": {family: _family([row for row in rows if row["family"] == family]) for family in families},
    }


def _family(rows: Sequence[Row]) -> dict[str, Any]:
    measured = [row for row in rows if not row["failed"]]
    errors = [abs(row["relative_error_with_multiplicity"]) for row in measured]
    return {
        "cases": len(rows),
        **_errors(measured),
        "max_abs_relative_error": max((abs(row["relative_error"]) for row in measured), default=None),
        "max_abs_relative_error_with_multiplicity": max(errors, default=None),
        "flagged": sum(row["flagged"] for row in rows),
        "failed": sum(row["failed"] for row in rows),
        "converged": sum(row["converged"] for row in rows),
        "covered_of_converged": sum(row["covered"] for row in rows if row["converged"]),
        "covered_of_trusted": sum(row["covered"] for row in rows if not row["flagged"]),
        "median_seconds": statistics.median(row["seconds"] for row in rows),
    }


def _errors(rows: Sequence[Row]) -> dict[str, float | None]:
    summary = {}
    for suffix in ("", "_with_multiplicity"):
        errors = [abs(row[f"relative_error{suffix}"]) for row in rows]
        summary[f"median_abs_relative_error{suffix}"] = float(np.median(errors)) if errors else None
        summary[f"p90_abs_relative_error{suffix}"] = float(np.quantile(errors, 0.9)) if errors else None
    return summary


def _mean(flags: Sequence[bool]) -> float | None:
    return statistics.fmean(flags) if flags else None

"""Rows of a study that a rule may use, and sentences about those that it may not."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from slt_grok.errors import SltGrokError
from slt_grok.llc.diagnostics import EXCLUDED
from slt_grok.studies.results import StudyResults

AT_THE_END = {"llc_final", "llc_drop"}  # of the last usable estimate, which claims require to be the last checkpoint's
TRAINED = 0.99  # train accuracy of a network that has memorized


def usable(
    study: StudyResults, columns: Sequence[str], outcome: str | None = "generalized", **settings: object
) -> tuple[pd.DataFrame, list[str]]:
    """Return the done rows with these settings, outcome and columns, and why the others are omitted.

    Raises
    ------
    SltGrokError
        No such arm or column in the study at all.
    """
    rows = study.rows(**settings)
    missing = [name for name in columns if name not in rows]
    if missing:
        raise SltGrokError(f"{study.path}: expected the columns {', '.join(missing)}, which its runs do not have")
    reasons = []
    for row in rows.to_dict("records"):
        where = f"{row['run']}, seed {row['seed']}"
        status = row.get("final.llc.llc_status")
        absent = [name for name in columns if pd.api.types.is_scalar(row[name]) and pd.isna(row[name])]
        if row["status"] != "available":
            reasons.append(f"{where}: {row['status']} ({row['reason']})")
        elif outcome is not None and row["outcome"] != outcome:
            reasons.append(f"{where}: {row['outcome']}, the rule wants {outcome}")
        elif absent:
            reasons.append(f"{where}: no {', '.join(absent)}")
        elif status in EXCLUDED and AT_THE_END & set(columns):
            reasons.append(f"{where}: the LLC at the end is {status}")
        else:
            reasons.append("")
    kept = np.array([not reason for reason in reasons], dtype=bool)
    return rows.loc[kept], [reason for reason in reasons if reason]


def keep(rows: pd.DataFrame, those: pd.Series | np.ndarray, why_not: str) -> tuple[pd.DataFrame, list[str]]:
    """Return some of the rows, and a sentence for each other one."""
    return rows.loc[those], [f"{row.run}, seed {row.seed}: {why_not}" for _, row in rows.loc[~those].iterrows()]


def by_setting(rows: pd.DataFrame, setting: str, values: str) -> dict[float, np.ndarray]:
    """Return the values of the seeds at each value of a setting, ascending."""
    return {
        float(size): of_size[values].to_numpy(dtype=float)  # pyright: ignore[reportArgumentType]
        for size, of_size in rows.groupby(rows[setting].astype(float))
    }

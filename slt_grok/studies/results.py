"""A finished study as a script sees it: the table, and the datasets of its runs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr

from slt_grok.errors import SltGrokError
from slt_grok.store import RunDirectory
from slt_grok.store.files import read_json
from slt_grok.studies.table import read_table

TABLE, INDEX = "table.parquet", "study.json"


@dataclass(frozen=True)
class StudyResults:
    """The results of a study.

    Parameters
    ----------
    path : Path
        Its directory.
    table : pandas.DataFrame
        A row for each seed of each run, see `slt_grok.studies.table`.
    index : dict
        `study.json`: name, the study's file, and of each run its arm, directory, seeds, varied settings, status.
    """

    path: Path
    table: pd.DataFrame
    index: dict[str, Any]

    def rows(self, **settings: Any) -> pd.DataFrame:
        """Return the rows whose columns have these values; a column with dots is passed as `**{"task.modulus": 53}`.

        Raises
        ------
        SltGrokError
            No such column or no such row.
        """
        rows = self.table
        for column, value in settings.items():
            if column not in rows:
                raise SltGrokError(f"{self.path / TABLE}: no such column: {column}")
            rows = rows.loc[rows[column] == value]
        if rows.empty:
            raise SltGrokError(f"{self.path / TABLE}: expected rows with {settings}, there are none")
        return rows

    def datasets(self, label: str, **settings: Any) -> dict[str, xr.Dataset]:
        """Return a measurement of the finished runs with these settings: directory -> dataset over (step, seed, ...).

        Raises
        ------
        SltGrokError
            As `rows`; none of them is finished, or one lacks the measurement.
        """
        rows = self.rows(**settings)
        names = rows.loc[rows.status == "available", "run"].unique().tolist()
        if not names:
            raise SltGrokError(f"{self.path}: expected a finished run with {settings}, there is none")
        return {name: RunDirectory(self.path / name).read_measurement(label) for name in names}

    def dataset(self, label: str, **settings: Any) -> xr.Dataset:
        """Return the same as one dataset over all seeds, for settings that single out one point of the grid.

        Raises
        ------
        SltGrokError
            As `datasets`, or the settings fit several points of the grid.
        """
        found = self.datasets(label, **settings)
        joined = xr.concat(list(found.values()), dim="seed", join="outer", combine_attrs="drop_conflicts")
        if joined.indexes["seed"].has_duplicates:
            raise SltGrokError(
                f"{self.path}: expected settings that single out one point of the grid, "
                f"{settings} fit the runs {', '.join(found)}"
            )
        return joined.sortby("seed")


def load_study(path: str | Path) -> StudyResults:
    """Return a study's table and datasets.

    Parameters
    ----------
    path : str or Path
        The study's directory, such as runs/seeds.

    Raises
    ------
    SltGrokError
        No study's directory, or a damaged file.
    """
    folder = Path(path)
    return StudyResults(folder, read_table(folder / TABLE), read_json(folder / INDEX))

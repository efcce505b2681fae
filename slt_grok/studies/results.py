"""Read access to a finished study: its table and the datasets of its runs."""

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
        The study's directory.
    table : pandas.DataFrame
        One row per seed of each run; see `slt_grok.studies.table`.
    index : dict
        Content of `study.json`: name and file of the study; arm, directory, seeds, varied settings and status per run.
    """

    path: Path
    table: pd.DataFrame
    index: dict[str, Any]

    def rows(self, **settings: Any) -> pd.DataFrame:
        """Select rows by column values; a column whose name has dots is passed as `**{"task.modulus": 53}`.

        Raises
        ------
        SltGrokError
            There is no such column or no matching row.
        """
        rows = self.table
        for column, value in settings.items():
            if column not in rows:
                raise SltGrokError(f"{self.path / TABLE}: no such column: {column}")
            rows = rows.loc[rows[column] == value]
        if rows.empty:
            raise SltGrokError(f"{self.path / TABLE}: no rows match {settings}")
        return rows

    def datasets(self, label: str, **settings: Any) -> dict[str, xr.Dataset]:
        """Load a measurement of the finished runs with these settings: directory -> dataset over (step, seed, ...).

        Raises
        ------
        SltGrokError
            As in `rows`; or no matching run is finished, or one of them lacks the measurement.
        """
        rows = self.rows(**settings)
        names = rows.loc[rows.status == "available", "run"].unique().tolist()
        if not names:
            raise SltGrokError(f"{self.path}: no finished run matches {settings}")
        return {name: RunDirectory(self.path / name).read_measurement(label) for name in names}

    def dataset(self, label: str, **settings: Any) -> xr.Dataset:
        """Load a measurement as one dataset over all seeds, for settings that identify one point of the grid.

        Raises
        ------
        SltGrokError
            As in `datasets`, or the settings match several points of the grid.
        """
        datasets = self.datasets(label, **settings)
        joined = xr.concat(list(datasets.values()), dim="seed", join="outer", combine_attrs="drop_conflicts")
        if joined.indexes["seed"].has_duplicates:
            raise SltGrokError(
                f"{self.path}: expected settings that identify one point of the grid, "
                f"{settings} match the runs {', '.join(datasets)}"
            )
        return joined.sortby("seed")


def load_study(path: str | Path) -> StudyResults:
    """Load a study's table and index; datasets are read on request.

    Parameters
    ----------
    path : str or Path
        The study's directory, such as `runs/seeds`.

    Raises
    ------
    SltGrokError
        Not a study's directory, or a file is damaged.
    """
    folder = Path(path)
    return StudyResults(folder, read_table(folder / TABLE), read_json(folder / INDEX))

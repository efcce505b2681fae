"""slt_grok: singular learning theory measured on networks that learn an algorithm.

>>> import slt_grok
>>> run = slt_grok.load("runs/quickstart")          # all measurements, as labeled datasets
>>> run["llc"].llc.sel(seed=0)                      # the LLC over training
>>> networks = slt_grok.trajectory("runs/quickstart")
>>> slt_grok.llc.estimate(networks.isel(step=-1), n_beta=30, gamma=100)
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import xarray as xr

    from slt_grok import circuits, landscape, llc, plots, transitions  # noqa: F401
    from slt_grok.studies.results import StudyResults
    from slt_grok.trajectories import Network, Trajectory  # noqa: F401

__version__ = "0.1.0"


def load(run: str | Path) -> "xr.DataTree":
    """Load everything measured in a run directory, as a tree with one dataset per measurement.

    Parameters
    ----------
    run : str or Path
        The run directory.

    Returns
    -------
    xarray.DataTree
        A tree whose children are `training`, `llc`, `circuits`, `landscape`, `transitions` and any others that are
        stored; `load(run)["llc"].llc` is an array over (step, seed).

    Raises
    ------
    SltGrokError
        The folder is not a run directory, or a file in it is corrupt.
    """
    import xarray as xr

    from slt_grok.store import RunDirectory

    directory = RunDirectory(run)
    manifest = directory.manifest
    tree = xr.DataTree.from_dict({label: directory.read_measurement(label) for label in directory.labels})
    tree.attrs["name"] = manifest["config"]["name"]
    return tree


def load_study(study: str | Path) -> "StudyResults":
    """Load the table of a study and the datasets of its runs, see `slt_grok.studies.results.StudyResults`.

    >>> study = slt_grok.load_study("runs/seeds")
    >>> study.table.groupby("arm").llc_final.describe()
    >>> study.dataset("llc", arm="main").llc            # over (step, seed)

    Raises
    ------
    SltGrokError
        The folder is not a study directory, or a file in it is corrupt.
    """
    from slt_grok.studies.results import load_study

    return load_study(study)


def trajectory(run: str | Path) -> "Trajectory":
    """Load the networks of a run directory, with all checkpoints stacked over (step, seed).

    Raises
    ------
    SltGrokError
        The folder is not a run directory, or a checkpoint in it is corrupt.
    """
    from slt_grok.studies.run import Run

    return Run(Path(run)).trajectory


def __getattr__(name: str) -> Any:
    """Import subpackages on first use, so that the command line starts fast."""
    if name in ("circuits", "landscape", "llc", "plots", "transitions"):
        return import_module(f"slt_grok.{name}")
    if name in ("Network", "Trajectory"):
        return getattr(import_module("slt_grok.trajectories"), name)
    raise AttributeError(f"module 'slt_grok' has no attribute {name!r}")

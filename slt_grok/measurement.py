"""What a measurement is: one object in one file, with all that anybody needs to know of it.

A `Result` is a dataset with a name: its variables with their definitions, its figures, its tables, its columns in a
study. A `Measurement` makes one from a trajectory, a `Derived` one from other datasets. The command line, the
configuration, the runner, the page and the table of a study iterate over `Result.registry` and know none by name.

>>> class WeightSum(Measurement):
...     name, title = "weight_sum", "Sum of weights"
...     variables = {"weight_sum": Variable((), "sum of weights", "sum of all parameters")}
...     def measure(self, trajectory, settings, context):
...         total = sum(w.flatten(1).sum(1) for w in trajectory.stacked().values())
...         return self.dataset(trajectory, {"weight_sum": total})
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
import xarray as xr

from slt_grok import settings as base
from slt_grok.errors import SltGrokError
from slt_grok.progress import ProgressCallback
from slt_grok.registry import Registered
from slt_grok.trajectories import Network, Trajectory

Data = Mapping[str, xr.Dataset]
"""The datasets of a run by label."""


class Variable(NamedTuple):
    """The declaration of a variable.

    Parameters
    ----------
    dims : tuple of str
        Dimensions besides those of the trajectory.
    long_name : str
        What it is called in tables and figures.
    definition : str
        Formula or rule.
    source : str, optional
        The publication that it comes from.
    units : str, optional
        Units; empty for a pure number.
    where : str, optional
        Which networks have it; empty where all do, so that its absence is an error.
    """

    dims: tuple[str, ...]
    long_name: str
    definition: str
    source: str = "this package"
    units: str = ""
    where: str = ""

    @property
    def attrs(self) -> dict[str, str]:
        """The attributes in a dataset."""
        attrs = {"long_name": self.long_name, "definition": self.definition, "source": self.source}
        return attrs | ({"units": self.units} if self.units else {})


class Table(NamedTuple):
    """A table on the page; `folded` ones open on demand."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    folded: bool = False


class Drawing(NamedTuple):
    """A figure on the page.

    Parameters
    ----------
    name : str
        Its file name.
    draw : callable
        `(dataset, *others, seed=...) -> Figure`; `seed` only where it is drawn by seed.
    caption : str
        What it shows and how to read it.
    variables : tuple of str, optional
        It is drawn where the dataset has all of these.
    others : tuple of str, optional
        Labels of further datasets that `draw` takes, None for one that the run lacks.
    by_seed : bool, optional
        Whether each seed has a figure.
    folded : bool, optional
        Whether it opens on demand.
    """

    name: str
    draw: Callable[..., Any]
    caption: str
    variables: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    by_seed: bool = True
    folded: bool = False


class Result(Registered, ABC):
    """A dataset with a name, as the page, a study's table and a script see it."""

    packages: ClassVar[tuple[str, ...]] = (
        "training", "llc", "circuits", "landscape", "interventions", "program", "transitions",
    )  # fmt: skip
    title: ClassVar[str] = ""
    """Heading on the page; without one it has no section there."""
    position: ClassVar[int] = 100
    """Place in a run and on the page: smaller comes first."""

    variables: ClassVar[Mapping[str, Variable]] = MappingProxyType({})
    """Every variable that the dataset may have."""

    def figures(self) -> Sequence[Drawing]:
        """Return the figures of the page."""
        return ()

    def notes(self, data: Data) -> Sequence[str]:
        """Return short sentences for the page: above all what a reader must not take for granted."""
        return ()

    def tables(self, data: Data) -> Sequence[Table]:
        """Return the tables of the page."""
        return ()

    def text(self, data: Data) -> str:
        """Return preformatted text for the page; empty for none."""
        return ""

    def columns(self, dataset: xr.Dataset) -> dict[str, Any]:
        """Return the columns of one seed in a study's table: by default the numbers of the last checkpoint."""
        return final_numbers(dataset, f"final.{self.name}")

    def check(self, dataset: xr.Dataset) -> xr.Dataset:
        """Return the dataset with the declared attributes.

        Raises
        ------
        SltGrokError
            It has a variable that is not declared, or lacks a declared one that every network has.
        """
        unknown = [str(name) for name in dataset.data_vars if name not in self.variables]
        absent = [name for name, v in self.variables.items() if not v.where and name not in dataset]
        if unknown or absent:
            wrong = (
                f"{unknown[0]} is measured and not declared" if unknown else f"{absent[0]} is declared, not measured"
            )
            raise SltGrokError(f"measurement {self.name}: expected exactly its declared variables, {wrong}")
        declared = {name: dataset[name].assign_attrs(self.variables[str(name)].attrs) for name in dataset.data_vars}
        return dataset.assign(declared)

    def dataset(self, trajectory: Trajectory, values: Mapping[str, Any], **coords: Any) -> xr.Dataset:
        """Return a dataset over the trajectory from values of shape (N, ...), with the declared dimensions."""
        arrays = {
            name: (self.variables[name].dims, value, self.variables[name].attrs) for name, value in values.items()
        }
        return trajectory.dataset(arrays, **coords)

    @classmethod
    def ordered(cls) -> list["Result"]:
        """Return one object of each class, in the order of `position`."""
        return sorted((kind() for kind in cls.all()), key=lambda result: (result.position, result.name))


class Derived(Result):
    """A dataset made from other datasets; it is made again whenever one of them may have changed."""

    @abstractmethod
    def derive(self, data: Data, config: Any) -> xr.Dataset | None:
        """Return the dataset, or None where what it is made from was not measured."""


class Context(Protocol):
    """What a measurement may ask of the run that it is made for."""

    config: Any

    def data(self, label: str) -> xr.Dataset | None:
        """Return another dataset of the run, None where there is none."""
        ...

    def milestones(self, seed: int) -> tuple[float, float]:
        """Return the steps at which a seed memorized and generalized; NaN where it did not or that is unknown."""
        ...

    def in_shards(
        self,
        trajectory: Trajectory,
        measure: Callable[[Trajectory, ProgressCallback], xr.Dataset],
        size: int,
        *,
        overlap: int = 0,
        part: str = "",
        span: tuple[float, float] = (0.0, 1.0),
        local: bool = False,
    ) -> xr.Dataset:
        """Measure `size` checkpoints at a time, in parallel, keeping each finished shard on disk until all are done.

        Parameters
        ----------
        trajectory : Trajectory
            Over (step, seed).
        measure : callable
            `(shard, on_progress) -> dataset` over the shard's coordinates.
        size, overlap : int
            Checkpoints of a shard, and how many before it the measurement needs to see; these are cut off again.
        part : str, optional
            Name of this part of a measurement that has several.
        span : tuple of float, optional
            Which stretch of the measurement's progress this part is.
        local : bool, optional
            Whether to measure in this process, one shard after the other.
        """
        ...

    def on_progress(self, fraction: float, note: str = "") -> None:
        """Report the fraction of the measurement that is done, with a current fact."""
        ...

    def announce(self, text: str) -> None:
        """Print a line that stays: what a piece of work is going to cost."""
        ...


class Measurement(Result):
    """A dataset made from a trajectory."""

    Settings: ClassVar[type[base.Settings]] = base.Settings
    """Its section of a configuration."""
    default: ClassVar[bool] = True
    """Whether a run makes it unasked; where False, a run makes it if its configuration has the section."""
    inherits: ClassVar[str] = ""
    """Label of a measurement whose settings hold where its own section says nothing."""

    @abstractmethod
    def measure(self, trajectory: Trajectory, settings: Any, context: Context) -> xr.Dataset:
        """Measure every network, or some: a dataset over (step, seed, ...)."""

    def unmeasurable(self, network: Network) -> str:
        """Return why networks of this kind cannot be measured; empty where they can."""
        return ""

    def seconds(self, one: Trajectory, settings: Any, checkpoints: int, context: Context) -> float:
        """Predict core-seconds for so many checkpoints of one seed, from a trial on a single network."""
        start = time.process_time()
        self.measure(one, settings, context)
        return (time.process_time() - start) * min(getattr(settings, "checkpoints", None) or checkpoints, checkpoints)


def final_numbers(dataset: xr.Dataset, prefix: str) -> dict[str, Any]:
    """Return every number of the last checkpoint, those along a short named dimension as PREFIX.VARIABLE.VALUE."""
    if "step" not in dataset.dims:
        return {}
    last = dataset.sortby("step").isel(step=-1)
    found: dict[str, Any] = {f"{prefix}.step": last.step.item()}
    for name, values in last.data_vars.items():
        if "step" not in dataset[name].dims:
            continue
        if values.dims == ("component",) and "total" in values.component:
            values = values.sel(component="total", drop=True)
        if values.dims == ():
            found[f"{prefix}.{name}"] = values.item()
        elif values.dims in (("split",), ("keeps",)):
            (dim,) = values.dims
            found |= {f"{prefix}.{name}.{of}": values.sel({dim: of}).item() for of in values[dim].values}
    return found


def evenly_spaced(steps: np.ndarray, count: int | None) -> list[int]:
    """Return the places of at most `count` checkpoints, every n-th, the last one among them; of all for None."""
    last = len(steps) - 1
    return np.unique(np.linspace(last, 0, last + 1 if count is None else count).round().astype(int)).tolist()

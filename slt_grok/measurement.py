"""Interface of a measurement: one object in one file that declares everything about it.

A `Result` is a named dataset: its variables with their definitions, its figures, its tables, its columns in a study. A
`Measurement` computes one from a trajectory, a `Derived` one from other datasets. The command line, the configuration,
the runner, the page and a study's table iterate over `Result.registry` and know no result by name.

>>> class WeightSum(Measurement):
...     name, title = "weight_sum", "Sum of weights"
...     variables = {"weight_sum": Variable((), "sum of weights", "sum of all parameters")}
...     def measure(self, trajectory, settings, context):
...         total = sum(w.reshape(len(w), -1).sum(1) for w in trajectory.stacked().values())
...         return self.dataset(trajectory, {"weight_sum": total})
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, Protocol, Self

import numpy as np
import xarray as xr

from slt_grok import settings as base
from slt_grok.errors import SltGrokError
from slt_grok.progress import ProgressCallback
from slt_grok.registry import Registered
from slt_grok.rules import Change
from slt_grok.trajectories import Network, Trajectory
from slt_grok.units import OF_LOSS

Data = Mapping[str, xr.Dataset]
"""The datasets of a run by label."""


class Variable(NamedTuple):
    """The declaration of a variable.

    Parameters
    ----------
    dims : tuple of str
        Dimensions in addition to those of the trajectory.
    long_name : str
        Name in tables and figures.
    definition : str
        Formula or rule.
    source : str, optional
        Publication of the definition.
    units : str, optional
        Units; empty for a pure number.
    where : str, optional
        Condition on networks that have the variable; if empty, all do, and its absence is an error.
    change : Change, optional
        Makes the variable's change an event that is compared with all others.
    of_loss : bool, optional
        Whether the units are those of the network's loss, followed by `units`, such as `/ weight²`.
    """

    dims: tuple[str, ...]
    long_name: str
    definition: str
    source: str = "this package"
    units: str = ""
    where: str = ""
    change: Change | None = None
    of_loss: bool = False

    @property
    def attrs(self) -> dict[str, str]:
        """The variable's attributes in a dataset."""
        attrs = {"long_name": self.long_name, "definition": self.definition, "source": self.source}
        return attrs | ({OF_LOSS if self.of_loss else "units": self.units} if self.units or self.of_loss else {})


def declare(variables: Mapping[str, Variable], values: Mapping[str, Any]) -> dict[str, tuple[Any, Any, Any]]:
    """Give values their declared dimensions and attributes, in the form that datasets take: name -> (dims, ...)."""
    return {name: (variables[name].dims, value, variables[name].attrs) for name, value in values.items()}


class Table(NamedTuple):
    """A table on the page.

    Parameters
    ----------
    caption : str
        Explains what the table shows.
    header : sequence of str
        Column names.
    rows : sequence of sequence of str
        The cells.
    folded : bool, optional
        Whether the table opens on demand.
    """

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    folded: bool = False


class Drawing(NamedTuple):
    """A figure on the page.

    Parameters
    ----------
    name : str
        File name of the figure.
    draw : callable
        `(dataset, *others, seed=...) -> Figure`; `seed` is passed only if there is one figure per seed.
    caption : str
        Explains what the figure shows and how to read it.
    variables : tuple of str, optional
        The figure is drawn only if the dataset has all of these.
    others : tuple of str, optional
        Labels of further datasets passed to `draw`, with None for any that the run lacks.
    by_seed : bool, optional
        Whether there is one figure per seed.
    folded : bool, optional
        Whether the figure opens on demand.
    """

    name: str
    draw: Callable[..., Any]
    caption: str
    variables: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    by_seed: bool = True
    folded: bool = False


class Result(Registered, ABC):
    """A named dataset, as used by the page, a study's table and scripts."""

    packages: ClassVar[tuple[str, ...]] = (
        "training", "llc", "circuits", "landscape", "program", "transitions",
    )  # fmt: skip
    title: ClassVar[str] = ""
    """Heading on the page; a result without a title has no section there."""
    position: ClassVar[int] = 100
    """Position in a run and on the page, in ascending order."""

    variables: ClassVar[Mapping[str, Variable]] = MappingProxyType({})
    """Every variable that the dataset may have."""

    def figures(self) -> Sequence[Drawing]:
        """List the figures for the page."""
        return ()

    def notes(self, data: Data) -> Sequence[str]:
        """Write short notes for the page, especially caveats."""
        return ()

    def tables(self, data: Data) -> Sequence[Table]:
        """Build the tables for the page."""
        return ()

    def text(self, data: Data) -> str:
        """Build preformatted text for the page; empty for none."""
        return ""

    def columns(self, dataset: xr.Dataset) -> dict[str, Any]:
        """Compute the columns of one seed in a study's table: by default, the numbers of the last checkpoint."""
        return final_numbers(dataset, f"final.{self.name}")

    def check(self, dataset: xr.Dataset) -> xr.Dataset:
        """Attach the declared attributes to a dataset, unless it says why nothing was measured.

        Raises
        ------
        SltGrokError
            It is no dataset, a variable is not declared, or a declared variable that every network has is missing.
        """
        if not isinstance(dataset, xr.Dataset):
            raise SltGrokError(f"measurement {self.name}: expected it to return a dataset, got {dataset!r}")
        if "unmeasurable" in dataset.attrs:
            return dataset
        unknown = [str(name) for name in dataset.data_vars if name not in self.variables]
        absent = [name for name, v in self.variables.items() if not v.where and name not in dataset]
        if unknown or absent:
            first, fault = (
                (unknown[0], "measured but not declared") if unknown else (absent[0], "declared but not measured")
            )
            raise SltGrokError(f"measurement {self.name}: expected exactly its declared variables, {first} is {fault}")
        declared = {name: dataset[name].assign_attrs(self.variables[str(name)].attrs) for name in dataset.data_vars}
        return dataset.assign(declared)

    def dataset(self, trajectory: Trajectory, values: Mapping[str, Any], **coords: Any) -> xr.Dataset:
        """Build a dataset over the trajectory from values of shape (N, ...), with the declared dimensions.

        Raises
        ------
        SltGrokError
            A variable is not declared, or a shape does not fit the trajectory and the dimensions.
        """
        if unknown := [name for name in values if name not in self.variables]:
            raise SltGrokError(f"measurement {self.name}: expected only declared variables, got {unknown[0]}")
        try:
            return trajectory.dataset(declare(self.variables, values), **coords)
        except ValueError as error:
            shape = f"(N, ...) with N = {len(trajectory)} and the declared dimensions"
            raise SltGrokError(f"measurement {self.name}: expected values of shape {shape} ({error})") from error

    @classmethod
    def ordered(cls) -> list[Self]:
        """Instantiate each class, in the order of `position`."""
        return sorted((kind() for kind in cls.all()), key=lambda result: (result.position, result.name))


class Derived(Result):
    """A dataset computed from other datasets; it is recomputed whenever one of them may have changed."""

    @abstractmethod
    def derive(self, data: Data, config: Any) -> xr.Dataset | None:
        """Compute the dataset; None if its inputs were not measured."""


class Context(Protocol):
    """Information that a run provides to its measurements."""

    config: Any

    def data(self, label: str) -> xr.Dataset | None:
        """Get another dataset of the run; None if there is none."""
        ...

    def milestones(self, seed: int) -> tuple[float, float]:
        """Get the steps at which a seed memorized and generalized; NaN if it did not or this is unknown."""
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
        """Measure `size` checkpoints at a time, in parallel, storing each finished shard until all are done.

        Parameters
        ----------
        trajectory : Trajectory
            A trajectory over (step, seed).
        measure : callable
            `(shard, on_progress) -> dataset` over the shard's coordinates.
        size, overlap : int
            Checkpoints per shard, and number of preceding checkpoints to include; they are dropped from the result.
        part : str, optional
            Name of this part, if a measurement has several.
        span : tuple of float, optional
            Interval of the measurement's progress that this part covers.
        local : bool, optional
            Whether to measure in this process, one shard at a time.
        """
        ...

    def on_progress(self, fraction: float, note: str = "") -> None:
        """Report the completed fraction of the measurement, with a short status."""
        ...

    def announce(self, text: str) -> None:
        """Print a persistent line, such as the predicted cost of the work."""
        ...


class Measurement(Result):
    """A dataset computed from a trajectory."""

    Settings: ClassVar[type[base.Settings]] = base.Settings
    """Class of its section in a configuration."""
    default: ClassVar[bool] = True
    """Whether a run makes it by default; if False, only if its configuration has the section."""
    inherits: ClassVar[str] = ""
    """Label of a measurement whose settings are the defaults for omitted keys."""

    @abstractmethod
    def measure(self, trajectory: Trajectory, settings: Any, context: Context) -> xr.Dataset:
        """Measure every network, or some of them: a dataset over (step, seed, ...)."""

    def checkpoints_of(self, settings: Any, checkpoints: int) -> int:
        """Count how many of a run's checkpoints are measured: all, or at most `settings.checkpoints`."""
        return min(getattr(settings, "checkpoints", None) or checkpoints, checkpoints)

    def unmeasurable(self, network: Network) -> str | None:
        """Explain why networks of this kind cannot be measured; None if they can."""
        return None

    def seconds(self, trial: Trajectory, settings: Any, checkpoints: int, context: Context) -> float:
        """Predict core-seconds for the given number of checkpoints of one seed, from a trial on a single network."""
        start = time.process_time()
        self.measure(trial, settings, context)
        return (time.process_time() - start) * self.checkpoints_of(settings, checkpoints)


def final_numbers(dataset: xr.Dataset, prefix: str, *along: str) -> dict[str, Any]:
    """Collect every number at the last checkpoint; along `split` and given dimensions, as PREFIX.VARIABLE.VALUE."""
    if "step" not in dataset.dims:
        return {}
    last = dataset.sortby("step").isel(step=-1)
    numbers: dict[str, Any] = {f"{prefix}.step": last.step.item()}
    for name, values in last.data_vars.items():
        if "step" not in dataset[name].dims:
            continue
        if values.dims == ("component",) and "total" in values.component:
            values = values.sel(component="total", drop=True)
        if values.dims == ():
            numbers[f"{prefix}.{name}"] = values.item()
        elif len(values.dims) == 1 and values.dims[0] in ("split", *along):
            labels = values[values.dims[0]].values
            numbers |= {f"{prefix}.{name}.{label}": value.item() for label, value in zip(labels, values, strict=True)}
    return numbers


def evenly_spaced(steps: np.ndarray, count: int | None) -> list[int]:
    """Choose the indices of at most `count` evenly spaced checkpoints, including the last; all for None."""
    last = len(steps) - 1
    return np.unique(np.linspace(last, 0, last + 1 if count is None else count).round().astype(int)).tolist()

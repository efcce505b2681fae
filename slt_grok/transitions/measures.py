"""The analyzed curves: every variable that is declared with a change."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
import xarray as xr

from slt_grok.change import Crossing, find_change
from slt_grok.errors import SltGrokError
from slt_grok.measurement import Data, Result, Variable, declare
from slt_grok.rules import SCALE, Change, Scale


class Measure(NamedTuple):
    """A variable whose change is an event: its dataset's label, its readable name, its change and its place."""

    label: str
    name: str
    change: Change
    place: int


def measures() -> dict[str, Measure]:
    """Collect the variables that are declared with a change, in order; one of several results is the first's."""
    found: dict[str, Measure] = {}
    for result in Result.ordered():
        for name, variable in result.variables.items():
            change = variable.change
            if change and name not in found and set(variable.dims) <= set(change.select[0]):
                place = crc32(name.encode()) if change.place is None else change.place
                found[name] = Measure(result.name, change.name or variable.long_name, change, place)
    return dict(sorted(found.items(), key=lambda item: item[1].place))


def measure_name(measure: str) -> str:
    """Get the readable name of a measure."""
    known = measures().get(measure)
    return known.name if known else measure.replace("_", " ")


@dataclass(frozen=True)
class Curve:
    """One measure of one seed.

    Parameters
    ----------
    steps, values : ndarray
        Training steps and values (n,).
    se : ndarray or None, optional
        Standard errors (n,); None if unknown.
    """

    steps: np.ndarray
    values: np.ndarray
    se: np.ndarray | None = None


class Curves:
    """The curves in a run's datasets.

    Parameters
    ----------
    data : mapping of str to xarray.Dataset
        Datasets by label, each over (step, seed, ...) or (step, ...) with its own steps; variables without a rule are
        ignored.

    Raises
    ------
    SltGrokError
        A dataset lacks `step`, the training dataset lacks accuracies, or a dataset lacks one of its seeds.
    """

    def __init__(self, data: Data) -> None:
        self.measures = measures()
        labels = dict.fromkeys(measure.label for measure in self.measures.values())
        measured = [label for label in labels if label in data and "unmeasurable" not in data[label].attrs]
        self.data = {label: with_seed(data[label], label) for label in measured}
        for name in ("train_accuracy", "test_accuracy"):
            if name not in self.data["training"]:
                raise SltGrokError(f"training: expected the variable {name}, but it is missing")
        self.seeds = self.data["training"].seed.values
        for label, dataset in self.data.items():
            if missing := sorted(set(self.seeds.tolist()) - set(dataset.seed.values.tolist())):
                raise SltGrokError(f"{label}: expected the seeds of training, {missing} are missing")
        self.names = [n for n, m in self.measures.items() if m.label in self.data and n in self.data[m.label]]

    def get(self, name: str, seed: int) -> Curve:
        """Get the curve of a measure. Values that do not count are NaN."""
        label, _, change, _ = self.measures[name]
        dataset = self.data[label].sel(seed=seed)
        choices = [dataset[name].sel(select) for select in change.select]
        values = next((choice for choice in choices if choice.notnull().any()), choices[-1])
        values = values.where(change.counts(dataset)).values.astype(float)
        se = dataset[change.error].values.astype(float) if change.error in dataset else None
        return Curve(dataset.step.values, values, se)

    def scaled(self, name: str) -> xr.DataArray:
        """Get a measure over (step, seed), or its logarithm if its rule says that it spans decades."""
        values = np.stack([self.get(name, seed).values for seed in self.seeds], axis=1)
        if self.measures[name].change.rule.decades:
            values = np.log(np.where(values > 0, values, np.nan))
        steps = self.data[self.measures[name].label].step.values
        return xr.DataArray(values, {"step": steps, "seed": self.seeds}, ("step", "seed"))

    def change(
        self, name: str, seed: int, bootstrap: int, analysis_seed: int, scale: Scale = SCALE
    ) -> dict[str, Crossing]:
        """Find onset, middle and end of a measure's change in one seed, the same wherever they are reported."""
        curve, rule = self.get(name, seed), self.measures[name].change.rule
        stream = event_stream(name, analysis_seed, seed)
        return find_change(curve.steps, curve.values, rule, curve.se, bootstrap, stream, scale)


def event_stream(name: str, *keys: int) -> np.random.SeedSequence:
    """Create the random stream of a measure from the analysis seed and, if given, the network's seed."""
    return np.random.SeedSequence([keys[0], measures()[name].place, *keys[1:]])


def with_seed(dataset: xr.Dataset, label: str = "dataset") -> xr.Dataset:
    """Ensure the dimensions (step, seed, ...): a dataset without `seed` gets seed 0.

    Raises
    ------
    SltGrokError
        The dataset has no `step` dimension.
    """
    if "step" not in dataset.dims:
        raise SltGrokError(f"{label}: expected a dataset over step, got the dimensions {tuple(dataset.dims)}")
    if "seed" not in dataset.dims:
        dataset = dataset.expand_dims("seed") if "seed" in dataset.coords else dataset.expand_dims(seed=[0])
    return dataset.sortby("step").transpose("step", "seed", ...)


def with_interval(name: str, variable: Variable, text: str = "95% interval") -> dict[str, Variable]:
    """Declare a number and both ends of its interval: NAME, NAME_low and NAME_high."""
    ends = (("_low", "lower"), ("_high", "upper"))
    names = {name + suffix: f"{variable.long_name}, {end} end of its {text}" for suffix, end in ends}
    bare = variable._replace(change=None)
    return {name: variable} | {end: bare._replace(long_name=long_name) for end, long_name in names.items()}


def interval_text(row: Any, name: str) -> str:
    """Format an entry of a dataset or table row with its interval."""
    value, low, high = (float(row[f"{name}{end}"]) for end in ("", "_low", "_high"))
    return f"{value:+.2f} ({low:+.2f} to {high:+.2f})" if np.isfinite(value) else "–"


def declared(
    variables: Mapping[str, Variable], values: Mapping[str, Any], coords: Mapping[str, Any], **attrs: Any
) -> xr.Dataset:
    """Build a dataset from values, with the declared dimensions and attributes."""
    return xr.Dataset(declare(variables, values), coords, attrs)

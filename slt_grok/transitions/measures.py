"""The analyzed curves, their source datasets, and the rule for each one's change, as entries of `RULES`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from slt_grok.errors import SltGrokError
from slt_grok.measurement import Data, Variable
from slt_grok.transitions.change import Rule
from slt_grok.transitions.statuses import DIVERGED

FACTOR_2 = float(np.log(2))
ACCURACY = Rule(rises=True, scale="linear", start="first", minimum=0.2)
GINI = Rule(rises=True, scale="linear", start="extreme", minimum=0.1)
LOSS = Rule(rises=False, scale="log", start="extreme", minimum=FACTOR_2)
SHRINKING = Rule(rises=False, scale="linear", start="extreme", minimum=0.1, relative=True)


def has_circuit(circuits: xr.Dataset) -> Any:
    """Check for a key frequency, without which restricted and excluded loss are undefined."""
    return circuits.circuit_frequency.any() if "circuit_frequency" in circuits else True


def not_diverged(llc: xr.Dataset) -> Any:
    """Mask the LLC estimates that have not diverged."""
    return llc.llc_status != DIVERGED if "llc_status" in llc else True


class Measure(NamedTuple):
    """A variable of a dataset whose change is an event.

    Parameters
    ----------
    label : str
        Label of the dataset.
    rule : Rule
        What counts as a change.
    select : tuple of dict, optional
        Coordinates to select; the first selection with any values is used.
    error : str, optional
        Name of the variable with its standard errors.
    counts : callable, optional
        `(dataset of one seed) -> bool`, overall or for each checkpoint; values where it is False become NaN.
    """

    label: str
    rule: Rule
    select: tuple[dict[str, str], ...] = ({},)
    error: str = ""
    counts: Callable[[xr.Dataset], Any] = lambda dataset: True


TEST, TRAIN, ALL = {"split": "test"}, {"split": "train"}, {"split": "all"}
RULES: dict[str, Measure] = {  # positions key the measures' random streams, so only append
    "train_accuracy": Measure("training", ACCURACY),
    "test_accuracy": Measure("training", ACCURACY),
    "train_loss": Measure("training", Rule(rises=False, scale="log", start="first", minimum=FACTOR_2)),
    "test_loss": Measure("training", LOSS),
    "llc": Measure("llc", SHRINKING, error="llc_se", counts=not_diverged),
    "restricted_loss_sum": Measure("circuits", LOSS, (TEST, ALL), counts=has_circuit),
    "excluded_loss": Measure("circuits", LOSS._replace(rises=True), (TRAIN,), counts=has_circuit),
    "neuron_share": Measure("circuits", ACCURACY),
    "gini_embedding": Measure("circuits", GINI),
    "gini_neuron_logit_map": Measure("circuits", GINI),
    "sum_of_squared_weights": Measure("circuits", SHRINKING),
    "weight_norm": Measure("landscape", SHRINKING, ({"component": "total"},)),
    "hessian_trace": Measure("landscape", LOSS, error="hessian_trace_se"),
    "unmirrored_test_accuracy": Measure("circuits", ACCURACY),
}
PLACES = {name: place for place, name in enumerate(RULES)}


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
        labels = dict.fromkeys(measure.label for measure in RULES.values())
        measured = [label for label in labels if label in data and "unmeasurable" not in data[label].attrs]
        self.data = {label: with_seed(data[label], label) for label in measured}
        for name in ("train_accuracy", "test_accuracy"):
            if name not in self.data["training"]:
                raise SltGrokError(f"training: expected the variable {name}, but it is missing")
        self.seeds = self.data["training"].seed.values
        for label, dataset in self.data.items():
            if missing := sorted(set(self.seeds.tolist()) - set(dataset.seed.values.tolist())):
                raise SltGrokError(f"{label}: expected the seeds of training, {missing} are missing")
        self.names = [name for name, m in RULES.items() if m.label in self.data and name in self.data[m.label]]

    def get(self, name: str, seed: int) -> Curve:
        """Get the curve of a measure; see `RULES`. Values that do not count are NaN."""
        measure = RULES[name]
        dataset = self.data[measure.label].sel(seed=seed)
        choices = [dataset[name].sel(select) for select in measure.select]
        values = next((choice for choice in choices if choice.notnull().any()), choices[-1])
        values = values.where(measure.counts(dataset)).values.astype(float)
        se = dataset[measure.error].values.astype(float) if measure.error in dataset else None
        return Curve(dataset.step.values, values, se)

    def scaled(self, name: str) -> xr.DataArray:
        """Get a measure over (step, seed) on the scale of its rule; NaN where it has no logarithm."""
        values = np.stack([self.get(name, seed).values for seed in self.seeds], axis=1)
        if RULES[name].rule.scale == "log":
            values = np.log(np.where(values > 0, values, np.nan))
        steps = self.data[RULES[name].label].step.values
        return xr.DataArray(values, {"step": steps, "seed": self.seeds}, ("step", "seed"))

    def stream(self, name: str, *keys: int) -> np.random.SeedSequence:
        """Create the random stream of a measure from the analysis seed and, if given, the network's seed."""
        return np.random.SeedSequence([keys[0], PLACES[name], *keys[1:]])


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
    return {name: variable} | {end: variable._replace(long_name=long_name) for end, long_name in names.items()}


def interval_text(row: Any, name: str) -> str:
    """Format an entry of a dataset or table row with its interval."""
    value, low, high = (float(row[f"{name}{end}"]) for end in ("", "_low", "_high"))
    return f"{value:+.2f} ({low:+.2f} to {high:+.2f})" if np.isfinite(value) else "–"


def declared(
    variables: Mapping[str, Variable], values: Mapping[str, Any], coords: Mapping[str, Any], **attrs: Any
) -> xr.Dataset:
    """Build a dataset from values, with the declared dimensions and attributes."""
    arrays = {name: (variables[name].dims, value, variables[name].attrs) for name, value in values.items()}
    return xr.Dataset(arrays, coords, attrs)

"""Which curves are looked at, where they come from, and by which rule each is judged."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr

from slt_grok.errors import SltGrokError
from slt_grok.transitions.change import Rule

FACTOR_2 = float(np.log(2))
ACCURACY = Rule(rises=True, scale="linear", start="first", minimum=0.2)
GINI = Rule(rises=True, scale="linear", start="extreme", minimum=0.1)
LOSS = Rule(rises=False, scale="log", start="extreme", minimum=FACTOR_2)
SHRINKING = Rule(rises=False, scale="linear", start="extreme", minimum=0.1, relative=True)

# measure -> (dataset, rule)
RULES: dict[str, tuple[str, Rule]] = {
    "train_accuracy": ("training", ACCURACY),
    "test_accuracy": ("training", ACCURACY),
    "train_loss": ("training", Rule(rises=False, scale="log", start="first", minimum=FACTOR_2)),
    "test_loss": ("training", LOSS),
    "llc": ("llc", SHRINKING),
    "restricted_loss_sum": ("circuits", LOSS),
    "excluded_loss": ("circuits", Rule(rises=True, scale="log", start="extreme", minimum=FACTOR_2)),
    "neuron_share": ("circuits", ACCURACY),
    "gini_embedding": ("circuits", GINI),
    "gini_neuron_logit_map": ("circuits", GINI),
    "sum_of_squared_weights": ("circuits", SHRINKING),
    "weight_norm": ("landscape", SHRINKING),
    "hessian_trace": ("landscape", LOSS),
    "unmirrored_test_accuracy": ("circuits", ACCURACY),
}
STANDARD_ERRORS = {"llc": "llc_se", "hessian_trace": "hessian_trace_se"}


@dataclass(frozen=True)
class Curve:
    """One measure of one seed: training steps, values and, where there are any, standard errors, each (n,)."""

    steps: np.ndarray
    values: np.ndarray
    se: np.ndarray | None = None


def with_seed(dataset: xr.Dataset, label: str) -> xr.Dataset:
    """Return the dataset over (step, seed, ...): one without `seed` gets seed 0.

    Raises
    ------
    SltGrokError
        It has no `step` dimension, so that nothing changes along it.
    """
    if "step" not in dataset.dims:
        raise SltGrokError(f"{label}: expected a dataset over step, got the dimensions {tuple(dataset.dims)}")
    if "seed" not in dataset.dims:
        dataset = dataset.expand_dims("seed") if "seed" in dataset.coords else dataset.expand_dims(seed=[0])
    return dataset.sortby("step").transpose("step", "seed", ...)


def gathered(**given: xr.Dataset | None) -> dict[str, xr.Dataset]:
    """Return the datasets that there are, by label, each over (step, seed, ...), checked.

    Raises
    ------
    SltGrokError
        A dataset without `step`, training without accuracies, or a dataset without one of its seeds.
    """
    datasets = {label: with_seed(dataset, label) for label, dataset in given.items() if dataset is not None}
    check(datasets)
    return datasets


def measured_in(datasets: Mapping[str, xr.Dataset]) -> list[str]:
    """Return the measures with a rule that these datasets hold, in the order of `RULES`."""
    return [name for name, (label, _) in RULES.items() if label in datasets and name in datasets[label]]


def check(datasets: Mapping[str, xr.Dataset]) -> None:
    """Check that training curves hold the accuracies, and that every dataset holds the seeds of training.

    Raises
    ------
    SltGrokError
        One of them is missing.
    """
    for name in ("train_accuracy", "test_accuracy"):
        if name not in datasets["training"]:
            raise SltGrokError(f"training: expected the variable {name}, it is missing")
    for label, dataset in datasets.items():
        missing = sorted(set(datasets["training"].seed.values.tolist()) - set(dataset.seed.values.tolist()))
        if missing:
            raise SltGrokError(f"{label}: expected the seeds of training, {missing} are missing")


def curve(datasets: Mapping[str, xr.Dataset], measure: str, seed: int) -> Curve:
    """Return the curve of a measure.

    Restricted loss on the test split (on all where there is no test set), excluded loss on the train split, the total
    weight norm.

    Left out as NaN: LLC estimates whose status is `diverged`, and restricted and excluded loss of a network without a
    key frequency, where there is no circuit to restrict to.
    """  # fmt: skip
    dataset = datasets[RULES[measure][0]].sel(seed=seed)
    values = dataset[measure]
    if measure == "restricted_loss_sum":
        test = values.sel(split="test")
        values = test if test.notnull().any() else values.sel(split="all")
    elif measure == "excluded_loss":
        values = values.sel(split="train")
    elif measure == "weight_norm":
        values = values.sel(component="total")
    elif measure == "llc" and "llc_status" in dataset:
        values = values.where(dataset.llc_status != "diverged")
    needs_circuit = measure in ("restricted_loss_sum", "excluded_loss") and "circuit_frequency" in dataset
    if needs_circuit and not dataset.circuit_frequency.any():
        values = values * np.nan
    name = STANDARD_ERRORS.get(measure)
    se = dataset[name].values.astype(float) if name in dataset else None
    return Curve(dataset.step.values, values.values.astype(float), se)

"""Free energies of the memorizing and the generalizing phase, and the train fraction at which they are equal.

    F = n L(w*) + lambda log n - (m - 1) log log n

(Watanabe 2009, theorem 6.7) in nats, at inverse temperature 1, with n train samples, L the mean loss, lambda the LLC
and m its multiplicity. The phase with the lower F has the larger share of the posterior. With cross-entropy the LLC is
an effective one at its (n_beta, gamma), and a term of order 1 is omitted: differences of a few nats are meaningless.

Phases of a seed. Memorizing: the checkpoint with the largest LLC between the first one with train accuracy at its
threshold and the first one with test accuracy at its threshold; or the end of a control run that never generalizes.
Generalizing: the last checkpoint, if its test accuracy is at the threshold.

Errors. Seeds are the outer level: the mean over two or more seeds is distributed as Student's t (the posterior under
Jeffreys' prior), whose spread over seeds includes the sampling error of each LLC. For a single seed only the LLC's
standard error is known, and the result says so. Different train fractions are independent.
"""

from collections.abc import Mapping
from functools import partial

import numpy as np
import pandas as pd
import xarray as xr

from slt_grok.change import COVERAGE
from slt_grok.errors import SltGrokError
from slt_grok.llc.variables import of_the_network
from slt_grok.measurement import Variable
from slt_grok.rules import GENERALIZED, MEMORIZED
from slt_grok.transitions.events import first_step_at
from slt_grok.transitions.measures import Curves, declared, with_interval, with_seed
from slt_grok.transitions.statuses import Phase

PHASES = tuple(map(str, Phase))
DRAWS = 4000
SOURCE = "Watanabe 2009, theorem 6.7"
FORMULA = "n L(w*) + lambda log n - (m - 1) log log n"
EACH, PHASE, SEED, OVER = (
    ("train_fraction", "phase", "seed"),
    ("train_fraction", "phase"),
    ("seed",),
    ("train_fraction",),
)
_declare = partial(Variable, source=SOURCE)
VARIABLES = {
    "phase_loss": _declare(EACH[1:], "train loss of the phase", "L(w*), mean over the train set", units="nats"),
    "llc": _declare(EACH[1:], "LLC of the phase", "at the checkpoint that represents the phase"),
    "llc_se": _declare(EACH[1:], "standard error of the LLC", "over the chains"),
    "phase_step": _declare(EACH[1:], "checkpoint of the phase", f"rule in {__name__}", units="training steps"),
    "generalized": _declare(SEED, "whether the seed generalized", "test accuracy at its threshold at the last record"),
    "free_energy": _declare(EACH, "free energy", FORMULA, units="nats"),
    "free_energy_se": _declare(EACH, "standard error of the free energy", "log n times that of the LLC", units="nats"),
    "difference": _declare(OVER + SEED, "free energy of memorizing minus that of generalizing", FORMULA, units="nats"),
    "difference_se": _declare(OVER + SEED, "its standard error", "log n times both LLCs' in quadrature", units="nats"),
    **with_interval("mean_free_energy", _declare(PHASE, "mean free energy over seeds", FORMULA, units="nats")),
    **with_interval("mean_difference", _declare(OVER, "mean difference over seeds", FORMULA, units="nats")),
    "seeds_with": _declare(PHASE, "seeds that have the phase", "count"),
    "seeds_with_both": _declare(OVER, "seeds that have both phases", "count"),
}


def phases(
    llc: xr.Dataset,
    training: xr.Dataset,
    control: xr.Dataset | None = None,
    *,
    train_threshold: float = MEMORIZED,
    test_threshold: float = GENERALIZED,
) -> xr.Dataset:
    """Select the checkpoint that represents each phase of each seed, with its loss and LLC.

    Parameters
    ----------
    llc : xarray.Dataset
        `llc`, `llc_se`, `baseline_loss` over (step, seed), with the attribute `n`.
    training : xarray.Dataset
        Accuracies over (step, seed).
    control : xarray.Dataset or None, optional
        As `llc`, for a run of the same seeds without weight decay, whose end represents memorizing.
    train_threshold, test_threshold : float, optional
        Accuracies at which a seed counts as having memorized or generalized.

    Returns
    -------
    xarray.Dataset
        `phase_loss`, `llc`, `llc_se`, `phase_step` over (phase, seed), NaN if a seed does not have the phase;
        `generalized` (seed); the attribute `n`.

    Raises
    ------
    SltGrokError
        A variable, the attribute `n` or a seed is missing.
    """
    for label, dataset in (("llc", llc), ("control", control)):
        missing = [name for name in ("llc", "llc_se", "baseline_loss") if dataset is not None and name not in dataset]
        if missing:
            raise SltGrokError(f"{label}: expected the variable {missing[0]}, but it is missing")
    if "n" not in llc.attrs:
        raise SltGrokError("llc: expected the attribute n, the number of train samples, but it is missing")
    curves, rows, generalized = Curves({"llc": llc, "training": training}), [], []
    for seed in curves.seeds:
        tests = curves.get("test_accuracy", seed)
        first = first_step_at(curves.get("train_accuracy", seed), train_threshold)
        ends = bool(tests.values[-1] >= test_threshold)
        until = first_step_at(tests, test_threshold) if ends else np.inf
        generalized.append(ends)
        usable = _usable(curves.data["llc"].sel(seed=seed))
        memorizing = usable.loc[(usable.index >= first) & (usable.index <= until)]
        if control is not None:
            memorizing = _usable(with_seed(control, "control").sel(seed=seed)).tail(1)
        representatives = (memorizing.nlargest(1, "llc"), usable.tail(1 if ends else 0))
        rows.append([table.reset_index().reindex([0]).to_numpy()[0] for table in representatives])
    values = dict(zip(("phase_step", "phase_loss", "llc", "llc_se"), np.array(rows).transpose(2, 1, 0), strict=True))
    coords = {"phase": list(PHASES), "seed": curves.seeds}
    return declared(VARIABLES, values | {"generalized": np.array(generalized)}, coords, n=int(llc.attrs["n"]))


def at_fractions(by_fraction: Mapping[float, xr.Dataset]) -> xr.Dataset:
    """Combine the phases at several train fractions over (train_fraction, phase, seed), with `n` at each.

    Seeds missing at a fraction are NaN there; `generalized` becomes a number, 0 or 1.

    Raises
    ------
    SltGrokError
        The mapping is empty.
    """
    if not by_fraction:
        raise SltGrokError("train fractions: expected at least one run with phases")
    ordered = dict(sorted(by_fraction.items()))
    pieces = [d.assign(generalized=d.generalized.astype(float)) for d in ordered.values()]
    joint = xr.concat(pieces, "train_fraction", join="outer", combine_attrs="drop", coords="minimal", compat="override")
    joint = joint.assign_coords(train_fraction=list(ordered), n=("train_fraction", [d.attrs["n"] for d in pieces]))
    return joint.sel(phase=list(PHASES))


def free_energy(
    phases: xr.Dataset, multiplicity: Mapping[str, int] | None = None, *, draws: int = DRAWS, seed: int = 0
) -> xr.Dataset:
    """Free energies of the phases and their difference, for each seed and as means over seeds with 95% intervals.

    Parameters
    ----------
    phases : xarray.Dataset
        From `phases` or `at_fractions`.
    multiplicity : Mapping[str, int] or None, optional
        m of each phase, 1 by default.
    draws, seed : int, optional
        Number of posterior draws of the means, and their seed.

    Returns
    -------
    xarray.Dataset
        `phases` with, in nats, `free_energy` and `free_energy_se` (train_fraction, phase, seed); `difference` and
        `difference_se` (train_fraction, seed), memorizing minus generalizing, so that above 0 the posterior prefers
        generalizing; `mean_free_energy` and `mean_difference`, each with `_low` and `_high`; `seeds_with`,
        `seeds_with_both`. NaN if no seed has the phase. The attribute `notes` has a sentence for each fraction where
        the intervals do not include the spread over seeds.

    Raises
    ------
    SltGrokError
        A multiplicity is below 1, or there are fewer than 3 train samples.
    """
    if "train_fraction" not in phases.dims:
        phases = at_fractions({np.nan: phases})
    if (phases.n < 3).any():
        raise SltGrokError(f"n: expected at least 3 train samples, got {int(phases.n.min())}")
    orders = [dict(multiplicity or {}).get(phase, 1) for phase in PHASES]
    if min(orders) < 1:
        raise SltGrokError(f"multiplicity: expected numbers of at least 1, got {orders}")
    m, log_n = xr.DataArray(orders, {"phase": list(PHASES)}), np.log(phases.n)
    energy = phases.n * phases.phase_loss + phases.llc * log_n - (m - 1) * np.log(log_n)
    energy, error = (array.transpose(*phases.llc.dims) for array in (energy, log_n * phases.llc_se))
    first, second = (energy.sel(phase=phase, drop=True) for phase in PHASES)
    result = phases.assign(free_energy=energy, free_energy_se=error, difference=first - second)
    result["difference_se"] = (error**2).sum("phase", skipna=False) ** 0.5
    result["seeds_with"] = energy.notnull().sum("seed")
    result["seeds_with_both"] = result.difference.notnull().sum("seed")
    streams = np.random.SeedSequence(seed).spawn(2)
    for name, stream in zip(("free_energy", "difference"), streams, strict=True):
        values, errors = result[name], result[f"{name}_se"]
        result = result.assign(_means(f"mean_{name}", values, errors, draws, np.random.default_rng(stream)))
    for name in result.data_vars:
        result[name].attrs.update(VARIABLES[str(name)].attrs)
    return result.assign_attrs(notes=_notes(result))


def mean_draws(values: np.ndarray, errors: np.ndarray, draws: int, generator: np.random.Generator) -> np.ndarray:
    """Draws of the mean over seeds: Student's t around the mean of two or more, normal with its own error for one.

    Parameters
    ----------
    values, errors : ndarray
        Values and standard errors of the seeds, NaN if missing, (seed,).

    Returns
    -------
    ndarray
        (draws,), NaN without seeds.
    """
    known = np.isfinite(values)
    values, errors = values[known], errors[known]
    if len(values) == 0:
        return np.full(draws, np.nan)
    if len(values) == 1:
        return values[0] + np.nan_to_num(errors[0]) * generator.standard_normal(draws)
    spread = values.std(ddof=1) / len(values) ** 0.5
    return values.mean() + spread * generator.standard_t(len(values) - 1, draws)


def _usable(llc: xr.Dataset) -> pd.DataFrame:
    """Tabulate loss, LLC and its error over the steps whose LLC is finite and neither melted nor diverged."""
    usable = np.isfinite(llc.llc) & of_the_network(llc)
    table = llc[["baseline_loss", "llc", "llc_se"]].reset_coords(drop=True).to_dataframe()
    return table.loc[usable.values]


def _means(
    name: str, values: xr.DataArray, errors: xr.DataArray, draws: int, generator: np.random.Generator
) -> dict[str, xr.DataArray]:
    drawn = xr.apply_ufunc(
        lambda v, e: mean_draws(v, e, draws, generator),
        values,
        errors,
        input_core_dims=[["seed"], ["seed"]],
        output_core_dims=[["draw"]],
        vectorize=True,
    )
    low, high = (drawn.quantile(q / 100, "draw", skipna=False).drop_vars("quantile") for q in COVERAGE)
    return {name: values.mean("seed"), f"{name}_low": low, f"{name}_high": high}


def _notes(result: xr.Dataset) -> list[str]:
    notes = []
    for i, fraction in enumerate(result.train_fraction.values):
        row, where = result.isel(train_fraction=i), f"train fraction {fraction:g}: "
        absent = row.phase.values[row.seeds_with.values == 0]
        notes += [f"{where}no seed has the {phase} phase, so no difference is measured" for phase in absent]
        if row.seeds_with_both == 1:
            notes.append(f"{where}one seed has both phases: the interval only reflects the LLC's sampling error")
    return notes

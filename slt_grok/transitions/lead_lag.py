"""Which events come before which: lead or lag of every measure against test accuracy and against the LLC, over seeds.

A lag is a difference in log(1 + step): 0.1 is 10% later. Positive: the measure's event is after the reference's.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr

from slt_grok.errors import SltGrokError
from slt_grok.transitions.change import FRACTIONS
from slt_grok.transitions.lag_test import FEWEST_SEEDS, holm, lag_of

REFERENCES = ("test_accuracy", "llc")
SOURCE = "this package: slt_grok.transitions.lag_test"
NUMBERS = {
    "lag": "mean lag over seeds",
    "lag_low": "lower end of the 95% interval of the mean lag",
    "lag_high": "upper end of the 95% interval of the mean lag",
    "p_value": "p-value of no lag",
    "lag_bootstrap_low": "lower end of the hierarchical bootstrap's 95% interval",
    "lag_bootstrap_high": "upper end of the hierarchical bootstrap's 95% interval",
}


def lead_lag(
    events: xr.Dataset,
    references: Sequence[str] = REFERENCES,
    estimator: str = "sigmoid",
    resamples: int = 2000,
    seed: int = 0,
) -> xr.Dataset:
    """Lag of the onset, middle and end of every measure behind those of the references.

    Parameters
    ----------
    events : xarray.Dataset
        From `by_estimator`.
    references : Sequence[str], optional
        Measures; one that `events` lacks is an error.
    estimator : str, optional
        Whose draws are taken.
    resamples, seed : int, optional
        Of the hierarchical bootstrap.

    Returns
    -------
    xarray.Dataset
        Over (reference, event, measure): `lag`, `lag_low`, `lag_high`, `p_value`, `lag_bootstrap_low`,
        `lag_bootstrap_high` of `lag_test`; `p_value_holm`, adjusted for the measures of one reference and event;
        `seeds`, how many have both events; `shared_error`, whether the seeds' events lie between the same checkpoints;
        `verdict`: `before`, `after`, `not resolved` (Holm's p above 0.05) or `too few seeds`; `left_out`, the seeds
        without one of the events and why. `lag_of_seed`, also `_low` and `_high`, over (reference, event, measure,
        seed). Numbers are NaN under 4 seeds.

    Raises
    ------
    SltGrokError
        No such estimator or reference.
    """
    for name, wanted in (("estimator", [estimator]), ("measure", list(references))):
        missing = sorted(set(wanted) - set(events[name].values.tolist()))
        if missing:
            raise SltGrokError(f"{name}: expected one of {', '.join(events[name].values)}, got {', '.join(missing)}")
    own = events.sel(estimator=estimator)
    measures, seeds = own.measure.values.tolist(), own.seed.values.tolist()
    shape = (len(references), len(FRACTIONS), len(measures))
    numbers = {name: np.full(shape, np.nan) for name in NUMBERS}
    of_seed = np.full((3, *shape, len(seeds)), np.nan)
    count, shared = np.zeros(shape, int), np.zeros(shape, bool)
    left_out = np.full(shape, "", dtype=object)
    for i, reference in enumerate(references):
        for j, when in enumerate(FRACTIONS):
            draws = np.log1p(own[f"transition_{when}_draw"].transpose("measure", "seed", "draw").values)
            of_reference = draws[measures.index(reference)]
            for k, measure in enumerate(measures):
                if measure == reference:
                    continue
                lags = draws[k] - of_reference
                known = np.isfinite(lags).all(1)
                count[i, j, k] = known.sum()
                left_out[i, j, k] = _reasons(own, (measure, reference), np.array(seeds)[~known])
                of_seed[:, i, j, k, known] = np.percentile(lags[known], (50, 2.5, 97.5), axis=1)
                if known.sum() >= FEWEST_SEEDS:
                    stream = np.random.SeedSequence([seed, i, j, k])
                    found = lag_of(draws[k][known], of_reference[known], resamples, stream)
                    values = (found.mean, found.low, found.high, found.p_value)
                    both = (*values, found.bootstrap_low, found.bootstrap_high)
                    for name, value in zip(NUMBERS, both, strict=True):
                        numbers[name][i, j, k] = value
                    shared[i, j, k] = found.shared
    adjusted = np.apply_along_axis(holm, 2, numbers["p_value"])
    verdict = np.where(adjusted <= 0.05, np.where(numbers["lag"] < 0, "before", "after"), "not resolved")
    verdict = np.where(np.isnan(adjusted), "too few seeds", verdict)
    dims = ("reference", "event", "measure")
    units = {"units": "log training steps", "source": SOURCE}
    variables: dict[str, tuple] = {
        name: (dims, values, {"long_name": NUMBERS[name]} | ({"source": SOURCE} if name == "p_value" else units))
        for name, values in numbers.items()
    }
    variables |= {
        "p_value_holm": (dims, adjusted, {"long_name": "p-value of no lag, Holm's over measures", "source": SOURCE}),
        "seeds": (dims, count, {"long_name": "seeds with both events"}),
        "shared_error": (dims, shared, {"long_name": "events of all seeds lie between the same checkpoints"}),
        "verdict": (dims, verdict.astype(str), {"long_name": "order of the two events", "source": SOURCE}),
        "left_out": (dims, left_out.astype(str), {"long_name": "seeds without one of the events, and why"}),
    }
    for suffix, values in zip(("", "_low", "_high"), of_seed, strict=True):
        text = {
            "": "lag",
            "_low": "lower end of the lag's 95% interval",
            "_high": "upper end of the lag's 95% interval",
        }
        variables[f"lag_of_seed{suffix}"] = ((*dims, "seed"), values, {"long_name": f"{text[suffix]}"} | units)
    coords = {"reference": list(references), "event": list(FRACTIONS), "measure": measures, "seed": seeds}
    settings = {"estimator": estimator, "resamples": resamples, "bootstrap_seed": seed, "fewest_seeds": FEWEST_SEEDS}
    return xr.Dataset(variables, coords, settings)


def lag_table(lags: xr.Dataset) -> pd.DataFrame:
    """One row for each reference, event and measure of `lead_lag`, the reference beside itself left out."""
    over_seeds = lags.drop_dims("seed").to_dataframe().reset_index()
    return over_seeds.query("reference != measure").reset_index(drop=True)


def _reasons(events: xr.Dataset, measures: tuple[str, ...], seeds: np.ndarray) -> str:
    """Why each of the seeds has no lag: the measure without an event and its status."""
    status = events.transition_status
    parts = []
    for seed in seeds:
        each = [(m, str(status.sel(measure=m, seed=seed).values)) for m in measures]
        why = ", ".join(f"{m}: {s}" for m, s in each if not s.startswith("found"))
        parts.append(f"seed {seed} ({why})")
    return "; ".join(parts)

"""Order of events: lead or lag of every measure relative to test accuracy and to the LLC, over seeds.

A lag is a difference in log(1 + step): 0.1 is 10% later. Positive: the measure's event comes after the reference's.
All events are found on one scale (`slt_grok.rules.SCALE`); the lags on the other one are also given.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import xarray as xr

from slt_grok.change import FRACTIONS
from slt_grok.errors import SltGrokError
from slt_grok.format import capital
from slt_grok.measurement import Data, Derived, Drawing, Table, Variable
from slt_grok.rules import OTHER_SCALE
from slt_grok.transitions.estimators import by_estimator
from slt_grok.transitions.lag_test import FEWEST_SEEDS, holm, lag_of
from slt_grok.transitions.measures import declared, interval_text, measure_name, with_interval
from slt_grok.transitions.statuses import ChangeStatus, Verdict

REFERENCES = ("test_accuracy", "llc")
DIMS = ("reference", "event", "measure")
UNITS = "log training steps"
RULE = "by the rules in the docstring of slt_grok.transitions.lag_test"
EACH = Variable((*DIMS, "seed"), "lag of a seed", f"median of the draws, {RULE}", units=UNITS)
VARIABLES = {
    **with_interval("lag", Variable(DIMS, "mean lag over seeds", RULE, units=UNITS)),
    "p_value": Variable(DIMS, "p-value of no lag", RULE),
    "p_value_holm": Variable(DIMS, "Holm-corrected p-value of no lag", "Holm's correction over the measures"),
    "seeds": Variable(DIMS, "seeds with both events", "count"),
    "shared_error": Variable(DIMS, "whether the events of all seeds lie between the same checkpoints", RULE),
    "verdict": Variable(DIMS, "order of the two events", "before or after where Holm's p-value is at most 0.05"),
    "left_out": Variable(DIMS, "seeds without one of the events, and why", "transition_status of both"),
    **with_interval("lag_of_seed", EACH),
    **with_interval(
        f"lag_{OTHER_SCALE}",
        Variable(DIMS, f"mean lag over seeds of events on a {OTHER_SCALE} scale", RULE, units=UNITS),
    ),
}


class LeadLag(Derived):
    """The order of events; needs at least four seeds."""

    name = "lead_lag"
    title = "Lead and lag"
    position = 72
    variables: ClassVar[Mapping[str, Variable]] = VARIABLES  # pyright: ignore[reportIncompatibleMethodOverride]

    def derive(self, data: Data, config: Any) -> xr.Dataset | None:
        """Compute the lags behind test accuracy, the LLC and, if measured, unmirrored test accuracy."""
        events = data.get("events")
        if events is None or events.sizes["seed"] < FEWEST_SEEDS:
            return None
        references = [n for n in ("unmirrored_test_accuracy", *REFERENCES) if n in events.measure]
        other = lead_lag(by_estimator(data, scale=OTHER_SCALE), references)
        on_other_scale = {f"lag_{OTHER_SCALE}{end}": other[f"lag{end}"] for end in ("", "_low", "_high")}
        return lead_lag(events, references).assign(on_other_scale)

    def figures(self) -> Sequence[Drawing]:
        """Draw the lags of the middles."""
        caption = (
            "How much later than the reference each measure is half complete, as a difference in log step (0.1 is 10% "
            "later): seeds in gray, their mean with its 95% interval, filled where the order is resolved after Holm's "
            "correction. References with a middle in too few seeds are omitted."
        )
        return [Drawing("lead_lag", draw_known, caption, by_seed=False)]

    def tables(self, data: Data) -> Sequence[Table]:
        """Tabulate the lags of the middles."""
        rows = [
            [
                capital(measure_name(row.measure)),
                measure_name(row.reference),
                interval_text(row, "lag"),
                interval_text(row, f"lag_{OTHER_SCALE}"),
                f"{row.p_value_holm:.3f}" if np.isfinite(row.p_value_holm) else "–",
                str(row.seeds),
                f"{row.verdict}{f'; without {row.left_out}' if row.left_out else ''}",
            ]
            for _, row in lag_table(data[self.name].sel(event=["middle"])).iterrows()
        ]
        header = ["Measure", "Reference", "Lag half way, in log step (95%)", "The same on a logarithmic scale"]
        header += ["Holm’s p", "Seeds", "Order"]
        return [Table("Lag behind each reference", header, rows, folded=True)]


def draw_known(lags: xr.Dataset) -> Any:
    """Draw the references whose own middle exists in enough seeds, or all references if there are none."""
    from slt_grok import plots

    known = (lags.verdict.sel(event="middle") != Verdict.TOO_FEW_SEEDS).any("measure")
    return plots.lead_lag(lags.sel(reference=known.values) if known.any() else lags)


def lead_lag(events: xr.Dataset, references: Sequence[str] = REFERENCES, estimator: str = "sigmoid") -> xr.Dataset:
    """Estimate the lag of every measure's onset, middle and end behind those of the references.

    Parameters
    ----------
    events : xarray.Dataset
        From `by_estimator`.
    references : sequence of str, optional
        Measures; each must be in `events`.
    estimator : str, optional
        Name of the estimator whose draws are used.

    Returns
    -------
    xarray.Dataset
        Over (reference, event, measure): `lag`, `lag_low`, `lag_high`, `p_value` of `lag_test`; `p_value_holm`,
        adjusted for the measures of one reference and event; `seeds`, the number of seeds with both events;
        `shared_error`, whether the seeds' events lie between the same checkpoints;
        `verdict`: `before`, `after`, `not resolved` (Holm's p above 0.05) or `too few seeds`; `left_out`, the seeds
        that lack one of the events and why. `lag_of_seed`, also `_low` and `_high`, over (reference, event, measure,
        seed). Numbers are NaN with fewer than 4 seeds.

    Raises
    ------
    SltGrokError
        There is no such estimator or reference.
    """
    for name, wanted in (("estimator", [estimator]), ("measure", list(references))):
        missing = sorted(set(wanted) - set(events[name].values.tolist()))
        if missing:
            raise SltGrokError(f"{name}: expected one of {', '.join(events[name].values)}, got {', '.join(missing)}")
    events = events.sel(estimator=estimator)
    measures, seeds = events.measure.values.tolist(), events.seed.values
    shape = (len(references), len(FRACTIONS), len(measures))
    numbers = np.full((4, *shape), np.nan)  # the fields of `Lag`
    seed_lags = np.full((3, *shape, len(seeds)), np.nan)
    count, shared = np.zeros(shape, int), np.zeros(shape, bool)
    omitted = np.full(shape, "", dtype=object)
    for j, when in enumerate(FRACTIONS):
        draws = np.log1p(events[f"transition_{when}_draw"].transpose("measure", "seed", "draw").values)
        for i, reference in enumerate(references):
            for k, measure in enumerate(measures):
                if measure == reference:
                    continue
                first, second = draws[k], draws[measures.index(reference)]
                known = np.isfinite(first - second).all(1)
                count[i, j, k] = known.sum()
                omitted[i, j, k] = _reasons(events, (measure, reference), seeds[~known])
                seed_lags[:, i, j, k, known] = np.percentile((first - second)[known], (50, 2.5, 97.5), axis=1)
                if known.sum() >= FEWEST_SEEDS:
                    *numbers[:, i, j, k], shared[i, j, k] = lag_of(first[known], second[known])
    values: dict[str, np.ndarray] = dict(zip(("lag", "lag_low", "lag_high", "p_value"), numbers, strict=True))
    adjusted = np.apply_along_axis(holm, 2, values["p_value"])
    order = np.where(values["lag"] < 0, Verdict.BEFORE, Verdict.AFTER)
    verdict = np.where(adjusted <= 0.05, order, Verdict.NOT_RESOLVED)
    values |= {
        "p_value_holm": adjusted,
        "seeds": count,
        "shared_error": shared,
        "verdict": np.where(np.isnan(adjusted), Verdict.TOO_FEW_SEEDS, verdict),
        "left_out": omitted.astype(str),
    }
    values |= {f"lag_of_seed{end}": part for end, part in zip(("", "_low", "_high"), seed_lags, strict=True)}
    coords = {"reference": list(references), "event": list(FRACTIONS), "measure": measures, "seed": seeds}
    return declared(VARIABLES, values, coords, estimator=estimator, fewest_seeds=FEWEST_SEEDS)


def lag_table(lags: xr.Dataset) -> pd.DataFrame:
    """Tabulate one row per reference, event and measure of `lead_lag`, without the references themselves."""
    over_seeds = lags.drop_dims("seed").to_dataframe().reset_index()
    return over_seeds.query("reference != measure").reset_index(drop=True)


def _reasons(events: xr.Dataset, measures: Sequence[str], seeds: np.ndarray) -> str:
    """Explain why each of the seeds has no lag: the measure without an event and its status."""
    reasons = []
    for seed in seeds:
        statuses = {m: events.transition_status.sel(measure=m, seed=seed).item() for m in measures}
        missing = [f"{m}: {status}" for m, status in statuses.items() if not status.startswith(ChangeStatus.FOUND)]
        reasons.append(f"seed {seed} ({', '.join(missing)})")
    return "; ".join(reasons)

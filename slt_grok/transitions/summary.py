"""The summary of a run for scripts, `summary.json`."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from slt_grok.errors import SltGrokError
from slt_grok.llc.diagnostics import DOUBTFUL, EXCLUDED, TRUSTED, LLCStatus, descent_in
from slt_grok.measurement import Data
from slt_grok.transitions.events import PHASES, Drop, is_drop, llc_drop
from slt_grok.transitions.measures import Curves

ENDS = {"step": "", "low": "_low", "high": "_high"}
EVENT = ENDS | {f"{part}_log": f"_log{suffix}" for part, suffix in ENDS.items()}  # both scales
FINAL = {
    "neuron_share": "neuron_share_final",
    "restricted_loss_sum": "restricted_loss_final",
    "excluded_loss": "excluded_loss_final",
    "train_loss": "train_loss_final",
    "test_loss": "test_loss_final",
    "train_accuracy": "train_accuracy_final",
    "test_accuracy": "test_accuracy_final",
}


def summarize(data: Data) -> dict[str, Any]:
    """Collect all results as JSON-compatible numbers; absent or unmeasured ones are None.

    Parameters
    ----------
    data : mapping of str to xarray.Dataset
        A run's datasets; `transitions`, `training`, `llc` and `circuits` are used.

    Returns
    -------
    dict of str to object
        `memorization_step`, `generalization_step`; `llc_peak`, `llc_final`, `llc_drop` (each also `_se`),
        `llc_peak_step`, `llc_final_step`, `llc_half_way_step` with `_low` and `_high` (the middle of its drop);
        `llc_peak_status`, `llc_final_status`, and `llc_peak_descent`, `llc_final_descent` (for an estimate that is not
        a minimum, the fall in a short descent: the value is low by one to two times this);
        `llc_statuses` (status -> number of estimates); `key_frequencies`, `neuron_share_final`,
        `restricted_loss_final` (sum mask; test split, or all pairs without one), `excluded_loss_final` (train split);
        `train_loss_final`, `test_loss_final`, `train_accuracy_final`, `test_accuracy_final`; `phases` (name -> [first,
        last step] or None); `order_of_events` (measure, step, low, high by the middle of each change, ascending, and
        `step_log`, `low_log`, `high_log` on a logarithmic scale); `flags` (sentences). "Final" refers to the last
        checkpoint; for the LLC, to the last one whose estimate is neither melted nor diverged.

        With several seeds, `seeds` holds this for each seed, and the top level combines them: medians of numbers and of
        phase ends, None if one seed has none; for the order of events, those that every seed has, with the median
        middle and the outermost interval; frequencies that are key in any seed; summed counts of statuses; every
        status of a peak or an end, joined by commas; and the flags of all seeds.

    Raises
    ------
    SltGrokError
        The transitions were derived by an earlier version.
    """
    curves = Curves({label: data[label] for label in ("training", "llc", "circuits") if label in data})
    transitions = data["transitions"]
    middles = [f"transition_middle{suffix}" for suffix in EVENT.values()]
    if missing := [name for name in middles if name not in transitions]:
        raise SltGrokError(
            f"transitions: expected the variable {missing[0]}, but it is missing; slt-grok measure RUN derives it again"
        )
    seeds = {str(s): _summarize_seed(transitions.sel(seed=s), curves, s) for s in transitions.seed.values.tolist()}
    summaries = list(seeds.values())
    return summaries[0] if len(summaries) == 1 else _combine(summaries, seeds) | {"seeds": seeds}


def trusts_none(summary: Mapping[str, Any]) -> bool:
    """Check whether there are LLC estimates, but none that is trusted."""
    statuses = summary.get("llc_statuses") or {}
    return bool(statuses) and not set(statuses) & set(TRUSTED)


def llc_dropped(summary: Mapping[str, Any]) -> bool | None:
    """Check whether the LLC of one seed drops, see `is_drop`; None if the peak or the end is not known well enough.

    The end must be trusted, and the peak must not be `not converged`, since it may then be too high; with the other
    untrusted statuses, it is at least not. Melted and diverged estimates are omitted.
    """
    drop, error, peak_llc = (summary.get(f"llc_{key}") for key in ("drop", "drop_se", "peak"))
    end, peak = summary.get("llc_final_status"), summary.get("llc_peak_status")
    if drop is None or error is None or peak_llc is None:
        return None
    if (end and end not in TRUSTED) or peak == LLCStatus.NOT_CONVERGED or trusts_none(summary):
        return None
    statuses = summary.get("llc_statuses") or {}
    return is_drop(drop, error, peak_llc, sum(count for status, count in statuses.items() if status not in EXCLUDED))


def _summarize_seed(transitions: xr.Dataset, curves: Curves, seed: int) -> dict[str, Any]:
    """Summarize one seed."""
    drop = llc_drop(curves.get("llc", seed)) if "llc" in curves.names else Drop()
    summary: dict[str, Any] = {
        "memorization_step": _step(transitions.memorization_step),
        "generalization_step": _step(transitions.generalization_step),
        "llc_peak_step": _step(drop.peak_step),
        "llc_final_step": _step(drop.final_step),
    }
    for name in ("peak", "final", "drop"):
        summary |= {f"llc_{name}{suffix}": _number(getattr(drop, name + suffix)) for suffix in ("", "_se")}
    llc, circuits = (curves.data.get(label) for label in ("llc", "circuits"))
    for name in ("peak", "final"):
        summary |= _status(llc, seed, f"llc_{name}", getattr(drop, f"{name}_step"))
    summary["llc_statuses"] = summary["key_frequencies"] = None
    if llc is not None and "llc_status" in llc:
        summary["llc_statuses"] = dict(Counter(map(str, llc.llc_status.sel(seed=seed).values.tolist())))
    if circuits is not None and "key_frequency" in circuits:
        keys = circuits.key_frequency.sel(seed=seed).isel(step=-1)
        summary["key_frequencies"] = keys.frequency.values[keys.values.astype(bool)].tolist()
    for name, key in FINAL.items():
        summary[key] = _number(curves.get(name, seed).values[-1]) if name in curves.names else None
    summary["phases"] = _phases(transitions.phase_step)
    middles = {part: transitions[f"transition_middle{suffix}"].values.tolist() for part, suffix in EVENT.items()}
    events = (
        pd.DataFrame({"measure": transitions.measure.values.tolist(), **middles})
        .dropna(subset=list(ENDS))
        .sort_values("step", kind="stable")
    )
    dropped = llc_dropped(summary)
    summary["order_of_events"] = _records(events.loc[events.measure != ("llc" if dropped is False else "")])
    halves = next((event for event in summary["order_of_events"] if event["measure"] == "llc"), {})
    summary |= {f"llc_half_way_{part}": halves.get(part) for part in ENDS}
    summary["flags"] = _flags(summary, set(events.measure), transitions.measure.values.tolist())
    if llc is not None and summary["llc_statuses"]:
        summary["flags"] += _flags_of_omitted(llc.sel(seed=seed), drop)
    return summary


def _status(llc: xr.Dataset | None, seed: int, name: str, step: float) -> dict[str, Any]:
    """Status of the estimate at a step, and the fall in a short descent from a network that is not a minimum."""
    if llc is None or "llc_status" not in llc or np.isnan(step):
        return {f"{name}_status": None, f"{name}_descent": None}
    at = llc.sel(seed=seed, step=step)
    reason = str(at.llc_status_reason.item()) if "llc_status_reason" in at else ""
    return {f"{name}_status": str(at.llc_status.item()), f"{name}_descent": _number(descent_in(reason))}


def _phases(steps: xr.DataArray) -> dict[str, list[int | float] | None]:
    """First and last step of each phase; None for one that did not happen."""
    ends = [_step(steps.sel(phase_boundary=name)) for name in PHASES]
    starts = [0, *ends[:-1]]
    spans = zip(PHASES, starts, ends, strict=True)
    return {name: None if start is None or end is None else [start, end] for name, start, end in spans}


def _flags(summary: dict[str, Any], present: set[str], measured: list[str]) -> list[str]:
    """List what is missing or unreliable, in sentences."""
    flags = []
    if summary["train_accuracy_final"] is None:
        flags.append("there are no accuracies, so memorization and generalization cannot be assessed")
    elif summary["memorization_step"] is None:
        flags.append("train accuracy never reached its threshold: the network did not memorize")
    if summary["test_loss_final"] is None:
        flags.append("there is no test set, so generalization cannot be assessed")
    elif summary["test_accuracy_final"] is not None and summary["generalization_step"] is None:
        flags.append("test accuracy never reached its threshold: the network did not generalize")
    statuses, dropped = summary["llc_statuses"] or {}, llc_dropped(summary)
    if dropped is False:
        flags.append("no drop of the LLC: its peak exceeds its end by less than 10% or what noise can explain")
    elif dropped and "llc" not in present:
        flags.append("the LLC drops, but when it is half way cannot be determined")
    elif dropped is None and "llc" in measured and summary["llc_drop_se"] is not None:
        flags.append("whether the LLC drops cannot be determined, since its peak or its end is not trusted")
    for status in (*EXCLUDED, *DOUBTFUL):
        if status in statuses:
            count = f"{statuses[status]} of {sum(statuses.values())} LLC estimates"
            has, is_ = ("has", "is") if statuses[status] == 1 else ("have", "are")
            consequence = "omitted" if status in EXCLUDED else "kept"
            flags.append(f'{count} {has} the status "{status}" and {is_} {consequence}')
    if summary["key_frequencies"] == []:
        flags.append("no key frequency at the last checkpoint: there is no Fourier circuit")
    return flags


def _flags_of_omitted(llc: xr.Dataset, drop: Drop) -> list[str]:
    """Warn of a peak or an end that may be elsewhere, since estimates are omitted there."""
    steps, omitted = llc.step.values, llc.llc_status.isin(EXCLUDED).values
    if not np.isfinite(drop.peak_step):
        return []
    flags, peak = [], int(np.flatnonzero(steps == drop.peak_step)[0])
    if omitted[max(peak - 1, 0) : peak + 2].any():
        flags.append(f"the estimate next to the LLC's peak at step {steps[peak]:,} is omitted: the LLC may peak there")
    if omitted[-1]:
        flags.append(f"the estimate at the end is omitted: the final LLC is that of step {drop.final_step:,.0f}")
    return flags


def _combine(summaries: list[dict[str, Any]], seeds: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Combine the summaries of several seeds."""
    joint: dict[str, Any] = {}
    for key, first in summaries[0].items():
        values = [s[key] for s in summaries]
        match key:
            case "key_frequencies":
                joint[key] = None if first is None else sorted(set().union(*values))
            case "llc_statuses":
                joint[key] = None if first is None else dict(sum(map(Counter, values), Counter()))
            case "llc_peak_status" | "llc_final_status":
                joint[key] = ", ".join(sorted(set(values) - {None})) or None
            case "phases":
                spans = {name: [value[name] for value in values] for name in first}
                joint[key] = {name: None if None in s else np.median(s, axis=0).tolist() for name, s in spans.items()}
            case "order_of_events":
                joint[key] = _common_events(values)
            case "flags":
                joint[key] = [f"seed {seed}: {flag}" for seed, s in seeds.items() for flag in s["flags"]]
            case _:
                joint[key] = None if None in values else float(np.median(values))
    return joint


def _common_events(lists: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """List the events that every seed has: median middle, outermost interval."""
    events = pd.DataFrame([event for events in lists for event in events], columns=["measure", *EVENT])
    events = events.astype(dict.fromkeys(EVENT, float))
    by_measure = events.groupby("measure", sort=False)
    combine = {part: {"step": "median", "low": "min", "high": "max"}[part.removesuffix("_log")] for part in EVENT}
    common = by_measure.agg(combine).loc[by_measure.size() == len(lists)]
    on_both = by_measure["step_log"].count() == len(lists)
    common.loc[~on_both, [part for part in EVENT if part not in ENDS]] = np.nan
    return _records(common.sort_values("step", kind="stable").reset_index())


def _records(events: pd.DataFrame) -> list[dict[str, Any]]:
    """Convert events to JSON-compatible rows, with None for unknown numbers."""
    return events.astype(object).where(events.notna(), None).to_dict("records")


def _number(value: Any) -> float | None:
    """Convert to a finite float, or None."""
    return float(value) if np.isfinite(value) else None


def _step(value: Any) -> int | float | None:
    """Convert a training step: an integer if it is a recorded one, a float if it was interpolated."""
    number = _number(value)
    return int(number) if number is not None and number.is_integer() else number

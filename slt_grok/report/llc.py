"""What is said of the LLC: its peak, its end, whether it drops, and the setting that belongs beside every number.

It is said to drop where it ends below its peak by more than 3 standard errors and 10% of the peak, the rule of
`slt_grok.transitions`.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from slt_grok.report.words import known, percent, plural, plus_minus, step

DROP_ERRORS, DROP_SHARE = 3.0, 0.1  # a peak is the largest of many estimates, so that 1.96 would find drops in noise
Summary = Mapping[str, Any]


def llc_setting(dataset: xr.Dataset | None) -> str:
    """`nβ = 30, γ = 100`, as far as the dataset says."""
    attrs = dataset.attrs if dataset is not None else {}
    parts = [f"{sign} = {attrs[key]:g}" for key, sign in (("n_beta", "nβ"), ("gamma", "γ")) if known_number(attrs, key)]
    return ", ".join(parts)


def known_number(attrs: Mapping[Any, Any], key: str) -> bool:
    """Whether a numeric attribute is there (netCDF gives numpy scalars)."""
    return key in attrs and isinstance(attrs[key], (int, float, np.number))


def effective(dataset: xr.Dataset | None) -> str:
    """Return the statement that belongs beside every LLC number."""
    where = llc_setting(dataset)
    at = f"at this setting ({where})" if where else "at its (nβ, γ)"
    return (
        "For cross-entropy on a network that fits its train set there is no finite minimizer, so the LLC given here is "
        f"an effective one {at}: comparable across checkpoints at the same setting only."
    )


def llc_dropped(summary: Summary) -> bool | None:
    """Whether the LLC ends below its peak by 3 standard errors and 10% of the peak; None where that is not known."""
    drop, error, peak = (summary.get(key) for key in ("llc_drop", "llc_drop_se", "llc_peak"))
    if not known(drop) or not known(error) or not known(peak):
        return None
    return drop > max(DROP_ERRORS * error, DROP_SHARE * abs(peak))


def llc(summary: Summary, dataset: xr.Dataset | None) -> list[str]:
    """Peak, end and drop of the LLC with their standard errors."""
    if not known(summary.get("llc_peak")):
        if dataset is None:
            return ["The LLC was not measured."]
        return ["The LLC was measured, but no checkpoint has a value that can be used: see the health of the chains."]
    where = llc_setting(dataset)
    label = f"effective LLC ({where})" if where else "effective LLC"
    peak = plus_minus(summary["llc_peak"], summary.get("llc_peak_se"))
    end = plus_minus(summary.get("llc_final"), summary.get("llc_final_se"))
    drop = plus_minus(summary.get("llc_drop"), summary.get("llc_drop_se"))
    text = f"The {label} peaks at {peak} at step {step(summary.get('llc_peak_step'))} and ends at {end}: "
    dropped = llc_dropped(summary)
    if dropped:
        share = summary["llc_drop"] / summary["llc_peak"] if summary["llc_peak"] > 0 else None
        text += f"a drop of {drop}" + (f", {percent(share)} of the peak." if share is not None and share <= 1 else ".")
    elif dropped is None:
        text += f"a difference of {drop}, whose error is not known."
    else:
        text += f"no drop (difference {drop}, not above 3 standard errors and 10% of the peak)."
    return [text, effective(dataset)]


def llc_over_seeds(several: Mapping[str, Summary], dataset: xr.Dataset | None) -> list[str]:
    """In how many seeds the LLC drops, and by how much."""
    if dataset is None:
        return ["The LLC was not measured."]
    drops = {seed: llc_dropped(s) for seed, s in several.items()}
    measured = [several[seed] for seed, drop in drops.items() if drop is not None]
    if not measured:
        return ["The LLC was measured, but no seed has a drop that can be computed: see the health of the chains."]
    where = llc_setting(dataset)
    label = f"effective LLC ({where})" if where else "effective LLC"
    count = sum(drop is True for drop in drops.values())
    seeds = plural(len(measured), "seed")
    text = f"The {label} drops after its peak, by more than 3 standard errors and 10% of it, in {count} of {seeds}"
    values = np.array([s["llc_drop"] for s in measured])
    if len(values) > 1:
        error = values.std(ddof=1) / math.sqrt(len(values))
        text += f"; over the seeds the mean drop is {plus_minus(float(values.mean()), float(error))}"
        text += " (standard error from the spread between seeds)"
    return [text + ".", effective(dataset)]

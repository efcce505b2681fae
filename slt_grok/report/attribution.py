"""Which weights the LLC belongs to, in sentences: what the refined LLCs say where the LLC is largest and at the end."""

import numpy as np
import xarray as xr

from slt_grok.plots.style import with_seed
from slt_grok.report.words import plus_minus, step

ERRORS = 3.0  # standard errors beyond which parts do not add up to the whole


def refined(dataset: xr.Dataset) -> list[str]:
    """Matrices against all weights, and key frequencies against the others and against random ones, of each seed."""
    dataset, sentences = with_seed(dataset), []
    for seed in dataset.seed.values.tolist():
        one = dataset.sel(seed=seed)
        whole = one.llc.isel(component=np.flatnonzero(one["group"] == "whole")).squeeze("component")
        if not whole.notnull().any():
            continue
        places = sorted({int(np.nanargmax(whole.values)), whole.size - 1})
        who = f"Seed {seed}: at" if dataset.sizes["seed"] > 1 else "At"
        for place in places:
            at = one.isel(step=place)
            text = f"{who} step {step(int(at.step))} the LLC of all weights is {_of(at, 'whole')}"
            sentences.append(text + _matrices(at) + "." + _frequencies(at))
    return sentences


def _matrices(at: xr.Dataset) -> str:
    """Whether the matrices, each moved alone, account for it."""
    if "llc_interaction" not in at or not np.isfinite(at.llc_interaction):
        return ""
    excess, error = float(at.llc_interaction), float(at.llc_interaction_se)
    if abs(excess) <= ERRORS * error:
        return f"; its matrices, each moved alone, add up to it (difference {plus_minus(excess, error)})"
    amount = plus_minus(abs(excess), error)
    if excess < 0:
        return f"; its matrices, each moved alone, have {amount} less together: that much needs several to move at once"
    return f"; its matrices, each moved alone, have {amount} more together: they share directions"


def _frequencies(at: xr.Dataset) -> str:
    """What of the tables over Z_p lies in the planes of the key frequencies."""
    if not {"circuit", "rest", "tables"} <= set(at["group"].values.tolist()):
        return ""
    text = f" Of the embedding and unembedding's {_of(at, 'tables')} the planes of the key frequencies alone have "
    text += f"{_of(at, 'circuit')}, all others {_of(at, 'rest')}"
    if "null circuit" in at["group"]:
        text += f"; as many random frequencies that are not key have {_of(at, 'null circuit')}"
    return text + "."


def _of(at: xr.Dataset, group: str) -> str:
    """The LLC of the one component of a group."""
    (place,) = np.flatnonzero(at["group"] == group)
    return plus_minus(float(at.llc[place]), float(at.llc_se[place]))

"""Which weights the LLC and its drop belong to, in sentences: refined LLCs where it is largest and at the end."""

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


def drop(split: xr.Dataset) -> list[str]:
    """Return what of the drop each splitting accounts for, of each seed; `split` is of `transitions.attribution`."""
    sentences = []
    for seed in split.seed.values.tolist():
        one = split.sel(seed=seed)
        who = f"Seed {seed}: of" if split.sizes["seed"] > 1 else "Of"
        (place,) = np.flatnonzero((one.splitting == "matrix") & (one.kind == "whole"))
        whole = one.isel(row=place)
        if not float(whole["drop"]) > 0:
            sentences.append(f"{who} the LLC of all weights no drop is seen that could be split.")
            continue
        found = [_splitting(one, splitting, words) for splitting, words in SPLITTINGS.items()]
        span = f"from step {step(int(one.drop_from))} to step {step(int(one.drop_to))}"
        text = f"{who} the drop of {plus_minus(float(whole['drop']), float(whole.drop_se))} {span}, "
        sentences.append(text + "; ".join(part for part in found if part) + ".")
    return sentences


SPLITTINGS = {"matrix": "matrices", "head": "attention heads", "frequency": "frequencies"}


def _splitting(one: xr.Dataset, splitting: str, words: str) -> str:
    """Return the largest part of a splitting, and what does not add up; empty where nothing of it was measured."""
    rows = one.isel(row=((one.splitting == splitting) & np.isfinite(one["drop"])).values)
    parts, left = (rows.isel(row=(rows.kind == kind).values) for kind in ("part", "remainder"))
    if not parts.sizes["row"]:
        return ""
    most = parts.isel(row=int(parts["drop"].argmax("row")))
    text = f"the largest part among the {words}, moved alone, is that of {most.component.item()} with {_share(most)}"
    if not left.sizes["row"]:
        return text + "; what does not add up is not known"
    return text + f", and {_share(left.isel(row=0))} of it is what they do not add up to"


def _share(row: xr.Dataset) -> str:
    return f"{plus_minus(100 * float(row.share), 100 * float(row.share_se))}%"


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
    """Return what of the tables over Z_p lies in the planes of the key frequencies."""
    if not {"circuit", "rest", "tables"} <= set(at["group"].values.tolist()):
        return ""
    text = f" Of the embedding and unembedding's {_of(at, 'tables')} the planes of the key frequencies alone have "
    text += f"{_of(at, 'circuit')}, all others {_of(at, 'rest')}"
    if "null circuit" in at["group"]:
        text += f"; as many random frequencies that are not key have {_of(at, 'null circuit')}"
    return text + "."


def _of(at: xr.Dataset, group: str) -> str:
    """Return the LLC of the one component of a group."""
    (place,) = np.flatnonzero(at["group"] == group)
    return plus_minus(float(at.llc[place]), float(at.llc_se[place]))

"""What the causal tests say of a circuit at the last checkpoint: sentences, and the whole table."""

import math

import numpy as np
import xarray as xr

from slt_grok.plots.style import with_seed
from slt_grok.report.tables import Table
from slt_grok.report.words import listing, number, percent, step

CONTROLS = {
    "all other frequencies": "All others",
    "random frequencies": "Random, as many",
    "random frequencies of equal norm": "Random, equal norm",
    "untrained network": "Untrained",
    "memorizing network": "Memorizing",
}


def sentences(dataset: xr.Dataset) -> list[str]:
    """Single frequencies at the logits, and rotation, of each seed."""
    dataset, found = with_seed(dataset), []
    for seed in dataset.seed.values.tolist():
        one = dataset.sel(seed=seed).isel(step=-1)
        who = f"Seed {seed}: at" if dataset.sizes["seed"] > 1 else "At"
        at = f"{who} step {step(int(one.step))}"
        keys = one.frequency.values[one.circuit_frequency.values].tolist()
        if not keys:
            found.append(f"{at} there is no circuit to test: no frequency has a neuron of its own.")
            continue
        removed = _pair(one, "one frequency removed, logits")
        rotated = _pair(one, "planes and accompanying rotated")
        found.append(
            f"{at} removing any one of {listing(keys)} at the logits multiplies the train loss by at least "
            f"{number(removed[0])}, removing any other by at most {number(removed[1])}. Where the first token's planes "
            f"of the circuit are turned, and those of twice its frequencies, {percent(rotated[0])} of the answers move "
            f"by the same shift; where all others are turned instead, {percent(rotated[1])}."
        )
    return found


def tables(dataset: xr.Dataset) -> list[Table]:
    """Effect, controls, ratio and norms at the last checkpoint, a table for each seed."""
    dataset = with_seed(dataset)
    several, made = dataset.sizes["seed"] > 1, []
    shown = [name for name in CONTROLS if np.isfinite(dataset.control_effect.sel(control=name)).any()]
    for seed in dataset.seed.values.tolist():
        one = dataset.sel(seed=seed).isel(step=-1)
        rows = []
        for test in one.test.values.tolist():
            here = one.sel(test=test)
            cells = []
            for control in shown:
                against = here.sel(control=control)
                cells.append(f"{_effect(against.control_effect)} ({_times(against.ratio)})")
            norms = [float(here.plane_norm), *(float(here.control_plane_norm.sel(control=c)) for c in shown[:3])]
            rows.append([test, _effect(here.effect), *cells, ", ".join(map(number, norms))])
        which = f", seed {seed}" if several else ""
        caption = (
            f"Causal tests at step {step(int(one.step))}{which}: train loss after / before, or share of answers moved; "
            "in brackets the circuit's effect / the control's. One frequency at a time: the smallest over the circuit, "
            "the largest over all others, the mean over the others, and random sets of the norm of the one with the "
            "smallest. Norms: of the planes of the circuit, all others, as many, and those of equal norm"
        )
        header = ["Intervention", "Circuit", *(CONTROLS[name] for name in shown), "Norms"]
        made.append(Table(caption, header, rows, folded=several))
    return made


def _pair(one: xr.Dataset, test: str) -> tuple[float, float]:
    """Effects on the circuit and on all others."""
    here = one.sel(test=test)
    return float(here.effect), float(here.control_effect.sel(control="all other frequencies"))


def _effect(value: xr.DataArray) -> str:
    if not np.isfinite(value):
        return "–"
    return percent(float(value)) if str(value["quantity"].item()).startswith("share") else number(float(value))


def _times(ratio: xr.DataArray) -> str:
    value = float(ratio)
    return "∞" if math.isinf(value) else "–" if math.isnan(value) else f"{number(value)}×"

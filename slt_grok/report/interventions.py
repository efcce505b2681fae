"""What the interventions on the weights say, in sentences, and the whole table."""

import numpy as np
import xarray as xr

from slt_grok.plots.style import with_seed
from slt_grok.report.llc import effective
from slt_grok.report.tables import Table
from slt_grok.report.words import listing, number, percent, plus_minus, step

CIRCUIT = ("tables", "neurons", "tables and neurons")


def sentences(dataset: xr.Dataset) -> list[str]:
    """Return the first and the last checkpoint of each seed as trained, with its circuit kept and removed.

    Then exchanges.
    """
    dataset, found = with_seed(dataset), []
    for seed in dataset.seed.values.tolist():
        one = dataset.sel(seed=seed)
        who = f"Seed {seed}: at" if dataset.sizes["seed"] > 1 else "At"
        for place in dict.fromkeys((0, one.sizes["step"] - 1)):
            at = one.isel(step=place)
            found.append(
                f"{who} step {step(int(at.step))} the LLC as trained is {_llc(at, 'as trained')}. {_circuit(at)}"
            )
        found.extend(_exchanged(one, who))
    return [
        *found,
        "An intervention leaves a network that need not be at a minimum of the loss: there an LLC can be negative, and "
        "one above 0 says how the loss rises around a point, not how a solution is degenerate. Losses stand beside.",
        effective(dataset),
    ]


def tables(dataset: xr.Dataset) -> list[Table]:
    """LLC, status, losses and accuracies of all variants at the first and last checkpoint, a table for each seed."""
    dataset, made = with_seed(dataset), []
    for seed in dataset.seed.values.tolist():
        which = f", seed {seed}" if dataset.sizes["seed"] > 1 else ""
        for place in dict.fromkeys((0, dataset.sizes["step"] - 1)):
            at = dataset.sel(seed=seed).isel(step=place)
            rows = []
            for name in at["variant"].values.tolist():
                here = at.sel(variant=name)
                if not np.isfinite(here.llc) and not str(here.llc_status.values):
                    rows.append([name, "–", str(here.llc_status_reason.values), "–", "–", "–", "–"])
                    continue
                accuracies = [percent(float(here.accuracy.sel(split=split))) for split in ("train", "test")]
                loss = number(float(here.loss.sel(split="train")))
                cells = [_llc(at, name), str(here.llc_status.values), loss, *accuracies]
                rows.append([name, *cells, percent(float(here.distance))])
            header = ["Variant", "LLC", "Status", "Train loss", "Train accuracy", "Test accuracy", "Change of weights"]
            made.append(Table(f"Interventions at step {step(int(at.step))}{which}", header, rows, folded=True))
    return made


def _circuit(at: xr.Dataset) -> str:
    """Return the circuit kept and removed, in tables and neurons together, beside the mean of its random controls."""
    texts = []
    for act, words in (("kept", "With nothing but the circuit"), ("removed", "Without the circuit")):
        name = f"circuit {act} in tables and neurons"
        if name not in at["variant"] or not np.isfinite(at.llc.sel(variant=name)):
            continue
        random = at.isel(variant=((at.act == act) & (at.site == CIRCUIT[-1]) & (at.control == "random")).values)
        text = f"{words} it is {_state(at, name)}"
        if np.isfinite(random.llc).any():
            text += f" (as many random frequencies and neurons in its place: {_mean(random)})"
        texts.append(text + ".")
    return " ".join(texts) or "There is no circuit to intervene on."


def _state(at: xr.Dataset, name: str) -> str:
    """`LLC ± error, at a train loss of .. nats and a test accuracy of ..`, with a status that is none of the good."""
    here = at.sel(variant=name)
    status = str(here.llc_status.values)
    doubt = "" if status in ("effective", "converged") else f" ({status})"
    loss, accuracy = float(here.loss.sel(split="train")), float(here.accuracy.sel(split="test"))
    return f"{_llc(at, name)}{doubt}, at a train loss of {number(loss)} nats and a test accuracy of {percent(accuracy)}"


def _mean(random: xr.Dataset) -> str:
    llc, loss = float(random.llc.mean("variant")), float(random.loss.sel(split="train").mean("variant"))
    return f"{number(llc)}, train loss {number(loss)}"


def _exchanged(one: xr.Dataset, who: str) -> list[str]:
    """Return what one part of the last checkpoint does to the first, part by part."""
    at = one.isel(step=0)
    some = at.isel(variant=((at.act == "from the end") & np.isfinite(at.llc)).values)
    if not some.sizes["variant"]:
        return []
    parts = [
        f"{here.site.item()} {plus_minus(float(here.llc), float(here.llc_se))} at {number(float(here.loss[0]))} nats"
        for here in (some.isel(variant=i) for i in range(some.sizes["variant"]))
    ]
    last = step(int(one.step[-1]))
    return [f"{who} step {step(int(at.step))}, with one part of the weights from step {last}: {listing(parts)}."]


def _llc(at: xr.Dataset, name: str) -> str:
    here = at.sel(variant=name)
    return plus_minus(float(here.llc), float(here.llc_se))

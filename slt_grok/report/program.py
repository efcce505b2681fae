"""What programs say of a run, in sentences and tables: what they explain, from when on, and how long they are.

Pure functions of the dataset of `slt_grok.program.measure` and those beside it. The plateau is the first checkpoint
that has memorised the train set, where it has not generalised yet.
"""

import math

import numpy as np
import xarray as xr

from slt_grok.plots.explained_share import explained_from
from slt_grok.plots.style import with_seed
from slt_grok.program.extraction import AGREEMENT, EXPLAINED
from slt_grok.report.findings import by_seed
from slt_grok.report.listing import Listing
from slt_grok.report.llc import Summary, effective
from slt_grok.report.tables import Table
from slt_grok.report.words import capital, known, listing, number, percent, plural, plus_minus, step

LEVELS = {"clock": "clock", "pizza": "pizza", "neurons": "program of neurons"}
KEEPS = {"answers": "the network's answers to all pairs", "loss": "its loss on the train pairs within a nat in all"}


def sentences(dataset: xr.Dataset, llc: xr.Dataset | None, summary: Summary) -> list[str]:
    """Each seed at its end and on its plateau, and from which step on it is explained; over the seeds the steps."""
    dataset, found = with_seed(dataset), []
    several = dataset.sizes["seed"] > 1
    for seed in dataset.seed.values.tolist():
        one = dataset.sel(seed=seed)
        who = f"Seed {seed}: at" if several else "At"
        for place in places(one, _own(summary, seed)):
            found.append(f"{who} {_where(one, place, _own(summary, seed))} {_explained(one.isel(step=place))}")
            found.append(_length(one.isel(step=place)))
        if not several:
            found.append(_onset(float(explained_from(one)[0])))
    if several:
        found.append(_onsets(explained_from(dataset)))
    if llc is not None and "n" in llc.attrs:
        found.append(
            f"LLC × log₂ n is given in bits beside the lengths, with n = {int(llc.attrs['n']):,} train pairs: the "
            f"leading terms of a free energy and of a code agree in form, not in what they leave out. {effective(llc)}"
        )
    return found


def listed(text: Listing, several: bool) -> str:
    """What stands under the program's text, or instead of it."""
    of_seed = f" of seed {text.seed}" if several else ""
    if text.reason:
        return f"There is no program of the network{of_seed} at step {step(text.step)}: {text.reason}."
    how = "" if text.explained else ", which do not explain it without the table of pairs that it lists"
    digits = plural(text.digits, "digit")
    return f"The file that slt-grok extract writes of step {step(text.step)}{of_seed}, with numbers of {digits}{how}:"


def tables(dataset: xr.Dataset, llc: xr.Dataset | None, summary: Summary) -> list[Table]:
    """Every level with what it explains and its length, beside table, network and LLC: at the plateau and at the end."""
    dataset, made = with_seed(dataset), []
    several = dataset.sizes["seed"] > 1
    for seed in dataset.seed.values.tolist():
        one, own = dataset.sel(seed=seed), _own(summary, seed)
        bits = None if llc is None else llc_bits(with_seed(llc).sel(seed=seed))
        for place in places(one, own):
            which = f", seed {seed}" if several else ""
            caption = f"Programs at {_where(one, place, own)}{which}. Bits of the shortest code of each kind"
            header = ["", "Variance of the logits", "Network’s answers given", "Bits, answers kept", "Bits, loss kept"]
            made.append(Table(caption, header, _rows(one.isel(step=place), bits), folded=several))
    return made


def llc_bits(llc: xr.Dataset) -> xr.Dataset | None:
    """LLC × log2 n with its standard error, `bits` and `bits_se`; None where the number of train pairs is not known."""
    if "n" not in llc.attrs:
        return None
    log_n = math.log2(float(llc.attrs["n"]))
    return xr.Dataset({"bits": llc.llc * log_n, "bits_se": llc.llc_se * log_n})


def places(one: xr.Dataset, summary: Summary) -> list[int]:
    """Indices of the plateau, where there is one, and of the last checkpoint."""
    memorised, generalised = summary.get("memorization_step"), summary.get("generalization_step")
    steps, last = one.step.values, one.sizes["step"] - 1
    if not known(memorised):
        return [last]
    reached = np.flatnonzero(steps >= memorised)
    if not len(reached) or (known(generalised) and steps[reached[0]] >= generalised):
        return [last]
    return list(dict.fromkeys((int(reached[0]), last)))


def _own(summary: Summary, seed: int) -> Summary:
    """A seed's summary: of several those are named by strings."""
    return by_seed(summary).get(str(seed), summary)


def _where(one: xr.Dataset, place: int, summary: Summary) -> str:
    text = f"step {step(int(one.step[place]))}"
    plateau = place in places(one, summary)[:-1]
    return f"{text} (train set memorised, test set not yet)" if plateau else text


def _explained(at: xr.Dataset) -> str:
    """What every level holds of the logits' variance and gives of the answers."""
    if not np.isfinite(at.explained_variance).any():
        return (
            "no level has a program: no frequency's clock holds a thousandth of the variance of the logits, "
            "or the operation has no angles."
        )
    parts = [
        f"the {words} holds {percent(float(at.explained_variance.sel(level=level)))} of the variance of the logits and "
        f"gives {percent(float(at.agreement.sel(level=level)))} of the network's answers"
        for level, words in LEVELS.items()
        if np.isfinite(at.explained_variance.sel(level=level))
    ]
    keys = ""
    if "program_frequency" in at:
        found = at.frequency.values[at.program_frequency.values.astype(bool)].tolist()
        keys = f", with {'frequency' if len(found) == 1 else 'frequencies'} {listing(found)}," if found else ""
    first = parts[0].replace("holds", f"{keys} holds".lstrip() if not keys else f"{keys} holds", 1).replace(" ,", ",")
    return f"{listing([first, *parts[1:]])}; the true answers are {percent(float(at.true_answers))} of the network's."


def _length(at: xr.Dataset) -> str:
    """The shortest code that keeps the answers, and the one that keeps the loss, each beside its table."""
    parts = []
    for keeps, words in KEEPS.items():
        here = at.sel(keeps=keeps)
        bits = here.program_bits
        chosen, table = str(here.chosen.values), float(bits.sel(mixture="table"))
        if not np.isfinite(bits).any():
            continue
        if chosen == "table":
            parts.append(f"that keeps {words} is the table, {number(table)} bits")
            continue
        parts.append(
            f"that keeps {words} is that of the {LEVELS[chosen]}, {number(float(bits.sel(mixture=chosen)))} bits, "
            f"{percent(float(here.table_share))} of them for listed pairs (the table alone: {number(table)})"
        )
    return f"The shortest code {'; the one '.join(parts)}." if parts else "No code of it was found."


def _onset(onset: float) -> str:
    rule = f"agreement on {percent(AGREEMENT)} of all pairs and {percent(EXPLAINED)} of the variance"
    if not math.isfinite(onset):
        return f"By the rule ({rule}) its shortest program does not explain the network at the end."
    return f"By the rule ({rule}) the shortest program explains the network from step {step(onset)} on."


def _onsets(onset: xr.DataArray) -> str:
    reached = onset.values[np.isfinite(onset.values)]
    rule = f"agreement on {percent(AGREEMENT)} of all pairs and {percent(EXPLAINED)} of the variance"
    text = f"By the rule ({rule}) the shortest program explains {len(reached)} of {plural(onset.size, 'network')} at the end"
    if not len(reached):
        return text + "."
    each = listing(
        [f"{step(at)} (seed {seed})" for seed, at in zip(onset.seed.values, onset.values, strict=True) if at == at]
    )
    return f"{text}, from step {each} on; the median is step {step(np.median(reached))}."


def _rows(at: xr.Dataset, llc: xr.Dataset | None) -> list[list[str]]:
    rows = []
    for mixture in at.mixture.values.tolist():
        shares = ["–", "–"]
        if mixture in at.level:
            shares = [_share(at[name].sel(level=mixture)) for name in ("explained_variance", "agreement")]
        bits = [_bits(at.program_bits.sel(mixture=mixture, keeps=keeps)) for keeps in KEEPS]
        rows.append([capital(LEVELS.get(mixture, mixture)), *shares, *bits])
    for compression in at["compression"].values.tolist() if "compression" in at.dims else []:
        bits = [_bits(at.network_bits.sel(compression=compression, keeps=keeps)) for keeps in KEEPS]
        rows.append([f"Network, {compression}", "–", "–", *bits])
    if llc is not None and int(at.step) in llc.step.values:
        here = llc.sel(step=int(at.step))
        rows.append(["LLC × log₂ n", "–", "–", "–", plus_minus(float(here.bits), float(here.bits_se))])
    return rows


def _share(value: xr.DataArray) -> str:
    return percent(float(value)) if np.isfinite(value) else "–"


def _bits(value: xr.DataArray) -> str:
    return f"{float(value):,.0f}" if np.isfinite(value) else "–"

"""What programs say of a run, in sentences, figures and tables: what they explain, from when on, and their length.

Functions of the dataset of `slt_grok.program.measure` and those beside it. The plateau is the first checkpoint
that has memorized the train set, where it has not generalized yet.
"""

import math
from pathlib import Path

import numpy as np
import xarray as xr

from slt_grok import plots
from slt_grok.plots.explained_share import explained_from
from slt_grok.plots.style import one_seed, with_seed
from slt_grok.program.extraction import AGREEMENT, EXPLAINED
from slt_grok.report.figures import Shown, effective_short, shown
from slt_grok.report.findings import by_seed
from slt_grok.report.listing import Listing
from slt_grok.report.llc import Summary, effective
from slt_grok.report.tables import Table
from slt_grok.report.words import capital, known, listing, percent, plural, plus_minus, step

LEVELS = {"clock": "clock", "pizza": "pizza", "neurons": "program of neurons"}
ON_THE_TOKENS = ("addition", "subtraction")  # operations whose clocks are circles of the tokens themselves
RULE = f"agreement on {percent(AGREEMENT)} of all pairs and {percent(EXPLAINED)} of the variance"
KEEPS = {"answers": "the network's answers to all pairs", "loss": "its loss on the train pairs within a nat in all"}


def sentences(dataset: xr.Dataset, llc: xr.Dataset | None, summary: Summary) -> list[str]:
    """Return a network on its plateau and at its end, and from which step on it is explained.

    Of several what they share.
    """
    dataset = with_seed(dataset)
    if dataset.sizes["seed"] > 1:
        found = [_over_seeds(dataset, summary), _onsets(explained_from(dataset))]
    else:
        one, own = dataset.isel(seed=0), _own(summary, int(dataset.seed[0]))
        found = []
        for place in places(one, own):
            found.append(f"At {_where(one, place, own)} {_explained(one.isel(step=place))}")
            found.append(_length(one.isel(step=place)))
        found.append(_onset(float(explained_from(one)[0])))
    if llc is not None and "n" in llc.attrs:
        found.append(
            f"LLC × log₂ n, the weights' term of the free energy in bits, stands beside the lengths, with "
            f"n = {int(llc.attrs['n']):,} train pairs. {effective(llc)}"
        )
    return found


def listed(text: Listing, several: bool) -> str:
    """Return what stands under the program's text, or instead of it."""
    of_seed = f" of seed {text.seed}" if several else ""
    if text.reason:
        return f"There is no program of the network{of_seed} at step {step(text.step)}: {text.reason}."
    which = f"The file that slt-grok extract writes of step {step(text.step)}{of_seed}"
    if not text.explained:
        return f"{which} lists pairs, since no formula explains the network by itself:"
    return f"{which}, with numbers of {plural(text.digits, 'digit')}:"


def tables(dataset: xr.Dataset, llc: xr.Dataset | None, summary: Summary) -> list[Table]:
    """Every level with its share and length, beside table, network and LLC: at the plateau and at the end."""
    dataset, made = with_seed(dataset), []
    several = dataset.sizes["seed"] > 1
    if several:
        made.append(_every_seed(dataset))
    for seed in dataset.seed.values.tolist():
        one, own = dataset.sel(seed=seed), _own(summary, seed)
        bits = None if llc is None else llc_bits(with_seed(llc).sel(seed=seed))
        for place in places(one, own):
            which = f", seed {seed}" if several else ""
            caption = f"Programs at {_where(one, place, own)}{which}. Bits of the shortest code of each kind"
            header = ["", "Variance of the logits", "Network’s answers given", "Bits, answers kept", "Bits, loss kept"]
            made.append(Table(caption, header, _rows(one.isel(step=place), bits), folded=several))
    return made


def figures(
    dataset: xr.Dataset,
    maps: xr.Dataset | None,
    llc: xr.Dataset | None,
    extracted: Listing,
    operation: object,
    folder: Path,
) -> list[Shown]:
    """Return the last network's program beside its circles, what every level explains over training, and lengths."""
    found = []
    last = one_seed(dataset, extracted.seed).isel(step=-1)
    if (
        maps is not None
        and operation in ON_THE_TOKENS
        and extracted.essential
        and "program_frequency" in last
        and last.program_frequency.any()
    ):
        figure = plots.program_text(extracted.essential, dataset, maps, extracted.seed)
        caption = (
            "Left: what a person reads of the program's file, and where the network has one hidden layer, its "
            "strongest neurons as formulas, waves of less than a tenth of the largest left out. Right: each token in "
            "the plane of the embedding that belongs to a clock k of the program, joined and colored in the order of "
            "k t mod p, tokens 0, 1 and 2 by name where there is room; weight: of the ideal clock in the logits."
        )
        found.append(shown(plots.save(figure, folder, "program_text")[0], caption))
    caption = (
        "What each level of program explains: above, of the variance of the logits (centered over the answers of each "
        "pair); below, on how many of all pairs it gives the network's answer, without a table, beside the right "
        "answers. A clock of any few frequencies gives nearly all right answers, so that agreement at that height "
        "alone shows no circuit. A line begins where the logits have a frequency. Tick: from there on the shortest "
        "program explains the network. The step axis is logarithmic, linear near 0."
    )
    if with_seed(dataset).sizes["seed"] > 1:
        caption += " Thin lines: one seed; thick lines: their mean with its 95% interval (Student, cut at 0 and 100%)."
    found.append(shown(plots.save(plots.explained_share(dataset), folder, "explained_share")[0], caption))
    if llc is not None and "n" in llc.attrs:
        samples = int(llc.attrs["n"])
        figure = plots.description_length(dataset, llc, samples)
        caption = (
            f"Bits over training, and LLC × log₂ n of the {samples:,} train pairs: the shortest code by programs and "
            "tables, and the network's own, that keep its answers to all pairs, or its loss on the train pairs within "
            "a nat in all. Hollow: more than half of the bits list pairs. Bands are 95% intervals, of several seeds "
            f"those of the geometric mean. The LLCs are {effective_short(llc)}"
        )
        found.append(shown(plots.save(figure, folder, "description_length")[0], caption))
    return found


def llc_bits(llc: xr.Dataset) -> xr.Dataset | None:
    """LLC × log2 n with its standard error, `bits` and `bits_se`; None where the number of train pairs is not known."""
    if "n" not in llc.attrs:
        return None
    log_n = math.log2(float(llc.attrs["n"]))
    return xr.Dataset({"bits": llc.llc * log_n, "bits_se": llc.llc_se * log_n})


def places(one: xr.Dataset, summary: Summary) -> list[int]:
    """Return the indices of the plateau, where there is one, and of the last checkpoint."""
    memorized, generalized = summary.get("memorization_step"), summary.get("generalization_step")
    steps, last = one.step.values, one.sizes["step"] - 1
    if not known(memorized):
        return [last]
    reached = np.flatnonzero(steps >= memorized)
    if not len(reached) or (known(generalized) and steps[reached[0]] >= generalized):
        return [last]
    return list(dict.fromkeys((int(reached[0]), last)))


def _own(summary: Summary, seed: int) -> Summary:
    """Return a seed's summary: of several those are named by strings."""
    return by_seed(summary).get(str(seed), summary)


def _where(one: xr.Dataset, place: int, summary: Summary) -> str:
    text = f"step {step(int(one.step[place]))}"
    plateau = place in places(one, summary)[:-1]
    return f"{text} (train set memorized, test set not yet)" if plateau else text


def _explained(at: xr.Dataset) -> str:
    """Return what every level holds of the logits' variance and gives of the answers."""
    if not np.isfinite(at.explained_variance).any():
        return (
            "no level has a program: no frequency's clock holds a thousandth of the variance of the logits, "
            "or the operation has no angles."
        )
    there = [level for level in LEVELS if np.isfinite(at.explained_variance.sel(level=level))]
    shares = [[_share(at[name].sel(level=level)) for name in ("explained_variance", "agreement")] for level in there]
    first, *others = zip(there, shares, strict=True)
    keys = at.frequency.values[at.program_frequency.values.astype(bool)].tolist()
    text = (
        f"with {'frequency' if len(keys) == 1 else 'frequencies'} {listing(keys)} the {LEVELS[first[0]]} holds "
        f"{first[1][0]} of the variance of the logits and gives {first[1][1]} of the network's answers"
    )
    text += "".join(f", the {LEVELS[level]} {held} and {given}" for level, (held, given) in others)
    return f"{text}. The network is right on {percent(float(at.true_answers))} of all pairs."


def _over_seeds(dataset: xr.Dataset, summary: Summary) -> str:
    """Median and range over the seeds of what every level holds of the variance, at the plateau and at the end."""
    seeds = [(dataset.sel(seed=seed), _own(summary, seed)) for seed in dataset.seed.values.tolist()]
    plateau = [one.isel(step=found[0]) for one, own in seeds if len(found := places(one, own)) > 1]
    found = []
    for where, ats in (("On the plateau", plateau), ("At the end", [one.isel(step=-1) for one, _ in seeds])):
        parts = []
        for level, words in LEVELS.items():
            held = np.array([float(at.explained_variance.sel(level=level)) for at in ats])
            held = held[np.isfinite(held)]
            if len(held):
                span = f"{percent(held.min())} to {percent(held.max())}, {plural(len(held), 'seed')}"
                parts.append(f"the {words} {percent(float(np.median(held)))} ({span})")
        if parts:
            found.append(f"{where} these hold of the variance of the logits, in median over seeds: {listing(parts)}.")
    return " ".join(found) or "In no seed has any level a program."


def _length(at: xr.Dataset) -> str:
    """Return the shortest code that keeps the answers, and the one that keeps the loss, each beside its table."""
    parts = []
    for keeps, words in KEEPS.items():
        here = at.sel(keeps=keeps)
        bits = here.program_bits
        chosen, table = str(here.chosen.values), bits.sel(mixture="table")
        if not np.isfinite(bits).any():
            continue
        if chosen == "table":
            parts.append(f"that keeps {words} is the table, {_bits(table)} bits")
            continue
        parts.append(
            f"that keeps {words} is that of the {LEVELS[chosen]}, {_bits(bits.sel(mixture=chosen))} bits, "
            f"{percent(float(here.table_share))} of them for listed pairs (the table alone: {_bits(table)})"
        )
    return f"The shortest code {'; the one '.join(parts)}." if parts else "No code of it was found."


def _onset(onset: float) -> str:
    if not math.isfinite(onset):
        return f"By the rule ({RULE}) its shortest program does not explain the network at the end."
    return f"By the rule ({RULE}) the shortest program explains the network from step {step(onset)} on."


def _onsets(onset: xr.DataArray) -> str:
    reached = onset.values[np.isfinite(onset.values)]
    networks = plural(onset.size, "network")
    text = f"By the rule ({RULE}) the shortest program explains {len(reached)} of {networks} at the end"
    if not len(reached):
        return text + "."
    each = listing(
        [f"{step(at)} (seed {seed})" for seed, at in zip(onset.seed.values, onset.values, strict=True) if at == at]
    )
    return f"{text}, from step {each} on; the median is step {step(np.median(reached))}."


def _every_seed(dataset: xr.Dataset) -> Table:
    """Return the last checkpoint of every seed in a row."""
    rows = []
    for seed, onset in zip(dataset.seed.values.tolist(), explained_from(dataset).values, strict=True):
        at = dataset.sel(seed=seed).isel(step=-1)
        shares = [_share(at.explained_variance.sel(level=level)) for level in LEVELS]
        bits = [
            f"{_bits(at.program_bits.sel(keeps=keeps, mixture=str(chosen)))} ({chosen})"
            for keeps, chosen in ((keeps, at.chosen.sel(keeps=keeps).item()) for keeps in KEEPS)
        ]
        rows.append([str(seed), step(onset), *shares, *bits])
    header = ["Seed", "Explained from step", *(f"Variance, {level}" for level in LEVELS)]
    caption = f"Programs at step {step(int(dataset.step[-1]))}, with the shortest codes"
    return Table(caption, [*header, "Bits, answers kept", "Bits, loss kept"], rows)


def _rows(at: xr.Dataset, llc: xr.Dataset | None) -> list[list[str]]:
    rows = []
    for mixture in map(str, at.mixture.values):
        shares = ["–", "–"]
        if mixture in at.level:
            shares = [_share(at[name].sel(level=mixture)) for name in ("explained_variance", "agreement")]
        bits = [_bits(at.program_bits.sel(mixture=mixture, keeps=keeps)) for keeps in KEEPS]
        rows.append([capital(LEVELS.get(mixture, mixture)), *shares, *bits])
    for compression in map(str, at["compression"].values):
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

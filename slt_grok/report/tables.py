"""The tables of the page: key numbers, seeds, events, health of the chains, settings, provenance."""

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from slt_grok.plots.style import measure_name, with_seed
from slt_grok.report.findings import by_seed, relation
from slt_grok.report.llc import Summary
from slt_grok.report.words import MISSING, capital, known, listing, number, percent, plus_minus, step


class Table(NamedTuple):
    """A table with a caption; `folded` ones open on demand."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    folded: bool = False


def key_numbers(summary: Summary) -> list[tuple[str, str]]:
    """Return the numbers that a reader looks for first, of one network."""
    keys = summary.get("key_frequencies")
    return [
        ("Memorized by step", step(summary.get("memorization_step"))),
        ("Generalized by step", step(summary.get("generalization_step"))),
        ("Test accuracy at the end", percent(summary.get("test_accuracy_final"))),
        ("LLC at its peak*", plus_minus(summary.get("llc_peak"), summary.get("llc_peak_se"))),
        ("LLC at the end*", plus_minus(summary.get("llc_final"), summary.get("llc_final_se"))),
        ("LLC drop*", plus_minus(summary.get("llc_drop"), summary.get("llc_drop_se"))),
        ("Key frequencies", MISSING if keys is None else (listing(keys) if keys else "none")),
    ]


def seeds(summary: Summary) -> Table:
    """Return the key numbers of every seed."""
    several = by_seed(summary)
    header = ["Seed", *(label for label, _ in key_numbers({}))]
    rows = [[str(seed), *(value for _, value in key_numbers(one))] for seed, one in several.items()]
    return Table("Every seed. *Effective LLC ± standard error, at one setting.", header, rows)


def events(summary: Summary, title: str, folded: bool = False) -> Table:
    """Return the transitions in order, with intervals and whether the next one is later beyond the intervals."""
    found = sorted(summary.get("order_of_events") or [], key=lambda event: event["step"])
    rows = []
    for event, following in zip_longest(found, found[1:]):
        interval = f"{step(event.get('low'))} to {step(event.get('high'))}" if known(event.get("low")) else "unknown"
        later = "" if following is None else ("yes" if relation(event, following) == "before" else "not resolved")
        rows.append([capital(measure_name(event["measure"])), step(event["step"]), interval, later])
    return Table(
        title, ["Measure", "Middle of its change (step)", "Interval (steps)", "Next one is later"], rows, folded
    )


def null(circuits: xr.Dataset, null: xr.Dataset | None) -> list[Table]:
    """Circuit measures of the last checkpoint beside those of the same network with its tokens renamed at random."""
    if null is None:
        return []
    found, chance = (with_seed(d).isel(step=-1) for d in (circuits, null))
    rows = [
        [capital(found[name].attrs["long_name"]), *(_over_seeds(one[name]) for one in (found, chance))]
        for name in ("neuron_share", "gini_embedding", "gini_neuron_logit_map", "clock_fve")
    ]
    rows += [
        [
            f"{capital(found[name].attrs['long_name'])}, {which}",
            *(_over_seeds(d[name].sel(split=split)) for d in (found, chance)),
        ]
        for name, split, which in (
            ("restricted_loss_sum", "all", "all pairs"),
            ("trig_loss", "all", "all pairs"),
            ("excluded_loss", "train", "train set"),
        )
    ]
    caption = (
        "The circuit at the last checkpoint, and its null: the same network with the tokens renamed at random, which "
        "keeps what it computes and takes away what depends on the order of the residues (median over seeds)"
    )
    return [Table(caption, ["Measure", "Network", "Null"], rows)]


def _over_seeds(values: xr.DataArray) -> str:
    return number(float(values.median()))


def health(llc: xr.Dataset) -> list[Table]:
    """Statuses and the worst of each diagnostic; chains left out; every estimate's interval, diagnostics, status."""
    llc = with_seed(llc)
    statuses, counts = np.unique(llc.llc_status.values.astype(str), return_counts=True)
    rows: list[Sequence[str]] = [
        [f"Checkpoints called “{v}”", f"{n} of {llc.llc.size}"] for v, n in zip(statuses, counts, strict=True)
    ]
    bad = np.argwhere((llc.chain_health.transpose("step", "seed", "chain") != "healthy").values)
    rows.append(["Chains left out", f"{len(bad)} of {llc.chain_health.size}"])
    rows.append(["Worst R-hat", _extreme(llc.rhat, llc.rhat, ".3f")])
    rows.append(["Smallest effective sample size", _extreme(llc.ess, -llc.ess, ".0f")])
    rows += [
        [label, _extreme(values, abs(values - ideal), form)]
        for label, values, ideal, form in (
            ("Largest drift between the halves of the draws, share of the LLC", llc.drift / abs(llc.llc), 0, "+.1%"),
            ("Virial farthest from 1", llc.virial, 1, ".3f"),
            ("Largest share of draws under the checkpoint's loss", llc.fraction_below_initial_loss, 0, ".1%"),
            ("Smallest acceptance of a Langevin proposal", llc.acceptance.mean("chain"), 1, ".2f"),
        )
    ]
    rows.append(["Chains put back at the checkpoint", f"{int((llc.resets > 0).sum())} of {llc.resets.size}"])
    tables = [Table("Health of the LLC's chains", ["", ""], rows)]
    if len(bad):
        named = [
            [
                step(int(llc.step[i])),
                str(int(llc.seed[j])),
                str(int(llc.chain[k])),
                str(llc.chain_health.values[i, j, k]),
            ]
            for i, j, k in bad.tolist()
        ]
        tables.append(
            Table("Chains left out, by name", ["Step", "Seed", "Chain", "Reason"], named, folded=len(bad) > 8)
        )
    tables.append(_estimates(llc))
    return tables


def _estimates(llc: xr.Dataset) -> Table:
    """Every estimate, a row each."""
    distance = llc.distance.isel(look=-1).mean("chain")
    rows = [
        [
            step(int(llc.step[i])),
            str(int(llc.seed[j])),
            plus_minus(float(llc.llc[i, j]), float(llc.llc_se[i, j])),
            f"{float(llc.llc_low[i, j]):.4g} to {float(llc.llc_high[i, j]):.4g}",
            str(llc.llc_status.values[i, j]),
            str(llc.llc_status_reason.values[i, j]),
            f"{float(llc.rhat[i, j]):.3f}",
            f"{float(llc.ess[i, j]):.0f}",
            f"{float(llc.drift[i, j]):+.2g}",
            f"{float(llc.virial[i, j]):.3f}",
            percent(float(llc.fraction_below_initial_loss[i, j])),
            f"{float(llc.acceptance[i, j].mean()):.2f}",
            number(float(distance[i, j])),
            str(int(llc.resets[i, j].sum())),
        ]
        for i in range(llc.sizes["step"])
        for j in range(llc.sizes["seed"])
    ]
    header = [
        "Step", "Seed", "Effective LLC ± SE", "95% interval", "Status", "Reason", "R-hat", "ESS", "Drift", "Virial",
        "Under L(w*)", "Acceptance", "|w − w*|", "Resets",
    ]  # fmt: skip
    return Table("Every LLC estimate", header, rows, folded=True)


def settings(config: Mapping[str, Any]) -> list[Table]:
    """Return the configuration, one table a section."""
    plain = {key: value for key, value in config.items() if not isinstance(value, Mapping)}
    parts = {"run": plain} | {key: value for key, value in config.items() if isinstance(value, Mapping)}
    return [
        Table(capital(measure_name(name)), ["Key", "Value"], [[key, value] for key, value in flat(part)], folded=True)
        for name, part in parts.items()
        if part
    ]


def provenance(manifest: Mapping[str, Any]) -> list[Table]:
    """Where and with what the run was made, and how long each stage took."""
    tables = []
    if environment := manifest.get("environment"):
        tables.append(Table("Made with", ["", ""], [[key, value] for key, value in flat(environment)]))
    if stages := manifest.get("stages"):
        rows = []
        for stage, facts in stages.items():
            others = [f"{key} {value}" for key, value in flat(facts) if key != "wall_seconds"]
            rows.append([stage, duration(facts.get("wall_seconds")), ", ".join(others)])
        tables.append(Table("Stages", ["Stage", "Wall time", "Also recorded"], rows))
    return tables


def flat(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as `a.b` -> text."""
    rows: list[tuple[str, str]] = []
    for key, value in tree.items():
        if isinstance(value, Mapping):
            rows += flat(value, f"{prefix}{key}.")
        elif isinstance(value, (list, tuple)):
            rows.append((f"{prefix}{key}", ", ".join(map(str, value)) or "none"))
        elif value is None or isinstance(value, bool):
            rows.append((f"{prefix}{key}", {None: "–", True: "yes", False: "no"}[value]))
        else:
            rows.append((f"{prefix}{key}", str(value)))
    return rows


def duration(seconds: Any) -> str:
    """Seconds, from two minutes on minutes."""
    if not known(seconds):
        return "–"
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


def _extreme(values: xr.DataArray, badness: xr.DataArray, form: str) -> str:
    """Return the value whose badness is largest, and where it is."""
    if not np.isfinite(badness).any():
        return "unknown"
    i, j = np.unravel_index(int(np.nanargmax(badness.values)), values.shape)
    value = float(values.values[i, j])
    where = f"step {step(int(values.step[i]))}" + (f", seed {int(values.seed[j])}" if values.sizes["seed"] > 1 else "")
    return f"{value:{form}} ({where})"

"""Panickssery and Vaintrob: the LLC is about linear in p for modular addition, and about p^2 for a random table.

Question: by which power of p does the LLC at the end grow for each?
Hypothesis: 1 for addition (published: 113 at p = 23, 371 at p = 53), 2 for a random table.
Reads: study `modulus`, arms `addition` (seeds that generalized) and `random_table` (seeds with train accuracy 0.99).
Network, sampler and (n_beta, gamma) are not the publication's: the claim is tested as one on growth.
Test: seeds nested in p; least-squares slope of log mean LLC on log p.
Effects: the exponent b of each arm.
Rule ("about" is +-0.25): |b - 1| below 0.25 for addition and |b - 2| below 0.25 for the table. Refuted: the interval of
one lies beyond. Undecided: an interval holds the bound, a p has fewer than 3 seeds, or fewer than 4 p are left.
Which law fits best, with lack of fit, is asked elsewhere (`slt_grok.transitions`); a power is only compared here.
Written 2026-11-21, before the study ran.
"""

import pandas as pd
from matplotlib.axes import Axes
from panels import Look, against_size
from rule import Condition, Effect, Finding, exponent, magnitude, over_seeds
from tables import TRAINED, by_setting, keep, usable
from verdict import main

from slt_grok.plots.palette import BLUE, VERMILION
from slt_grok.studies.results import StudyResults

STUDY = "modulus"
SIZE, LLC = "task.modulus", "llc_final"
CLAIMED, ABOUT, FEWEST_MODULI = {"addition": 1.0, "random table": 2.0}, 0.25, 4


def decide(study: StudyResults) -> Finding:
    """Return the rule of this file's docstring."""
    added, left_out = usable(study, [LLC], arm="addition")
    tables, others = usable(study, [LLC], outcome=None, arm="random_table")
    tables, untrained = keep(tables, tables.train_accuracy_final >= TRAINED, f"train accuracy below {TRAINED}")
    left_out += others + untrained
    rows = {"addition": added, "random table": tables}
    conditions, numbers = [], {}
    for name, claimed in CLAIMED.items():
        groups = by_setting(rows[name], SIZE, LLC)
        enough = groups if len(groups) >= FEWEST_MODULI else {}
        b = over_seeds(exponent(list(enough)), *enough.values(), conditions=len(CLAIMED))
        off = magnitude(Effect(b.value - claimed, b.low - claimed, b.high - claimed, b.seeds, b.missing))
        conditions.append(Condition(f"|exponent - {claimed:g}|, {name}", off, "below", ABOUT))
        numbers[f"exponent, {name}"] = b
    return Finding(conditions, pd.concat([r.assign(kind=name) for name, r in rows.items()]), left_out, numbers)


def panel(axes: Axes, finding: Finding) -> None:
    """Draw the LLC at the end against p, each seed, with means and the claimed powers."""
    for (kind, power), look in zip(CLAIMED.items(), (Look(BLUE), Look(VERMILION, "s", "--")), strict=True):
        rows = finding.seen.loc[finding.seen.kind == kind]
        groups = by_setting(rows, SIZE, LLC)
        against_size(axes, groups, look, kind)
        if groups:
            first = min(groups)
            scaled = [groups[first].mean() * (p / first) ** power for p in groups]
            axes.plot(list(groups), scaled, ":", color=look.color, label=f"p^{power:g} from p = {first:g}")
    axes.set(xscale="log", yscale="log", xlabel="p", ylabel="LLC at the end")
    axes.legend()


if __name__ == "__main__":
    main(__file__, __doc__, decide, panel)

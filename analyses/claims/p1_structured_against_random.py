"""P1. Structured labels end at a lower LLC than random labels at equal loss, and the gap grows with p.

Question: does a network that can learn addition end simpler than one that must store a random table of the same size?
Hypothesis: yes at every p, and the more so the larger the table.
Reads: study `modulus`, arms `addition` (seeds that generalized) and `random_table` (seeds with train accuracy 0.99).
Equal loss: a p counts where the geometric mean of addition's final train loss is at most twice the random table's, so
that a lower LLC is not bought with a worse fit; other p are left out by name. Both arms have one (n_beta, gamma).
Test: seeds nested in p and arm.
Effects: (1) mean over p of log(mean LLC random / mean LLC addition); (2) the gap's growth, the least-squares slope of
mean LLC random - mean LLC addition on p, times the range of p, over the mean LLC of the random tables.
Rule: (1) above 0, and (2) above 0.1. Undecided: an interval holds its threshold, a cell has fewer than 3 seeds, or
fewer than 4 values of p are left.
Written 2026-11-21, before the study ran.
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from panels import Look, against_size
from rule import Condition, Finding, over_seeds, slope
from tables import TRAINED, by_setting, keep, usable
from verdict import main

from slt_grok.plots.palette import BLUE, VERMILION
from slt_grok.studies.results import StudyResults

STUDY = "modulus"
SIZE, LLC, LOSS = "task.modulus", "llc_final", "train_loss_final"
FEWEST_MODULI, LOSS_RATIO, GROWTH = 4, 2.0, 0.1


def decide(study: StudyResults) -> Finding:
    """Return the rule of this file's docstring."""
    added, left_out = usable(study, [LLC, LOSS], arm="addition")
    tables, others = usable(study, [LLC, LOSS, "train_accuracy_final"], outcome=None, arm="random_table")
    tables, untrained = keep(tables, tables.train_accuracy_final >= TRAINED, f"train accuracy below {TRAINED}")
    left_out += others + untrained
    groups = [by_setting(rows, SIZE, LLC) for rows in (added, tables)]
    losses = [by_setting(rows, SIZE, LOSS) for rows in (added, tables)]
    moduli = []
    for p in sorted(set(groups[0]) | set(groups[1])):
        if p not in groups[0] or p not in groups[1]:
            left_out.append(f"p = {p:g}: no usable seed in one of the arms")
        elif np.log(losses[0][p]).mean() > np.log(losses[1][p]).mean() + np.log(LOSS_RATIO):
            left_out.append(f"p = {p:g}: addition's train loss is more than {LOSS_RATIO:g} times the random table's")
        else:
            moduli.append(p)
    cells = [group[p] for p in moduli for group in groups] if len(moduli) >= FEWEST_MODULI else []
    x = np.array(moduli)

    def ratio(*cells: np.ndarray) -> float:
        means = np.array([cell.mean() for cell in cells])
        return float(np.log(means[1::2] / means[::2]).mean())

    def growth(*cells: np.ndarray) -> float:
        means = np.array([cell.mean() for cell in cells])
        return slope(x, means[1::2] - means[::2]) * float(np.ptp(x)) / float(means[1::2].mean())

    seen = pd.concat([added.assign(kind="addition"), tables.assign(kind="random table")])
    return Finding(
        [
            Condition("log LLC, random over addition", over_seeds(ratio, *cells, conditions=2), "above", 0.0),
            Condition("growth of the gap over p", over_seeds(growth, *cells, conditions=2), "above", GROWTH),
        ],
        seen,
        left_out,
    )


def panel(axes: Axes, finding: Finding) -> None:
    """Draw the LLC at the end against p, each seed, with means."""
    for kind, look in (("addition", Look(BLUE)), ("random table", Look(VERMILION, "s", "--"))):
        rows = finding.seen.loc[finding.seen.kind == kind]
        against_size(axes, by_setting(rows, SIZE, LLC), look, kind)
    axes.set(xscale="log", yscale="log", xlabel="p", ylabel="LLC at the end")
    axes.legend()


if __name__ == "__main__":
    main(__file__, __doc__, decide, panel)

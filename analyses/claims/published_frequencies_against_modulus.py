"""McCracken et al. (2505.18266): the number of frequencies that a network uses grows like log p.

Question: does the number of key frequencies grow slower than any sizeable power of p?
Hypothesis: like log p; from p = 23 to 113 that is an exponent of log(log 113 / log 23) / log(113 / 23) = 0.26.
Reads: study `modulus`, arm `addition`, seeds that generalized: number of key frequencies at the last checkpoint.
Test: seeds nested in p; least-squares slope of the log of the mean number on log p.
Effect: the exponent b.
Rule: b above 0 (it grows) and below 0.5 (slower than the square root of p). Refuted: the interval lies below 0 or
above 0.5. Undecided: it holds one of them, a p has fewer than 3 seeds, or fewer than 4 p are left.
Written 2026-11-21, before the study ran.
"""

from matplotlib.axes import Axes
from panels import Look, against_size
from rule import Condition, Finding, exponent, over_seeds
from tables import by_setting, keep, usable
from verdict import main

from slt_grok.plots.palette import BLUE
from slt_grok.studies.results import StudyResults

STUDY = "modulus"
SIZE = "task.modulus"
LEAST, MOST, FEWEST_MODULI = 0.0, 0.5, 4


def decide(study: StudyResults) -> Finding:
    """Return the rule of this file's docstring."""
    rows, left_out = usable(study, ["key_frequencies"], arm="addition")
    rows = rows.assign(frequencies=rows.key_frequencies.map(len).astype(float))
    rows, others = keep(rows, rows.frequencies > 0, "generalized without a key frequency")
    groups = by_setting(rows, SIZE, "frequencies")
    enough = groups if len(groups) >= FEWEST_MODULI else {}
    b = over_seeds(exponent(list(enough)), *enough.values(), conditions=2)
    text = "exponent of the number of frequencies"
    return Finding([Condition(text, b, "above", LEAST), Condition(text, b, "below", MOST)], rows, left_out + others)


def panel(axes: Axes, finding: Finding) -> None:
    """Draw the number of key frequencies against p, each seed, with means."""
    against_size(axes, by_setting(finding.seen, SIZE, "frequencies"), Look(BLUE), "addition")
    axes.set(xscale="log", xlabel="p", ylabel="Key frequencies")


if __name__ == "__main__":
    main(__file__, __doc__, decide, panel)

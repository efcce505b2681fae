"""Panickssery and Vaintrob: the LLC does not grow with the number of frequencies that a network uses.

Question: do seeds with more key frequencies end at a larger LLC?
Hypothesis: no (published, on the embedding alone: 27.6, 25.7, 25.3, 22.1 for 2 to 5, about -7% a frequency).
Reads: study `seeds`, arm `main`, last checkpoint of the seeds that generalized: LLC of all weights, and the number of
key frequencies. Seeds choose that number themselves: an association, not an effect of setting it.
Test: least-squares slope of log LLC on the number, over seeds.
Effect: that slope, the relative growth of the LLC a frequency.
Rule: below 0.05. Undecided: the interval holds 0.05, fewer than 8 seeds, or fewer than 3 different numbers.
Written 2026-11-21, before the study ran.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from rule import Condition, Finding, over_seeds, slope
from tables import usable
from verdict import main

from slt_grok.plots.palette import BLUE
from slt_grok.studies.results import StudyResults

STUDY = "seeds"
MOST, FEWEST_SEEDS, FEWEST_NUMBERS = 0.05, 8, 3


def decide(study: StudyResults) -> Finding:
    """Return the rule of this file's docstring."""
    rows, left_out = usable(study, ["llc_final", "key_frequencies"], arm="main")
    rows = rows.assign(frequencies=rows.key_frequencies.map(len).astype(float))
    pairs = np.column_stack([rows.frequencies, np.log(rows.llc_final.astype(float))])
    varied = rows.frequencies.nunique() >= FEWEST_NUMBERS
    if not varied:
        left_out.append(
            f"all seeds: {rows.frequencies.nunique()} different numbers of frequencies, too few for a slope"
        )
    effect = over_seeds(lambda xy: slope(xy[:, 0], xy[:, 1]), pairs if varied else pairs[:0], fewest=FEWEST_SEEDS)
    return Finding([Condition("slope of log LLC on the number of frequencies", effect, "below", MOST)], rows, left_out)


def panel(axes: Axes, finding: Finding) -> None:
    """Draw the LLC at the end against the number of key frequencies, each seed."""
    axes.plot(finding.seen.frequencies, finding.seen.llc_final, "o", color=BLUE, ms=4, mfc="none")
    axes.set(xlabel="Key frequencies", ylabel="LLC at the end")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


if __name__ == "__main__":
    main(__file__, __doc__, decide, panel)

"""P6. Seeds converge to a narrow family of circuits.

Question: do networks that differ in their initial weights alone end with circuits of one kind?
Hypothesis: most do. Which frequencies are key is not part of the kind: t -> m t maps them onto each other.
Reads: study `seeds`, arm `main`, last checkpoint of the seeds that generalized.
Kind, by published boundaries (2306.17844): gradient symmetricity above or below 0.98, distance irrelevance above or
below 0.6; and the number of key frequencies, within 1 of the seeds' median.
Test: share of seeds of the most common kind (of the four corners) that also have the usual number of frequencies;
Clopper-Pearson. (The most common is chosen from the same seeds; with thresholds on a share of two thirds that bias is
small, since no second kind can then be close to it.)
Effect: that share.
Rule: above 2/3. Refuted: interval below 2/3. Undecided: it holds 2/3 (of 20 seeds: 9 to 17), or fewer than 10 seeds.
Written 2026-11-21, before the study ran.
"""

import numpy as np
from matplotlib.axes import Axes
from rule import Condition, Finding, share
from tables import usable
from verdict import main

from slt_grok.plots.palette import BLUE, GRAY
from slt_grok.studies.results import StudyResults

STUDY = "seeds"
SYMMETRICITY, IRRELEVANCE = "final.circuits.gradient_symmetricity", "final.circuits.distance_irrelevance"
BOUNDARIES = {SYMMETRICITY: 0.98, IRRELEVANCE: 0.6}
MOST_OFF, SHARE, FEWEST = 1, 2 / 3, 10


def decide(study: StudyResults) -> Finding:
    """Return the rule of this file's docstring."""
    rows, left_out = usable(study, [*BOUNDARIES, "key_frequencies"], arm="main")
    counts = rows.key_frequencies.map(len).to_numpy(dtype=int)
    sides = [rows[name].to_numpy(dtype=float) > boundary for name, boundary in BOUNDARIES.items()]
    corner = sides[0] * 2 + sides[1]
    usual = np.abs(counts - np.median(counts)) <= MOST_OFF if len(rows) else np.zeros(0, dtype=bool)
    common = corner == np.bincount(corner).argmax() if len(rows) else usual
    inside = common & usual
    effect = share(int(inside.sum()), len(rows), fewest=FEWEST)
    condition = Condition("share of seeds in the most common family", effect, "above", SHARE)
    return Finding([condition], rows.assign(frequencies=counts, inside=inside), left_out)


def panel(axes: Axes, finding: Finding) -> None:
    """Gradient symmetricity and distance irrelevance, with the number of key frequencies at each network."""
    rows = finding.seen
    for inside, color, marker in ((True, BLUE, "o"), (False, GRAY, "s")):
        some = rows.loc[rows.inside == inside]
        axes.plot(
            some[SYMMETRICITY], some[IRRELEVANCE], marker, color=color, ms=4, label="family" if inside else "other"
        )
    for _, row in rows.iterrows():
        axes.annotate(str(row.frequencies), (row[SYMMETRICITY], row[IRRELEVANCE]), (3, 2), fontsize=6,
                      textcoords="offset points")  # fmt: skip
    axes.axvline(BOUNDARIES[SYMMETRICITY], color=GRAY, lw=0.8, ls="--")
    axes.axhline(BOUNDARIES[IRRELEVANCE], color=GRAY, lw=0.8, ls="--")
    axes.set(xlabel="Gradient symmetricity", ylabel="Distance irrelevance")
    axes.legend()


if __name__ == "__main__":
    main(__file__, __doc__, decide, panel)

"""2512.00686: where a network groks its LLC drops (168 of 500 runs grok, mean drop about 22).

Question: is the drop grokking's, or do networks that memorize and never generalize drop as much?
Hypothesis: grokking's.
Reads: study `seeds`: arm `main`, seeds that generalized, against the seeds that did not of the arms `never_generalizes`
and `random_table`. Share and size are of the publication's settings and are not compared, only told.
Test: seeds nested in arms; Welch.
Effects: mean of (peak - end) / peak of the LLC, seeds that generalized less those that did not, for both arms.
Rule: both above 0.2. Undecided: an interval holds 0.2, or fewer than 3 seeds in an arm.
Also reported: mean drop in units of the LLC, and the share of the main arm's seeds that generalized.
Written 2026-11-21, before the study ran.
"""

import pandas as pd
from matplotlib.axes import Axes
from rule import Condition, Finding, difference, mean, over_seeds, share
from tables import usable
from verdict import main

from slt_grok.plots.palette import BLUE
from slt_grok.studies.results import StudyResults
from slt_grok.transitions.measures import measure_name

STUDY = "seeds"
CONTROLS = ("never_generalizes", "random_table")
LEAST = 0.2
COLUMNS = ["llc_peak", "llc_drop"]


def decide(study: StudyResults) -> Finding:
    """Return the rule of this file's docstring."""
    rows, left_out = {}, []
    for arm in ("main", *CONTROLS):
        rows[arm], others = usable(study, COLUMNS, "generalized" if arm == "main" else "memorized", arm=arm)
        left_out += others
    drops = {arm: (r.llc_drop / r.llc_peak).to_numpy(dtype=float) for arm, r in rows.items()}
    conditions = [
        Condition(
            f"relative drop, grokking less {measure_name(arm)}",
            over_seeds(difference, drops["main"], drops[arm], conditions=len(CONTROLS)),
            "above",
            LEAST,
        )
        for arm in CONTROLS
    ]
    done = study.rows(arm="main", status="available")
    numbers = {
        "drop of grokking runs, in units of the LLC": over_seeds(mean, rows["main"].llc_drop.to_numpy(dtype=float)),
        "share of runs that grok": share(int((done.outcome == "generalized").sum()), len(done)),
    }
    seen = pd.concat([r.assign(drop=drops[arm]) for arm, r in rows.items()])
    return Finding(conditions, seen, left_out, numbers)


def panel(axes: Axes, finding: Finding) -> None:
    """Draw the relative drop of each network."""
    arms = ["main", *CONTROLS]
    for k, arm in enumerate(arms):
        drops = finding.seen.loc[finding.seen.arm == arm, "drop"]
        axes.plot([k] * len(drops), drops, "osD"[k], color=BLUE, ms=4, mfc="none")
    axes.set(ylabel="Drop of the LLC / its peak", xlim=(-0.5, 2.5))
    axes.set_xticks(range(3), ["grokking", *(measure_name(arm) for arm in CONTROLS)])


if __name__ == "__main__":
    main(__file__, __doc__, decide, panel)

"""devinterp's grokking notebook: the LLC rises to a peak while the network memorizes and falls by half as it groks.

Question: is the notebook's curve of one seed (20 at the start, 49.5 at the peak, 22 to 24 after grokking) the shape of
the curve in general?
Hypothesis: the peak is well above the start, and the end well below the peak.
Reads: study `seeds`, arm `main`, seeds that generalized: LLC at the first checkpoint, its peak and its end. Network,
sampler and (n_beta, gamma) are not the notebook's: the claim is tested as one on shape.
Test: over seeds.
Effects: mean over seeds of log(peak / start) (notebook: log 2.5) and of log(end / peak) (notebook: log 0.46).
Rule: first above log 1.5, second below log 0.7 (some half of the notebook's). Undecided: an interval holds its bound,
or fewer than 3 seeds. The peak is the largest of many estimates, hence too large by up to two standard errors.
Written 2026-11-21, before the study ran.
"""

import numpy as np
from matplotlib.axes import Axes
from rule import Condition, Finding, mean, over_seeds
from tables import keep, usable
from verdict import main

from slt_grok.llc.variables import of_the_network
from slt_grok.plots.palette import BLUE
from slt_grok.studies.results import StudyResults

STUDY = "seeds"
RISE, FALL = np.log(1.5), np.log(0.7)


def decide(study: StudyResults) -> Finding:
    """Return the rule of this file's docstring."""
    rows, left_out = usable(study, ["llc_peak", "llc_final"], arm="main")
    starts = []
    for name, run in study.datasets("llc", arm="main").items() if len(rows) else ():
        first = run.sortby("step").isel(step=0)
        first = first.llc.where(of_the_network(first))
        starts += [((name, seed), float(first.sel(seed=seed))) for seed in first.seed.values.tolist()]
    of_seed = dict(starts)
    rows = rows.assign(llc_start=[of_seed[r.run, r.seed] for _, r in rows.iterrows()])
    rows, melted = keep(rows, rows.llc_start.notna(), "the LLC at the start melted or diverged")
    positive = rows[["llc_start", "llc_peak", "llc_final"]].to_numpy(dtype=float).min(1) > 0
    rows, others = keep(rows, positive, "an LLC is not above 0")
    start, peak, end = (np.log(rows[name].to_numpy(dtype=float)) for name in ("llc_start", "llc_peak", "llc_final"))
    return Finding(
        [
            Condition("log(peak / start)", over_seeds(mean, peak - start, conditions=2), "above", float(RISE)),
            Condition("log(end / peak)", over_seeds(mean, end - peak, conditions=2), "below", float(FALL)),
        ],
        rows,
        left_out + melted + others,
    )


def panel(axes: Axes, finding: Finding) -> None:
    """Draw the LLC at start, peak and end, each seed."""
    for _, row in finding.seen.iterrows():
        axes.plot(range(3), [row.llc_start, row.llc_peak, row.llc_final], "o-", color=BLUE, ms=3, lw=0.7, alpha=0.7)
    axes.set(yscale="log", ylabel="LLC")
    axes.set_xticks(range(3), ["start", "peak", "end"])


if __name__ == "__main__":
    main(__file__, __doc__, decide, panel)

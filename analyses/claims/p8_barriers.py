"""P8. Successive stages are joined by low barriers.

Question: does the way from the memorizing to the generalizing network lead over a barrier of train loss?
Hypothesis: no: the network leaves its memory along a valley.
Reads: study `seeds`, arm `main`, seeds that generalized: the barriers that the landscape measures on the straight line
between each checkpoint and the one before, from memorization to generalization. A straight line can only be higher than
the best path: low ones support the statement, high ones leave it open. Where every run has `connectivity` measured
(`slt-grok measure RUN --only connectivity`), the barrier of the trained curve from the memorizing to the last
checkpoint replaces the lines, and can refute it.
Test: over seeds.
Effect: mean over seeds of the barrier of train loss (of the lines: the highest), in units of log p, a guess's loss.
Rule: below 0.05. Refuted: interval above 0.05, on trained curves. Undecided: the interval holds 0.05, it is above 0.05
on straight lines alone, or fewer than 3 seeds.
Written 2026-11-21, before the study ran.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from rule import Condition, Finding, mean, over_seeds
from tables import keep, usable
from verdict import main

from slt_grok.plots.palette import BLUE, GRAY
from slt_grok.store import RunDirectory
from slt_grok.studies.results import StudyResults

STUDY = "seeds"
MOST = 0.05  # of log p


def on_lines(barrier: np.ndarray, steps: np.ndarray, memorized: float, generalized: float) -> float:
    """Return the highest barrier between successive checkpoints that the way between both steps touches."""
    before = np.r_[-np.inf, steps[:-1]]
    on_the_way = (steps > memorized) & (before < generalized) & (before >= 0)
    return float(np.nanmax(barrier[on_the_way])) if np.isfinite(barrier[on_the_way]).any() else np.nan


def on_curve(barrier: np.ndarray) -> float:
    """Return the barrier of the trained curve from the first milestone, of a curve over (step,)."""
    known = barrier[np.isfinite(barrier)]
    return float(known[0]) if len(known) else np.nan


def decide(study: StudyResults) -> Finding:
    """Return the rule of this file's docstring."""
    rows, left_out = usable(study, ["memorization_step", "generalization_step"], arm="main")
    runs = {name: RunDirectory(study.path / str(name)) for name in rows.run.unique()}
    curves = bool(runs) and all("connectivity" in run.labels for run in runs.values())
    barriers = []
    for row in rows.to_dict("records"):
        data = runs[row["run"]].read_measurement("connectivity" if curves else "landscape").sortby("step")
        one = data["curve_barrier" if curves else "loss_barrier"].sel(seed=row["seed"], split="train").values
        where = (data.step.values, row["memorization_step"], row["generalization_step"])
        barriers.append((on_curve(one) if curves else on_lines(one, *where)) / np.log(float(row["task.modulus"])))
    rows = rows.assign(barrier=barriers)
    rows, others = keep(rows, rows.barrier.notna(), "no finite barrier on the way")
    effect = over_seeds(mean, rows.barrier.to_numpy(dtype=float))
    text = f"barrier over log p, {'trained curve' if curves else 'straight lines'}"
    return Finding([Condition(text, effect, "below", MOST, refutable=curves)], rows, left_out + others)


def panel(axes: Axes, finding: Finding) -> None:
    """Draw the barrier of each seed."""
    axes.plot(finding.seen.seed, finding.seen.barrier, "o", color=BLUE, ms=4)
    axes.axhline(MOST, color=GRAY, lw=0.9, ls="--")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="Seed", ylabel="Barrier of train loss / log p")


if __name__ == "__main__":
    main(__file__, __doc__, decide, panel)

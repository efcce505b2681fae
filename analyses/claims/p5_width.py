"""P5. The LLC at the end does not grow with width.

Question: is the LLC of the generalizing solution set by the function or by the number of weights?
Hypothesis: by the function: mean LLC ~ width^b with b near 0, where the number of weights has b near 1.
Reads: study `width`, seeds that generalized: arm `neurons` (d_mlp 64 to 1024 at one residual width), and arm `residual`
(d_model and d_mlp together) with the point d_mlp 256 of `neurons`, which is theirs too. One (n_beta, gamma).
Test: seeds nested in widths; least-squares slope of log mean LLC on log d_mlp.
Effects: the exponent b of both series.
Rule: b below 0.1 in both (at most 32% over the 16 times wider layer). Undecided: an interval holds 0.1, a width has
fewer than 3 seeds, or fewer than 3 widths are left of a series.
Also reported: the exponent of the number of weights, and of the LLC's peak.
Written 2026-11-21, before the study ran.
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from panels import Look, against_size
from rule import Condition, Effect, Finding, exponent, over_seeds
from tables import by_setting, usable
from verdict import main

from slt_grok.plots.palette import BLUE, VERMILION
from slt_grok.studies.results import StudyResults

STUDY = "width"
WIDTH, LLC = "model.d_mlp", "llc_final"
COLUMNS = [WIDTH, LLC, "parameters", "llc_peak"]
MOST, FEWEST_WIDTHS, SHARED = 0.1, 3, 256


def growth(groups: dict[float, np.ndarray], conditions: int = 2) -> Effect:
    """Return the exponent of mean ~ width^b; without an interval where there are too few widths."""
    enough = groups if len(groups) >= FEWEST_WIDTHS else {}
    return over_seeds(exponent(list(enough)), *enough.values(), conditions=conditions)


def decide(study: StudyResults) -> Finding:
    """Return the rule of this file's docstring."""
    neurons, left_out = usable(study, COLUMNS, arm="neurons")
    residual, others = usable(study, COLUMNS, arm="residual")
    shared = neurons.loc[neurons[WIDTH].astype(float) == SHARED]
    series = {"neurons": neurons, "residual": pd.concat([residual, shared])}
    seen = pd.concat([rows.assign(kind=name) for name, rows in series.items()])
    numbers = {
        f"exponent of {text}, {name}": growth(by_setting(rows, WIDTH, column), 1)
        for name, rows in series.items()
        for text, column in (("the number of weights", "parameters"), ("the LLC's peak", "llc_peak"))
    }
    conditions = [
        Condition(f"exponent of the LLC, {name}", growth(by_setting(rows, WIDTH, LLC)), "below", MOST)
        for name, rows in series.items()
    ]
    return Finding(conditions, seen, left_out + others, numbers)


def panel(axes: Axes, finding: Finding) -> None:
    """Draw the LLC at the end against width, each seed, with means."""
    for kind, look in (("neurons", Look(BLUE)), ("residual", Look(VERMILION, "s", "--"))):
        rows = finding.seen.loc[finding.seen.kind == kind]
        against_size(axes, by_setting(rows, WIDTH, LLC), look, f"arm {kind}")
    axes.set(xscale="log", yscale="log", xlabel="Neurons d_mlp", ylabel="LLC at the end")
    axes.legend()


if __name__ == "__main__":
    main(__file__, __doc__, decide, panel)

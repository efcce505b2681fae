"""P3. The same function by two mechanisms (lookup table, Fourier) differs in local geometry.

Question: of networks that answer the same train pairs alike, do those with a table differ in geometry from those with a
Fourier circuit?
Hypothesis: yes, in the LLC and in a measure that rescaling the weights and the logits does not change.
Reads: study `seeds`: arm `main`, seeds that generalized, at the last checkpoint (Fourier); arm `no_weight_decay`,
seeds that memorized, at the last checkpoint (table). Both answer all train pairs; one task, one train set, one
(n_beta, gamma).
Test: seeds nested in the arm; Welch.
Effects: difference of the mean logs, table less Fourier, of (1) the LLC and (2) the trace of the
Gauss-Newton matrix at unit logit scale times |w|^2, since without weight decay weights and logits are larger.
Rule: |difference| above log 1.2 in both: a condition holds where the interval lies beyond log 1.2 on the side of its
mean, is refuted where it lies within +-log 1.2. Undecided else, or with fewer than 3 seeds in an arm.
Written 2026-11-21, before the study ran.
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from rule import Condition, Finding, difference, magnitude, over_seeds
from tables import usable
from verdict import main

from slt_grok.plots.palette import BLUE, VERMILION
from slt_grok.studies.results import StudyResults

STUDY = "seeds"
LLC, TRACE, NORM = "llc_final", "final.landscape.gauss_newton_trace_unit_scale", "final.landscape.weight_norm"
MEASURES = {"log LLC": LLC, "log curvature": "curvature"}
LEAST = np.log(1.2)


def decide(study: StudyResults) -> Finding:
    """Return the rule of this file's docstring."""
    fourier, left_out = usable(study, [LLC, TRACE, NORM], arm="main")
    table, others = usable(study, [LLC, TRACE, NORM], outcome="memorized", arm="no_weight_decay")
    fourier, table = (rows.assign(curvature=rows[TRACE] * rows[NORM] ** 2) for rows in (fourier, table))
    conditions = []
    for text, column in MEASURES.items():
        logs = [np.log(rows[column].to_numpy(dtype=float)) for rows in (table, fourier)]
        effect = magnitude(over_seeds(difference, *logs, conditions=len(MEASURES)))
        conditions.append(Condition(f"{text}, |table less Fourier|", effect, "above", float(LEAST)))
    seen = pd.concat([fourier.assign(kind="Fourier"), table.assign(kind="table")])
    return Finding(conditions, seen, left_out + others)


def panel(axes: Axes, finding: Finding) -> None:
    """LLC against effective dimension, each network."""
    for kind, marker, color in (("Fourier", "o", BLUE), ("table", "s", VERMILION)):
        rows = finding.seen.loc[finding.seen.kind == kind]
        axes.plot(rows.curvature, rows[LLC], marker, color=color, label=kind)
    axes.set(
        xscale="log", yscale="log", xlabel="Gauss-Newton trace at unit logit scale times |w|²", ylabel="LLC at the end"
    )
    axes.legend()


if __name__ == "__main__":
    main(__file__, __doc__, decide, panel)

"""P9. The LLC adds up over frequencies.

Question: is the LLC of the whole circuit in the tables over Z_p the sum of its key frequencies' LLCs?
Hypothesis: yes, to 10%.
Reads: study `seeds`, arm `main`, last checkpoint of the seeds that generalized, of the runs that have `refined`
measured (`slt-grok measure RUN --only refined`; studies do not by themselves), with at least two key frequencies.
Test: over seeds; the group `frequency` against the group `circuit` of `slt_grok.llc.refined`.
Effect: mean over seeds of (sum of the key frequencies' LLCs - LLC of the circuit) / LLC of the circuit.
Rule: |effect| below 0.1, by the interval of the effect (equivalence). Refuted: the interval lies beyond 0.1. Undecided:
it holds 0.1, or fewer than 3 seeds have it. On a quadratic loss the parts have at least the LLC of the whole, so that a
positive effect is what directions shared between frequencies cost.
Also reported: the same of as many random frequencies that are not key.
Written 2026-11-21, before the study ran.
"""

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from rule import Condition, Finding, magnitude, mean, over_seeds
from tables import usable
from verdict import main

from slt_grok.llc.diagnostics import EXCLUDED
from slt_grok.plots.palette import BLUE, GRAY
from slt_grok.store import RunDirectory
from slt_grok.studies.results import StudyResults

STUDY = "seeds"
KEYS, NULL = ("frequency", "circuit"), ("null frequency", "null circuit")
MOST = 0.1


def excess(refined: xr.Dataset, parts: str, whole: str) -> tuple[float, float]:
    """Sum of the parts' LLCs and LLC of the whole, of one network at one checkpoint; NaN where it is not measured."""
    measured = ~refined.llc_status.isin(["", *EXCLUDED]).values
    groups, values = refined["group"].values.astype(str), np.where(measured, refined.llc.values, np.nan)
    own = (groups == parts) & (refined.llc_status.values != "")
    joint = values[groups == whole]
    return (float(values[own].sum()), float(joint[0])) if own.sum() > 1 and len(joint) == 1 else (np.nan, np.nan)


def decide(study: StudyResults) -> Finding:
    """Return the rule of this file's docstring."""
    rows, left_out = usable(study, [], arm="main")
    seen = []
    for _, row in rows.iterrows():
        run, where = RunDirectory(study.path / str(row.run)), f"{row.run}, seed {row.seed}"
        if "refined" not in run.labels:
            left_out.append(f"{where}: refined is not measured")
            continue
        last = run.read_measurement("refined").sortby("step").isel(step=-1).sel(seed=row.seed)
        (parts, whole), null = excess(last, *KEYS), excess(last, *NULL)
        if parts == parts and whole > 0:
            seen.append({"seed": row.seed, "parts": parts, "whole": whole, "null": (null[0] - null[1]) / null[1]})
        else:
            left_out.append(f"{where}: not two key frequencies and their circuit with an LLC above 0")
    found = pd.DataFrame(seen, columns=["seed", "parts", "whole", "null"]).astype(float)
    effect = over_seeds(mean, (found.parts / found.whole - 1).to_numpy())
    condition = Condition("|sum of frequencies / circuit - 1|", magnitude(effect), "below", MOST)
    numbers = {"sum of frequencies / circuit - 1": effect}
    numbers["the same of random frequencies"] = over_seeds(mean, found.null.dropna().to_numpy())
    return Finding([condition], found, left_out, numbers)


def panel(axes: Axes, finding: Finding) -> None:
    """Draw the sum of the frequencies' LLCs against the circuit's, each seed, and where both are equal."""
    rows = finding.seen
    axes.plot(rows.whole, rows.parts, "o", color=BLUE, ms=4)
    ends = np.array([0, 1.1 * max(rows.whole.max(), rows.parts.max())]) if len(rows) else np.array([0, 1])
    axes.plot(ends, ends, color=GRAY, lw=0.8, ls="--")
    axes.fill_between(ends, (1 - MOST) * ends, (1 + MOST) * ends, color=GRAY, alpha=0.2, lw=0)
    axes.set(xlabel="LLC of the circuit", ylabel="Sum of its frequencies' LLCs")


if __name__ == "__main__":
    main(__file__, __doc__, decide, panel)

"""Whether events follow each other in a claimed order, over the seeds of a study that generalized.

All events are on the suite's one scale, linear; the lags on a logarithmic scale are also reported and decide
nothing. Intervals are those of `slt_grok.transitions.lag_test`, 95% each, which know what checkpoints leave open and
whether seeds share it; with up to two conditions a claim that holds is refuted in at most 5% of studies.
"""

from collections.abc import Sequence
from math import inf

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from rule import Condition, Effect, Finding
from tables import usable

from slt_grok import transitions
from slt_grok.plots.palette import BLUE, GREEN, VERMILION
from slt_grok.rules import OTHER_SCALE, SCALE
from slt_grok.studies.results import StudyResults
from slt_grok.transitions.measures import measure_name

MARKS = (("o", BLUE), ("s", VERMILION), ("^", GREEN))
LABELS = ("training", "llc", "circuits")
Pairs = Sequence[tuple[str, str]]


def in_order(
    study: StudyResults,
    pairs: Pairs,
    reported: Pairs = (),
    when: str = "middle",
    estimator: str = "sigmoid",
    labels: Sequence[str] = LABELS,
) -> Finding:
    """Test that the first event of each pair comes before the second, in arm `main`.

    Only report the lags of `reported` and all lags on the other scale, which decide nothing.
    """
    rows, left_out = usable(study, [], arm="main")
    seeds = rows.seed.tolist()
    names = {pair: f"lag of {measure_name(pair[0])} behind {measure_name(pair[1])}" for pair in [*pairs, *reported]}
    unknown = Effect(np.nan, -inf, inf, (len(seeds),))
    effects, on_other_scale = dict.fromkeys(names, unknown), dict.fromkeys(names, unknown)
    seen = pd.DataFrame({"measure": [], "seed": [], "step": []})
    if seeds:
        data = {label: study.dataset(label, arm="main").sel(seed=seeds) for label in labels}
        references = sorted({second for _, second in names})
        events, other = (transitions.by_estimator(data, scale=scale) for scale in (SCALE, OTHER_SCALE))
        for found, on_scale in ((effects, events), (on_other_scale, other)):
            lags = transitions.lead_lag(on_scale, references, estimator)
            for first, second in names:
                one = lags.sel(reference=second, event=when, measure=first)
                known = bool(np.isfinite(one.lag))
                ends = (float(one.lag_low), float(one.lag_high)) if known else (-inf, inf)
                found[first, second] = Effect(float(one.lag), *ends, (int(one.seeds),))
                if found is effects and (why := str(one.left_out.values)):
                    left_out.append(f"{measure_name(first)} and {measure_name(second)}: {why}")
        shown = list(dict.fromkeys(name for pair in pairs for name in pair))
        steps = events[f"transition_{when}"].sel(estimator=estimator, measure=shown, drop=True)
        seen = steps.to_dataframe("step").reset_index()
    conditions = [Condition(names[pair], effects[pair], "below", 0.0) for pair in pairs]
    numbers = {names[pair]: effects[pair] for pair in reported}
    numbers |= {f"{names[pair]}, {OTHER_SCALE} scale": effect for pair, effect in on_other_scale.items()}
    return Finding(conditions, seen, left_out, numbers)


def raster(axes: Axes, finding: Finding) -> None:
    """Draw the step of each event, a row for each seed."""
    for (marker, color), (measure, rows) in zip(MARKS, finding.seen.groupby("measure", sort=False), strict=False):
        axes.plot(rows.step, rows.seed, marker, ms=3.5, color=color, label=measure_name(str(measure)))
    axes.set(xscale="log", xlabel="Training step (logarithmic)", ylabel="Seed")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    if len(finding.seen):
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3)

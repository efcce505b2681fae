"""Nanda et al. (2301.05217): the circuit forms gradually, well before test accuracy jumps, and cleanup comes last.

Question: does restricted loss begin to fall, and excluded loss begin to rise, before test accuracy begins to rise?
Hypothesis: both do (section 5: circuit formation lies between memorization and the fall of test loss).
Reads: study `seeds`, arm `main`, seeds that generalized; by hand also `mod113_seeds`, the paper's own network (its file
has 3 seeds: undecided by this rule). Onset (10%) of each change by `crossing` of `slt_grok.transitions.by_estimator`,
which assumes no shape, since excluded loss may fall back after its rise; its intervals are at least as wide as the gap
between two checkpoints.
Test: `slt_grok.transitions.lag_test`.
Effects: mean lag in log(1 + step) of the onset of restricted loss (test split) and of excluded loss (train split)
behind that of test accuracy.
Rule: both below 0. Undecided: an interval holds 0, or fewer than 4 seeds have both events.
Also reported: the sum of squared weights and the LLC against test accuracy.
Written 2026-11-21, before the study ran. Losses were then on a logarithmic scale; since 2026-12-01 all events are on
one scale, linear, and the lags on a logarithmic one are reported.
"""

from order import in_order
from order import raster as panel
from rule import Finding
from verdict import main

from slt_grok.studies.results import StudyResults

STUDY = "seeds"
ACCURACY = "test_accuracy"
REPORTED = (("sum_of_squared_weights", ACCURACY), ("llc", ACCURACY))


def decide(study: StudyResults) -> Finding:
    """Return the rule of this file's docstring."""
    return in_order(
        study, [("restricted_loss_sum", ACCURACY), ("excluded_loss", ACCURACY)], REPORTED, "onset", "crossing"
    )


if __name__ == "__main__":
    main(__file__, __doc__, decide, panel)

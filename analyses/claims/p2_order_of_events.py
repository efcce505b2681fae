"""P2. Circuit metrics rise, then the memorizer is removed, then test accuracy jumps.

Question: do the three events follow each other in this order in log training steps?
Hypothesis: circuit before the memorizer's removal, and that before test accuracy.
Reads: study `order`, arm `main`, seeds that generalized. Circuit: Gini coefficient of the embedding (needs no choice of
key frequencies). Memorizer: sum of squared weights, whose fall is Nanda et al.'s sign of cleanup. Accuracy: on test
pairs whose mirror image is not trained on either, since on all of them it rises a first time by symmetry alone. Middle
of each change by fitted shapes (`slt_grok.transitions.by_estimator`).
Test: `slt_grok.transitions.lag_test`.
Effects: mean lag in log(1 + step) (-0.1: 10% earlier) of circuit behind memorizer, and of memorizer behind accuracy.
Rule: both below 0. Undecided: an interval holds 0, or fewer than 4 seeds have both events.
Also reported, deciding nothing: restricted loss, another circuit metric, against the memorizer and against accuracy.
Written 2026-11-21 for the study `seeds` and for accuracy on all test pairs: undecided, since the Gini coefficient had
not ended its rise and 13 of 20 seeds have no single rise of that accuracy. Both mended on 2026-11-22, before the study
`order` ran, whose seeds are others. On 2026-12-01 all events went to one scale, linear, which these three had.
"""

from order import in_order
from order import raster as panel
from rule import Finding
from verdict import main

from slt_grok.studies.results import StudyResults

STUDY = "order"
CIRCUIT, MEMORIZER, ACCURACY = "gini_embedding", "sum_of_squared_weights", "unmirrored_test_accuracy"
REPORTED = (("restricted_loss_sum", MEMORIZER), ("restricted_loss_sum", ACCURACY))


def decide(study: StudyResults) -> Finding:
    """Return the rule of this file's docstring."""
    return in_order(study, [(CIRCUIT, MEMORIZER), (MEMORIZER, ACCURACY)], REPORTED, labels=("training", "circuits"))


if __name__ == "__main__":
    main(__file__, __doc__, decide, panel)

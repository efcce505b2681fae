"""When each quantity changes, and in which order: accuracies, losses, LLC, circuit and landscape measures.

For one run, `measure` detects transitions by the rules of `change` and `events`, and `summarize` collects the numbers
of `summary.json`. Over seeds, `by_estimator` compares those rules with fitted shapes and change-point detection, and
provides draws; `lead_lag` tests which event comes first; `associate` and `predict_llc` ask what moves with the LLC. All
take a run's datasets by label.
"""

from slt_grok.transitions.association import associate
from slt_grok.transitions.attribution import attribute
from slt_grok.transitions.estimators import by_estimator
from slt_grok.transitions.lead_lag import lag_table, lead_lag
from slt_grok.transitions.prediction import predict_llc
from slt_grok.transitions.summary import summarize
from slt_grok.transitions.transitions import measure, phases

__all__ = [
    "associate",
    "attribute",
    "by_estimator",
    "lag_table",
    "lead_lag",
    "measure",
    "phases",
    "predict_llc",
    "summarize",
]

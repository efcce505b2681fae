"""P4. Dead neurons leave the LLC unchanged.

Question: does the LLC of a trained network change where neurons are added that answer nothing?
Hypothesis: no, whether they are switched off for good or have the zero weights that weight decay leaves.
Reads: study `seeds`, arm `main`, the last checkpoint of each seed that generalised (at most 5 seeds, the first ones),
and measures: the LLC as trained, and with half as many neurons added, by the study's own LLC settings.
`zero`: input weights, bias and output weights 0, the state that weight decay leaves; `off`: bias -10, so that no draw
at these settings reaches them.
Test: paired over seeds.
Effects: mean over seeds of log(LLC with added neurons / LLC as trained), for `zero` and for `off`.
Rule: |effect| below log 1.05 for both, by the interval of the effect (equivalence). Refuted: an interval lies beyond it.
Undecided: an interval holds log 1.05, or fewer than 3 seeds. (`off` is the control: a ReLU that no draw reaches has no
gradient, so that a change there is the estimator's, not the network's.)
Written 2026-11-21, before the study ran.
"""

STUDY = "seeds"

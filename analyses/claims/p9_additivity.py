"""P9. The LLC adds up over frequencies, or it does not: is the LLC of the circuit the sum of its frequencies'?

Question: with the tables over Z_p moving, is their joint LLC the sum of the key frequencies' and of the rest's?
Hypothesis (additivity): yes, to 10%.
Reads: study `seeds`, arm `main`, seeds that generalised, last checkpoint, of the runs that have `refined` measured
(`slt-grok measure RUN --only refined`; studies do not by themselves).
Test: over seeds; groups `frequency` against `circuit` of `slt_grok.llc.refined`.
Effect: mean over seeds of (sum of the key frequencies' LLCs - LLC of the circuit) / LLC of the circuit.
Rule: |effect| below 0.1 supports additivity, by the interval (equivalence); interval beyond 0.1 refutes it. Undecided:
it holds 0.1, or fewer than 3 seeds have it. On a quadratic loss the parts have at least the LLC of the whole, so that a
positive effect is what shared directions cost.
Told beside it: the same over null frequencies.
Written 2026-11-21, before the study ran.
"""

STUDY = "seeds"

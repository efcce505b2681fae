"""P8. Successive stages are joined by low barriers.

Question: does the way from the memorising to the generalising network lead over a barrier of train loss?
Hypothesis: no: the network leaves its memory along a valley.
Reads: study `seeds`, arm `main`, seeds that generalised; the barriers that the landscape measures on the straight line
between each checkpoint and the one before, from memorisation to generalisation. A straight line can only be higher than
the best path, so that low ones support the statement, and high ones ask for a trained curve (`measure --only
connectivity`) before it is refuted: where all runs have it, that curve's barrier from memorisation to the end replaces
the lines.
Test: over seeds.
Effect: mean over seeds of the highest barrier of train loss among successive checkpoints, in units of log p, the loss
of a guess.
Rule: below 0.05. Refuted: interval above 0.05 on trained curves. Undecided: it holds 0.05, it is above 0.05 on straight
lines alone, or fewer than 3 seeds.
Written 2026-11-21, before the study ran.
"""

STUDY = "seeds"

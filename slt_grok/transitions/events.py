"""Memorization, generalization, the phases between them, and the drop of the LLC.

Nanda et al. 2301.05217, section 5, describe three phases of grokking: memorization, circuit formation, cleanup. They
distinguish them visually from progress measures; here the boundaries follow from accuracies alone, so that every other
measure can be compared with them:

- memorization: from the start until train accuracy reaches its threshold;
- circuit formation: from there until test accuracy has gone 10% of the way from its value there to its end;
- cleanup: from there until test accuracy reaches its threshold.

The rise of test accuracy is counted from memorization on, since memorizing a commutative table also answers the test
pairs (b, a) of many train pairs (a, b): a jump of test accuracy that does not indicate a circuit.
"""

from typing import NamedTuple

import numpy as np
import xarray as xr
from scipy.stats import norm

from slt_grok.change import find_change
from slt_grok.rules import ACCURACY
from slt_grok.transitions.measures import Curve

PHASES = ("memorization", "circuit_formation", "cleanup")
DROP_ERRORS, DROP_FRACTION = 3.0, 0.1
CIRCUIT_LOSSES = ("restricted_loss_sum", "excluded_loss")


def first_step_at(curve: Curve, threshold: float) -> float:
    """First recorded step at which the curve is at or above the threshold; NaN if it never is."""
    reached = np.flatnonzero(curve.values >= threshold)
    return float(curve.steps[reached[0]]) if len(reached) else np.nan


def phase_ends(test_accuracy: Curve, memorization: float, generalization: float) -> tuple[float, float, float]:
    """Last step of memorization, circuit formation and cleanup.

    The last two are NaN if the network never memorizes or never generalizes, if it generalizes no later than it
    memorizes, or if test accuracy rises by less than 0.2 after memorization.
    """
    if not memorization < generalization:
        return memorization, np.nan, np.nan
    after = test_accuracy.steps >= memorization
    onset = find_change(test_accuracy.steps[after], test_accuracy.values[after], ACCURACY)["onset"].step
    if np.isnan(onset):
        return memorization, np.nan, np.nan
    return memorization, min(onset, generalization), generalization


def has_circuit(transitions: xr.Dataset) -> bool:
    """Check whether a circuit was measured; without one, circuit formation and cleanup are not defined."""
    return bool(np.isin(CIRCUIT_LOSSES, transitions.measure).any())


class Drop(NamedTuple):
    """The LLC's peak, its end and the difference, each with its standard error; NaN without estimates.

    Parameters
    ----------
    peak, peak_se, peak_step : float
        Largest LLC, and its step.
    final, final_se, final_step : float
        Last LLC, and its step.
    drop, drop_se : float
        Difference of the two.
    """

    peak: float = np.nan
    peak_se: float = np.nan
    peak_step: float = np.nan
    final: float = np.nan
    final_se: float = np.nan
    final_step: float = np.nan
    drop: float = np.nan
    drop_se: float = np.nan


def llc_drop(curve: Curve) -> Drop:
    """Peak, end and drop of an LLC curve.

    Peak: the largest estimate (as a maximum, it is biased upward by up to about 2 of its standard errors). End: the
    last estimate with its own standard error, not a mean over checkpoints, whose error would have to contain their
    trend. Drop: peak - end, with standard errors added in quadrature. NaN estimates are omitted.
    """
    seen = np.isfinite(curve.values)
    if not seen.any():
        return Drop()
    values, steps = curve.values[seen], curve.steps[seen]
    errors = np.full(len(values), np.nan) if curve.se is None else curve.se[seen]
    top = int(values.argmax())
    (peak, peak_se), (final, final_se) = ((values[i], errors[i]) for i in (top, -1))
    numbers = (peak, peak_se, steps[top], final, final_se, steps[-1], peak - final, np.hypot(peak_se, final_se))
    return Drop(*map(float, numbers))


def is_drop(drop: float, error: float, peak: float, estimates: int) -> bool:
    """Check whether a peak exceeds the end by more than noise, and by 10% of the peak.

    The difference of two estimates would have to exceed 3 standard errors. As the largest of `estimates`, a peak does
    that by chance more often, so that the limit is raised to have the same probability (Bonferroni): 3.8 for 20.
    """
    errors = norm.isf(norm.sf(DROP_ERRORS) / max(estimates, 1))
    return bool(drop > max(errors * error, DROP_FRACTION * abs(peak)))

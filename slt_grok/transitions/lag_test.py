"""A test over seeds of whether one event precedes another, accounting for the spacing of checkpoints.

The lag of a seed is the difference of two events in log(1 + step), for which draws are available (`estimators`). The
test is Student's t on the medians of the seeds' draws: uncertainty within a seed is part of the scatter over seeds.

That fails if the events of all seeds lie between the same few checkpoints: the seeds then share their error, more of
them add no information, and Student's test nearly always rejects. So if the standard deviation of an event over seeds
is below `SHARED` of the median width of its intervals, the error is taken as common to all seeds, in the worst case:
the test and its interval are computed from the k-th smallest draw of every seed, for each k in the central 95%; the
p-value is the largest of them and the interval their union, so that the test is conservative. (For events with normal
scatter s, the positions inside a gap g have a correlation near exp(-(2 pi s / g)^2), 3% at s = 0.3 g; the
midpoints of the intervals then have the standard deviation sqrt(s^2 + g^2 / 12) = 0.42 g, and the intervals the width
0.95 g.)

The interval contains every mean lag that the test does not reject.
"""

from typing import NamedTuple

import numpy as np
from scipy.stats import t

FEWEST_SEEDS = 4
RESOLUTION = 0.02  # in log step: smallest width of an interval at which checkpoint spacing matters
SHARED = 0.44
LEVEL = 0.05
PLACES = 21  # number of values of a shared error


class Lag(NamedTuple):
    """Lag of an event over seeds.

    Parameters
    ----------
    mean, low, high : float
        Mean lag in log step and its 95% interval.
    p_value : float
        p-value of no lag.
    shared : bool
        Whether all seeds share the error.
    """

    mean: float
    low: float
    high: float
    p_value: float
    shared: bool


def lag_of(first: np.ndarray, second: np.ndarray) -> Lag:
    """Estimate the mean lag of the first event behind the second over seeds.

    Parameters
    ----------
    first, second : ndarray
        Draws of the events in log(1 + step), (seed, draw), for at least `FEWEST_SEEDS` seeds.
    """
    draws = first - second
    shared = shares_error(first) or shares_error(second)
    mean, low, high, p_value = map(float, student(np.median(draws, axis=1)))
    if shared:
        places = np.linspace(LEVEL / 2, 1 - LEVEL / 2, PLACES)
        _, lows, highs, p_values = student(np.quantile(draws, places, axis=1))
        low, high, p_value = float(lows.min()), float(highs.max()), float(p_values.max())
    return Lag(mean, low, high, p_value, shared)


def shares_error(draws: np.ndarray) -> bool:
    """Check whether draws (seed, draw) of an event vary little between seeds compared with their width."""
    low, middle, high = np.percentile(draws, (2.5, 50, 97.5), axis=1)
    width = float(np.median(high - low))
    return width > RESOLUTION and bool(middle.std(ddof=1) < SHARED * width)


def student(lags: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Mean, 95% interval and p-value of no lag, each (...), by Student's test on lags (..., seed).

    Identical lags are assumed to scatter by a tenth of `RESOLUTION`.
    """
    count, mean = lags.shape[-1], lags.mean(-1)
    error = np.maximum(lags.std(-1, ddof=1), RESOLUTION / 10) / np.sqrt(count)
    reach = t.ppf(1 - LEVEL / 2, count - 1) * error
    return mean, mean - reach, mean + reach, 2 * t.sf(np.abs(mean) / error, count - 1)


def holm(p_values: np.ndarray) -> np.ndarray:
    """Holm's (1979) adjusted p-values of several tests, valid under any dependence; NaN means no test."""
    p_values = np.asarray(p_values, float)
    tested = np.flatnonzero(np.isfinite(p_values))
    order = tested[np.argsort(p_values[tested])]
    adjusted = np.full(p_values.shape, np.nan)
    adjusted[order] = np.maximum.accumulate(p_values[order] * np.arange(len(order), 0, -1)).clip(max=1)
    return adjusted

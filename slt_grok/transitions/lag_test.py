"""Does one event come before another, over seeds: a test that knows what the checkpoints leave open.

Lag of a seed: difference of two events in log(1 + step), of which draws are known (`estimators`). The test is Student's
on the medians of the seeds' draws: what the checkpoints and the noise leave open in each seed is part of their scatter.

That fails where the events of all seeds lie between the same few checkpoints: then the seeds share their error, more of
them tell no more, and Student's test rejects nearly always. So where the standard deviation over seeds of an event is
below `SHARED` of the median width of its intervals, the error is taken as one of all seeds, wherever it is worst: the
test and its interval are made from the k-th smallest draw of every seed, for each k in the central 95%; the p-value is
the largest of them and the interval their union. There the test rejects less often than it says. (Of events that
scatter normally by s, the positions inside a gap g have a correlation near exp(-(2 pi s / g)^2), 3% at s = 0.3 g; the
middles of the intervals then have the standard deviation sqrt(s^2 + g^2 / 12) = 0.42 g, and the intervals the width
0.95 g.)

The interval holds every mean lag that the test does not reject.
"""

from typing import NamedTuple

import numpy as np
from scipy.stats import t

FEWEST_SEEDS = 4
RESOLUTION = 0.02  # in log step: width of an interval from which on checkpoints matter
SHARED = 0.44
LEVEL = 0.05
PLACES = 21  # of a shared error


class Lag(NamedTuple):
    """Mean lag in log step, its 95% interval, the p-value of no lag; is the error one of all seeds."""

    mean: float
    low: float
    high: float
    p_value: float
    shared: bool


def lag_of(first: np.ndarray, second: np.ndarray) -> Lag:
    """Return the mean lag of the first event behind the second over seeds.

    Parameters
    ----------
    first, second : ndarray
        Draws of the events in log(1 + step), (seed, draw), at least `FEWEST_SEEDS` seeds.
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
    """Return whether the draws (seed, draw) of an event hardly differ between seeds compared with their width."""
    low, middle, high = np.percentile(draws, (2.5, 50, 97.5), axis=1)
    width = float(np.median(high - low))
    return width > RESOLUTION and bool(middle.std(ddof=1) < SHARED * width)


def student(lags: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Mean, ends of its 95% interval and p-value of no lag, each (...), by Student's test on lags (..., seed).

    Lags that are all the same are taken to scatter by a tenth of `RESOLUTION`.
    """
    count, mean = lags.shape[-1], lags.mean(-1)
    error = np.maximum(lags.std(-1, ddof=1), RESOLUTION / 10) / np.sqrt(count)
    reach = t.ppf(1 - LEVEL / 2, count - 1) * error
    return mean, mean - reach, mean + reach, 2 * t.sf(np.abs(mean) / error, count - 1)


def holm(p_values: np.ndarray) -> np.ndarray:
    """Holm's (1979) p-values of several tests, which hold together whatever joins the tests; NaN is no test."""
    p_values = np.asarray(p_values, float)
    tested = np.flatnonzero(np.isfinite(p_values))
    order = tested[np.argsort(p_values[tested])]
    adjusted = np.full(p_values.shape, np.nan)
    adjusted[order] = np.maximum.accumulate(p_values[order] * np.arange(len(order), 0, -1)).clip(max=1)
    return adjusted

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

The interval holds every mean lag that the test does not reject. Beside it the hierarchical bootstrap (Saravanan et al.
2020): seeds with replacement, and for every one of them a draw, which carries the place between two checkpoints (one
for all seeds where they share it) and the noise. Percentiles are widened as Hesterberg (2015, section 5.3) says for few
seeds: those of the normal distribution at Student's quantile times sqrt(S / (S - 1)).
"""

from typing import NamedTuple

import numpy as np
from scipy.stats import norm, t

FEWEST_SEEDS = 4
RESOLUTION = 0.02  # in log step: width of an interval from which on checkpoints matter
SHARED = 0.44
LEVEL = 0.05
PLACES = 21  # of a shared error


class Lag(NamedTuple):
    """Mean lag in log step, its interval, the p-value of no lag, the bootstrap's interval; is the error shared."""

    mean: float
    low: float
    high: float
    p_value: float
    bootstrap_low: float
    bootstrap_high: float
    shared: bool


def lag_of(first: np.ndarray, second: np.ndarray, resamples: int = 2000, seed: np.random.SeedSequence | int = 0) -> Lag:
    """Mean lag of the first event behind the second over seeds, with both intervals and the p-value.

    Parameters
    ----------
    first, second : ndarray
        Draws of the events in log(1 + step), (seed, draw), at least `FEWEST_SEEDS` seeds.
    resamples : int, optional
        Of the bootstrap; 0: none, its interval is NaN.
    seed : np.random.SeedSequence or int, optional
        Of the bootstrap.
    """
    draws = np.sort(first - second, axis=1)
    shared = shares_error(first) or shares_error(second)
    mean, low, high, p_value = map(float, student(np.median(draws, axis=1)))
    if shared:
        places = np.linspace(LEVEL / 2, 1 - LEVEL / 2, PLACES)
        _, lows, highs, p_values = student(np.quantile(draws, places, axis=1))
        low, high, p_value = float(lows.min()), float(highs.max()), float(p_values.max())
    bootstrapped = bootstrap_interval(draws, shared, resamples, seed) if resamples else (np.nan, np.nan)
    return Lag(mean, low, high, p_value, *bootstrapped, shared)


def shares_error(draws: np.ndarray) -> bool:
    """Whether the draws (seed, draw) of an event hardly differ between seeds beside their width."""
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


def bootstrap_interval(
    draws: np.ndarray, shared: bool, resamples: int, seed: np.random.SeedSequence | int
) -> tuple[float, float]:
    """Return the ends of the 95% interval of the mean lag by the hierarchical bootstrap.

    Lags (seed, draw), a seed's ascending.
    """
    generator, (count, number) = np.random.default_rng(seed), draws.shape
    seeds = generator.integers(count, size=(resamples, count))
    means = draws[seeds, generator.integers(number, size=(resamples, 1 if shared else count))].mean(1)
    wide = norm.cdf(-np.sqrt(count / (count - 1)) * t.ppf(1 - LEVEL / 2, count - 1))
    low, high = np.quantile(means, [wide, 1 - wide])
    return float(low), float(high)


def holm(p_values: np.ndarray) -> np.ndarray:
    """Holm's (1979) p-values of several tests, which hold together whatever joins the tests; NaN is no test."""
    p_values = np.asarray(p_values, float)
    tested = np.flatnonzero(np.isfinite(p_values))
    order = tested[np.argsort(p_values[tested])]
    adjusted = np.full(p_values.shape, np.nan)
    adjusted[order] = np.maximum.accumulate(p_values[order] * np.arange(len(order), 0, -1)).clip(max=1)
    return adjusted

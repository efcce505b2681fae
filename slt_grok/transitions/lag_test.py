"""Does one event come before another, over seeds: a test that knows what the checkpoints leave open.

Lag of a seed: difference of two events in log(1 + step), of which draws are known (`estimators`). The test is Student's
on the medians of the seeds' draws: what the checkpoints and the noise leave open in each seed is part of their scatter.

That fails where the events of all seeds lie between the same few checkpoints: then the seeds share their error, more of
them tell no more, and Student's test rejects nearly always. So where the standard deviation over seeds of an event is
below `SHARED` of the median width of its intervals, the draws are taken as one error of all seeds: the k-th smallest of
every seed together. (Of events that scatter normally by s, the positions inside a gap g have a correlation near
exp(-(2 pi s / g)^2), 3% at s = 0.3 g; the middles of the intervals then have the standard deviation sqrt(s^2 + g^2 /
12) = 0.42 g, and the intervals the width 0.95 g.) With lags normal around mu with standard deviation tau, the
likelihood is the mean over k of the product over seeds of the densities; the ratio L of its largest value to that at
mu, both at the best tau, gives t = sqrt((S - 1) (exp(2 log L / S) - 1)), which is Student's t of mu where the lags are
known. So there the test rejects less often than it says, never more.

The interval holds every mu that the test does not reject. Beside it the hierarchical bootstrap (Saravanan et al. 2020):
seeds with replacement, and for every one of them a draw, which carries the place between two checkpoints (one for all
seeds where they share it) and the noise. Percentiles are widened as Hesterberg (2015, section 5.3) says for few seeds:
those of the normal distribution at Student's quantile times sqrt(S / (S - 1)).
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp
from scipy.stats import norm, t

FEWEST_SEEDS = 4
RESOLUTION = 0.02  # in log step: least tau, and width of an interval that matters
SHARED = 0.44
LEVEL = 0.05
SPREADS = 24  # values of tau
MEANS = 81  # values of mu
NODES = 48  # draws of a seed's lag that the likelihood uses


@dataclass(frozen=True)
class Lag:
    """Mean lag in log step, its interval, the p-value of no lag, the bootstrap's interval; is the error shared."""

    mean: float
    low: float
    high: float
    p_value: float
    bootstrap_low: float
    bootstrap_high: float
    shared: bool


def lag_of(
    first: np.ndarray, second: np.ndarray, resamples: int = 2000, seed: np.random.SeedSequence | int = 0
) -> Lag:
    """Mean lag of the first event behind the second over seeds, with both intervals and the p-value.

    Parameters
    ----------
    first, second : draws of the events in log(1 + step), (seed, draw), at least `FEWEST_SEEDS` seeds.
    resamples : of the bootstrap; 0: none, its interval is NaN.
    seed : of the bootstrap.
    """
    draws = np.sort(first - second, axis=1)
    shared = shares_error(first) or shares_error(second)
    found = profile(draws) if shared else student(np.median(draws, axis=1))
    bootstrapped = bootstrap_interval(draws, shared, resamples, seed) if resamples else (np.nan, np.nan)
    return Lag(*found, *bootstrapped, shared)


def shares_error(draws: np.ndarray) -> bool:
    """Whether the draws (seed, draw) of an event hardly differ between seeds beside their width."""
    low, middle, high = np.percentile(draws, (2.5, 50, 97.5), axis=1)
    width = float(np.median(high - low))
    return width > RESOLUTION and bool(middle.std(ddof=1) < SHARED * width)


def student(lags: np.ndarray) -> tuple[float, float, float, float]:
    """Mean, ends of its 95% interval and p-value of no lag, by Student's test on lags (seed,).

    Lags that are all the same are taken to scatter by a tenth of `RESOLUTION`.
    """
    count, mean = len(lags), float(lags.mean())
    error = max(float(lags.std(ddof=1)), RESOLUTION / 10) / np.sqrt(count)
    reach = float(t.ppf(1 - LEVEL / 2, count - 1)) * error
    return mean, mean - reach, mean + reach, float(2 * t.sf(abs(mean) / error, count - 1))


def profile(draws: np.ndarray) -> tuple[float, float, float, float]:
    """Best mean lag, ends of its 95% interval and p-value of no lag, where seeds share their error.

    From lags (seed, draw), those of each seed ascending.
    """
    count = len(draws)
    nodes = draws[:, ((np.arange(NODES) + 0.5) / NODES * draws.shape[1]).astype(int)]  # (S, K)
    middles = np.median(nodes, axis=1)
    spread = float(np.hypot(middles.std(ddof=1), RESOLUTION))
    widest = float(np.ptp(nodes, axis=1).max())
    reach = 1.3 * t.ppf(1 - LEVEL / 2, count - 1) * np.hypot(spread, widest / 2) / np.sqrt(count) + widest / 2
    means = np.r_[0.0, middles.mean() + reach * np.linspace(-1, 1, MEANS)]
    spreads = np.geomspace(RESOLUTION, 3 * max(spread, widest, 2 * RESOLUTION), SPREADS)
    together = ((nodes[:, :, None] - means) ** 2).sum(0)  # (K, M)
    log_likelihood = np.full(len(means), -np.inf)
    for tau in spreads:
        each = logsumexp(-0.5 * together / tau**2, axis=0)
        log_likelihood = np.maximum(log_likelihood, each - count * np.log(tau))
    ratio = log_likelihood.max() - log_likelihood
    p_values = 2 * t.sf(np.sqrt((count - 1) * np.expm1(np.minimum(2 * ratio / count, 600))), count - 1)
    inside = np.flatnonzero(p_values[1:] > LEVEL)
    low, high = (_edge(means[1:], p_values[1:], at, side) for at, side in ((inside[0], -1), (inside[-1], 1)))
    return float(means[log_likelihood.argmax()]), low, high, float(p_values[0])


def _edge(means: np.ndarray, p_values: np.ndarray, at: int, side: int) -> float:
    """Where the p-value falls to the level next to the outermost mean inside the interval."""
    other = at + side
    if not 0 <= other < len(means):
        return float(means[at])
    share = (p_values[at] - LEVEL) / (p_values[at] - p_values[other])
    return float(means[at] + share * (means[other] - means[at]))


def bootstrap_interval(
    draws: np.ndarray, shared: bool, resamples: int, seed: np.random.SeedSequence | int
) -> tuple[float, float]:
    """Ends of the 95% interval of the mean lag by the hierarchical bootstrap, from lags (seed, draw) as in `profile`."""
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

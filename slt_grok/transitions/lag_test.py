"""Does one event come before another, over seeds: a test that knows how badly each seed's lag is known.

Lag of a seed: difference of two events in log(1 + step). Lags of seeds are normal with mean mu and standard deviation
tau, both unknown; of each seed only draws of its lag are known (`estimators`), so its likelihood is the mean over its
draws of the normal density at (draw - mu) / sqrt(tau^2 + RESOLUTION^2). So a lag between distant checkpoints counts as
no more than an interval, and one that all seeds share is no evidence: a t test on the middles of such intervals would
reject nearly always, since every seed has the same error.

The likelihood ratio L of mu against all mu, tau at its best in both, gives t = sqrt((S - 1) (exp(2 log L / S) - 1)),
which has Student's distribution with S - 1 degrees of freedom where the lags are known: there the test is the t test.
The interval holds every mu that the test does not reject.

Beside it the hierarchical bootstrap (Saravanan et al. 2020): seeds with replacement, and for every one of them a draw,
which carries the place between two checkpoints and the noise. Percentiles are widened as Hesterberg (2015, section
5.3) says for few seeds: those of the normal distribution at Student's quantile times sqrt(S / (S - 1)).
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, t

FEWEST_SEEDS = 4
RESOLUTION = 0.02  # in log step: a lag below 2% of the step is none
LEVEL = 0.05
SPREADS = 24  # values of tau
MEANS = 81  # values of mu
NODES = 48  # draws of a seed's lag that its likelihood uses


@dataclass(frozen=True)
class Lag:
    """Mean lag in log step, its interval, the p-value of no lag, and the bootstrap's interval."""

    mean: float
    low: float
    high: float
    p_value: float
    bootstrap_low: float
    bootstrap_high: float


def lag_of(draws: np.ndarray, resamples: int, seed: np.random.SeedSequence | int) -> Lag:
    """Mean lag over seeds with both intervals and the p-value.

    Parameters
    ----------
    draws : lags in log(1 + step), (seed, draw), at least `FEWEST_SEEDS` seeds.
    resamples : of the bootstrap.
    seed : of the bootstrap.
    """
    mean, low, high, p_value = profile(draws[None])
    bootstrapped = bootstrap_interval(draws, resamples, seed)
    return Lag(float(mean[0]), float(low[0]), float(high[0]), float(p_value[0]), *bootstrapped)


def profile(draws: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Best mean lag, ends of its 95% interval and p-value of no lag, each (E,), of experiments (E, seed, draw)."""
    found = np.array([_profile(np.sort(one, axis=1)) for one in draws])
    return tuple(found.T)


def _profile(draws: np.ndarray) -> tuple[float, float, float, float]:
    """`profile` of one experiment, draws sorted."""
    count = len(draws)
    nodes = draws[:, ((np.arange(NODES) + 0.5) / NODES * draws.shape[1]).astype(int)]  # (S, K)
    middles = np.median(nodes, axis=1)
    spread = max(float(np.hypot(middles.std(ddof=1), RESOLUTION)), 1e-12)
    widest = float(np.ptp(nodes, axis=1).max())
    reach = t.ppf(1 - LEVEL / 2, count - 1) * 1.3 * np.hypot(spread, widest / 2) / np.sqrt(count) + widest / 2
    means = np.r_[0.0, middles.mean() + reach * np.linspace(-1, 1, MEANS)]
    spreads = np.sqrt(np.geomspace(RESOLUTION, 3 * max(spread, widest, 2 * RESOLUTION), SPREADS) ** 2)
    distance = (nodes[:, :, None] - means) ** 2  # (S, K, M)
    log_likelihood = np.full(len(means), -np.inf)
    for tau in spreads:
        each = np.exp(-0.5 * distance / tau**2).mean(1)
        with np.errstate(divide="ignore"):
            log_likelihood = np.maximum(log_likelihood, np.log(each).sum(0) - count * np.log(tau))
    best = int(log_likelihood.argmax())
    ratio = log_likelihood[best] - log_likelihood
    with np.errstate(over="ignore"):
        p_values = 2 * t.sf(np.sqrt((count - 1) * np.expm1(2 * ratio / count)), count - 1)
    inside = means[1:][p_values[1:] > LEVEL]
    low, high = _edge(means[1:], p_values[1:], inside.min(), -1), _edge(means[1:], p_values[1:], inside.max(), 1)
    return float(means[best]), low, high, float(p_values[0])


def _edge(means: np.ndarray, p_values: np.ndarray, last: float, side: int) -> float:
    """Where the p-value falls to the level next to the last mean inside the interval."""
    at = int(np.searchsorted(means, last))
    other = at + side
    if not 0 <= other < len(means):
        return float(last)
    share = (p_values[at] - LEVEL) / max(p_values[at] - p_values[other], 1e-300)
    return float(means[at] + min(share, 1.0) * (means[other] - means[at]))


def bootstrap_interval(
    draws: np.ndarray, resamples: int, seed: np.random.SeedSequence | int
) -> tuple[float, float]:
    """Ends of the 95% interval of the mean lag by the hierarchical bootstrap from draws (seed, draw)."""
    generator, (count, number) = np.random.default_rng(seed), draws.shape
    seeds = generator.integers(count, size=(resamples, count))
    means = draws[seeds, generator.integers(number, size=seeds.shape)].mean(1)
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

"""Decision rules: an effect with its interval over seeds, a threshold, and what follows.

A claim is one condition or several that must hold together, each that a quantity lies above (or below) a threshold.
With the interval of the quantity over seeds a condition is

    supported    the whole interval lies on the side that is claimed,
    refuted      the whole interval lies on the other side,
    undecided    the interval holds the threshold, or there are too few seeds for one.

A claim is supported where all its conditions are, refuted where one of them is, and else undecided at this power.
Intervals are simultaneous: of level 1 - 0.05 / (number of conditions), so that a claim that holds is refuted in at most
2.5% of studies (Bonferroni); one that does not is supported in at most 2.5%.

Intervals are hierarchical: seeds are nested in settings (arms, points of a grid), and the spread of seeds within each
setting carries both the seeds' own differences and the error of each seed's LLC. The variance of an effect is the sum
over settings of its leave-one-seed-out jackknife variances (Efron and Tibshirani 1993, section 11.5), with Student's
quantile at the degrees of freedom of Satterthwaite (1946): Student's interval for a mean, Welch's for a difference of
two means. Where all seeds agree exactly their spread is unknown, and so is the interval. A share of seeds has the
interval of Clopper and Pearson (1934).

When the rules of this folder were written no study had run; single runs of one seed had been measured (quickstart,
mod113, random_table), the first of which is seed 0 of the study `seeds`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import ceil, inf, isfinite
from typing import Literal

import numpy as np
import pandas as pd
from scipy.stats import binomtest, t

SUPPORTED, REFUTED, UNDECIDED = "supported", "refuted", "undecided at this power"
LEVEL = 0.05
FEWEST_SEEDS = 3  # of each setting
NO_TEST = "too few for an interval"
NO_SPREAD = "all seeds agree exactly, which says nothing about their spread"
ROUNDING = 1e-12  # relative to the effect: a standard error below it is of rounding


@dataclass(frozen=True)
class Effect:
    """A quantity, its simultaneous interval, and the seeds of each setting; infinite ends where it is unknown.

    Parameters
    ----------
    value, low, high : float
        The quantity and its interval.
    seeds : tuple of int
        Seeds of each setting.
    missing : str, optional
        Why there is no interval.
    """

    value: float
    low: float
    high: float
    seeds: tuple[int, ...]
    missing: str = NO_TEST


def over_seeds(
    statistic: Callable[..., float], *groups: Sequence | np.ndarray, conditions: int = 1, fewest: int = FEWEST_SEEDS
) -> Effect:
    """Return a statistic of the seeds of several settings, and its interval.

    Parameters
    ----------
    statistic : callable
        Smooth function of the groups (means, slopes; not medians or ranks of single seeds).
    groups : Sequence or ndarray
        Of each setting an array (seed, ...); a seed is one network.
    conditions : int, optional
        How many the claim has.
    fewest : int, optional
        Seeds that each setting must have.
    """
    arrays = [np.asarray(group, dtype=float) for group in groups]
    counts = tuple(len(one) for one in arrays)
    if not counts or min(counts) < 1:
        return Effect(np.nan, -inf, inf, counts)
    value = float(statistic(*arrays))
    if min(counts) < fewest or not isfinite(value):
        return Effect(value, -inf, inf, counts)
    variances = []
    for k, one in enumerate(arrays):
        without = [statistic(*arrays[:k], np.delete(one, i, axis=0), *arrays[k + 1 :]) for i in range(len(one))]
        variances.append((len(one) - 1) * np.var(without))
    total, each = float(np.sum(variances)), np.array(variances)
    if total <= (ROUNDING * abs(value)) ** 2:
        return Effect(value, -inf, inf, counts, NO_SPREAD)
    freedom = total**2 / (each**2 / (np.array(counts) - 1)).sum()
    reach = t.ppf(1 - LEVEL / conditions / 2, freedom) * np.sqrt(total)
    return Effect(value, value - reach, value + reach, counts)


def share(successes: int, seeds: int, conditions: int = 1, fewest: int = FEWEST_SEEDS) -> Effect:
    """Return a share of seeds, and the interval of Clopper and Pearson."""
    if seeds < fewest:
        return Effect(successes / seeds if seeds else np.nan, -inf, inf, (seeds,))
    ends = binomtest(successes, seeds).proportion_ci(1 - LEVEL / conditions, "exact")
    return Effect(successes / seeds, ends.low, ends.high, (seeds,))


def magnitude(effect: Effect) -> Effect:
    """|x| with the interval that the interval of x implies."""
    if not isfinite(effect.high - effect.low):
        return Effect(abs(effect.value), -inf, inf, effect.seeds, effect.missing)
    near, far = sorted((abs(effect.low), abs(effect.high)))
    return Effect(abs(effect.value), 0.0 if effect.low <= 0 <= effect.high else near, far, effect.seeds)


def bounded(effect: Effect, low: float, high: float) -> Effect:
    """Return an effect whose known interval ends where its quantity does, as a correlation's does at -1 and 1."""
    if not isfinite(effect.high - effect.low):
        return effect
    return Effect(effect.value, max(effect.low, low), min(effect.high, high), effect.seeds)


def slope(x: np.ndarray, y: np.ndarray) -> float:
    """Least-squares slope of y on x; NaN where x does not vary."""
    centered = x - x.mean()
    return float((centered * y).sum() / (centered**2).sum()) if np.ptp(x) > 0 else np.nan


def exponent(sizes: Sequence[float] | np.ndarray) -> Callable[..., float]:
    """Return the statistic b of mean ~ size^b: the slope of log means of groups on the log of their sizes."""
    x = np.log(np.asarray(sizes, dtype=float))
    return lambda *groups: slope(x, np.log([one.mean() for one in groups]))


def mean(values: np.ndarray) -> float:
    """Return the mean over seeds."""
    return float(values.mean())


def difference(first: np.ndarray, second: np.ndarray) -> float:
    """Mean of the first setting less that of the second."""
    return float(first.mean() - second.mean())


@dataclass(frozen=True)
class Condition:
    """That a quantity lies above or below a threshold.

    Parameters
    ----------
    quantity : str
        In words, with its unit.
    effect : Effect
        Its value and interval.
    side : {"above", "below"}
        On which side of the threshold the claim wants it.
    threshold : float
        Written down before there were data.
    refutable : bool, optional
        Whether what was measured could refute it: a bound can support a claim and leave its failure open.
    """

    quantity: str
    effect: Effect
    side: Literal["above", "below"]
    threshold: float
    refutable: bool = True

    @property
    def verdict(self) -> str:
        """Supported, refuted or undecided."""
        above, below = self.effect.low > self.threshold, self.effect.high < self.threshold
        holds, fails = (above, below) if self.side == "above" else (below, above)
        return SUPPORTED if holds else REFUTED if fails and self.refutable else UNDECIDED

    @property
    def reason(self) -> str:
        """What decided it, in a sentence; for an undecided one what is missing."""
        e = self.effect
        if not isfinite(e.high - e.low):
            return f"{self.quantity}: {e.missing}, seeds by setting {', '.join(map(str, e.seeds)) or 'none'}"
        text = f"{self.quantity}: {e.value:.3g}, interval {e.low:.3g} to {e.high:.3g}, claimed {self.side} "
        text += f"{self.threshold:.3g}"
        if self.verdict != UNDECIDED or e.value == self.threshold:
            return text
        if not e.low <= self.threshold <= e.high:
            return f"{text}, but what was measured is a bound, which cannot refute it"
        factor = max(e.high - e.value, e.value - e.low) / abs(e.value - self.threshold)
        return f"{text}; some {ceil(factor**2 * max(e.seeds))} seeds a setting would decide, were this the effect"


@dataclass(frozen=True)
class Finding:
    """What a rule found in a study.

    Parameters
    ----------
    conditions : list[Condition]
        All that the claim asks for.
    seen : pandas.DataFrame
        What the figure shows, a row for each network.
    left_out : list[str], optional
        Sentences, one for everything that was not used.
    numbers : dict[str, Effect], optional
        Further effects that decide nothing.
    """

    conditions: list[Condition]
    seen: pd.DataFrame
    left_out: list[str] = field(default_factory=list)
    numbers: dict[str, Effect] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """Of the claim as a whole."""
        each = [condition.verdict for condition in self.conditions]
        if REFUTED in each:
            return REFUTED
        return SUPPORTED if each and set(each) == {SUPPORTED} else UNDECIDED

    @property
    def reasons(self) -> list[str]:
        """The sentences of the conditions that decided it."""
        wanted = self.verdict
        return [one.reason for one in self.conditions if one.verdict == wanted] or ["there is nothing to test"]

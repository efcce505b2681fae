"""When a curve changes: onset, middle and end of its rise or fall, each with an interval.

The axis is x = log(1 + step), which has a place for step 0. All rules are explicit and none relies on visual judgment:

- Scale: one for all measures, linear (`slt_grok.rules.SCALE`), so that one curve never lags itself; the events on a
  logarithmic scale (nonpositive values are omitted) are also given.
- End level: the value at the last checkpoint.
- Start level: the first checkpoint, or, for a curve that reverses before it changes (excluded loss falls during
  memorization and then rises), the extreme: the maximum of a falling curve, the minimum of a rising one, after a
  running median over three checkpoints if there are at least 20. Only later checkpoints count. A curve with standard
  errors is not smoothed, since its noise is known: its start level is the mean of
  the plateau at the extreme (all checkpoints within two joint standard errors of it, then those within two standard
  errors of their mean, and so on), because the maximum of many noisy values exceeds their common level.
- Onset, middle and end are where the curve has covered 10%, 50% and 90% of the distance from start level to end level.
  "Half way" is the middle, in every measurement, table and figure of the suite.
- A crossing lies in the gap between two checkpoints that leaves the fewest on its wrong side, that is, earlier ones
  already past the level and later ones not yet past it. A single outlier between the ends moves it by at most one
  checkpoint, which holds neither for the first crossing nor for the last. Of several such gaps, the middle one is used,
  with linear interpolation in x.
- Interval: from the first checkpoint to the last of all such gaps, since the curve is unknown between checkpoints. A
  curve with standard errors is also redrawn `bootstrap` times with normal noise, and the central 95% of its crossings
  are united with that interval.
- A curve that changes by less than its rule's minimum, or by less than 3 joint standard errors of its two levels,
  has no transition (NaN).
"""

from typing import Any, NamedTuple

import numpy as np

from slt_grok.rules import SCALE, Rule, Scale

FRACTIONS = {"onset": 0.1, "middle": 0.5, "end": 0.9}
SIGNIFICANCE = 3.0  # joint standard errors
PASSES = 4  # iterations of the plateau rule
COVERAGE = (2.5, 97.5)  # percentiles of the bootstrap
MANY = 20  # number of checkpoints from which an extreme is that of running medians


class Crossing(NamedTuple):
    """A step with its interval; all NaN where there is no transition.

    Parameters
    ----------
    step, low, high : float
        Step of the crossing and both ends of its interval.
    """

    step: float = np.nan
    low: float = np.nan
    high: float = np.nan


def find_change(
    steps: np.ndarray,
    values: np.ndarray,
    rule: Rule,
    se: np.ndarray | None = None,
    bootstrap: int = 200,
    seed: np.random.SeedSequence | int = 0,
    scale: Scale = SCALE,
) -> dict[str, Crossing]:
    """Onset, middle and end of a curve's change, each with its interval.

    Parameters
    ----------
    steps : ndarray
        Training steps (n,), ascending.
    values : ndarray
        The curve (n,); NaN points are omitted.
    rule : Rule
        Direction, start and smallest change.
    se : ndarray or None, optional
        Standard errors (n,) of the values, on the values' own scale; NaN counts as 0. None if unknown.
    bootstrap : int, optional
        Number of redrawn curves if there are standard errors.
    seed : np.random.SeedSequence or int, optional
        Seed of the redrawn curves.
    scale : {"linear", "log"}, optional
        Scale on which fractions of the change are taken.

    Returns
    -------
    dict[str, Crossing]
        `onset`, `middle`, `end`: steps and intervals, in the units of `steps`.
    """
    x, curve, noise = oriented(steps, values, rule, se, scale)
    crossings = _crossings(x, curve, rule, noise, scale)
    if crossings is None:
        return dict.fromkeys(FRACTIONS, Crossing())
    middle, low, high = crossings
    if noise is not None and noise.any():
        generator = np.random.default_rng(seed)
        redrawn = [
            _crossings(x, curve + noise * generator.standard_normal(len(x)), rule, noise, scale)
            for _ in range(bootstrap)
        ]
        if drawn := [parts[0] for parts in redrawn if parts is not None]:
            bounds = np.percentile(drawn, COVERAGE, axis=0)
            low, high = np.minimum(low, bounds[0]), np.maximum(high, bounds[1])
    steps = np.expm1(np.stack([middle, low, high], -1)).round(6)  # recover integer checkpoint steps exactly
    return {name: Crossing(*row) for name, row in zip(FRACTIONS, steps.tolist(), strict=True)}


def oriented(
    steps: np.ndarray, values: np.ndarray, rule: Rule, se: np.ndarray | None, scale: Scale = SCALE
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """log(1 + step), the curve on a scale, flipped so that it should rise, and its noise, where finite."""
    with np.errstate(divide="ignore", invalid="ignore"):
        curve = np.log(np.where(values > 0, values, np.nan)) if scale == "log" else values.astype(float)
        noise = None if se is None else np.nan_to_num(se / values if scale == "log" else se)
    seen = np.isfinite(curve)
    curve = curve[seen] if rule.rises else -curve[seen]
    return np.log1p(steps[seen]), curve, None if noise is None else noise[seen]


def is_met(rule: Rule, start: Any, end: Any, scale: Scale = SCALE) -> Any:
    """Check whether changes between levels of oriented curves meet a rule, see `Rule.is_met`."""
    levels = [level if rule.rises else -level for level in (start, end)]
    return rule.is_met(*(np.exp(levels) if scale == "log" else levels))


def start_of_change(curve: np.ndarray, noise: np.ndarray | None, rule: Rule) -> int:
    """Index of the first checkpoint that belongs to the change of an oriented curve.

    For a noisy curve that starts from an extreme, it is the second of the preceding checkpoints that are all within 1.5
    standard errors of the plateau's level. Starting at the extreme itself, which noise exaggerates, would shift the
    onset, and so would including the approach to the plateau.
    """
    extreme, level = _start(curve, noise, rule)
    if rule.start == "first" or noise is None:
        return extreme
    apart = np.flatnonzero(curve[:extreme] - level > 1.5 * noise[:extreme])
    return min(int(apart[-1]) + 2, extreme) if len(apart) else 0


def _crossings(
    x: np.ndarray, curve: np.ndarray, rule: Rule, noise: np.ndarray | None, scale: Scale
) -> tuple[np.ndarray, ...] | None:
    """Positions, lower and upper ends (3,) of the three crossings of an oriented curve; None if it does not rise."""
    if len(x) < 2:
        return None
    first, start = _start(curve, noise, rule)
    end = float(curve[-1])
    error = 0.0 if noise is None else float(np.hypot(noise[first], noise[-1]))
    if len(x) - first < 2 or end - start < SIGNIFICANCE * error or not is_met(rule, start, end, scale):
        return None
    levels = [start + fraction * (end - start) for fraction in FRACTIONS.values()]
    return tuple(np.array([_crossing(x[first:], curve[first:], level) for level in levels]).T)


def _start(curve: np.ndarray, noise: np.ndarray | None, rule: Rule) -> tuple[int, float]:
    """Index of the start of an oriented curve's change, the first checkpoint or the extreme, and the start level."""
    if rule.start == "first":
        return 0, float(curve[0])
    smooth = curve
    if noise is None and len(curve) >= MANY:
        inner = np.median(np.stack([curve[:-2], curve[1:-1], curve[2:]]), axis=0)
        smooth = np.r_[curve[0], inner, curve[-1]]
    first = len(smooth) - 1 - int(smooth[::-1].argmin())
    return first, float(smooth[first]) if noise is None else _plateau(curve, noise, first)


def _crossing(x: np.ndarray, curve: np.ndarray, level: float) -> tuple[float, float, float]:
    """Position where a curve rises through a level, and the range of the gaps between checkpoints where that may be."""
    past = curve >= level
    # wrong[g]: checkpoints on the wrong side if the first g lie before the crossing
    wrong = np.r_[0, past.cumsum()] + np.r_[(~past)[::-1].cumsum()[::-1], 0]
    gaps = np.flatnonzero(wrong == wrong.min())
    gap = int(gaps[(len(gaps) - 1) // 2])
    last = len(x) - 1
    low, high = float(x[max(gaps[0] - 1, 0)]), float(x[min(gaps[-1], last)])
    if gap in (0, last + 1):
        return float(x[min(gap, last)]), low, high
    share = (level - curve[gap - 1]) / (curve[gap] - curve[gap - 1])
    return float(x[gap - 1] + share * (x[gap] - x[gap - 1])), low, high


def _plateau(curve: np.ndarray, noise: np.ndarray, extreme: int) -> float:
    """Level that the checkpoints around an extreme share within their standard errors."""
    level, reach = float(curve[extreme]), 2 * np.hypot(noise, noise[extreme])
    for _ in range(PASSES):
        alike = np.abs(curve - level) <= reach
        if not alike.any():
            break
        level, reach = float(curve[alike].mean()), 2 * noise
    return level

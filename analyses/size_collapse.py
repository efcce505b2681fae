"""Finite-size collapse: whether curves over training at all moduli coincide after rescaling their log-step axis.

A transition that is sharp in the limit of large p has the form y = g((x - x_p) (p / p_0)^c) with x = log(1 + step),
x_p the middle of the seed's own transition and c > 0; c = 0 means the same width at all sizes. The misfit of an
exponent is the mean over pairs of sizes of the squared difference of their mean curves, on the part of the rescaled
axis that both cover, divided by the variance of the curves there (after Bhattacharjee and Seno 2001,
doi:10.1088/0305-4470/34/33/302). c minimizes it, by a parabola through the smallest grid value and its
neighbors; its standard error is from the jackknife over seeds within sizes (Shao and Tu 1995, section 6.2), unknown if
no seed moves it; its interval is Student's t with as many degrees of freedom as there are seeds beyond one per size.
p_0 is the geometric mean of the sizes.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
import xarray as xr
from scipy.stats import t as student

EXPONENTS = np.linspace(-1.0, 2.0, 121)
REACH = 3.0  # units of the rescaled axis on each side of the middle
POINTS = 61
FEWEST_SIZES, FEWEST_EXTRA_SEEDS = 3, 3
BETTER = 0.5  # largest misfit, relative to that at c = 0, at which only the rescaled curves coincide


class SizedCurve(NamedTuple):
    """An order parameter of one seed over training.

    Parameters
    ----------
    size : float
        Size of the task.
    seed : int
        Seed of the network.
    steps, values : ndarray
        Training steps and values (n,).
    middle : float
        Step of the middle of the transition; NaN without one.
    """

    size: float
    seed: int
    steps: np.ndarray
    values: np.ndarray
    middle: float


def collapse(curves: Sequence[SizedCurve]) -> xr.Dataset:
    """Find the exponent at which the curves of all sizes coincide.

    Parameters
    ----------
    curves : sequence of SizedCurve
        One curve per seed; curves without a finite middle are omitted and listed in the notes.

    Returns
    -------
    xarray.Dataset
        `misfit` over `exponent`, 0 for curves that coincide and near 2 for unrelated curves; `curve` over (size, place)
        at the best exponent, on the rescaled axis `place`. Attributes: `exponent`, `exponent_low` and `exponent_high`
        (95%), `misfit_ratio` (of the best to c = 0), `verdict` (sharp: the interval lies above 0 and rescaling at least
        halves the misfit; smooth: it contains 0 and ends below 0.25; otherwise undecided), `reason`, `notes`.
    """
    good = [curve for curve in curves if np.isfinite(curve.middle)]
    notes = [f"omitted: size {c.size:g}, seed {c.seed}: no middle" for c in curves if not np.isfinite(c.middle)]
    sizes = np.unique([curve.size for curve in good])
    counts = np.array([sum(c.size == size for c in good) for size in sizes])
    freedom = int((counts - 1).sum())
    if len(sizes) < FEWEST_SIZES or freedom < FEWEST_EXTRA_SEEDS:
        reason = (
            f"{FEWEST_SIZES} sizes and {FEWEST_EXTRA_SEEDS} seeds beyond one per size are needed, "
            f"there are {len(sizes)} and {freedom}"
        )
        numbers = dict.fromkeys(("exponent", "exponent_low", "exponent_high", "misfit_ratio"), np.nan)
        return xr.Dataset(attrs={**numbers, "verdict": "undecided", "reason": reason, "notes": notes})
    stretched = [_stretched([c for c in good if c.size == size], size / np.exp(np.log(sizes).mean())) for size in sizes]
    means = np.array([curves.mean(0) for curves in stretched])
    misfit = _misfit(means)
    exponent, error = _least(misfit), _jackknife(stretched, means)
    low, high = exponent + np.array([-1, 1]) * error * student.ppf(0.975, freedom)
    best, plain = int(np.nanargmin(misfit)), misfit[np.abs(EXPONENTS).argmin()]
    ratio = float(misfit[best] / plain) if plain > 0 else 1.0
    text = f"c = {exponent:.2f} ({low:.2f} to {high:.2f}), misfit {ratio:.2f} of that at c = 0"
    if np.isnan(error):
        word, why = "undecided", "no seed moves the exponent, so its error is unknown"
    elif low > 0 and ratio <= BETTER:
        word, why = "sharp", "curves of all sizes coincide after rescaling"
    elif low <= 0 <= high < 0.25:
        word, why = "smooth", "curves of all sizes fit best without rescaling"
    else:
        word, why = "undecided", "no exponent is clearly better"
    return xr.Dataset(
        {"misfit": ("exponent", misfit), "curve": (("size", "place"), means[:, best])},
        {"exponent": EXPONENTS, "size": sizes, "place": np.linspace(-REACH, REACH, POINTS)},
        {
            "exponent": exponent,
            "exponent_low": float(low),
            "exponent_high": float(high),
            "misfit_ratio": ratio,
            "verdict": word,
            "reason": f"{why}: {text}",
            "notes": notes,
        },
    )


def _stretched(curves: Sequence[SizedCurve], ratio: float) -> np.ndarray:
    """Evaluate the seeds of a size on the axis rescaled by each exponent, (seed, exponent, place).

    NaN where a curve has no step.
    """
    places = np.linspace(-REACH, REACH, POINTS) * ratio ** -EXPONENTS[:, None]
    axes = [np.log1p(curve.steps.astype(float)) - np.log1p(curve.middle) for curve in curves]
    rows = zip(axes, curves, strict=True)
    return np.array([np.interp(places, x, curve.values, left=np.nan, right=np.nan) for x, curve in rows])


def _least(misfit: np.ndarray) -> float:
    """Find the exponent with the smallest misfit."""
    best = int(np.nanargmin(misfit))
    if not 0 < best < len(misfit) - 1:
        return float(EXPONENTS[best])
    before, at, after = misfit[best - 1 : best + 2]
    bend = before - 2 * at + after
    shift = (before - after) / (2 * bend) if bend > 0 else 0.0
    return float(EXPONENTS[best] + shift * (EXPONENTS[1] - EXPONENTS[0]))


def _jackknife(stretched: Sequence[np.ndarray], means: np.ndarray) -> float:
    """Compute the standard error of the exponent, omitting each seed in turn, except for sizes with a single seed."""
    variance = 0.0
    for i, curves in enumerate(stretched):
        if len(curves) == 1:
            continue
        reduced = [np.delete(curves, seed, 0).mean(0) for seed in range(len(curves))]
        exponents = [_least(_misfit([*means[:i], mean, *means[i + 1 :]])) for mean in reduced]
        variance += (len(curves) - 1) * np.var(exponents)
    return float(variance**0.5) or np.nan


def _misfit(means: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """Mean squared difference of pairs of curves (size, exponent, place) over their variance, for each exponent."""
    ratios = []
    for first, second in combinations(means, 2):
        both = np.isfinite(first) & np.isfinite(second)
        pair = np.where(both, [first, second], 0.0)
        count = np.maximum(both.sum(1), 1)
        middle = pair.sum((0, 2)) / (2 * count)
        spread = (both * (pair - middle[:, None]) ** 2).sum((0, 2)) / (2 * count)
        difference = ((pair[0] - pair[1]) ** 2).sum(1) / count
        ratios.append(np.divide(difference, spread, out=np.full(len(spread), np.nan), where=spread > 0))
    return np.mean(ratios, axis=0)

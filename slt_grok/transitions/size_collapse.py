"""Finite-size collapse: whether curves over training at all moduli coincide after rescaling their log-step axis.

A transition that is sharp in the limit of large p has the form y = g((x - x_p) (p / p_0)^c) with x = log(1 + step),
x_p the middle of the seed's own transition and c > 0; c = 0 means the same width at all sizes. The misfit of an
exponent is the mean over pairs of sizes of the squared difference of their mean curves, on the part of the rescaled
axis that both cover, divided by the variance of the curves there (after Bhattacharjee and Seno 2001,
doi:10.1088/0305-4470/34/33/302). c minimizes it, by a parabola through the smallest grid value and its
neighbors; its standard error is from the jackknife over seeds within sizes (Shao and Tu 1995, section 6.2), its
interval Student's t with as many degrees of freedom as there are seeds beyond one per size. p_0 is the geometric mean
of the sizes.
"""

from collections.abc import Sequence
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
    """An order parameter of one seed over training: steps and values (n,), and the step of its middle."""

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
        at the best exponent, on the rescaled axis `place`. Attributes: `exponent`,
        `_low`, `_high` (95%), `misfit_ratio` (of the best to c = 0), `verdict` (sharp: the interval lies above 0 and
        rescaling at least halves the misfit; smooth: it contains 0 and ends below 0.25; otherwise undecided), `reason`,
        `notes`.
    """
    good = [curve for curve in curves if np.isfinite(curve.middle)]
    notes = [f"omitted: size {c.size:g}, seed {c.seed}: no middle" for c in curves if not np.isfinite(c.middle)]
    sizes = np.unique([curve.size for curve in good])
    counts = np.array([sum(c.size == size for c in good) for size in sizes])
    freedom = int((counts - 1).sum())
    nothing = {"exponent": np.nan, "exponent_low": np.nan, "exponent_high": np.nan, "misfit_ratio": np.nan}
    if len(sizes) < FEWEST_SIZES or freedom < FEWEST_EXTRA_SEEDS:
        reason = (
            f"{FEWEST_SIZES} sizes and {FEWEST_EXTRA_SEEDS} seeds beyond one per size are needed, "
            f"there are {len(sizes)} and {freedom}"
        )
        return xr.Dataset(attrs={**nothing, "verdict": "undecided", "reason": reason, "notes": notes})
    stretched = [_stretched([c for c in good if c.size == size], size / np.exp(np.log(sizes).mean())) for size in sizes]
    misfit = _misfit([one.mean(0) for one in stretched])
    exponent, error = _least(misfit), _jackknife(stretched)
    low, high = exponent + np.array([-1, 1]) * error * student.ppf(0.975, freedom)
    best, plain = int(np.nanargmin(misfit)), misfit[np.abs(EXPONENTS).argmin()]
    ratio = float(misfit[best] / plain) if plain > 0 else 1.0
    text = f"c = {exponent:.2f} ({low:.2f} to {high:.2f}), misfit {ratio:.2f} of that at c = 0"
    if low > 0 and ratio <= BETTER:
        word, why = "sharp", "curves of all sizes coincide after rescaling"
    elif low <= 0 <= high < 0.25:
        word, why = "smooth", "curves of all sizes fit best without rescaling"
    else:
        word, why = "undecided", "no exponent is clearly better"
    curve = np.array([one.mean(0)[best] for one in stretched])
    return xr.Dataset(
        {"misfit": ("exponent", misfit), "curve": (("size", "place"), curve)},
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
    rows = []
    for curve in curves:
        x = np.log1p(curve.steps.astype(float)) - np.log1p(curve.middle)
        rows.append(np.interp(places, x, curve.values, left=np.nan, right=np.nan))
    return np.array(rows)


def _least(misfit: np.ndarray) -> float:
    """Find the exponent with the smallest misfit."""
    best = int(np.nanargmin(misfit))
    if not 0 < best < len(misfit) - 1:
        return float(EXPONENTS[best])
    before, at, after = misfit[best - 1 : best + 2]
    bend = before - 2 * at + after
    shift = (before - after) / (2 * bend) if bend > 0 else 0.0
    return float(EXPONENTS[best] + shift * (EXPONENTS[1] - EXPONENTS[0]))


def _jackknife(stretched: Sequence[np.ndarray]) -> float:
    """Compute the standard error of the exponent, omitting each seed in turn, except for sizes with a single seed."""
    means, variance = [one.mean(0) for one in stretched], 0.0
    for i, one in enumerate(stretched):
        m = len(one)
        if m == 1:
            continue
        without = [
            _least(_misfit([*means[:i], np.delete(one, k, 0).mean(0), *means[i + 1 :]])) for k in range(m)
        ]  # fmt: skip
        variance += (m - 1) / m * np.square(np.array(without) - np.mean(without)).sum()
    return float(variance**0.5)


def _misfit(means: Sequence[np.ndarray]) -> np.ndarray:
    """Mean squared difference of pairs of curves over their variance, for each exponent."""
    total = np.zeros(len(EXPONENTS))
    pairs = [(i, j) for i in range(len(means)) for j in range(i)]
    for i, j in pairs:
        both = np.isfinite(means[i]) & np.isfinite(means[j])
        count = np.maximum(both.sum(1), 1)
        one, other = (np.where(both, means[k], 0.0) for k in (i, j))
        middle = (one + other).sum(1) / (2 * count)
        spread = (both * ((one - middle[:, None]) ** 2 + (other - middle[:, None]) ** 2)).sum(1) / (2 * count)
        difference = ((one - other) ** 2).sum(1) / count
        total += np.divide(difference, spread, out=np.full(len(spread), np.nan), where=spread > 0)
    return total / len(pairs)

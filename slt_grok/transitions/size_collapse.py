"""Finite-size collapse: whether curves over training at all moduli become one when their log-step axis is stretched.

A transition that is sharp in the limit of large p has the shape y = g((x - x_p) (p / p_0)^c) with x = log(1 + step),
x_p the middle of the seed's own transition and c > 0; with c = 0 it has the same width at all sizes. The misfit of an
exponent is the mean over pairs of sizes of the squared difference of their mean curves, on the part of the stretched
axis that both cover, over the variance that the curves have there (after Bhattacharjee and Seno 2001,
doi:10.1088/0305-4470/34/33/302). c is where it is least, by a parabola through the smallest of a grid and its
neighbors; its standard error is that of the jackknife over seeds within sizes (Shao and Tu 1995, section 6.2), its
interval Student's with as many degrees of freedom as there are seeds beyond one a size. p_0 is the geometric mean of
the sizes.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr
from scipy.stats import t as student

EXPONENTS = np.linspace(-1.0, 2.0, 121)
REACH = 3.0  # units of the stretched axis on each side of the middle
POINTS = 61
FEWEST_SIZES, FEWEST_EXTRA_SEEDS = 3, 3
BETTER = 0.5  # misfit over that of c = 0 from which on the stretched curves are one and the others are not


class SizedCurve(NamedTuple):
    """An order parameter of one seed over training: steps and values (n,), and the step of its middle."""

    size: float
    seed: int
    steps: np.ndarray
    values: np.ndarray
    middle: float


def collapse(curves: Sequence[SizedCurve]) -> xr.Dataset:
    """Return the exponent at which the curves of all sizes fall on one.

    Parameters
    ----------
    curves : sequence of SizedCurve
        One of each seed; one whose middle is not a number is omitted and named.

    Returns
    -------
    xarray.Dataset
        `misfit` over `exponent`, 0 for curves that are one and near 2 for curves that have nothing to do with each
        other; `curve` over (size, place) at the best exponent, on the stretched axis `place`. Attributes: `exponent`,
        `_low`, `_high` (95%), `misfit_ratio` (of the best to c = 0), `verdict` (sharp: the interval lies above 0 and
        stretching halves the misfit or more; smooth: it holds 0 and ends below 0.25; else undecided), `reason`,
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
            f"{FEWEST_SIZES} sizes and {FEWEST_EXTRA_SEEDS} seeds beyond one a size are needed, "
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
        word, why = "sharp", "curves of all sizes fall on one when stretched"
    elif low <= 0 <= high < 0.25:
        word, why = "smooth", "curves of all sizes are best left as they are"
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
    """Values of the seeds of a size at the places of the axis stretched by each exponent, (seed, exponent, place).

    NaN where a curve has no step.
    """
    places = np.linspace(-REACH, REACH, POINTS) * ratio ** -EXPONENTS[:, None]
    rows = []
    for curve in curves:
        x = np.log1p(curve.steps.astype(float)) - np.log1p(curve.middle)
        rows.append(np.interp(places, x, curve.values, left=np.nan, right=np.nan))
    return np.array(rows)


def _least(misfit: np.ndarray) -> float:
    """Return the exponent of least misfit."""
    best = int(np.nanargmin(misfit))
    if not 0 < best < len(misfit) - 1:
        return float(EXPONENTS[best])
    before, at, after = misfit[best - 1 : best + 2]
    bend = before - 2 * at + after
    shift = (before - after) / (2 * bend) if bend > 0 else 0.0
    return float(EXPONENTS[best] + shift * (EXPONENTS[1] - EXPONENTS[0]))


def _jackknife(stretched: Sequence[np.ndarray]) -> float:
    """Return the standard error of the exponent: each seed omitted in turn, sizes of a single seed never."""
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

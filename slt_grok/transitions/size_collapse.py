"""Finite-size collapse: whether curves over training at all moduli become one when their log-step axis is stretched.

A transition that is sharp in the limit of large p has the shape y = g((x - x_p) (p / p_0)^c) with x = log(1 + step),
x_p the middle of the seed's own transition and c > 0; with c = 0 it has the same width at all sizes. The misfit of an
exponent is the mean over pairs of sizes of the squared difference of their mean curves, on the part of the stretched
axis that both cover, over the variance that the curves have there (after Bhattacharjee and Seno 2001,
doi:10.1088/0305-4470/34/33/302). c is where it is least; its interval is a bootstrap over seeds within sizes, widened
for few seeds as in `slt_grok.transitions.finite_size`. p_0 is the geometric mean of the sizes.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr
from scipy.stats import norm
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


def collapse(curves: Sequence[SizedCurve], *, bootstrap: int = 400, seed: int = 0) -> xr.Dataset:
    """The exponent at which the curves of all sizes fall on one.

    Parameters
    ----------
    curves : of each seed; one whose middle is not a number is left out by name.
    bootstrap, seed : samples for the interval, and their stream.

    Returns
    -------
    `misfit` over `exponent`, 0 for curves that are one and near 2 for curves that have nothing to do with each other;
    `curve` over (size, place) at the best exponent, on the stretched axis `place`. Attributes: `exponent`, `_low`,
    `_high` (95%), `misfit_ratio` (of the best to c = 0), `verdict` (sharp: the interval lies above 0 and stretching
    halves the misfit or more; smooth: it holds 0 and ends below 0.25; else undecided), `reason`, `notes`.
    """
    good = [curve for curve in curves if np.isfinite(curve.middle)]
    notes = [f"left out: size {c.size:g}, seed {c.seed}: no middle" for c in curves if not np.isfinite(c.middle)]
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
    generator = np.random.default_rng(seed)
    misfit = _misfit([one.mean(0) for one in stretched])
    drawn = []
    for _ in range(bootstrap):
        means = []
        for one in stretched:
            mean = one.mean(0)
            residuals = one[generator.integers(len(one), size=len(one))] - mean
            means.append(mean + residuals.mean(0) * np.sqrt(len(one) / max(len(one) - 1, 1)))
        drawn.append(EXPONENTS[np.nanargmin(_misfit(means))])
    tail = float(norm.cdf(student.ppf(0.025, freedom)))
    low, high = np.quantile(drawn, [tail, 1 - tail])
    best = int(np.nanargmin(misfit))
    ratio = float(misfit[best] / misfit[np.abs(EXPONENTS).argmin()])
    text = f"c = {EXPONENTS[best]:.2f} ({low:.2f} to {high:.2f}), misfit {ratio:.2f} of that at c = 0"
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
            "exponent": float(EXPONENTS[best]),
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

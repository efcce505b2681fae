"""Onset, middle and end of a change by change-point detection with piecewise constant curves.

The curve is divided by the standard deviation of its noise and segmented into pieces of constant level by PELT (Killick
et al. 2012, in `ruptures`; Truong et al. 2020), with a penalty of 3 log n per cut: pure noise is cut in only a few
percent of curves. Without a cut there is no change. Start and end level are those of the first and last piece; onset,
middle and end are the cuts at which the levels pass 10%, 50% and 90% of the distance.

A cut is only known up to the gap between its two checkpoints, so each draw is uniform (in log(1 + step)) in the gap;
noise with known standard errors is redrawn each time. The noise level is the median standard error; without one, it is
estimated from second differences, which are small for a smooth curve, and is at least `FLOOR` of the range.
"""

from itertools import pairwise

import numpy as np
import ruptures

from slt_grok.change import FRACTIONS

FLOOR = 0.02  # smallest standard deviation of the noise, as a fraction of the curve's range
PENALTY = 3.0  # times log n


def noise_level(curve: np.ndarray, noise: np.ndarray | None) -> float:
    """Estimate the standard deviation of a curve's noise; see above."""
    if noise is not None and noise.any():
        level = float(np.median(noise))
    else:
        level = 1.4826 * float(np.median(np.abs(np.diff(curve, 2)))) / np.sqrt(6)
    return max(level, FLOOR * float(np.ptp(curve)), 1e-300)


def gaps(curve: np.ndarray, level: float) -> np.ndarray | None:
    """Find the indices (3,) of the first checkpoints past the cuts at 10%, 50% and 90% of the rise, or None.

    Parameters
    ----------
    curve : ndarray
        An oriented curve (n,).
    level : float
        Standard deviation of its noise.
    """
    detector = ruptures.KernelCPD(kernel="linear", min_size=2).fit(curve[:, None] / level)
    cuts = detector.predict(pen=PENALTY * np.log(len(curve)))
    bounds = np.r_[0, cuts]
    levels = np.array([curve[i:j].mean() for i, j in pairwise(bounds)])
    size = levels[-1] - levels[0]
    if len(levels) < 2 or size <= 0:
        return None
    past = (levels - levels[0]) / size >= np.array(list(FRACTIONS.values()))[:, None]
    return bounds[past.argmax(1)]


def draw(
    x: np.ndarray, curve: np.ndarray, noise: np.ndarray | None, draws: int, seed: np.random.SeedSequence | int
) -> np.ndarray | None:
    """Draws (3, draws) of onset, middle and end in log(1 + step); None if the curve has no cut.

    Parameters
    ----------
    x, curve : ndarray
        Abscissas and values (n,) of an oriented curve, at least 5 points.
    noise : ndarray or None
        Standard errors (n,); None if unknown.
    draws : int
        Number of draws.
    seed : np.random.SeedSequence or int
        Seed of the draws.
    """
    level, generator = noise_level(curve, noise), np.random.default_rng(seed)
    cuts = gaps(curve, level)
    if cuts is None:
        return None
    places = np.repeat(cuts[None], draws, axis=0)
    if noise is not None:
        redrawn = [gaps(curve + noise * generator.standard_normal(len(x)), level) for _ in range(draws)]
        places = np.stack([cuts if drawn is None else drawn for drawn in redrawn])
    return (x[places - 1] + (x[places] - x[places - 1]) * generator.random(places.shape)).T

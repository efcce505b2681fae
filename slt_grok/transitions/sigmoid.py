"""Onset, middle and end of a change from a fitted sigmoid, with the full uncertainty.

Shape, in x = log(1 + step): value = a + b s(z)^k with s the logistic function, z = (x - m) / w + logit(2^(-1/k)) and
b > 0 once the curve is oriented to rise (a generalized logistic function of type I; k = 1 is the plain
one, k above 1 starts sharply and ends slowly, and vice versa below 1). m is the middle, where 50% of the rise is
complete; onset and end, at 10% and 90%, are m + w (logit(f^(1/k)) - logit(2^(-1/k))).

Instead of a single best fit, the likelihood is computed on a grid of (m, w, k), so that an interval is as wide as the
checkpoints and the noise allow: for a jump between two distant checkpoints it is the whole gap. Given (m, w, k), the
levels a, b are least-squares estimates. A middle is weighted by its best width and asymmetry (profile likelihood), with
a uniform prior between the first and the last checkpoint used; given the middle, log w and log k are uniform.

Noise. Standard errors, if available, give the variances up to a common factor, which is unknown but near 1: a
scaled inverse chi-square prior with `PRIOR` degrees of freedom states that standard errors are themselves accurate to
about 25%. Errors of single checkpoints are first smoothed over their neighbors, since randomly wrong weights make
intervals too short. Otherwise the variance is constant and unknown. Integrating it out (Gelman et al.,
Bayesian Data Analysis, section 3.2) this leaves (RSS + prior)^-(degrees of freedom / 2) for the residual sum of squares
RSS; the two levels and the width count as fitted. Residuals of a curve with another shape are autocorrelated; n
residuals with lag-1 correlation r > 0 count as n (1 - r) / (1 + r) (Bayley and Hammersley 1946), so that a misfit
widens the interval.

All curves are processed at once: first on one common grid, then on one grid per curve around its probable region.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import expit, logit

from slt_grok.change import FRACTIONS

PRIOR = 8.0  # degrees of freedom of the prior from standard errors
FLOOR = 2e-3  # smallest standard deviation of the noise, as a fraction of the curve's range
NEIGHBORS = 2  # number on either side over which standard errors are smoothed
NARROWEST = 0.02  # smallest width w in log step
ASYMMETRY = np.geomspace(0.25, 4, 5)  # k
COARSE = (141, 13)  # grid of middles and widths for all curves
FINE = (35, 15)  # and for each one
PROBABLE = 12.0  # largest log ratio to the best cell for a cell to be on the fine grid
INDEPENDENT = 8  # smallest number of independent residuals of a curve
CHUNK = 100  # curves at once, for memory


class Sigmoids(NamedTuple):
    """Fit results for C curves.

    Parameters
    ----------
    events : ndarray
        Draws of onset, middle and end in log(1 + step), (C, 3, K).
    gain : ndarray
        Log likelihood of the best shape minus that of a constant, (C,).
    start, size, size_se : ndarray
        Fitted value at the first point used, the change from there to the last, and its standard error, (C,).
    """

    events: np.ndarray
    gain: np.ndarray
    start: np.ndarray
    size: np.ndarray
    size_se: np.ndarray


def fit(
    x: np.ndarray,
    curves: np.ndarray,
    noise: np.ndarray | None,
    used: np.ndarray,
    draws: int,
    seed: np.random.SeedSequence | int,
) -> Sigmoids:
    """Draw onset, middle and end of the rise of each curve.

    Parameters
    ----------
    x : ndarray
        log(1 + step) (n,), ascending.
    curves : ndarray
        Oriented curves (C, n).
    noise : ndarray or None
        Standard errors (C, n), positive where `used`; None if unknown.
    used : ndarray
        Mask (C, n) of the points that count; at least 5 in each curve.
    draws : int
        Number K of draws.
    seed : np.random.SeedSequence or int
        Seed of the draws; each chunk of `CHUNK` curves has its own stream.
    """
    chunks = [slice(i, i + CHUNK) for i in range(0, max(len(curves), 1), CHUNK)]
    sequence = seed if isinstance(seed, np.random.SeedSequence) else np.random.SeedSequence(seed)
    parts = [
        _fit(x, curves[chunk], None if noise is None else noise[chunk], used[chunk], draws, stream)
        for chunk, stream in zip(chunks, sequence.spawn(len(chunks)), strict=True)
    ]
    return Sigmoids(*(np.concatenate(each) for each in zip(*parts, strict=True)))


def _fit(
    x: np.ndarray,
    curves: np.ndarray,
    noise: np.ndarray | None,
    used: np.ndarray,
    draws: int,
    seed: np.random.SeedSequence,
) -> Sigmoids:
    """Fit one chunk; see `fit`."""
    rows, count = np.arange(len(curves)), used.sum(1)
    y = np.where(used, curves, 0.0)
    span = np.where(used, curves, -np.inf).max(1) - np.where(used, curves, np.inf).min(1)
    least = np.where(span > 0, FLOOR * span, 1.0)[:, None]  # arbitrary for a constant
    scale = least if noise is None else np.maximum(_smooth(noise, used), least)
    weight = np.where(used, scale**-2.0, 0.0)
    prior, known = (float(INDEPENDENT), 0.0) if noise is None else (PRIOR, PRIOR)
    mean = (weight * y).sum(1) / weight.sum(1)
    y = np.where(used, y - mean[:, None], 0.0)
    first, last = used.argmax(1), len(x) - 1 - used[:, ::-1].argmax(1)

    middles = np.linspace(x[0], x[-1], COARSE[0])
    widths = np.geomspace(NARROWEST, max((x[-1] - x[0]) / 4, 2 * NARROWEST), COARSE[1])
    shapes = _shapes(x, middles[None], widths[None])[0]
    flat = shapes.reshape(-1, len(x))
    rss, slope, _, _ = _least_squares(flat, weight, y)
    rss = _inside(rss, middles[None], x[first], x[last])
    best = rss.argmin(1)
    residual = np.where(used, y - slope[rows, best, None] * flat[best], 0.0)
    residual -= np.where(used, (weight * residual).sum(1, keepdims=True) / weight.sum(1, keepdims=True), 0.0)
    share = _independent(residual / scale, used)
    freedom = np.maximum(share * count - 3, 1) + known

    def log_likelihood(sum_of_squares: np.ndarray) -> np.ndarray:
        return -0.5 * freedom[:, None] * np.log(share[:, None] * sum_of_squares + prior)

    grid = log_likelihood(rss)
    probable = (grid >= grid.max(1, keepdims=True) - PROBABLE).reshape(-1, *shapes.shape[:-1])
    fine_middles = _axis(probable.any((2, 3)), middles, FINE[0], 2)
    fine_widths = np.exp(_axis(probable.any((1, 3)), np.log(widths), FINE[1], 1))
    shapes = _shapes(x, fine_middles, fine_widths)
    flat = shapes.reshape(len(y), -1, len(x))
    rss, slope, spread, height = _least_squares(flat, weight, y)
    rss = _inside(rss, fine_middles, x[first], x[last])
    grid = log_likelihood(rss)
    best = rss.argmin(1)
    shape, slope, spread = flat[rows, best], slope[rows, best], spread[rows, best]
    rise = shape[rows, last] - shape[rows, first]
    rises = np.isfinite(rss[rows, best])
    variance = (share * np.where(rises, rss[rows, best], 0.0) + prior) / (freedom * share)
    return Sigmoids(
        events=_draw(grid.reshape(shapes.shape[:-1]), fine_middles, fine_widths, draws, np.random.default_rng(seed)),
        gain=grid.max(1) - log_likelihood((weight * y**2).sum(1, keepdims=True))[:, 0],
        start=mean + slope * (shape[rows, first] - height[rows, best]),
        size=np.where(rises, slope * rise, 0.0),
        size_se=np.sqrt(variance / np.maximum(spread, 1e-300)) * rise,
    )


def _smooth(noise: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Geometric mean of the standard errors (C, n) of each used point and its `NEIGHBORS` used ones on either side."""
    places = np.arange(noise.shape[1])
    near = np.abs(places[:, None] - places) <= NEIGHBORS
    logs = np.where(used, np.log(np.maximum(noise, 1e-300)), 0.0)
    return np.exp((logs @ near) / np.maximum(used @ near.astype(float), 1))


def _shapes(x: np.ndarray, middles: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """Evaluate the shapes (C, middle, width, k, n) on the axes (C, middle) and (C, width)."""
    z = (x - middles[:, :, None, None]) / widths[:, None, :, None]
    return np.stack([expit(z + logit(2 ** (-1 / k))) ** k for k in ASYMMETRY], axis=3)


def _least_squares(
    shapes: np.ndarray, weight: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Residual sums, slopes, spreads and means (C, G) of shapes (G, n) or (C, G, n); infinite sums without a rise.

    `y` (C, n) has weighted mean 0, which eliminates the level.
    """
    total = weight.sum(1, keepdims=True)
    mean = (shapes @ weight[..., None])[..., 0] / total
    product = (shapes @ (weight * y)[..., None])[..., 0]
    spread = (shapes**2 @ weight[..., None])[..., 0] - mean**2 * total
    slope = np.divide(product, spread, out=np.zeros_like(spread), where=spread > 1e-9 * total)
    rss = np.maximum((weight * y**2).sum(1, keepdims=True) - slope * product, 0.0)
    return np.where(slope > 0, rss, np.inf), slope, spread, mean


def _inside(rss: np.ndarray, middles: np.ndarray, first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Residual sums (C, G), infinite if the middle is not between the first and the last used point."""
    outside = (middles < first[:, None]) | (middles > last[:, None])
    return np.where(np.repeat(outside, rss.shape[1] // middles.shape[1], axis=1), np.inf, rss)


def _independent(residual: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Fraction of the residuals (C, n) that counts as independent, from their lag-1 correlation if significant."""
    count = used.sum(1)
    square = (residual**2).sum(1)
    product = (residual[:, 1:] * residual[:, :-1]).sum(1)
    r = np.divide(product, square, out=np.zeros_like(square), where=square > 0)
    r = np.where(r > 2 / np.sqrt(count), r, 0.0)
    return ((1 - r) / (1 + r)).clip(np.minimum(INDEPENDENT / count, 1), 1)


def _axis(probable: np.ndarray, places: np.ndarray, count: int, margin: int) -> np.ndarray:
    """Construct a uniform axis (C, count) over the probable positions of each curve plus `margin` on either side."""
    last = len(places) - 1
    low, high = probable.argmax(1) - margin, last - probable[:, ::-1].argmax(1) + margin
    return np.linspace(places[low.clip(0)], places[high.clip(max=last)], count, axis=1)


def _draw(
    grid: np.ndarray, middles: np.ndarray, widths: np.ndarray, draws: int, generator: np.random.Generator
) -> np.ndarray:
    """Stratified draws (C, 3, draws) of onset, middle and end from log likelihoods (C, middle, width, k).

    Uniform inside a cell, in random order.
    """
    grid = np.where(np.isfinite(grid).any((1, 2, 3), keepdims=True), grid, 0.0)  # no shape rises: a flat likelihood
    cells = np.exp(grid - grid.max((1, 2, 3), keepdims=True))
    profile, rest = cells.max((2, 3)), cells.sum((2, 3))
    cells = cells * np.divide(profile, rest, out=np.zeros_like(rest), where=rest > 0)[:, :, None, None]
    upto = cells.reshape(len(cells), -1).cumsum(1)
    u = (np.arange(draws) + generator.random((len(cells), draws))) / draws * upto[:, -1:]
    chosen = np.stack([np.searchsorted(*row) for row in zip(upto, u, strict=True)]).clip(max=upto.shape[1] - 1)
    i, j, k = np.unravel_index(generator.permuted(chosen, axis=1), grid.shape[1:])
    jitter = generator.random((2, *chosen.shape)) - 0.5
    step, ratio = (middles[:, 1] - middles[:, 0])[:, None], np.log(widths[:, 1] / widths[:, 0])[:, None]
    middle = (np.take_along_axis(middles, i, 1) + step * jitter[0]).clip(middles[:, :1], middles[:, -1:])
    width = np.take_along_axis(widths, j, 1) * np.exp(ratio * jitter[1])
    reach = [logit(f ** (1 / ASYMMETRY)) - logit(2 ** (-1 / ASYMMETRY)) for f in FRACTIONS.values()]
    return np.stack([middle + width * distance[k] for distance in reach], axis=1)

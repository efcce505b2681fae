"""Compute log Z(1) / Z(0) from tempered draws: quadrature with known slopes, and acceptance ratios.

Z(beta) = int exp(-beta n L(w)) prior(w) dw, at temperatures evenly spaced in log beta from beta_1 to 1, and at beta =
0. Cubic Hermite polynomials interpolate the means <n L>_beta with their known slopes, d<n L>/d beta = -Var(n L) (the
correction of Friel, Hurn and Wyse 2014, doi:10.1007/s11222-013-9397-1), in beta below beta_1 and in log beta above;
their error is estimated by omitting every second temperature. For comparison, Bennett's acceptance ratio between
neighboring temperatures (1976, doi:10.1016/0021-9991(76)90078-4), from the same draws, has no quadrature error.
"""

import math

import numpy as np
from scipy.optimize import root_scalar
from scipy.special import expit


def integral(betas: np.ndarray, means: np.ndarray, variances: np.ndarray) -> float:
    """Integrate u = <n L>_beta over beta in [0, 1] from its means and variances (K,) at betas 0 = b_0 < b_1 < ... = 1.

    This uses cubic Hermite interpolation: in beta on [0, b_1], and in log beta above for y = beta u, with slope y -
    beta^2 Var.
    """
    first = betas[1] * ((means[0] + means[1]) / 2 + betas[1] * (variances[1] - variances[0]) / 12)
    x, y = np.log(betas[1:]), betas[1:] * means[1:]
    slope, step = y - betas[1:] ** 2 * variances[1:], np.diff(x)
    return float(first + (step * (y[1:] + y[:-1]) / 2 + step**2 * (slope[:-1] - slope[1:]) / 12).sum())


def acceptance_ratio(betas: np.ndarray, energies: list[np.ndarray]) -> float:
    """Compute log Z(1) - log Z(0) from draws of n L at each beta, as a sum of Bennett's ratios between neighbors.

    For neighbors with D = (b' - b) n L and N, N' draws, C = log Z' - log Z solves
    sum_b f(M + D + C) = sum_b' f(-M - D - C), f the logistic function of minus its argument, M = log(N'/N).
    """
    total = 0.0
    for i, width in enumerate(np.diff(betas)):
        here, there = width * energies[i], width * energies[i + 1]
        shift = math.log(len(there) / len(here))
        low = min(-here.max(), -there.max()) - abs(shift) - 50
        high = max(-here.min(), -there.min()) + abs(shift) + 50
        total += root_scalar(_imbalance, args=(here, there, shift), bracket=(low, high)).root
    return total


def _imbalance(ratio: float, here: np.ndarray, there: np.ndarray, shift: float) -> float:
    """Compute the difference of the two sums that Bennett's ratio makes equal."""
    return float(expit(-(here + ratio - shift)).sum() - expit(there + ratio - shift).sum())


def integral_error(betas: np.ndarray, k: int, energies: np.ndarray) -> float:
    """Compute the standard error that one temperature's chains (chain, draw) contribute to the integral.

    The integral is linear in the means.
    """
    contributions = _contributions(betas, k, energies, energies.mean())
    return float(contributions.std(ddof=1) / len(contributions) ** 0.5)


def integral_drift(betas: np.ndarray, energies: list[np.ndarray]) -> tuple[float, float, float]:
    """Compute the integral from the second half of all draws minus that from the first.

    One test of the integral uses the chains of all temperatures: a test of each temperature would have a handful of
    chains and, corrected for their number, no power.

    Parameters
    ----------
    betas : ndarray
        Temperatures (K,), as in `integral`.
    energies : list of ndarray
        Draws of n L at each temperature, (chain, draw).

    Returns
    -------
    tuple of float
        The difference, its standard error from the spread of the chains' own differences, and its degrees of freedom
        (Satterthwaite 1946).
    """
    changes, variances, fewer = [], [], []
    for k, chains in enumerate(energies):
        first, second = (_contributions(betas, k, half, chains.mean()) for half in np.array_split(chains, 2, axis=1))
        changes.append((second - first).mean())
        variances.append((second - first).var(ddof=1) / len(chains))
        fewer.append(len(chains) - 1)
    each = np.array(variances)
    freedom = each.sum() ** 2 / (each**2 / fewer).sum() if each.any() else np.nan
    return float(np.sum(changes)), float(np.sqrt(each.sum())), float(freedom)


def _contributions(betas: np.ndarray, k: int, energies: np.ndarray, center: float) -> np.ndarray:
    """Contribution of each chain at one temperature to the integral, which is linear in means and variances."""
    of_mean, of_variance = (integral(betas, *each) for each in np.eye(2)[:, :, None] * (np.arange(len(betas)) == k))
    return of_mean * energies.mean(1) + of_variance * ((energies - center) ** 2).mean(1)

"""A ladder of temperatures: its rungs, its plateau, the LLC at equal excess loss, and the evidence it integrates to.

Each rung is a point (excess loss e = E[L(w)] - L(w*), LLC = n_beta e). The LLC at an excess loss e is the exponent of
the volume at that level, d log V(L < L* + e) / d log e, up to the window.
"""

import math
from collections.abc import Sequence

import numpy as np

from slt_grok.errors import SltGrokError
from slt_grok.llc.diagnostics import ChainStatistics
from slt_grok.llc.tempering import acceptance_ratio, integral, integral_error

TOLERANCES = (0.03, 0.1, 0.3)  # nats
PLATEAU = 0.05  # largest change of the LLC per factor 3 in n_beta
REPEATS = 400  # parametric bootstrap of the interpolation


def ladder(configured: float, coldest: float, rungs: int) -> list[float]:
    """Space n_beta evenly in its logarithm from `coldest` x the configured value, which is a rung, down to 1.

    Raises
    ------
    SltGrokError
        The configured value is not above 1, so that there is nothing between.
    """
    if not configured > 1:
        raise SltGrokError(f"n_beta ({configured:g}) must be above 1, the hottest rung of the ladder")
    cold = round(rungs * math.log(coldest) / math.log(coldest * configured)) if coldest > 1 else 0
    above = np.geomspace(configured, configured * coldest, cold + 1)[:0:-1] if cold else np.empty(0)
    return [*above.tolist(), configured, *np.geomspace(configured, 1.0, rungs - cold)[1:].tolist()]


def at_tolerances(n_betas: np.ndarray, llc: np.ndarray, se: np.ndarray, seed: int = 0) -> dict[str, np.ndarray]:
    """Interpolate the LLC at each excess loss in `TOLERANCES`, with the central 95% of a parametric bootstrap.

    Parameters
    ----------
    n_betas, llc, se : ndarray
        The rungs (K,), descending in n_beta.
    seed : int, optional
        Seed of the bootstrap.

    Returns
    -------
    dict
        `llc_at_loss`, `llc_at_loss_low` and `llc_at_loss_high`, each (number of tolerances,); NaN outside the rungs'
        range of excess loss, or so close to its end that some of the bootstrap is outside.
    """
    noise = np.random.default_rng(seed).standard_normal((REPEATS, len(llc)))
    values = np.array([_interpolated(n_betas, sample) for sample in (llc, *(llc + se * noise))])
    low, high = np.quantile(values[1:], (0.025, 0.975), axis=0) if len(llc) else values[:2]
    value = np.where(np.isnan(low), np.nan, values[0])
    return {"llc_at_loss": value, "llc_at_loss_low": low, "llc_at_loss_high": high}


def _interpolated(n_betas: np.ndarray, llc: np.ndarray) -> np.ndarray:
    """Interpolate log LLC in log e at the tolerances, between neighbors that bracket them; the coldest such pair."""
    result = np.full(len(TOLERANCES), np.nan)
    positive = llc > 0
    if positive.sum() > 1:
        y, x = np.log(llc[positive]), np.log(llc[positive] / n_betas[positive])
        order = np.argsort(x)  # noise may reverse neighbors on a flat stretch
        result = np.exp(np.interp(np.log(TOLERANCES), x[order], y[order], left=np.nan, right=np.nan))
    return result


def plateau(n_betas: np.ndarray, llc: np.ndarray, configured: float) -> float:
    """Find the smallest n_beta down to which the LLC changes by less than 5% over every factor 3.

    From the configured n_beta downward, log LLC at each rung is compared with its value at a third of the rung's
    n_beta, interpolated linearly in log n_beta. NaN if the first factor 3 already changes it by more.

    Parameters
    ----------
    n_betas, llc : ndarray
        The rungs that have not melted, (K,), descending in n_beta.
    configured : float
        The configured n_beta.
    """
    inside = (n_betas <= configured * (1 + 1e-9)) & (llc > 0)
    x, y = np.log(n_betas[inside][::-1]), np.log(llc[inside][::-1])
    start = math.nan
    for rung, value in zip(x[::-1], y[::-1], strict=True):
        third = rung - math.log(3)
        if third < x[0] - 1e-9 or abs(value - np.interp(third, x, y)) >= math.log1p(PLATEAU):
            break
        start = math.exp(third)
    return start


def evidence(rungs: Sequence[ChainStatistics], configured: float, noise: np.ndarray) -> dict[str, float]:
    """Integrate the rungs to the log evidence of the neighborhood at the configured temperature.

    By Bennett's acceptance ratio from the window to the hottest rung, by thermodynamic integration above.

    Parameters
    ----------
    rungs : sequence of ChainStatistics
        The rungs up to the configured n_beta, in ascending order.
    configured : float
        The configured n_beta.
    noise : ndarray
        L(w) - L(w*) at draws of the window, (draws,).
    """
    betas = np.array([0.0, *(rung.n_beta for rung in rungs)]) / configured
    excess = [rung.draws[rung.healthy] - rung.baseline for rung in rungs]
    if min(len(chains) for chains in excess) < 2:
        return dict.fromkeys(("log_evidence", "log_evidence_se", "log_evidence_bennett"), math.nan)
    energies = [configured * chains for chains in (noise[:, None], *excess)]
    means, variances = (np.array([getattr(e, name)() for e in energies]) for name in ("mean", "var"))
    errors = [integral_error(betas, k, chains) for k, chains in enumerate(energies)]
    baseline = configured * rungs[0].baseline
    # from the window to the hottest rung the mean may fall too steeply for a polynomial, and neighbors overlap
    window = acceptance_ratio(betas[:2], [chains.ravel() for chains in energies[:2]])
    rest = integral(betas, means, variances) - integral(betas[:2], means[:2], variances[:2])
    return {
        "log_evidence": window - rest - baseline,
        "log_evidence_se": math.hypot(*errors),
        "log_evidence_bennett": -baseline + acceptance_ratio(betas, [chains.ravel() for chains in energies]),
    }

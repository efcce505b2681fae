"""Reliability of an estimate: health of each chain, R-hat, effective sample size, standard error, status.

R-hat, ESS and MCSE follow Vehtari et al. 1903.08008 (rank-normalized split R-hat, bulk ESS), computed by arviz-stats.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np

HEALTHY = "healthy"
RHAT_LIMIT = 1.1
DRIFT_LIMIT = 0.05  # relative to the LLC, between the halves of the draws, if it is also 3 standard errors
CHANGE_LIMIT = 0.05  # relative to the LLC, from n_beta / 16 to n_beta, beyond its error
VIRIAL_LIMIT = 0.1  # fraction of the localized volume that the chains may have left unexplored
ERRORS = 3.0  # number of standard errors that makes a difference significant
QUANTILE = 1.96  # of the standard normal, for a 95% interval


class LLCStatus(StrEnum):
    """Status of an LLC estimate, see `assess`."""

    CONVERGED = "converged"
    EFFECTIVE = "effective"
    LIKELY_LOW = "not converged (likely low)"
    NOT_CONVERGED = "not converged"
    NOT_A_MINIMUM = "not a minimum"
    MELTED = "melted"
    DIVERGED = "diverged"


TRUSTED = (LLCStatus.EFFECTIVE, LLCStatus.CONVERGED)
DOUBTFUL = (LLCStatus.LIKELY_LOW, LLCStatus.NOT_CONVERGED, LLCStatus.NOT_A_MINIMUM)
"""Statuses of estimates that are unreliable but still used."""
EXCLUDED = (LLCStatus.DIVERGED, LLCStatus.MELTED)
"""Statuses of estimates that say nothing about the network: omitted from summaries, transitions and claims."""


@dataclass(frozen=True)
class ChainStatistics:
    """Records of one network's chains at one temperature.

    Parameters
    ----------
    draws : ndarray
        Losses after burn-in, (chain, draw).
    health : list[str]
        Health of each chain, by `chain_health`; unhealthy ones are omitted.
    baseline, n_beta : float
        L(w*), and n times the inverse temperature.
    virial : ndarray
        Virial (w - w*) . grad U / d, (chain, look).
    """

    draws: np.ndarray
    health: list[str]
    baseline: float
    n_beta: float
    virial: np.ndarray

    @property
    def healthy(self) -> np.ndarray:
        """Mask of the chains to average, (chain,)."""
        return np.array([status == HEALTHY for status in self.health])


class Average(NamedTuple):
    """The LLC at one temperature, from its healthy chains.

    Parameters
    ----------
    llc : float
        n_beta (mean loss - L(w*)).
    llc_se : float
        The larger of the MCSE, which accounts for autocorrelation within chains, and the standard error of the chains'
        means, which also reflects disagreement between chains.
    rhat, ess : float
        R-hat and effective sample size of the draws' losses.
    drift, drift_se : float
        LLC of the second half of the draws minus that of the first, and its standard error.
    virial, virial_se : float
        Mean of (w - w*) . grad U / d, 1 in equilibrium, and its standard error over chains.
    fraction_below : float
        Fraction of draws with a loss below L(w*).
    """

    llc: float
    llc_se: float
    rhat: float
    ess: float
    drift: float
    drift_se: float
    virial: float
    virial_se: float
    fraction_below: float


class Status(NamedTuple):
    """The status of an estimate.

    Parameters
    ----------
    status : LLCStatus
        The status.
    reason : str
        The diagnostic that determines it.
    """

    status: LLCStatus
    reason: str


def chain_health(losses: np.ndarray, baseline: float, n_beta: float, d: int, bounded: bool = False) -> str:
    """Classify a chain as `healthy`, or give the reason to omit it.

    Parameters
    ----------
    losses : ndarray
        Loss after every update of the chain, burn-in included, (updates,).
    baseline : float
        L(w*).
    n_beta, d : float, int
        Inverse temperature times n; number of coordinates that move.
    bounded : bool, optional
        Whether each loss is exact, from the full batch and a sampler without step-size bias; then `highest_excess`
        bounds it.

    Returns
    -------
    str
        `HEALTHY`, or the reason.

    Notes
    -----
    n_beta (E L - L(w*)) is at most d/2 at a minimum of a smooth loss, so a mean above d over the last half indicates an
    unstable step, not a complex landscape. For d up to 30 this can happen by chance: the bound is the larger of d and
    30.
    """
    broken = ~np.isfinite(losses)
    if broken.any():
        return f"diverged: loss not finite at update {int(broken.argmax())}"
    with np.errstate(over="ignore"):
        excess = n_beta * (losses - baseline)
    mean = excess[len(losses) // 2 :].mean()
    if mean > max(d, 30):
        return f"diverged: n_beta times excess loss {mean:.3g} is above the number of parameters {d}"
    if bounded and excess.max() > highest_excess(d):
        return f"diverged: n_beta times excess loss {excess.max():.3g} at update {int(excess.argmax())}, out of reach"
    return HEALTHY


def highest_excess(d: int) -> float:
    """Bound n_beta (L - L(w*)) for any draw: d/2 + 10 sqrt(d/2) + 50.

    At a minimum it follows a Gamma distribution of shape lambda <= d/2; ten standard deviations and 50 above its mean
    have a probability below 1e-20, so anything larger comes from an unstable step.
    """
    return d / 2 + 10 * (d / 2) ** 0.5 + 50


def is_out_of_reach(losses: np.ndarray, baselines: np.ndarray, n_betas: Sequence[float], d: int) -> bool:
    """Test whether any loss (network, temperature, chain, update) is above `highest_excess` or not finite."""
    with np.errstate(over="ignore"):
        excess = np.array(n_betas)[:, None, None] * (losses - baselines[:, None, None, None])
    return not bool((excess <= highest_excess(d)).all())  # NaN compares false


def average(statistics: ChainStatistics) -> Average:
    """Estimate the LLC at one temperature with its diagnostics.

    Parameters
    ----------
    statistics : ChainStatistics
        Records of the chains; unhealthy ones are omitted.

    Returns
    -------
    Average
        The estimate; all NaN if no chain is healthy.
    """
    healthy = statistics.healthy
    if not healthy.any():
        return Average(*[np.nan] * len(Average._fields))
    # the excess in LLC units: leaves R-hat and ESS unchanged, and avoids rounding errors near a loss of 1e-8
    excess = statistics.n_beta * (statistics.draws[healthy] - statistics.baseline)
    first, second = np.array_split(excess, 2, axis=1)
    return Average(
        llc=float(excess.mean()),
        llc_se=_standard_error(excess),
        rhat=_statistic("rhat", excess),
        ess=_statistic("ess", excess),
        drift=float(second.mean() - first.mean()),
        drift_se=float(np.hypot(_standard_error(first), _standard_error(second))),
        virial=float(statistics.virial[healthy].mean()),
        virial_se=float(_chain_error(statistics.virial[healthy])),
        fraction_below=float((excess < 0).mean()),
    )


def assess(
    estimate: Average,
    statistics: ChainStatistics,
    finite_minimizer: bool,
    hotter: Average | None = None,
    melting_loss: float | None = None,
) -> Status:
    """Assign a status to an estimate.

    Parameters
    ----------
    estimate, statistics : Average, ChainStatistics
        The estimate at the reported temperature, and the records it is based on.
    finite_minimizer : bool
        False for cross-entropy, which has no finite minimizer on a fitted network: even a well-sampled value then
        depends on (n_beta, gamma).
    hotter : Average or None, optional
        The estimate at n_beta / 16 from separate chains, if any.
    melting_loss : float or None, optional
        Mean loss above which the chains count as melted; None for no such limit.

    Returns
    -------
    Status
        The status with its reason, including the number of omitted chains.

    Notes
    -----
    In this order: `diverged` (no healthy chain), `melted` (the chains' mean loss is above `melting_loss`: they have
    lost what the network learned, and the value reflects n_beta), `not a minimum` (LLC below 0 by more than 2 standard
    errors: the chains continue training), `not converged (likely low)` (the second half of the draws above the first,
    the virial below 1, or the LLC above that at n_beta / 16: the chains or the temperature have not reached the
    plateau), `not converged` (falling draws or R-hat above 1.1), `effective` (well sampled, but specific to its n_beta
    and gamma), `converged` (also unchanged from n_beta / 16).
    """
    chains, omitted = len(statistics.health), int((~statistics.healthy).sum())
    if omitted == chains:
        return Status(LLCStatus.DIVERGED, f"no healthy chain ({statistics.health[0]})")
    mean_loss = statistics.baseline + estimate.llc / statistics.n_beta
    if melting_loss is not None and mean_loss > melting_loss:
        status, reason = LLCStatus.MELTED, f"the chains' mean loss {mean_loss:.3g} is above {melting_loss:.3g}"
    else:
        status, reason = _assess_estimate(estimate, finite_minimizer, hotter)
    return Status(status, f"{reason}; {omitted} of {chains} chains omitted" if omitted else reason)


def _assess_estimate(estimate: Average, finite_minimizer: bool, hotter: Average | None) -> tuple[LLCStatus, str]:
    if estimate.llc < -2 * estimate.llc_se:
        return LLCStatus.NOT_A_MINIMUM, "the LLC is negative: the chains continue training"
    low, failed = LLCStatus.LIKELY_LOW, LLCStatus.NOT_CONVERGED
    drifts = abs(estimate.drift) > max(DRIFT_LIMIT * abs(estimate.llc), ERRORS * estimate.drift_se)
    if drifts and estimate.drift > 0:
        return low, f"the LLC of the second half of the draws exceeds that of the first by {estimate.drift:.3g}"
    if abs(estimate.virial - 1) > np.nanmax([VIRIAL_LIMIT, ERRORS * estimate.virial_se]):
        status = low if estimate.virial < 1 else failed
        return status, f"the virial is {estimate.virial:.2f} (1 in equilibrium)"
    if not estimate.rhat <= RHAT_LIMIT:
        status = failed if estimate.drift < 0 else low
        return status, f"R-hat {estimate.rhat:.2f} is above {RHAT_LIMIT}: the chains disagree or still drift"
    if drifts:
        return failed, f"the LLC of the second half of the draws is below that of the first by {-estimate.drift:.3g}"
    well = f"R-hat {estimate.rhat:.2f}, effective sample size {estimate.ess:.0f}"
    if not finite_minimizer:
        return LLCStatus.EFFECTIVE, well
    if hotter is None:
        return LLCStatus.EFFECTIVE, f"{well}; no estimate at n_beta / 16, so its limit at large n_beta was not checked"
    change, error = estimate.llc - hotter.llc, np.hypot(estimate.llc_se, hotter.llc_se)
    percent = 100 * change / estimate.llc
    if abs(change) > max(CHANGE_LIMIT * abs(estimate.llc), QUANTILE * error):
        return low if change > 0 else failed, f"the LLC changes by {percent:.1f}% from n_beta / 16 to n_beta"
    return LLCStatus.CONVERGED, f"{well}; changes by {percent:.1f}% from n_beta / 16"


def interval(
    estimate: Average, n_beta: float, hotter: Average | None = None, regular: bool = False
) -> tuple[float, float]:
    """Compute a 95% interval for the LLC that allows for a further increase at larger n_beta.

    The lower end is 1.96 standard errors below. The upper end adds to these two possible increases, both estimated from
    the change c = LLC(n_beta) - LLC(n_beta/16) if it is positive. A singular direction of order 2k adds c / (16^(1/k) -
    1), which is c for k = 4; this is combined with the errors in quadrature. A multiplicity m adds (m - 1) / log
    n_beta, which changes so slowly with n_beta that it is estimated as c log(n_beta) / log(16), with c the largest
    change compatible with its error, up to m = 3.

    Parameters
    ----------
    estimate, n_beta : Average, float
        The estimate, and n times its inverse temperature.
    hotter : Average or None, optional
        The estimate at n_beta / 16, if any.
    regular : bool, optional
        Whether the point is regular, so that the multiplicity is 1.

    Returns
    -------
    tuple of float
        Lower and upper end.
    """
    statistical = QUANTILE * estimate.llc_se
    if hotter is None:
        return estimate.llc - statistical, estimate.llc + statistical
    change, log = estimate.llc - hotter.llc, np.log(max(n_beta, 2.0))
    order = float(np.hypot(statistical, max(change, 0.0)))
    largest = max(change + QUANTILE * float(np.hypot(estimate.llc_se, hotter.llc_se)), 0.0)
    multiplicity = 0.0 if regular else min(largest * log / np.log(16), 2 / log)
    return estimate.llc - statistical, estimate.llc + order + multiplicity


def _statistic(name: str, draws: np.ndarray) -> float:
    from arviz_stats.base.array import array_stats

    return np.asarray(getattr(array_stats, name)(draws)).item()


def _chain_error(draws: np.ndarray) -> float:
    """Compute the standard error of the mean from the chains' means; NaN for a single chain."""
    return draws.mean(axis=1).std(ddof=1) / len(draws) ** 0.5 if len(draws) > 1 else np.nan


def _standard_error(draws: np.ndarray) -> float:
    return float(np.nanmax([_statistic("mcse", draws), _chain_error(draws)]))

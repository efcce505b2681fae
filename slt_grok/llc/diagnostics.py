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
CONVERGED_RHAT, CONVERGED_ESS = 1.01, 400  # Vehtari et al. 1903.08008, section 4
GROUPS = 8  # of chains, for the nested R-hat
WIDEST = 0.1  # distance of the interval's ends, relative to the LLC
DRIFT_LIMIT = 0.05  # relative to the LLC, between the halves of the draws, if it is also 3 standard errors
CHANGE_LIMIT = 0.05  # relative to the LLC, from n_beta / 16 to n_beta, beyond its error
VIRIAL_LIMIT = 0.1  # fraction of the localized volume that the chains may have left unexplored
DESCENT_LIMIT = 0.05  # fall of the potential near w*, relative to the LLC, if it is also 1 standard error
ERRORS = 3.0  # number of standard errors that makes a difference significant
QUANTILE = 1.96  # of the standard normal, for a 95% interval
GAINS = "a short descent from w* gains"  # start of the reason that states the fall


class LLCStatus(StrEnum):
    """Status of an LLC estimate, see `assess`."""

    CONVERGED = "converged"
    APPROXIMATE = "approximate"
    EFFECTIVE = "effective"
    LIKELY_LOW = "not converged (likely low)"
    NOT_CONVERGED = "not converged"
    NOT_A_MINIMUM = "not a minimum"
    MELTED = "melted"
    DIVERGED = "diverged"


LIMITS = (LLCStatus.APPROXIMATE, LLCStatus.CONVERGED)  # of large n_beta
TRUSTED = (LLCStatus.EFFECTIVE, *LIMITS)
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
    nested_rhat : float
        R-hat between up to 8 groups of chains (Margossian et al. 2110.13017), equal to `rhat` up to 8 chains. The R-hat
        of N chains is about 1 + N / ESS in equilibrium, so it cannot be near 1 for many short chains.
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
    nested_rhat: float
    ess: float
    drift: float
    drift_se: float
    virial: float
    virial_se: float
    fraction_below: float

    def plus(self, correction: float, error: float) -> "Average":
        """Add a correction to the value, and its independent standard error in quadrature."""
        return self._replace(llc=self.llc + correction, llc_se=float(np.hypot(self.llc_se, error)))


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


def chain_health(
    losses: np.ndarray, baseline: float, n_beta: float, d: int, virial: np.ndarray, bounded: bool = False
) -> str:
    """Classify a chain as `healthy`, or give the reason to omit it.

    Parameters
    ----------
    losses : ndarray
        Loss after every update of the chain, burn-in included, (updates,).
    baseline : float
        L(w*).
    n_beta, d : float, int
        Inverse temperature times n; number of coordinates that move.
    virial : ndarray
        Virial (w - w*) . grad U / d of the chain, (look,).
    bounded : bool, optional
        Whether each loss is exact, from the full batch and a sampler without step-size bias; then `highest_excess`
        bounds it.

    Returns
    -------
    str
        `HEALTHY`, or the reason.

    Notes
    -----
    See `is_unstable`.
    """
    broken = ~np.isfinite(losses)
    if broken.any():
        return f"diverged: loss not finite at update {int(broken.argmax())}"
    with np.errstate(over="ignore"):
        excess = n_beta * (losses - baseline)
    last = excess[len(losses) // 2 :]
    if is_unstable(last, virial, d):
        return (
            f"diverged: n_beta times excess loss {last.mean():.3g} and virial {virial.mean():.3g} (1 in equilibrium) "
            "are those of an unstable step"
        )
    if bounded and excess.max() > highest_excess(d, float(np.median(last))):
        return f"diverged: n_beta times excess loss {excess.max():.3g} at update {int(excess.argmax())}, out of reach"
    return HEALTHY


def is_unstable(excess: np.ndarray, virial: np.ndarray, d: int) -> bool:
    """Test whether n_beta (L - L(w*)) and virial of a chain have means that only an unstable step gives.

    The excess has a mean of at most d/2 at a minimum of a smooth loss, so a mean above d is suspect; but for a loss
    homogeneous of degree k it is d/k, and for one that saturates still higher. The mean of (w - w*) . grad U, of which
    the virial is a d-th, is d in equilibrium for any loss: if it is also above twice d, the step is unstable. For d up
    to 30 both limits are those of d = 30, since means of few draws vary.
    """
    largest = max(d, 30)
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(excess.mean() > largest) and not bool(d * virial.mean() <= 2 * largest)  # NaN compares false


def highest_excess(d: int, median: float) -> float:
    """Bound n_beta (L - L(w*)) for any draw: c + 10 sqrt(c) + 50, c the larger of d/2 and the chains' median excess.

    At a minimum of a smooth loss it follows a Gamma distribution of shape lambda <= d/2, for a loss homogeneous of
    degree k one of shape d/k, close to its median; ten standard deviations and 50 above have a probability below 1e-20,
    so anything larger comes from an unstable step.
    """
    center = max(d / 2, median)
    return center + 10 * center**0.5 + 50


def is_out_of_reach(
    losses: np.ndarray, virial: np.ndarray, baselines: np.ndarray, n_betas: Sequence[float], d: int
) -> bool:
    """Test whether any loss (network, temperature, chain, update) is above `highest_excess`, or any chain unstable.

    `virial` is (network, temperature, chain, look).
    """
    if not np.isfinite(losses).all():
        return True
    with np.errstate(over="ignore"):
        excess = np.array(n_betas)[:, None, None] * (losses - baselines[:, None, None, None])
    last = excess[..., excess.shape[-1] // 2 :]
    highest = np.vectorize(lambda median: highest_excess(d, median))(np.median(last, axis=(-2, -1)))
    if (excess > highest[..., None, None]).any():
        return True
    return any(is_unstable(last[chain], virial[chain], d) for chain in np.ndindex(*last.shape[:-1]))


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
        nested_rhat=_statistic("rhat", _grouped(excess)),
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
    descent: float = 0.0,
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
    descent : float, optional
        Fall of n_beta L + gamma/2 |w - w*|^2 in a short descent from w*, see `slt_grok.llc.descent.descent`.

    Returns
    -------
    Status
        The status with its reason, including the number of omitted chains.

    Notes
    -----
    In this order: `diverged` (no healthy chain), `melted` (the chains' mean loss is above `melting_loss`: they have
    lost what the network learned, and the value reflects n_beta), `not a minimum` (LLC below 0 by more than 2 standard
    errors, or the potential falls by more than 5% of the LLC, and its standard error, in a short descent from w*: the
    chains continue training, and the value is low by one to two times that fall), `not converged (likely low)` (the
    second half of the draws above the first, the virial below 1, or the LLC above that at n_beta / 16: the chains or
    the temperature have not reached the plateau), `not converged` (falling draws or R-hat above 1.1), `effective` (well
    sampled, but specific to its n_beta and gamma), `approximate` (also unchanged from n_beta / 16, with R-hats up to
    1.1 or an effective sample size below 400), `converged` (also nested R-hat up to 1.01 and 400 effective draws).
    """
    chains, omitted = len(statistics.health), int((~statistics.healthy).sum())
    if omitted == chains:
        return Status(LLCStatus.DIVERGED, f"no healthy chain ({statistics.health[0]})")
    mean_loss = statistics.baseline + estimate.llc / statistics.n_beta
    if melting_loss is not None and mean_loss > melting_loss:
        status, reason = LLCStatus.MELTED, f"the chains' mean loss {mean_loss:.3g} is above {melting_loss:.3g}"
    else:
        status, reason = _assess_estimate(estimate, finite_minimizer, hotter, descent)
    return Status(status, f"{reason}; {omitted} of {chains} chains omitted" if omitted else reason)


def descent_in(reason: str) -> float:
    """Read the fall of the potential in a short descent from the reason of a status; NaN if the reason is another.

    A value of the status `not a minimum` is low by one to two times this fall, see `slt_grok.llc.descent.descent`.
    """
    return float(reason.removeprefix(GAINS).split()[0]) if reason.startswith(GAINS) else np.nan


def _assess_estimate(
    estimate: Average, finite_minimizer: bool, hotter: Average | None, descent: float
) -> tuple[LLCStatus, str]:
    if estimate.llc < -2 * estimate.llc_se:
        return LLCStatus.NOT_A_MINIMUM, "the LLC is negative: the chains continue training"
    if descent > max(DESCENT_LIMIT * abs(estimate.llc), estimate.llc_se):
        return LLCStatus.NOT_A_MINIMUM, f"{GAINS} {descent:.3g} in units of the LLC"
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
    well = f"R-hat {estimate.rhat:.3f} (nested {estimate.nested_rhat:.3f}), effective sample size {estimate.ess:.0f}"
    if not finite_minimizer:
        return LLCStatus.EFFECTIVE, well
    if hotter is None:
        return LLCStatus.EFFECTIVE, f"{well}; no estimate at n_beta / 16, so its limit at large n_beta was not checked"
    change, error = estimate.llc - hotter.llc, np.hypot(estimate.llc_se, hotter.llc_se)
    percent = 100 * change / estimate.llc
    if abs(change) > max(CHANGE_LIMIT * abs(estimate.llc), QUANTILE * error):
        return low if change > 0 else failed, f"the LLC changes by {percent:.1f}% from n_beta / 16 to n_beta"
    sampled = estimate.nested_rhat <= CONVERGED_RHAT and estimate.ess >= CONVERGED_ESS
    status = LLCStatus.CONVERGED if sampled else LLCStatus.APPROXIMATE
    return status, f"{well}; changes by {percent:.1f}% from n_beta / 16"


def interval(estimate: Average, hotter: Average | None = None, regular: bool = False) -> tuple[float, float]:
    """Compute a 95% interval for the LLC that allows for a further increase at larger n_beta.

    The lower end is 1.96 standard errors below. The upper end adds to these two possible increases, both estimated from
    the change c = LLC(n_beta) - LLC(n_beta/16). A singular direction of order 2k adds c / (16^(1/k) - 1), which is c
    for k = 4; this is combined with the errors in quadrature. A multiplicity m lowers the value by (m - 1) / l, l =
    log(n_beta) + constant, where the constant depends on the unit of the loss; c = (m - 1) [1 / (l - log 16) - 1 / l]
    gives l without knowing it. The upper end adds (m - 1) / l for m = 3 and the largest c compatible with its error.

    Parameters
    ----------
    estimate : Average
        The estimate.
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
    change, log = estimate.llc - hotter.llc, float(np.log(16))
    order = float(np.hypot(statistical, max(change, 0.0)))
    largest = max(change, 0.0) + QUANTILE * float(np.hypot(estimate.llc_se, hotter.llc_se))
    multiplicity = 0.0
    if not regular and largest > 0:
        multiplicity = 2 / (log / 2 + (log**2 / 4 + 2 * log / largest) ** 0.5)
    return estimate.llc - statistical, estimate.llc + order + multiplicity


def limit_to_interval(status: Status, estimate: Average, low: float, high: float) -> Status:
    """Call a converged estimate approximate if its interval reaches more than 10% away from it."""
    reach = max(high - estimate.llc, estimate.llc - low)
    if status.status == LLCStatus.CONVERGED and reach > WIDEST * abs(estimate.llc):
        return Status(LLCStatus.APPROXIMATE, f"{status.reason}; the 95% interval reaches {reach:.3g} from the value")
    return status


def _statistic(name: str, draws: np.ndarray) -> float:
    from arviz_stats.base.array import array_stats

    with np.errstate(invalid="ignore"):  # NaN if all draws are the same
        return np.asarray(getattr(array_stats, name)(draws)).item()


def _grouped(draws: np.ndarray) -> np.ndarray:
    """Join chains to groups, (chain, draw) -> (group, draw), in the order of time; a remainder of chains is omitted."""
    if len(draws) <= GROUPS:
        return draws
    size = len(draws) // GROUPS
    groups = draws[: size * GROUPS].reshape(GROUPS, size, -1)
    return groups.swapaxes(1, 2).reshape(GROUPS, -1)


def _chain_error(draws: np.ndarray) -> float:
    """Compute the standard error of the mean from the chains' means; NaN for a single chain."""
    return draws.mean(axis=1).std(ddof=1) / len(draws) ** 0.5 if len(draws) > 1 else np.nan


def _standard_error(draws: np.ndarray) -> float:
    return float(np.nanmax([_statistic("mcse", draws), _chain_error(draws)]))

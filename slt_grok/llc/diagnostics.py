"""Whether an estimate can be trusted: health of each chain, R-hat, effective sample size, standard error, verdict.

R-hat, ESS and MCSE are those of Vehtari et al. 1903.08008 (rank-normalised split R-hat, bulk ESS), by arviz-stats.
"""

from typing import NamedTuple

import numpy as np
from arviz_stats.base.array import array_stats

HEALTHY = "healthy"
RHAT_LIMIT = 1.1


class Summary(NamedTuple):
    """One checkpoint's LLC from its chains."""

    llc: float
    llc_se: float
    rhat: float
    ess: float
    verdict: str
    reason: str


def chain_health(losses: np.ndarray, baseline: float, n_beta: float, d: int) -> str:
    """`healthy`, or the reason to leave a chain out.

    Parameters
    ----------
    losses : loss at every step of the chain, burn-in included, (steps,).
    baseline : L(w*).
    n_beta, d : inverse temperature times n; number of parameters.

    Notes
    -----
    n_beta (E L - L(w*)) is at most d/2 at a minimum of a smooth loss, so that a mean over the last half above d means
    that the step is unstable, not that the landscape is complex.
    """
    broken = ~np.isfinite(losses)
    if broken.any():
        return f"diverged: loss not finite from step {int(broken.argmax())} on"
    excess = n_beta * (losses[len(losses) // 2 :].mean() - baseline)
    if excess > d:
        return f"diverged: n_beta times excess loss {excess:.3g} is above the number of parameters {d}"
    return HEALTHY


def summarise(draws: np.ndarray, health: list[str], baseline: float, n_beta: float, finite_minimiser: bool) -> Summary:
    """LLC, its error and a verdict from the healthy chains.

    Parameters
    ----------
    draws : losses after burn-in, (chain, draw).
    health : one word a chain, by `chain_health`; the others are left out.
    baseline, n_beta : L(w*), and n times the inverse temperature.
    finite_minimiser : False for cross-entropy, which has no finite minimiser on a fitted network: there a
        well-sampled value is called `effective`, since it belongs to its (n_beta, gamma).

    Notes
    -----
    LLC = n_beta (mean loss - L(w*)). Its standard error is the larger of the MCSE, which knows the autocorrelation
    within chains, and the standard error of the chains' means, which also sees chains that disagree. Verdicts:
    `diverged` (fewer than one healthy chain), `not a minimum` (LLC below 0 by more than 2 standard errors: the chain
    goes on training), `not converged` (R-hat above 1.1), else `effective` or `converged`.
    """
    healthy = draws[[word == HEALTHY for word in health]]
    if not len(healthy):
        return Summary(np.nan, np.nan, np.nan, np.nan, "diverged", f"no healthy chain ({health[0]})")
    llc = n_beta * (healthy.mean() - baseline)
    # the excess, in LLC units: R-hat and ESS do not change, and rounding near a loss of 1e-8 does no harm
    excess = n_beta * (healthy - baseline)
    rhat, ess = (np.asarray(f(excess)).item() for f in (array_stats.rhat, array_stats.ess))
    errors = [np.asarray(array_stats.mcse(excess)).item()]
    if len(healthy) > 1:
        errors.append(excess.mean(axis=1).std(ddof=1) / len(healthy) ** 0.5)
    se = float(np.nanmax(errors))
    out = f"; {len(health) - len(healthy)} of {len(health)} chains left out" if len(healthy) < len(health) else ""
    if llc < -2 * se:
        return Summary(llc, se, rhat, ess, "not a minimum", "the LLC is negative: the chains go on training" + out)
    if not rhat <= RHAT_LIMIT:
        reason = f"R-hat {rhat:.2f} is above {RHAT_LIMIT}: the chains disagree or still drift"
        return Summary(llc, se, rhat, ess, "not converged", reason + out)
    word = "converged" if finite_minimiser else "effective"
    return Summary(llc, se, rhat, ess, word, f"R-hat {rhat:.2f}, effective sample size {ess:.0f}" + out)

"""Variables of an LLC measurement: their names, dimensions, definitions and sources."""

from typing import Any

import xarray as xr

from slt_grok.llc.diagnostics import EXCLUDED
from slt_grok.measurement import Variable
from slt_grok.rules import SHRINKING, Change

EFFECTIVE = (
    "this loss has no finite minimizer on a network that fits its train set: this is an effective LLC at its "
    "(n_beta, gamma), to be compared over checkpoints at the same setting only"
)

LAU = "Lau et al. 2308.12108, definition 3"
VEHTARI = "Vehtari et al. 1903.08008, by arviz-stats"
BATCH_LOSS = "mean loss over the step's batch, in float64"
SEVERAL = "sampled at several temperatures"
RULES = "the rules of slt_grok.llc.diagnostics"
WINDOW = "slt_grok.llc.window_noise"


def of_the_network(llc: xr.Dataset) -> Any:
    """Mask the LLC estimates that say something about the network: neither diverged nor melted."""
    return ~llc.llc_status.isin(EXCLUDED) if "llc_status" in llc else True


VARIABLES = {
    "llc": Variable(
        (),
        "local learning coefficient",
        "n_beta (mean of the draws' losses over healthy chains - baseline_loss)",
        LAU,
        change=Change(SHRINKING, "LLC", "black", "D", error="llc_se", counts=of_the_network, place=4),
    ),
    "llc_se": Variable(
        (),
        "standard error of the LLC",
        "the larger of n_beta MCSE and the standard error of the chains' means",
        VEHTARI,
    ),
    "llc_low": Variable((), "lower end of the 95% interval of the LLC", "llc - 1.96 llc_se", RULES),
    "llc_high": Variable(
        (),
        "upper end of the 95% interval of the LLC",
        "llc + 1.96 llc_se combined in quadrature with the possible increase at larger n_beta, "
        "LLC(n_beta) - LLC(n_beta / 16) if positive; plus a multiplicity up to 3",
        RULES,
    ),
    "rhat": Variable((), "R-hat", "rank-normalized split R-hat of the draws' losses", VEHTARI),
    "ess": Variable(
        (), "effective sample size", "bulk effective sample size of the draws' losses over all healthy chains", VEHTARI
    ),
    "drift": Variable(
        (), "drift of the LLC along the draws", "LLC of the second half of the draws minus that of the first", RULES
    ),
    "virial": Variable(
        (),
        "virial",
        "mean of (w - w*) . grad U(w) / d with U = n_beta L + gamma/2 |w - w*|^2; 1 in equilibrium",
        "the virial theorem, E (w - w*) . grad U = d",
    ),
    "fraction_below_initial_loss": Variable(
        (),
        "fraction of draws below the checkpoint's loss",
        "fraction of the healthy chains' draws with L(w) < L(w*)",
        RULES,
    ),
    "llc_status": Variable((), "status of the LLC estimate", "one of slt_grok.llc.diagnostics.LLCStatus", RULES),
    "llc_status_reason": Variable((), "reason for the status", "the diagnostic that determines the status", RULES),
    "baseline_loss": Variable(
        (), "loss at the checkpoint", "L(w*), mean over all samples of the data in float64", LAU, of_loss=True
    ),
    "window_noise": Variable(
        (),
        "LLC of the window's noise alone",
        "n_beta (E L(w* + N(0, 1/gamma)) - L(w*)): a null without a chain",
        WINDOW,
    ),
    "window_noise_se": Variable(
        (), "standard error of the LLC of the window's noise", "over independent draws", WINDOW
    ),
    "llc_chain": Variable(("chain",), "LLC of one chain", "n_beta (mean of the chain's draws - baseline_loss)", LAU),
    "chain_health": Variable(("chain",), "health of the chain", "healthy, or the reason for omitting the chain", RULES),
    "resets": Variable(
        ("chain",), "resets of the chain", "number of times the loss was not finite and the chain reset to w*", RULES
    ),
    "acceptance": Variable(
        ("chain",),
        "acceptance of a MALA proposal",
        "min(1, p(w') q(w|w') / (p(w) q(w'|w))) for a Langevin step of the sampler's size (epsilon, or h^2), mean over "
        "draws; the sampler's actual acceptance if it accepts or rejects; NaN for an omitted chain",
        "Roberts & Tweedie 1996",
    ),
    "distance": Variable(
        ("chain", "look"),
        "distance from the checkpoint",
        "|w - w*| at evenly spaced draws; NaN for an omitted chain",
        LAU,
    ),
    "loss_trace": Variable(("chain", "draw"), "loss at each draw", BATCH_LOSS, LAU, of_loss=True),
    "burn_in_loss": Variable(
        ("chain", "burn_in"), "loss during burn-in", f"{BATCH_LOSS}; never averaged in", LAU, of_loss=True
    ),
    "llc_at_temperature": Variable(
        ("temperature",),
        "LLC at each temperature",
        "n_beta (mean of the draws' losses - baseline_loss); the coordinate temperature is n_beta",
        LAU,
    ),
    "llc_at_temperature_se": Variable(
        ("temperature",), "standard error of the LLC at each temperature", "as llc_se", VEHTARI
    ),
    "llc_change": Variable(
        (), "change of the LLC with temperature", "LLC at n_beta minus LLC at n_beta / 16", RULES, where=SEVERAL
    ),
    "llc_correction": Variable(
        (),
        "correction at a regular point",
        "1/2 sum gamma / (n_beta h + gamma) over the nonzero eigenvalues h of the Hessian at w*; included in llc "
        "if sampling agrees with the Hessian, else 0",
        "Laplace's approximation with the localization as prior",
        where="n_beta chosen by the rule",
    ),
}

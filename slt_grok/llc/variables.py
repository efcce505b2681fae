"""Names, definitions and sources of what an LLC measurement holds."""

EFFECTIVE = (
    "cross-entropy on a network that fits everything has no finite minimizer: this is an effective LLC at its "
    "(n_beta, gamma), to be compared over checkpoints at the same setting only"
)

_LAU = "Lau et al. 2308.12108, definition 3"
_VEHTARI = "Vehtari et al. 1903.08008, by arviz-stats"
_RULES = "the rules of slt_grok.llc.diagnostics"

DIMS: dict[str, tuple[str, ...]] = {
    "llc_chain": ("chain",),
    "chain_health": ("chain",),
    "loss_trace": ("chain", "draw"),
    "burn_in_loss": ("chain", "burn_in"),
    "resets": ("chain",),
    "acceptance": ("chain",),
    "distance": ("chain", "look"),
    "llc_at_temperature": ("temperature",),
    "llc_at_temperature_se": ("temperature",),
}

ATTRS = {
    "llc": {
        "long_name": "local learning coefficient",
        "definition": "n_beta (mean of the draws' losses over healthy chains - baseline_loss)",
        "source": _LAU,
    },
    "llc_se": {
        "long_name": "standard error of the LLC",
        "definition": "the larger of n_beta MCSE and the standard error of the chains' means",
        "source": _VEHTARI,
    },
    "rhat": {
        "long_name": "R-hat",
        "definition": "rank-normalized split R-hat of the draws' losses",
        "source": _VEHTARI,
    },
    "ess": {
        "long_name": "effective sample size",
        "definition": "bulk effective sample size of the draws' losses over all healthy chains",
        "source": _VEHTARI,
    },
    "llc_status": {"long_name": "status of the LLC estimate"},
    "llc_status_reason": {"long_name": "reason of the status"},
    "baseline_loss": {
        "long_name": "loss at the checkpoint",
        "units": "nats",
        "definition": "L(w*), mean over the full train set in float64",
        "source": _LAU,
    },
    "llc_chain": {
        "long_name": "LLC of one chain",
        "definition": "n_beta (mean of the chain's draws - baseline_loss)",
        "source": _LAU,
    },
    "chain_health": {
        "long_name": "health of the chain",
        "definition": "healthy, or the reason why the chain is left out",
        "source": _RULES,
    },
    "loss_trace": {
        "long_name": "loss at each draw",
        "units": "nats",
        "definition": "mean loss over the step's batch, in float64",
        "source": _LAU,
    },
    "burn_in_loss": {
        "long_name": "loss during burn-in",
        "units": "nats",
        "definition": "mean loss over the step's batch, in float64; never averaged in",
        "source": _LAU,
    },
    "llc_change": {
        "long_name": "change of the LLC with temperature",
        "definition": "LLC at n_beta minus LLC at n_beta / 16",
        "source": _RULES,
    },
    "llc_correction": {
        "long_name": "add-on at a regular point",
        "definition": "1/2 sum gamma / (n_beta h + gamma) over the non-zero eigenvalues h of the Hessian at w*; "
        "contained in llc where sampling agrees with the Hessian, 0 elsewhere",
        "source": "Laplace's approximation with the localization as prior",
    },
    "llc_low": {
        "long_name": "lower end of the 95% interval of the LLC",
        "definition": "llc - 1.96 llc_se",
        "source": _RULES,
    },
    "llc_high": {
        "long_name": "upper end of the 95% interval of the LLC",
        "definition": "llc + root of the squares of 1.96 llc_se and of what the LLC may still gain at larger n_beta, "
        "LLC(n_beta) - LLC(n_beta / 16) where it rises; and a multiplicity up to 3",
        "source": _RULES,
    },
    "drift": {
        "long_name": "drift of the LLC along the draws",
        "definition": "LLC of the second half of the draws minus that of the first",
        "source": _RULES,
    },
    "virial": {
        "long_name": "virial",
        "definition": "mean of (w - w*) . grad U(w) / d with U = n_beta L + gamma/2 |w - w*|^2; 1 in equilibrium",
        "source": "the virial theorem, E (w - w*) . grad U = d",
    },
    "fraction_below_initial_loss": {
        "long_name": "share of draws under the checkpoint's loss",
        "definition": "share of the healthy chains' draws with L(w) < L(w*)",
        "source": _RULES,
    },
    "llc_at_temperature": {
        "long_name": "LLC at each temperature",
        "definition": "n_beta (mean of the draws' losses - baseline_loss); the coordinate temperature is n_beta",
        "source": _LAU,
    },
    "llc_at_temperature_se": {
        "long_name": "standard error of the LLC at each temperature",
        "definition": "as llc_se",
        "source": _VEHTARI,
    },
    "llc_wbic": {
        "long_name": "LLC from the slope over temperatures",
        "definition": "slope of the mean loss over 1 / n_beta, weighted by its errors; needs no L(w*)",
        "source": "Watanabe 1208.6338, section 5",
    },
    "llc_wbic_se": {
        "long_name": "standard error of the LLC from the slope",
        "definition": "from the standard errors of the mean losses",
        "source": "Watanabe 1208.6338, section 5",
    },
    "resets": {
        "long_name": "resets of the chain",
        "definition": "how often the loss was not finite and the chain was put back at w*",
        "source": _RULES,
    },
    "acceptance": {
        "long_name": "acceptance of a MALA proposal",
        "definition": "min(1, p(w') q(w|w') / (p(w) q(w'|w))) for a Langevin step of the sampler's size (epsilon, or "
        "h^2), mean over draws; the sampler's own where it accepts or rejects",
        "source": "Roberts & Tweedie 1996",
    },
    "distance": {
        "long_name": "distance from the checkpoint",
        "definition": "|w - w*| at draws spread over the chain",
        "source": _LAU,
    },
}

"""Names, definitions and sources of what an LLC measurement holds."""

EFFECTIVE = (
    "cross-entropy on a network that fits everything has no finite minimiser: this is an effective LLC at its "
    "(n_beta, gamma), to be compared over checkpoints at the same setting only"
)

_LAU = "Lau et al. 2308.12108, definition 3"
_VEHTARI = "Vehtari et al. 1903.08008, by arviz-stats"

DIMS = {
    "llc_chain": ("chain",),
    "chain_health": ("chain",),
    "loss_trace": ("chain", "draw"),
    "burn_in_loss": ("chain", "burn_in"),
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
        "definition": "rank-normalised split R-hat of the draws' losses",
        "source": _VEHTARI,
    },
    "ess": {
        "long_name": "effective sample size",
        "definition": "bulk effective sample size of the draws' losses over all healthy chains",
        "source": _VEHTARI,
    },
    "llc_verdict": {"long_name": "verdict on the LLC estimate"},
    "llc_verdict_reason": {"long_name": "reason of the verdict"},
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
}

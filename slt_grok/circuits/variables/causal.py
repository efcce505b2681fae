"""What `circuits.causal.measure` gives."""

from slt_grok.circuits.variables.entry import NANDA, Variable, variable

OURS = "this package"
EFFECT = (
    "train loss after / train loss before, or the share of all pairs (a, b) answered as (a', b), as `quantity` says; "
)
PLANES = "square root of the sum of squared Fourier components at the site, over the frequencies that were changed"

CAUSAL: dict[str, Variable] = {
    "effect": variable(
        ("test",),
        "effect on the circuit",
        f"{EFFECT}on the planes of circuit_frequency together, or the smallest over its frequencies one by one",
        f"{NANDA}, sections 4.4 and 5.1; moved planes: {OURS}",
    ),
    "effect_se": variable(
        ("test",), "standard error of the effect", "sd / sqrt(n) over the draws; NaN where nothing is drawn", OURS
    ),
    "control_effect": variable(
        ("test", "control"),
        "effect on the control",
        f"{EFFECT}one frequency at a time the largest over the others, the mean over them, and that of a random set "
        "with the norm of the frequency whose effect is smallest; random sets: mean over draws",
        OURS,
    ),
    "control_effect_se": variable(
        ("test", "control"),
        "standard error of the control",
        "sd sqrt((1 - n/N) / n) over n of N other frequencies, sd / sqrt(n) over n draws; NaN where nothing is drawn",
        OURS,
    ),
    "ratio": variable(("test", "control"), "effect / control", "effect / control_effect", OURS),
    "plane_norm": variable(("test",), "norm of the circuit's planes", PLANES, OURS),
    "control_plane_norm": variable(
        ("test", "control"), "norm of the control's planes", f"{PLANES}; mean over draws", OURS
    ),
    "loss_ratio_by_frequency": variable(
        ("site", "frequency"),
        "train loss without a frequency / with it",
        "train loss after the planes of one frequency are removed at the site / before; NaN where it was not drawn",
        f"{NANDA}, section 5.1",
    ),
    "train_loss": variable((), "train loss", "mean over the train set of -log softmax(L)[label]", NANDA, "nats"),
    "accuracy": variable((), "accuracy", "share of all pairs whose largest logit is the label's", NANDA),
}

"""Neurons and heads: frequencies, phases, fits, and the network with the fits in their place."""

from slt_grok.circuits.variables.entry import NANDA, Variable, accuracy, loss, variable

GROMOV = "Gromov 2301.02679"
MCCRACKEN = "McCracken et al. 2505.18266"
DOSHI = "Doshi et al. 2310.13061"
TOPOLOGY = "2512.25060"

POLYNOMIAL = (
    "with every neuron replaced by its projection on {1, cos, sin} x {1, cos, sin} of w_k a and w_k b, k its "
    "neuron_frequency"
)
SIMPLE = (
    "with every pre-activation replaced by its mean + A_L cos(w_f a + phi_L) + A_R cos(w_f b + phi_R), fitted by least "
    "squares, f the frequency with the largest R^2"
)
LINE = "line of the means of the pre-activation over"


def _phase(name: str, of: str) -> Variable:
    definition = f"phi in A cos(w_k t + phi), the part of {of} at k = neuron_frequency"
    return variable(("neuron",), f"phase {name}", definition, GROMOV, "radians")


def _ratio(convention: str, range_: str, cosine: str) -> Variable:
    return variable(
        ("neuron",),
        f"inverse participation ratio ({convention})",
        f"mean over the neuron's input lines of both tokens (means of the pre-activation over the other one) and its "
        f"output weights of sum_k |x_k|^4 / (sum_k |x_k|^2)^2, {range_}; the constant left out; a cosine has {cosine}",
        DOSHI,
    )


NEURONS: dict[str, Variable] = {
    "neuron_frequency": variable(
        ("neuron",),
        "frequency of the neuron",
        "k with the largest FVE, see neuron_cluster_size; of a neuron with neuron_fve 0 it says nothing",
        f"{NANDA}, section 4.2",
    ),
    "neuron_fve": variable(
        ("neuron",),
        "largest FVE of the neuron",
        "max over k of FVE_k, see neuron_cluster_size",
        f"{NANDA}, section 4.2",
    ),
    "neuron_phase_left": _phase("phi_L", f"the {LINE} b"),
    "neuron_phase_right": _phase("phi_R", f"the {LINE} a"),
    "neuron_phase_output": _phase("psi", "the neuron's row of W_L over the answers"),
    "phase_alignment_residual_by_frequency": variable(
        ("frequency",),
        "phase alignment of the frequency",
        "R_k = |mean of e^{i Delta}| over the neurons counted in neuron_cluster_size, Delta = psi - phi_L - phi_R "
        "(+ phi_R for subtraction); 1 is aligned, as a single neuron always is; n random phases give about n^(-1/2); "
        "NaN without a neuron",
        GROMOV,
    ),
    "phase_alignment_residual": variable(
        (), "phase alignment", "mean of R_k over the neurons: weighted with neuron_cluster_size", GROMOV
    ),
    "neuron_torus_distance": variable(
        ("neuron",),
        "torus distance of the neuron",
        "min(|d|, p - |d|), d = k (a - b) mod p (a + b for subtraction) at the pair where the pre-activation is "
        "largest, k = neuron_frequency",
        TOPOLOGY,
        "tokens",
    ),
    "torus_distance": variable(
        (),
        "torus distance",
        "mean of neuron_torus_distance over the neurons of neuron_cluster_size; NaN without one; (p^2 - 1)/(4p) for "
        "independent uniform phases",
        TOPOLOGY,
        "tokens",
    ),
    "polynomial_neurons_loss": loss(
        "loss with polynomial neurons", f"mean of -log softmax(L)[label], {POLYNOMIAL}", f"{NANDA}, section 4.3"
    ),
    "polynomial_neurons_accuracy": accuracy("accuracy with polynomial neurons", POLYNOMIAL, f"{NANDA}, section 4.3"),
    "simple_neuron_r2": variable(
        ("neuron",),
        "R^2 of the neuron's fit by two cosines",
        "share of the variance of the pre-activation over the grid that A_L cos(w_f a + phi_L) + A_R cos(w_f b + "
        "phi_R) explains, f the best frequency",
        MCCRACKEN,
    ),
    "simple_neurons_loss": loss("loss with simple neurons", f"mean of -log softmax(L)[label], {SIMPLE}", MCCRACKEN),
    "simple_neurons_accuracy": accuracy("accuracy with simple neurons", SIMPLE, MCCRACKEN),
    "inverse_participation_ratio_rfft": _ratio("rfft", "k = 1..(p-1)/2", "1"),
    "inverse_participation_ratio_dft": _ratio("full DFT", "k = 1..p-1", "1/2"),
    "attention_frequency": variable(
        ("head",),
        "frequency of the head's attention",
        "k with the largest FVE of the attention from the answer's position to the first token as a function of "
        "(a, b), FVE as in neuron_cluster_size; 0 where it is constant",
        f"{NANDA}, section 4.2",
    ),
    "attention_fve": variable(
        ("head",), "FVE of the head's attention", "max over k of that FVE", f"{NANDA}, section 4.2"
    ),
    "ov_frequency": variable(
        ("head",),
        "frequency of the head's OV circuit",
        "k with the largest power share of W_E W_V W_O W_in over the tokens, first layer; 0 where it is constant",
        f"{NANDA}, section 4.2",
    ),
    "ov_fve": variable(
        ("head",), "FVE of the head's OV circuit", "max over k of that power share", f"{NANDA}, section 4.2"
    ),
}

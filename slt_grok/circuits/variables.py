"""Names, dimensions, formulas and sources of the variables that `circuits.measure` gives."""

NANDA = "Nanda et al. 2301.05217"
SUM_MASK = "S_k = span of cos w_k s and sin w_k s with s = a + b (a - b for subtraction)"

Variable = tuple[tuple[str, ...], dict[str, str]]


def _variable(dims: tuple[str, ...], long_name: str, definition: str, source: str, units: str = "") -> Variable:
    attrs = {"long_name": long_name, "definition": definition, "source": source}
    return dims, attrs | ({"units": units} if units else {})


def _loss(long_name: str, definition: str, source: str) -> Variable:
    return _variable(("split",), long_name, definition, source, "nats")


VARIABLES: dict[str, Variable] = {
    "accuracy": _variable(("split",), "accuracy", "share of pairs whose largest logit is the label's", NANDA),
    "loss": _loss("loss", "mean over the pairs of -log softmax(L)[label]", NANDA),
    "embedding_spectrum": _variable(
        ("frequency",),
        "share of the embedding's power",
        "sum over cos k, sin k and d of F[W_E]^2 / the same over all components but the constant; "
        "rows of W_E that stand for Z_p",
        f"{NANDA}, section 4.1",
    ),
    "neuron_cluster_size": _variable(
        ("frequency",),
        "neurons of the frequency",
        "number of neurons whose largest FVE is at k and over 0.85 (0.68 for the quadratic activation, where a neuron "
        "of one frequency reaches 0.8); FVE_k = sum of F[i,j]^2 over i, j in "
        "{0, cos k, sin k} / sum of F^2, F the transform of the centred post-activation",
        f"{NANDA}, section 4.2",
        "neurons",
    ),
    "neuron_share": _variable(
        (), "share of one-frequency neurons", "sum over k of neuron_cluster_size / number of neurons", NANDA
    ),
    "key_frequency": _variable(("frequency",), "key frequency (neurons)", "neuron_cluster_size > 0", NANDA),
    "key_frequency_embedding": _variable(
        ("frequency",), "key frequency (embedding)", "embedding_spectrum > 3 / ((p-1)/2); the threshold is ours", NANDA
    ),
    "key_frequency_neuron_logit_map": _variable(
        ("frequency",),
        "key frequency (neuron-logit map)",
        "power share of the transform of W_L over the answers > 3 / ((p-1)/2); the threshold is ours",
        f"{NANDA}, section 4.2",
    ),
    "key_frequency_agreement": _variable(
        (),
        "agreement of the three key-frequency rules",
        "mean over pairs of rules of |A and B| / |A or B|; two empty sets agree; NaN where all three are empty",
        "Jaccard index",
    ),
    "restricted_loss_sum": _loss(
        "restricted loss (sum directions)",
        f"loss of mean_ab L + sum of P_k L over circuit_frequency, P_k the projection on S_k; {SUM_MASK}",
        f"{NANDA}, section 5.1",
    ),
    "restricted_loss_2x2": _loss(
        "restricted loss (2 x 2 blocks)",
        "loss of mean_ab L + the components {cos k, sin k} x {cos k, sin k} of L for k in circuit_frequency",
        f"{NANDA}, section 4.4",
    ),
    "restricted_loss_3x3": _loss(
        "restricted loss (3 x 3 blocks)",
        "loss of mean_ab L + the components {1, cos k, sin k} x {1, cos k, sin k} of L for k in circuit_frequency",
        f"{NANDA}, section 4.4",
    ),
    "excluded_loss": _loss(
        "excluded loss",
        f"loss of L - sum of P_k L over circuit_frequency, P_k the projection on S_k; {SUM_MASK}",
        f"{NANDA}, section 5.1",
    ),
    "excluded_loss_by_frequency": _variable(
        ("frequency",),
        "excluded loss of one frequency (train)",
        f"train loss of L - P_k L, one k at a time; {SUM_MASK}",
        f"{NANDA}, section 5.1",
        "nats",
    ),
    "trig_loss": _loss(
        "trig loss",
        "loss of mean_ab L + sum over circuit_frequency of alpha_k cos w_k(s - c), "
        "alpha by least squares on L - mean_ab L",
        f"{NANDA}, section 4.4",
    ),
    "clock_fve": _variable(
        (),
        "variance explained by the clock",
        "share of the squared norm of L - mean_ab L over all p^3 that sum of alpha_k cos w_k(s - c) explains",
        "Zhong et al. 2306.17844, section 4",
    ),
    "gini_embedding": _variable(
        (),
        "Gini coefficient of the embedding",
        "sum (2i-N-1) c_(i) / (N sum c), c the norms of the N = p-1 cosine and sine components of W_E, ascending",
        f"{NANDA}, section 5.1",
    ),
    "gini_neuron_logit_map": _variable(
        (),
        "Gini coefficient of the neuron-logit map",
        "sum (2i-N-1) c_(i) / (N sum c), c the norms of the N = p-1 cosine and sine components of W_L over the answers",
        f"{NANDA}, section 5.1",
    ),
    "sum_of_squared_weights": _variable(
        (),
        "sum of squared weights",
        "sum of w^2 over all parameters, the embedding of '=' among them; its unembedding is none",
        f"{NANDA}, section 5.1",
    ),
    "circuit_frequency": _variable(
        ("frequency",),
        "frequency of the circuit",
        "used by the restricted, excluded and trig losses at every step; unless given, key_frequency at the last step",
        NANDA,
    ),
}

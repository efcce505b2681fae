"""Progress measures: spectra, key frequencies, losses with parts of the logits kept or taken away."""

from slt_grok.circuits.variables.entry import NANDA, SUM_MASK, Variable, loss, variable

FURUTA = "Furuta et al. 2402.16726, section 4"
HOMOGENEOUS = (
    "for L = sum_i act(u_i(a) + v_i(b)) w_i, n = 3 for the quadratic activation and 2 for ReLU; other networks are not "
    "homogeneous"
)

PROGRESS: dict[str, Variable] = {
    "accuracy": variable(("split",), "accuracy", "share of pairs whose largest logit is the label's", NANDA),
    "unmirrored_test_accuracy": variable(
        (),
        "test accuracy on unmirrored pairs",
        "share of the test pairs (a, b) with (b, a) not in the train set whose largest logit is the label's; where a "
        "network treats both tokens alike, the other test pairs are answered as soon as their mirror is memorized",
        "this package",
    ),
    "loss": loss("loss", "mean over the pairs of -log softmax(L)[label]", NANDA),
    "embedding_spectrum": variable(
        ("frequency",),
        "share of the embedding's power",
        "sum over cos k, sin k and d of F[W_E]^2 / the same over all components but the constant; "
        "rows of W_E that stand for Z_p",
        f"{NANDA}, section 4.1",
    ),
    "neuron_logit_map_spectrum": variable(
        ("frequency",),
        "share of the neuron-logit map's power",
        "sum over cos k, sin k and the neurons of F[W_L]^2 / the same over all components but the constant, F the "
        "transform over the answers",
        f"{NANDA}, section 4.2",
    ),
    "neuron_cluster_size": variable(
        ("frequency",),
        "neurons of the frequency",
        "number of neurons whose largest FVE is at k and over 0.85 (0.68 for the quadratic activation, where a neuron "
        "of one frequency reaches 0.8); FVE_k = sum of F[i,j]^2 over i, j in "
        "{0, cos k, sin k} / sum of F^2, F the transform of the centered post-activation",
        f"{NANDA}, section 4.2",
        "neurons",
    ),
    "neuron_share": variable(
        (),
        "share of one-frequency neurons",
        "share of the neurons counted in neuron_cluster_size among all whose standard deviation over the grid is over "
        "1e-5 of the largest one's; that threshold is ours",
        NANDA,
    ),
    "key_frequency": variable(("frequency",), "key frequency (neurons)", "neuron_cluster_size > 0", NANDA),
    "key_frequency_embedding": variable(
        ("frequency",), "key frequency (embedding)", "embedding_spectrum > 3 / ((p-1)/2); the threshold is ours", NANDA
    ),
    "key_frequency_neuron_logit_map": variable(
        ("frequency",),
        "key frequency (neuron-logit map)",
        "power share of the transform of W_L over the answers > 3 / ((p-1)/2); the threshold is ours",
        f"{NANDA}, section 4.2",
    ),
    "key_frequency_agreement": variable(
        (),
        "agreement of the three key-frequency rules",
        "mean over pairs of rules of |A and B| / |A or B|; two empty sets agree; NaN where all three are empty",
        "Jaccard index",
    ),
    "restricted_loss_sum": loss(
        "restricted loss (sum directions)",
        f"loss of mean_ab L + sum of P_k L over circuit_frequency, P_k the projection on S_k; {SUM_MASK}",
        f"{NANDA}, section 5.1",
    ),
    "restricted_loss_2x2": loss(
        "restricted loss (2 x 2 blocks)",
        "loss of mean_ab L + the components {cos k, sin k} x {cos k, sin k} of L for k in circuit_frequency",
        f"{NANDA}, section 4.4",
    ),
    "restricted_loss_3x3": loss(
        "restricted loss (3 x 3 blocks)",
        "loss of mean_ab L + the components {1, cos k, sin k} x {1, cos k, sin k} of L for k in circuit_frequency",
        f"{NANDA}, section 4.4",
    ),
    "excluded_loss": loss(
        "excluded loss",
        f"loss of L - sum of P_k L over circuit_frequency, P_k the projection on S_k; {SUM_MASK}",
        f"{NANDA}, section 5.1",
    ),
    "excluded_loss_by_frequency": variable(
        ("frequency",),
        "excluded loss of one frequency (train)",
        f"train loss of L - P_k L, one k at a time; {SUM_MASK}",
        f"{NANDA}, section 5.1",
        "nats",
    ),
    "excluded_loss_largest": variable(
        (),
        "largest excluded loss of one frequency (train)",
        "max over all k of excluded_loss_by_frequency: the excluded loss that needs no choice of key frequencies",
        f"{NANDA}, section 5.1",
        "nats",
    ),
    "trig_loss": loss(
        "trig loss",
        "loss of mean_ab L + sum over circuit_frequency of alpha_k cos w_k(s - c), "
        "alpha by least squares on L - mean_ab L",
        f"{NANDA}, section 4.4",
    ),
    "clock_fve": variable(
        (),
        "variance explained by the clock",
        "share of the squared norm of L - mean_ab L over all p^3 that sum of alpha_k cos w_k(s - c) explains",
        "Zhong et al. 2306.17844, section 4",
    ),
    "gini_embedding": variable(
        (),
        "Gini coefficient of the embedding",
        "sum (2i-N-1) c_(i) / (N sum c), c the norms of the N = p-1 cosine and sine components of W_E, ascending",
        f"{NANDA}, section 5.1",
    ),
    "gini_neuron_logit_map": variable(
        (),
        "Gini coefficient of the neuron-logit map",
        "sum (2i-N-1) c_(i) / (N sum c), c the norms of the N = p-1 cosine and sine components of W_L over the answers",
        f"{NANDA}, section 5.1",
    ),
    "sum_of_squared_weights": variable(
        (),
        "sum of squared weights",
        "sum of w^2 over all parameters, the embedding of '=' among them; its unembedding is none",
        f"{NANDA}, section 5.1",
    ),
    "margin": variable(
        ("split",),
        "margin",
        "mean over the pairs of L[label] - max over the wrong c of L[c]",
        "Morwani et al. 2311.07568",
    ),
    "margin_smallest": variable(
        (),
        "smallest margin",
        "min over all pairs of L[label] - max over the wrong c of L[c]",
        "Morwani et al. 2311.07568",
    ),
    "margin_by_frequency": variable(
        ("frequency",),
        "margin from the frequency",
        "mean over all pairs of (P_k L)[label] - (P_k L)[rival], rival the class of the largest wrong logit of L; "
        f"{SUM_MASK}",
        f"{NANDA}, section 4.1 (constructive interference)",
    ),
    "normalized_margin": variable(
        (),
        "normalized margin",
        f"margin_smallest / sum_i ||(u_i, v_i, w_i)||_2^n {HOMOGENEOUS}; at most sqrt(2/27) / (sqrt(p) (p-1)) for the "
        "quadratic activation",
        "Morwani et al. 2311.07568",
    ),
    "normalized_margin_l2": variable(
        (),
        "normalized margin (L2 norm)",
        f"margin_smallest / ||all weights||_2^n {HOMOGENEOUS}",
        "Lyu and Li 1906.05890",
    ),
    "neuron_logit_map_rank": variable(
        (),
        "rank of the neuron-logit map",
        "least number of singular directions with 99% of the squared norm of W_L less its mean over the answers; the "
        "threshold is ours",
        f"{NANDA}, section 4.2",
        "directions",
    ),
    "neuron_logit_direction_fve": variable(
        ("frequency", "part"),
        "variance of W_L's direction explained by one wave",
        "share of the variance over the grid of u^T MLP that cos w_k s explains, u the component of W_L along "
        "cos w_k c (part cosine); the same with sines (part sine)",
        f"{NANDA}, section 4.2",
    ),
    "frequency_density_embedding": variable(
        (),
        "Fourier frequency density of the embedding",
        "share of the p-1 norms of the cosine and sine components of W_E over half of the largest cosine or sine",
        FURUTA,
    ),
    "frequency_density_neuron_logit_map": variable(
        (),
        "Fourier frequency density of the neuron-logit map",
        "share of the p-1 norms of the cosine and sine components of W_L over the answers over half of the largest "
        "cosine or sine",
        FURUTA,
    ),
    "coefficient_ratio_embedding": variable(
        (),
        "Fourier coefficient ratio of the embedding",
        "mean over k of min(c_k / s_k, s_k / c_k), norms of the cosine and sine component of W_E",
        FURUTA,
    ),
    "coefficient_ratio_neuron_logit_map": variable(
        (),
        "Fourier coefficient ratio of the neuron-logit map",
        "mean over k of min(c_k / s_k, s_k / c_k), norms of the cosine and sine component of W_L over the answers",
        FURUTA,
    ),
    "circuit_frequency": variable(
        ("frequency",),
        "frequency of the circuit",
        "used by the restricted, excluded and trig losses at every step; unless given, key_frequency at the last step",
        NANDA,
    ),
}

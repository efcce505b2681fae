"""The shape of clusters of neurons: what `circuits.measure` gives along training, and what `topology.measure` gives."""

from slt_grok.circuits.variables.entry import Variable, variable

SHAPE = "2512.25060"
SITE = (
    "sites: pre-activations of the cluster; its post-activations; these projected on the row space of the unembedding "
    "(see read_rank); logits projected on cos w_k c, sin w_k c of the answers"
)
CKA = "|X^T Y|^2 / (|X^T X| |Y^T Y|) of centered clouds over the p^2 pairs, Y the ideal disc, torus or clock of k"
CLUSTER = "clusters of at least 4 neurons, see neuron_cluster_size"
SCALE = "the cloud centered and scaled to a root-mean-square distance of 1 from its center"
LENGTHS = "root-mean-square distance from the center"

GEOMETRY: dict[str, Variable] = {
    "cka": variable(
        ("site", "cloud"),
        "CKA of the clusters",
        "mean of cka_by_frequency over the clusters, weighted by their numbers of neurons; NaN without one. Ideal "
        "clouds with each other: disc and torus 0.7071, clock with both 0",
        SHAPE,
    ),
    "cka_by_frequency": variable(
        ("frequency", "site", "cloud"),
        "CKA of the cluster",
        f"{CKA}; {SITE}; {CLUSTER}",
        f"{SHAPE}; Kornblith et al. 1905.00414",
    ),
    "rank_share": variable(
        ("rank",),
        "variance share of the first principal components",
        "mean of rank_share_by_frequency over the clusters, weighted by their numbers of neurons; NaN without one",
        SHAPE,
    ),
    "rank_share_by_frequency": variable(
        ("frequency", "rank"),
        "variance share of the cluster's first principal components",
        f"share of the variance of the cluster's pre-activations over the grid along their first 2 and 4 principal "
        f"components; {CLUSTER}",
        SHAPE,
    ),
    "read_rank": variable(
        ("frequency",),
        "directions of the cluster that the unembedding reads",
        "least number of leading singular vectors of W_L of the cluster, mean over the answers removed, that hold 95% "
        f"of its squared norm; the share is ours; {CLUSTER}",
        SHAPE,
    ),
    "neuron_alignment_left": variable(
        ("neuron",),
        "where the neuron is largest, first token",
        "k a mod p at the pair where the pre-activation is largest, k = neuron_frequency; NaN for neurons that "
        "neuron_cluster_size does not count; the law of (k a, k b) over the others is the phase alignment distribution",
        SHAPE,
        "tokens",
    ),
    "neuron_alignment_right": variable(
        ("neuron",), "where the neuron is largest, second token", "k b mod p at the same pair", SHAPE, "tokens"
    ),
}

TOPOLOGY: dict[str, Variable] = {
    "betti": variable(
        ("frequency", "site", "degree"),
        "Betti number",
        "number of bars of the Vietoris-Rips filtration over Z/2 on farthest-point landmarks (attribute landmarks) "
        f"that are longer than the attribute threshold, {SCALE}; in degree 0 also longer than 2 landmark_radius; "
        f"{SITE}; {CLUSTER}",
        f"{SHAPE}; threshold and landmarks are ours",
    ),
    "persistence_gap": variable(
        ("frequency", "site", "degree"),
        "persistence gap",
        "shortest bar that counts (the limit where no finite one does) minus the longest that does not (0 where there "
        "is none)",
        SHAPE,
        LENGTHS,
    ),
    "landmark_radius": variable(
        ("frequency", "site"),
        "covering radius of the landmarks",
        "largest distance of a point of the cloud from its nearest landmark",
        "Vietoris-Rips filtration on farthest-point landmarks",
        LENGTHS,
    ),
    "persistence": variable(
        ("frequency", "site", "degree", "bar", "end"),
        "persistence diagram",
        f"birth and death of the longest bars, {SCALE}",
        SHAPE,
        LENGTHS,
    ),
}

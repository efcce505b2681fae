"""What a paper draws of a circuit: embedding circles, activation grids, the logits' two-dimensional spectrum."""

from slt_grok.circuits.variables.entry import NANDA, Variable, variable

PLANE = "the plane that its cosine and its sine component span"

MAPS: dict[str, Variable] = {
    "embedding_plane": variable(
        ("frequency", "token", "part"),
        "embedding in the plane of the frequency",
        f"coordinates of the rows of W_E, their mean taken away, in {PLANE}; the axes are the orthonormal pair nearest "
        "to the two. Of what lies at k alone every embedding has an ellipse: these are whole rows. NaN where a "
        "component vanishes",
        f"{NANDA}, section 4.1",
    ),
    "embedding_plane_share": variable(
        ("frequency",),
        "share of norm in the plane",
        f"squared norm of W_E, the rows' mean taken away, in {PLANE} / squared norm in all; random rows have about "
        "2/d + 2/p. Not orthogonal, planes of several frequencies may hold more than 1 together",
        f"{NANDA}, section 4.1",
    ),
    "embedding_plane_fve": variable(
        ("frequency",),
        "variance in the plane at its frequency",
        "share of the squared norm of embedding_plane that is at k: 1 is an ellipse that the tokens walk round in the "
        "order of k t mod p; random rows have about d/(d + p), so that a wide embedding always shows some circle",
        f"{NANDA}, section 4.1",
    ),
    "logit_fourier_norm": variable(
        ("component_a", "component_b"),
        "norm of the logits' Fourier component",
        "norm over the answers of F[i, j], F the transform over a and b of the logits less their mean over the answers",
        f"{NANDA}, section 4.4",
    ),
    "example_fve": variable(
        ("example",),
        "FVE of the neuron",
        "FVE at example_frequency, see neuron_cluster_size of the circuit",
        f"{NANDA}, section 4.2",
    ),
    "example_activation": variable(
        ("example", "a", "b"),
        "activation of the neuron",
        "post-activation of example_neuron at (a, b)",
        f"{NANDA}, section 4.2",
    ),
    "example_neuron": variable(
        ("example",),
        "neuron",
        "of the neurons of a frequency of the circuit (neuron_cluster_size) that are not silent at the last step those "
        "of the largest, the middle and the least FVE, followed through all steps; of the five frequencies with most "
        "neurons; -1 where there are fewer",
        "this package",
    ),
    "example_frequency": variable(
        ("example",), "frequency of the neuron", "k of the largest FVE at the last step; 0: none", "this package"
    ),
}

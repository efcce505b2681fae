"""Clock and pizza: the measures that tell the two apart, and the circles of the embedding one at a time."""

from slt_grok.circuits.variables.entry import SUM, ZHONG, Variable, variable

DISTANCE = (
    "std of L over the pairs of each d = a - b (a + b for subtraction), mean over d, / std of L over all pairs; NaN "
    "where L is constant"
)
ALONE = "with the embedding's principal components {} alone (mean kept)"
CIRCLE = ALONE.format("2i - 1 and 2i")
STANDARDIZED = (
    "1 - mean over all p^3 of (z_L - z_Q)^2 = 2 corr(L, Q) - 1, z standardized over all p^3, L the logits "
    f"{CIRCLE}, k = circle_frequency, {SUM}"
)


def _accuracy_of(components: str) -> Variable:
    definition = f"share of all pairs that the network answers right {ALONE.format(components)}"
    return variable((), f"accuracy, components {components}", definition, f"{ZHONG}, section 5")


CLOCK_PIZZA: dict[str, Variable] = {
    "pizza_fve": variable(
        (),
        "variance explained by the pizza",
        "share of the squared norm of L - mean_ab L over all p^3 that sum over circuit_frequency of "
        "alpha_k |cos(w_k d/2)| cos w_k(s - c) explains, d = a - b; before circle isolation it does not tell clock and "
        "pizza apart",
        f"{ZHONG}, section 4",
    ),
    "gradient_symmetricity": variable(
        (),
        "gradient symmetricity",
        "mean over triples (a, b, c) of cos(dQ_abc/dE_a, dQ_abc/dE_b), gradients at the embedding before positions; "
        "the triples are the first ones (attribute triples) of all p^3 in lexicographic order shuffled by "
        "random.Random(42); 1 by construction where the network sees E_a + E_b alone; NaN where an intervention "
        "changes what happens inside the network",
        f"{ZHONG}, section 4",
    ),
    "gradient_symmetricity_se": variable(
        (), "standard error of gradient symmetricity", "sd of the cosines sqrt((1 - n/p^3) / n) for n triples", "ours"
    ),
    "distance_irrelevance": variable(
        (), "distance irrelevance (right answer)", f"{DISTANCE}; L the right answer's logit", f"{ZHONG}, section 4"
    ),
    "distance_irrelevance_top_wrong": variable(
        (),
        "distance irrelevance (largest wrong logit)",
        f"{DISTANCE}; L the largest wrong logit, as in the published table of runs",
        f"{ZHONG}, released code",
    ),
    "circularity": variable(
        (),
        "circularity",
        "mean over the first four principal components v of the centered embedding of "
        "max_k 2/(p sum v^2) |sum_t v_t e^{2 pi i k t/p}|^2; circular from 0.995 on",
        f"{ZHONG}, appendix",
    ),
    "circle_frequency": variable(
        ("circle",),
        "frequency of the circle",
        "k with most power in principal components 2i - 1 and 2i of the embedding; 0 where there are none",
        f"{ZHONG}, section 4",
    ),
    "circle_clock_fve": variable(
        ("circle",), "clock's share of the circle", f"{STANDARDIZED}, Q = cos w_k(s - c)", f"{ZHONG}, section 4"
    ),
    "circle_pizza_fve": variable(
        ("circle",),
        "pizza's share of the circle",
        f"{STANDARDIZED}, Q = |cos(w_k d/2)| cos w_k(s - c), d = a - b",
        f"{ZHONG}, section 4",
    ),
    "circle_accuracy": variable(
        ("circle",),
        "accuracy of the circle",
        f"share of all pairs that the network answers right {CIRCLE}",
        f"{ZHONG}, section 4",
    ),
    "accuracy_principal_components_1_6": _accuracy_of("1 to 6"),
    "accuracy_principal_components_7_12": _accuracy_of("7 to 12"),
}

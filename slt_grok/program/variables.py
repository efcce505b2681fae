"""What `slt_grok.program.measure` gives: dimensions and definition of every variable."""

from slt_grok.program.extraction import AGREEMENT, EXPLAINED, LEVELS

MIXTURES = (*LEVELS, "table")
COMPRESSIONS = ("quantized", "pruned")

VARIABLES: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {
    "explained_variance": (
        ("level",),
        {
            "long_name": "explained variance of the logits",
            "definition": "1 - mean (L - Q)^2 / mean L^2 over all p^3, both centered over the answers of each pair",
        },
    ),
    "agreement": (
        ("level",),
        {
            "long_name": "agreement with the network",
            "definition": "share of all pairs where the program, without a table, gives the network's answer",
        },
    ),
    "true_answers": (
        (),
        {"long_name": "agreement of the true answers", "definition": "share of all pairs that the network has right"},
    ),
    "program_bits": (
        ("keeps", "mixture"),
        {
            "long_name": "length of the program",
            "units": "bits",
            "definition": "two-part code: the level's frequencies and numbers, and a table of the pairs where it does "
            "not do; table: no program; answers: keeps the network's answers to all p^2 pairs; loss: keeps its "
            "cross-entropy on the n train pairs to 1/n nats",
        },
    ),
    "chosen": (("keeps",), {"long_name": "level of the shortest program", "definition": "argmin of program_bits"}),
    "table_share": (
        ("keeps",),
        {
            "long_name": "table's share of the shortest program",
            "definition": "share of its bits that list pairs, beyond those of an empty table; 1 of a table alone",
        },
    ),
    "network_bits": (
        ("keeps", "compression"),
        {
            "long_name": "length of the network",
            "units": "bits",
            "definition": "quantized: bits_per_weight for every weight; pruned: positions of weights_kept, and "
            "bits_per_weight_kept for each; 32 bits for the scale of each tensor",
        },
    ),
    "bits_per_weight": (
        ("keeps",),
        {
            "long_name": "critical quantization",
            "units": "bits",
            "definition": "fewest bits a weight from which on all finer ones, up to 24, keep; 32 where even 24 do not",
        },
    ),
    "bits_per_weight_kept": (
        ("keeps",),
        {
            "long_name": "bits a weight of the pruned network",
            "units": "bits",
            "definition": "those of the shortest pruned code",
        },
    ),
    "weights_kept": (
        ("keeps",),
        {
            "long_name": "weights of the pruned network",
            "definition": "largest weights, over the network or within tensors, of the shortest pruned code",
        },
    ),
    "program_explains": (
        (),
        {
            "long_name": "whether the shortest program for the answers explains the network without its table",
            "definition": f"agreement of {AGREEMENT:.1%} and {EXPLAINED:.0%} of the variance",
        },
    ),
    "program_frequency": (
        ("frequency",),
        {
            "long_name": "frequency of the program",
            "definition": "its clock holds more than a thousandth of the variance of the logits",
        },
    ),
    "clock_amplitude": (
        ("frequency",),
        {"long_name": "amplitude of the clock", "definition": "2 mean over a, b, c of L cos w_k(s - c)"},
    ),
}

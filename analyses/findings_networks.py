"""Make the sections of docs/findings.md about single networks: programs, surgery, description length, geometry.

Usage: see `findings.py`.
"""

from math import log
from statistics import mean
from typing import Any

from findings_settings import HOT, HOT_OF_MOD113, line_of, setting_line, setting_text
from findings_tables import effect, load, num, of, source, span, table, words

RECORDED = ("quickstart", "mod113")
SURGERY = ("surgery_quickstart.json", "surgery_mod113_seeds-main.json")
BITS = {
    "llc": "LLC x log2 n",
    "program_loss": "program that keeps the loss",
    "program_answers": "program that keeps the answers",
    "network_loss": "network, for the loss",
    "network_answers": "network, for the answers",
}

PROGRAMS = """The fraction of the logits' variance that each level of program leaves unexplained. The accuracy is
proven from the program's margins, without running the network on any pair; it is never above the true accuracy.
Frequencies outside the program limit it. Speed compares the program's file with the network's forward pass."""

OPERATIONS = """Multiplication is read through the discrete logarithm. *By the answer* bounds what any clock on the
answers can explain. There is no level of program for x^2+xy+y^2."""

CUT = """Accuracy over all pairs, worst margin in nats and LLC after surgery on the weights. *Written* networks are a
program's frequencies written as weights for another prime, without training."""

LENGTH = """Mean bits over seeds at the LLC's peak, halfway down and at the end, with the mean fraction of table in
parentheses. The lag behind the LLC is in log step; the correlation is the mean rank correlation of changes. A program
that keeps the train loss can be short while the network still memorizes: a short code of the loss does not show that
the memorizing solution is gone."""

MECHANISMS = """A lookup table and a Fourier circuit planted with identical logits: log ratios, table over circuit.
The sign of the first row changes once gamma is scaled with the norm: which mechanism looks simpler depends on the
window. P3 claims only that the two differ. Under *Claims* it compares trained networks instead, where the table's LLC
is the larger one at the end of training; here it is the smaller one at one gamma. Both differ by more than the
threshold."""

PADDED = """Dead units, and copies of units, added to either mechanism, by two losses: cross-entropy, which decides P4,
and the squared distance to the logits, which does not. They disagree: units of zero weights can be moved by the draws,
and how much that adds depends on loss and window. The log ratio on cross-entropy is large for the table since its LLC
is small."""

P4 = """P4 is *supported* under *Claims* and *refuted* here, about different networks: there, trained transformers with
half as many neurons more, whose LLC does not change; here, planted networks with dead units. As a statement about any
network it is refuted, by the table with units of zero weights. Units that are switched off change neither."""

SHAPES = """The fractions of neurons in clusters whose pre-activations have the Betti numbers of each
shape, and the similarity (CKA) to an ideal disc and torus; means over seeds. Concatenated embeddings make tori, the
other architectures discs, as claimed in arXiv:2512.25060."""

PLANE = """Classification as clock, pizza or in between, based on the published runs of arXiv:2306.17844."""

KNOWN = """Quadratic networks on modular addition: half the rank of the Jacobian is the LLC, and the published formula
misses a gauge symmetry of each unit. Polynomial regression: conventional sampling returns a plateau that its
temperature explains."""

INFLUENCE = """Mean correlation over posterior draws of the losses of two training pairs, by how the pairs are
related. Its negative is the normalized Bayesian influence function."""


def programs() -> str:
    """Tabulate what programs account for."""
    rows = []
    for one in load("programs.json")["networks"]:
        proven, whole = one["certificates"][0], [c for c in one["certificates"] if c["accuracy_bound"] == 1]
        level = {name: found["unexplained"] for name, found in one["levels"].items()}
        row = [f"`{one['run'].partition('/')[2]}`", ", ".join(map(str, one["keys"]))]
        row += [num(level[name], ".2%") for name in ("clock", "pizza", "neurons")]
        row += [num(one["levels"]["clock"]["agreement"], ".1%"), num(proven["accuracy_bound"], ".1%")]
        row += [str(whole[0]["frequencies"]) if whole else "", num(one["levels"]["clock"]["times_as_fast"], ".0f")]
        rows.append(row)
    header = ["network", "key frequencies", "unexplained by the clock", "by the pizza", "by the neurons"]
    header += ["clock's agreement", "accuracy proven", "frequencies that prove all pairs", "times as fast"]
    other = [
        [
            f"`{one['run'].removeprefix('runs/')}`, {one['name']}",
            f"{one['operation']} mod {one['modulus']}",
            num(one["accuracy"]["test"], ".1%"),
            *(num(one["levels"].get("clock", {}).get(key), ".1%") for key in ("explained_variance", "agreement")),
            num(one["bounds"]["by the answer"], ".1%"),
            one["said"],
        ]
        for one in load("other_operations.json")["networks"]
    ]
    names = ["network", "operation", "test accuracy", "clock explains", "clock's agreement", "by the answer", "program"]
    parts = [PROGRAMS, table(header, rows), *other_trainings(), source("programs.json"), OPERATIONS]
    parts.append(table(names, other))
    return "\n\n".join([*parts, source("other_operations.json")])


def other_trainings() -> list[str]:
    """Name the programs of networks that were retrained since, with other key frequencies."""
    sentences = []
    for one in load("programs.json")["networks"]:
        name = one["run"].partition("/")[2]
        if name not in RECORDED:
            continue
        now = load(f"{name}.json")["summary"]["key_frequencies"]
        if now != one["keys"]:
            frequencies, before = (", ".join(map(str, keys)) for keys in (now, one["keys"]))
            sentences.append(
                f"`{name}` here is an earlier training of the same configuration, with the key frequencies {before}; "
                f"that under *Shipped configurations*, retrained with differently rounded gradients, has "
                f"{frequencies}."
            )
    return sentences


def surgery() -> str:
    """Tabulate what is left of a network after surgery on its weights."""
    parts = [CUT]
    for name in SURGERY:
        content = load(name)
        rows = [
            [
                one["variant"],
                f"{one['modulus']:.0f}",
                num(one["accuracy"]["all"], ".1%"),
                num(one["worst_margin"], ".2f"),
                f"{num(one['llc'], '.1f')} ± {num(one['llc_se'], '.1f')}",
            ]
            for one in content["variants"]
        ]
        parts += [
            line_of([content["llc"]]),
            table(["network", "p", "accuracy on all pairs", "worst margin", "LLC"], rows),
            source(name),
        ]
    return "\n\n".join(parts)


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return mean(known) if known else None


def description_length() -> str:
    """Tabulate bits of programs and networks next to the LLC."""
    rows = []
    for name, run in load("description_length.json")["runs"].items():
        seeds = list(run["seeds"].values())
        for measure, title in BITS.items():
            kind, _, keeps = measure.partition("_")
            row = [f"`{name}`, {len(seeds)} seed{'s' * (len(seeds) > 1)}", title]
            for i in range(3):
                cell = num(mean(seed["measures"][measure]["bits"][i] for seed in seeds), ",.0f")
                share = mean(seed["table_share"][keeps][i] for seed in seeds) if kind == "program" else 0
                row.append(cell + (f" ({share:.1%} table)" if share else ""))
            lag = run["lags_behind_the_llc"].get(measure)
            row.append(of(lag, "lag") if lag else "")
            found = _mean([seed["measures"][measure]["rank_correlation"] for seed in seeds])
            rows.append([*row, "" if measure == "llc" else num(found)])
    header = ["run", "bits", "at the peak", "half way down", "at the end", "lag behind the LLC", "correlation"]
    name = "description_length.json"
    return "\n\n".join([LENGTH, setting_line(name, (HOT, HOT_OF_MOD113)), table(header, rows), source(name)])


def mechanisms() -> str:
    """Tabulate how two planted mechanisms of one function differ."""
    name = "same_function_two_mechanisms.json"
    content = load(name)
    summary, settings = content["summary"], content["summary"]["settings"]
    rows = [[words(of_what), effect(found)] for of_what, found in summary["log_table_over_circuit"].items()]
    networks = {(one["function"], one["mechanism"]): one for one in content["networks"]}
    padded = []
    for mechanism, found in summary["log_squared_padded_over_bare"].items():
        bare = mechanism.partition(",")[0]
        llcs = [
            (networks[function, bare]["llc"], one["llc"])
            for (function, which), one in networks.items()
            if which == mechanism
        ]
        ratio = mean(log(after / before) for before, after in llcs)
        values = " to ".join(num(mean(each)) for each in zip(*llcs, strict=True))
        padded.append([mechanism, num(ratio, ".3f"), values, effect(found, ".3f")])
    squared = setting_text({key: settings[f"{key}_squared"] for key in ("n_beta", "gamma")})
    setting = (
        f"Settings of the LLC: {setting_text(settings)} on cross-entropy (*LLC*), the same nβ with γ = D / (0.7 |w|)² "
        f"(*LLC scaled*), and {squared} on the squared distance to the logits (*LLC squared*)."
    )
    verdicts = [
        f"- {claim}, on cross-entropy: {summary[claim]['verdict']}; {'; '.join(summary[claim]['reasons'])}."
        for claim in ("P3", "P4")
    ]
    header = ["dead or copied units added to", "log ratio on cross-entropy", "LLC, bare to padded"]
    header += ["log ratio on the squared distance (interval)"]
    parts = [MECHANISMS, setting, table(["log ratio, table over circuit", "value"], rows), PADDED]
    return "\n\n".join([*parts, table(header, padded), "\n".join(verdicts), P4, source(name)])


def geometry() -> str:
    """Tabulate the shape of neuron clusters by architecture, and where runs are between clock and pizza."""
    content = load("topology.json")
    shapes = ("disc", "circle", "torus", "other")
    rows = [
        [name, *(of_mean(found[f"betti neurons_pre {shape}"]) for shape in shapes)]
        + [of_mean(found[f"cka neurons_pre {shape}"]) for shape in ("disc", "torus")]
        + [num(content["published"][name][shape]) for shape in ("disc", "torus")]
        for name, found in content["over_networks"].items()
    ]
    header = ["architecture", *(f"Betti numbers of a {shape}" for shape in shapes[:3]), "of another shape"]
    header += ["similarity to a disc", "to a torus", "published: disc", "published: torus"]
    plane = [
        [
            f"`{name}`",
            str(one["seed"]),
            *(num(one[key]) for key in ("gradient_symmetricity", "distance_irrelevance_top_wrong")),
            one["side"],
        ]
        for name, found in load("clock_pizza_plane.json")["networks"].items()
        for one in found
    ]
    parts = [SHAPES, table(header, rows), source("topology.json"), PLANE]
    parts.append(table(["run", "seed", "gradient symmetricity", "distance irrelevance", "side"], plane))
    return "\n\n".join([*parts, source("clock_pizza_plane.json")])


def of_mean(found: dict[str, Any]) -> str:
    """Format a mean over networks with its interval."""
    return span(found["mean"], found["low"], found["high"])


def known_minima() -> str:
    """Tabulate two studies of minima whose LLC is known."""
    rank, polynomial = (load(f"{name}.json")["summary"] for name in ("modular_rank", "polynomial_plateau"))
    rows = [
        [
            f"p = {one['p']}, {one['width']} units",
            *(num(one[key], "g") for key in ("truth", "published")),
            span(one["estimate"], one["low"], one["high"]),
            one["status"],
        ]
        for one in load("modular_rank.json")["estimates"]
    ]
    facts = [
        [words(key), value if isinstance(value, str) else num(value, ".4g")]
        for found in (rank, polynomial)
        for key, value in found.items()
        if key not in ("command", "environment", "wall_seconds")
    ]
    parts = [KNOWN, table(["network", "half the rank", "published", "estimate (interval)", "status"], rows)]
    parts += [table(["quantity", "value"], facts)]
    return "\n\n".join([*parts, source("modular_rank.json", "polynomial_plateau.json")])


def influence() -> str:
    """Tabulate how the losses of related pairs correlate along training."""
    found = load("influence_quickstart.json")["by_relation"]
    steps, relations = (found["coords"][name]["data"] for name in ("step", "relation"))
    values, errors = (found["data_vars"][name]["data"] for name in ("loss_correlation", "loss_correlation_se"))
    rows = [
        [f"{step:,}", *(f"{num(v, '.3f')} ± {num(e, '.3f')}" for v, e in zip(value, error, strict=True))]
        for step, value, error in zip(steps, values, errors, strict=True)
    ]
    setting = f"Setting of the draws: {setting_text(load('influence_quickstart.json')['settings'])}."
    return "\n\n".join([INFLUENCE, setting, table(["step", *relations], rows), source("influence_quickstart.json")])


SECTIONS = {
    "Programs": programs,
    "Surgery on weights": surgery,
    "Description length": description_length,
    "One function, two mechanisms": mechanisms,
    "Geometry of neurons": geometry,
    "Influence between training pairs": influence,
    "Known minima": known_minima,
}

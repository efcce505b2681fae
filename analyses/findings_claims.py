"""Make the sections of docs/findings.md about claims and about interventions over seeds.

Usage: see `findings.py`.
"""

from collections.abc import Mapping
from typing import Any

from findings_settings import MARK, is_hot, setting_line, settings_of, settings_text
from findings_tables import effect, load, num, relative_drop, source, table, words

REPEATED = {
    "P2, retrained seeds": "seeds_repeated/p2_order_of_events.json",
    "P3, retrained seeds": "seeds_repeated/p3_mechanism_and_geometry.json",
    "P6, retrained seeds": "seeds_repeated/p6_family_of_circuits.json",
    "P6, the seeds of `order`": "order/p6_family_of_circuits.json",
    "P7, earlier seeds": "optimizer_5to12/p7_optimizers.json",
    "LLC against frequencies, retrained seeds": "seeds_repeated/published_llc_against_frequencies.json",
    "order of progress measures, retrained seeds": "seeds_repeated/published_order_of_progress_measures.json",
}
WITHOUT_LLC = (
    "p2_order_of_events",
    "p6_family_of_circuits",
    "p8_barriers",
    "published_frequencies_against_modulus",
    "published_order_of_progress_measures",
)
MELTED = {  # claim -> whose chains melt at the hot setting
    "p1_structured_against_random": "random tables",
    "p3_mechanism_and_geometry": "tables without weight decay",
    "p7_optimizers": "memorizing checkpoints",
    "published_drop_of_grokking_runs": "peaks and random tables",
    "published_llc_against_modulus": "random tables",
    "published_notebook_curve": "peaks",
}
PLANTED = {"p3_mechanism_and_geometry": "P3", "p4_dead_neurons": "P4"}

CLAIMS = """Each claim has a decision rule that was fixed before its data were measured; the scripts in
`analyses/claims/` state it in full. A claim is supported if all its intervals are on the claimed side of the
threshold, refuted if one is on the other side, and undecided otherwise. Intervals are simultaneous over the
conditions of a claim. P1 to P9 are statements of the program-synthesis hypothesis; the others are published. P2, P4
and P7 were first stated in a form that their study could not decide; their scripts document how and when the rule was
changed.

The column *LLC* gives the setting and, at the hot one, whose chains [melt](#melted-chains). A verdict that compares
melted chains is marked: it says little about the memorizing networks. *Generalized networks only*: no chain melts, but
the value still belongs to its setting. P3 and P4 were also decided on planted networks, see
[One function, two mechanisms](#one-function-two-mechanisms)."""

REPEATS = """Some claims were measured again on other seeds, or on the same seeds retrained with differently rounded
gradients. A repetition does not replace the verdict above."""

INTERVENTIONS = """Several seeds of each intervention, paired with the plain run of the same seed. Intervals are
simultaneous over the interventions. In this study, which trains on half of the pairs, every network with
weight decay and correct labels generalizes, and none without weight decay. Few plain seeds use the penalized
frequencies, so the penalty affects more than these."""


def conditions(claim: Mapping[str, Any]) -> str:
    """List the effects of a claim, each with its interval and threshold."""
    lines = []
    for found in claim["conditions"]:
        side, bound = found["claimed"].split()
        lines.append(f"{found['quantity']}: {effect(found, '.3g')}, claimed {side} {num(float(bound), '.3g')}")
    return "<br>".join(lines)


def pair(claim: Mapping[str, Any]) -> str:
    """State what the shipped network and its control give at n_beta = n for the claim on the drop."""
    grokking, control = (relative_drop(load(f"{name}.json")["summary"]) for name in ("quickstart", "random_table"))
    side, bound = claim["conditions"][0]["claimed"].split()
    difference = grokking - control
    holds = difference > float(bound) if side == "above" else difference < float(bound)
    return (
        f"at nβ = n, one pair of runs: `quickstart` {grokking:.1%} less `random_table` {control:.1%}: "
        f"{num(difference)}, {'' if holds else 'not '}{side} {bound}"
    )


def verdict(name: str, claim: Mapping[str, Any]) -> str:
    """Give the verdict of a claim, with what qualifies it."""
    text = claim["verdict"] + (f" ({MARK})" if is_hot(settings_of(claim)) and name in MELTED else "")
    if name not in PLANTED:
        return text
    planted = load("same_function_two_mechanisms.json")["summary"][PLANTED[name]]["verdict"]
    return f"trained networks: {text}; planted networks: {planted}"


def llc_column(name: str, claim: Mapping[str, Any]) -> str:
    """Give the setting of a claim's LLCs and whose chains melt at it."""
    if name in WITHOUT_LLC:
        return "none"
    if not is_hot(settings_of(claim)):
        return settings_text(settings_of(claim))
    melted = f"melted: {MELTED[name]}" if name in MELTED else "generalized networks only"
    return f"{settings_text(settings_of(claim))} (hot); {melted}"


def claims() -> str:
    """Tabulate every claim with its verdict."""
    rows = []
    for name, one in load("claims/all.json")["claims"].items():
        shown = conditions(one)
        if name == "published_drop_of_grokking_runs" and is_hot(settings_of(one)):
            shown += f"<br>{pair(one)}"
        script = f"`{one['command'].split()[1]}`"
        rows.append([one["claim"], verdict(name, one), shown, llc_column(name, one), str(one["networks"]), script])
    again = []
    for title, file in REPEATED.items():
        one, name = load(file), file.rpartition("/")[2].removesuffix(".json")
        mark = f" ({MARK})" if is_hot(settings_of(one)) and name in MELTED else ""
        again.append([title, one["verdict"] + mark, conditions(one), llc_column(name, one)])
    first = table(["claim", "verdict", "effect (interval)", "LLC", "networks", "script"], rows)
    second = table(["repetition", "verdict", "effect (interval)", "LLC"], again)
    return "\n\n".join([CLAIMS, first, source("claims/all.json"), REPEATS, second])


def interventions() -> str:
    """Tabulate what interventions in training do, over seeds."""
    rows = []
    for name, arm in load("training_interventions.json")["arms"].items():
        ratios = [effect(arm[key]) if key in arm else "" for key in ("llc_final_over_plain", "llc_peak_over_plain")]
        accuracy = effect(arm["test_accuracy_final"])
        rows.append([words(name), f"{arm['generalized']['seeds']} of {arm['generalized']['of']}", accuracy])
        rows[-1] += [effect(arm[f"llc_{at}"], ".1f") for at in ("first", "peak", "final")] + ratios
    header = [
        "intervention",
        "seeds that generalize",
        "test accuracy at the end",
        "LLC at the start",
        "LLC at its peak",
    ]
    header += ["LLC at the end", "end over plain", "peak over plain"]
    name = "training_interventions.json"
    return "\n\n".join([INTERVENTIONS, setting_line(name), table(header, rows), source(name)])


SECTIONS = {"Claims": claims, "Interventions in training": interventions}

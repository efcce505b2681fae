"""Format results as Markdown: numbers with intervals, and tables of shipped runs and benchmarks.

Every number is read from a JSON under `analyses/results/`. Usage: see `findings.py`.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from slt_grok.format import plural
from slt_grok.llc.tables import doubt_about

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "analyses" / "results"
UNKNOWN = "–"
SPELLED = {"llc": "LLC", "gini": "Gini", "hessian": "Hessian", "sgld": "SGLD"}
PEERS = {
    "torch-loop": "plain PyTorch",
    "jax": "JAX",
    "one-at-a-time": "one seed at a time",
    "1c08e4f": "before the work on speed",
}
WORK = {
    "W1": "LLC of the MLP in devinterp's notebook",
    "W2": "LLC of the transformer of `mod113`",
    "W3": "training `mod113`, full batch",
    "W4": "all Fourier measures of `mod113`",
    "W5": "training many seeds of a small transformer as one batch",
    "W6": "cost of a chain at the large end over the middle",
    "W7": "`slt-grok run configs/quickstart.yaml`, command to report",
}
SAMPLERS = {"sgld": "devinterp SGLD", "rmsprop_sgld": "devinterp RMSprop-SGLD"}
SWEEPS = {
    "default": "documented default",
    "readme": "learning rate tuned near the default, one for all networks",
    "readme each": "learning rate tuned near the default, per network",
    "lau": "n_beta = n / log n, learning rate tuned, one for all networks",
    "lau each": "n_beta = n / log n, learning rate tuned, per network",
}


def load(name: str) -> Any:
    """Read a JSON under `analyses/results/`."""
    return json.loads((RESULTS / name).read_text())


def num(value: float | None, spec: str = ".2f") -> str:
    """Format a number; a dash if unknown."""
    return UNKNOWN if value is None else format(value, spec).replace("-", "−")


def span(value: float | None, low: float | None, high: float | None, spec: str = ".2f") -> str:
    """Format a value with its interval."""
    if value is None:
        return UNKNOWN
    return f"{num(value, spec)} ({num(low, spec)} to {num(high, spec)})"


def of(found: Mapping[str, Any], key: str, spec: str = ".2f") -> str:
    """Format KEY with the interval KEY_low to KEY_high."""
    return span(found[key], found[f"{key}_low"], found[f"{key}_high"], spec)


def effect(found: Mapping[str, Any], spec: str = ".2f") -> str:
    """Format a mapping with `value`, `low` and `high`."""
    return span(found["value"], found["low"], found["high"], spec)


def words(name: str) -> str:
    """Turn an identifier into words."""
    return " ".join(SPELLED.get(word, word) for word in name.split("_"))


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Build a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def script(command: str) -> str:
    """Name the script of a command, without the paths it was given."""
    parts = command.split()
    named = 3 if parts[1:2] == ["-m"] else 2
    return f"`{' '.join(parts[: named if parts[0] == 'python' else None])}`"


def source(*names: str) -> str:
    """Say which script measured the numbers of some JSONs."""
    sentences = []
    for name in names:
        content = load(name)
        command = content.get("command") or content["summary"]["command"]
        sentences.append(f"Measured by {script(command)}, stored in `analyses/results/{name}`.")
    return "\n".join(sentences)


def relative_drop(summary: Mapping[str, Any]) -> float:
    """Compute the drop of the LLC over its peak."""
    return summary["llc_drop"] / summary["llc_peak"]


def drop(summary: Mapping[str, Any]) -> str:
    """Format the drop of the LLC with its standard error and its fraction of the peak."""
    return f"{summary['llc_drop']:.1f} ± {summary['llc_drop_se']:.1f} ({relative_drop(summary):.1%})"


def half_way(summary: Mapping[str, Any]) -> str:
    """Format the step half way through the drop; results that do not have it predate it."""
    step, low, high = (summary.get(f"llc_half_way_{end}") for end in ("step", "low", "high"))
    return span(step, low, high, ",.0f")


def shipped(names: Sequence[str]) -> str:
    """Tabulate what runs of shipped configurations found; a test compares README's table with the JSONs."""
    rows = []
    for name in names:
        content = load(f"{name}.json")
        summary, task, llc = content["summary"], content["config"]["task"], setting(content)
        generalized = summary["generalization_step"]
        rows.append(
            [
                f"`{name}`",
                f"{task['operation'].replace('_', ' ')} mod {task['modulus']}",
                f"nβ = {llc['n_beta']:g}, γ = {llc['gamma']:g}",
                f"{summary['memorization_step']:,}" if summary["memorization_step"] is not None else "never",
                f"{generalized:,}" if generalized is not None else "never",
                value_with_doubt(summary, "peak"),
                value_with_doubt(summary, "final"),
                drop(summary),
                half_way(summary),
                ", ".join(map(str, summary["key_frequencies"])) or "none",
            ]
        )
    header = ["run", "task", "setting", "memorization step", "generalization step", "LLC at its peak"]
    header += ["LLC at the end", "drop of the LLC (of its peak)", "half-way step (95%)", "key frequencies"]
    return table(header, rows)


def value_with_doubt(summary: Mapping[str, Any], which: str) -> str:
    """Format the LLC at its peak or at the end, with its status if that is untrusted."""
    status, descent = (summary.get(f"llc_{which}_{what}") for what in ("status", "descent"))
    doubt = doubt_about(status, descent)
    value = f"{summary[f'llc_{which}']:.1f} ± {summary[f'llc_{which}_se']:.1f}"
    return f"{value} ({doubt})" if doubt else value


def setting(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """Get the numbers of a run's LLC setting; recorded apart since its configuration may have a rule."""
    return content.get("llc_setting") or content["config"]["llc"]


def melted(names: Sequence[str]) -> str:
    """Tabulate how far the chains at each run's peak are from guessing."""
    rows = []
    for name in names:
        content = load(f"{name}.json")
        summary, config = content["summary"], content["config"]
        guess = math.log(config["task"]["modulus"])
        peak, end = (summary[key] / setting(content)["n_beta"] for key in ("llc_peak", "llc_final"))
        rows.append([f"`{name}`", num(guess), num(peak), num(peak / guess), num(end), num(end / guess)])
    header = ["run", "loss of guessing, log p", "excess loss at the peak", "over log p", "excess loss at the end"]
    return table([*header, "over log p"], rows)


def fuzz() -> str:
    """Tabulate what became of bad values, damaged files and kills."""
    content = load("fuzz.json")
    outcomes = {
        "right": "accepted, or right",
        "sentence": "one sentence, exit code 2",
        "malformed": "another message",
        "traceback": "traceback",
        "silent": "wrong, without a message",
        "hang": "over 60 s",
        "lost": "files changed or wrong values",
    }
    header = ["tried", "number", *outcomes.values()]
    rows = [[name, *(num(part[key], ",d") for key in ("tried", *outcomes))] for name, part in content["parts"].items()]
    minutes, threads = content["wall_seconds"] / 60, content["environment"]["threads"]
    length = f"It took {minutes:.0f} minutes with {plural(threads, 'thread')} for each process."
    return "\n\n".join([table(header, rows), f"{source('fuzz.json')} {length}"])


def zoo() -> str:
    """Tabulate the accuracy of the default estimate by family of known minima."""
    summary = load("validate.json")["summary"]
    rows = []
    for family, found in summary["by_family"].items():
        trusted = found["cases"] - found["flagged"]
        rows.append(
            [
                family,
                str(found["cases"]),
                num(found["median_abs_relative_error"], ".1%"),
                num(found["p90_abs_relative_error"], ".1%"),
                num(found["max_abs_relative_error_with_multiplicity"], ".1%"),
                f"{found['covered_of_converged']} of {found['converged']}",
                f"{found['covered_of_trusted'] - found['covered_of_converged']} of {trusted - found['converged']}",
                str(found["flagged"]),
                num(found["median_seconds"], ".0f"),
            ]
        )
    header = ["family", "estimates", "median error", "90% below", "worst, multiplicity added"]
    header += ["inside, of `converged`", "inside, of `approximate`", "flagged", "seconds"]
    facts = [
        ["median error, regular, deep linear and modular", num(summary["median_abs_relative_error"], ".1%")],
        ["90% of these are below", num(summary["p90_abs_relative_error"], ".1%")],
        ["estimates `converged`", f"{summary['converged']} of {summary['cases']}"],
        ["`converged` outside their 95% interval, any multiplicity", num(summary["converged_outside"], ".1%")],
        ["worst of `converged`, any multiplicity", num(summary["converged_max_abs_relative_error"], ".1%")],
        ["`converged` with m = 1 within 5% of the truth", num(summary["converged_within_5_percent"], ".0%")],
        ["median half-width of the intervals of `converged`", num(summary["median_half_width"], ".1%")],
        ["estimates `approximate`", f"{summary['approximate']} of {summary['cases']}"],
        ["`approximate` outside their 95% interval", num(summary["approximate_outside"], ".1%")],
        ["truth inside the interval of `converged` or `approximate`", num(summary["coverage"], ".0%")],
        ["estimates flagged: not trusted, or failed", num(summary["flagged_share"], ".0%")],
        ["estimates that failed", str(summary["failed"])],
    ]
    cost = f"{summary['wall_seconds'] / 60:.0f} minutes on {plural(summary['environment']['threads'], 'thread')}"
    who = f"*Inside*: the truth is inside the 95% interval. Measured by {script(summary['command'])} in {cost}, stored "
    who += "in `analyses/results/validate.json`."
    return "\n\n".join([table(header, rows), table(["over all estimates", "value"], facts), who])


def deep_linear() -> str:
    """Tabulate the default estimate and devinterp's samplers at equal numbers of gradients."""
    content = load("benchmark_deep_linear.json")
    sizes = [network["parameters"] for network in content["networks"]]
    rows = []
    for name, found in content["summary"].items():
        sampler, _, sweep = name.partition(" ")
        rows.append(
            [
                SAMPLERS.get(sampler, sampler),
                SWEEPS.get(sweep, "default, no tuning"),
                num(found["median_abs_relative_error"], ".1%"),
                num(found["p90_abs_relative_error"], ".0%"),
                num(found["worst_abs_relative_error"], ".0%"),
                str(found["failed"]),
                num(found["pairs_in_order"], ".1%"),
            ]
        )
    header = ["estimator", "setting", "median error", "90% below", "worst", "diverged", "pairs in order"]
    facts = f"{len(sizes)} networks of {min(sizes):,} to {max(sizes):,} weights, each method with the same number of "
    return "\n\n".join([facts + "gradients.", table(header, rows), source("benchmark_deep_linear.json")])


def _speed_row(name: str, found: Mapping[str, Any]) -> list[str]:
    targets = dict(found["target"])
    floor = num(found["floor_fraction"], ".0%") if found["floor_fraction"] is not None else ""
    if "floor" in targets:
        floor += f" ({targets['floor']:.0%})"
    ratios = []
    for peer, ratio in found["ratio"].items():
        cell = f"{PEERS.get(peer, peer.replace('-', ' '))}: {span(ratio, *found['ratio_interval'][peer])}"
        ratios.append(cell + (f", target {targets[peer]:g}" if peer in targets else ""))
    if "seconds" in targets:
        ratios.append(f"target {targets['seconds']:g} s")
    own = found["seconds_per_unit"].get("slt_grok")
    cost = "" if own is None else f"{own:.3g} s a {found['unit']}"
    return [name, WORK[name], cost, "<br>".join(ratios), floor]


def speed() -> str:
    """Tabulate the benchmark of speed."""
    content = load("benchmark_speed.json")
    header = ["", "work", "slt_grok", "times as fast as (95% interval), target", "share of the floor (target)"]
    machine = content["W1"]["provenance"]
    facts = f"Measured by {script(machine['command'])}, stored in `analyses/results/benchmark_speed.json`: "
    facts += f"{machine['environment']['processor']}, {machine['environment']['threads']} threads, "
    facts += f"{machine['repetitions']} repetitions, {machine['date']}."
    what = [f"- {name}: {found['what']}." for name, found in content.items()]
    memory = max(value for ends in content["W6"]["peak_gib_large_end"].values() for value in ends)
    what.append(f"- Peak memory at the large ends of W6: {memory:.2f} GiB.")
    rows = [_speed_row(name, found) for name, found in content.items()]
    return "\n\n".join([table(header, rows), facts, "\n".join(what)])

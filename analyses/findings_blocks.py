"""Fill the generated blocks of README.md and of pages in docs/. Usage: see `findings.py`, which calls `fill`."""

import re
from collections.abc import Mapping
from pathlib import Path
from textwrap import fill as fill_text
from typing import Any

from findings_tables import ROOT, deep_linear, load, melted, num, shipped, source, speed, table, zoo

from slt_grok.format import number
from slt_grok.llc.diagnostics import LLCStatus

SHIPPED = ("quickstart", "random_table", "mod113")
STAGES = {
    "training": ["training"],
    "LLC": ["llc"],
    "circuit": ["circuits", "circuit_null", "circuit_maps"],
    "landscape": ["landscape"],
}


def _cells(found: Mapping[str, Any], *names: str) -> list[list[str]]:
    header = found["header"]
    return [[row[header.index(name)] for name in names] for row in found["rows"]]


def window_steps(control: Mapping[str, Any]) -> tuple[str, str] | None:
    """Get the steps between which the factors of a window are counted, from its notes; None if it has none."""
    matches = (re.match(r"From step ([\d,]+) to ([\d,]+)", note) for note in control["notes"])
    return next(((match[1], match[2]) for match in matches if match), None)


def answer() -> str:
    """State what the shipped runs say about the README's question, and what bounds the drop."""
    own, control, large = (load(f"{name}.json")["summary"] for name in SHIPPED)
    before = load("mod113_before.json")["summary"]  # the same configuration, trained elsewhere
    controls = load("quickstart_llc_controls.json")["controls"]
    treatments = dict(_cells(controls["confound"]["tables"][0], "Treatment", "Fraction of the drop at fixed γ"))
    following = next(cell for name, cell in treatments.items() if name.startswith("γ = d"))
    window = controls["window"]
    gammas = [gamma for gamma, half in _cells(window["tables"][0], "γ", "Half-way step") if half != "–"]
    factors = [number(window["columns"][f"window.drop_factor_{end}"]) for end in ("min", "max")]
    gauge = controls["gauge"]["columns"]["gauge.largest_share"]
    since = f", from step {steps[0]} on," if (steps := window_steps(window)) else ","
    low = own.get("llc_peak_status") == LLCStatus.NOT_A_MINIMUM
    doubt = "; but the network at its peak is not a minimum" if low else ""
    paragraphs = [
        "**The control weighs against the circuit.** The LLC of `random_table`, which keeps its table and has no "
        f"circuit to form, drops by {num(control['llc_drop'], '.0f')}, half of it by step "
        f"{control['llc_half_way_step']:,.0f}; "
        f"that of `quickstart` drops by {num(own['llc_drop'], '.0f')}, half of it by step "
        f"{own['llc_half_way_step']:,.0f}; `mod113` is half way at step {large['llc_half_way_step']:,.0f} and "
        f"generalizes at step {large['generalization_step']:,}. One seed each suggests that most of the drop happens "
        "before generalization, with or without a circuit, and part of it is the falling weight norm. What differs is "
        f"the end: {num(control['llc_final'], '.1f')} for the table, {num(own['llc_final'], '.1f')} for the circuit.",
        f"**How large the drop is depends on conventions.** At fixed nβ and γ, that of `quickstart` is "
        f"{num(own['llc_drop'], '.1f')}, with a sampling error of {num(own['llc_drop_se'], '.1f')}{doubt}. With γ "
        f"following |w|², {following} of it remains. Rescaling neurons, which changes no output, moves trusted values "
        f"by up to {gauge:.1%} of the drop between trusted checkpoints. As a factor{since} it is "
        f"{factors[0]} at γ = {gammas[0]} and {factors[1]} at γ = {gammas[-1]}. An earlier training of `mod113`, whose "
        f"gradients differ in rounding, ended at {num(before['llc_final'], '.1f')} instead of "
        f"{num(large['llc_final'], '.1f')}.",
    ]
    return "\n\n".join(fill_text(each, 120, break_on_hyphens=False) for each in paragraphs)


def times() -> str:
    """Tabulate the core minutes of the shipped runs."""
    rows = []
    for name in SHIPPED:
        content = load(f"{name}.json")
        threads = content["environment"]["threads"]
        minutes = [
            sum(content["stages"][stage]["wall_seconds"] for stage in stages) * threads / 60
            for stages in STAGES.values()
        ]
        rows.append([f"`{name}`", *(num(each, ".1f") for each in (*minutes, sum(minutes))), str(threads)])
    return "\n\n".join(
        [table(["run", *STAGES, "total", "threads"], rows), source(*(f"{name}.json" for name in SHIPPED))]
    )


BLOCKS = {
    ("README.md", "found"): lambda: shipped(SHIPPED),
    ("README.md", "answer"): answer,
    ("docs/guide.md", "times"): times,
    ("docs/trust.md", "melted"): lambda: melted(SHIPPED) + "\n\n" + source(*(f"{name}.json" for name in SHIPPED)),
    ("docs/trust.md", "zoo"): zoo,
    ("docs/trust.md", "deep_linear"): deep_linear,
    ("docs/speed.md", "speed"): speed,
}


def fill(root: Path = ROOT) -> list[Path]:
    """Replace every block `<!-- NAME -->` ... `<!-- /NAME -->` by what the JSONs say now."""
    for (file, name), make in BLOCKS.items():
        path = root / file
        before, start, rest = path.read_text().partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition(f"<!-- /{name} -->")
        if not (start and end):
            raise SystemExit(f"{path}: expected the markers <!-- {name} --> and <!-- /{name} -->")
        path.write_text(f"{before}{start}{make()}\n{end}{after}")
    return sorted({root / file for file, _ in BLOCKS})

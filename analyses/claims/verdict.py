"""What every script of this folder does with its rule: read the study, say the verdict, draw, keep the result."""

import argparse
import sys
from collections.abc import Callable
from math import isfinite
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from panels import plain_numbers
from rule import UNDECIDED, Effect, Finding

from slt_grok import load_study, plots
from slt_grok.errors import SltGrokError
from slt_grok.plots.palette import BLUE, GRAY, VERMILION
from slt_grok.plots.style import WIDTH, styled
from slt_grok.store.files import write_json
from slt_grok.studies.provenance import environment
from slt_grok.studies.results import StudyResults

RESULTS = Path(__file__).parents[1] / "results" / "claims"
Decide = Callable[[StudyResults], Finding]
Panel = Callable[[Axes, Finding], None]


def effect_content(effect: Effect) -> dict[str, Any]:
    """Return an effect as JSON holds it: an end that is not known is None."""
    numbers = {name: getattr(effect, name) for name in ("value", "low", "high")}
    return {name: number if isfinite(number) else None for name, number in numbers.items()} | {
        "seeds": list(effect.seeds)
    }


def content(name: str, text: str, study: StudyResults, finding: Finding) -> dict[str, Any]:
    """Everything that is kept of a claim: rule, verdict, reasons, effects, what was left out, provenance."""
    settings = study.table.reindex(columns=["llc.n_beta", "llc.gamma"]).dropna().drop_duplicates()
    return {
        "command": f"python analyses/claims/{name}.py runs/{study.path.name}",
        "claim": text.strip().partition("\n")[0],
        "rule": text.strip(),
        "llc_settings": settings.rename(columns=lambda name: name.removeprefix("llc.")).to_dict("records"),
        "verdict": finding.verdict,
        "reasons": finding.reasons,
        "conditions": [
            {
                "quantity": one.quantity,
                "claimed": f"{one.side} {one.threshold:g}",
                "verdict": one.verdict,
                **effect_content(one.effect),
            }
            for one in finding.conditions
        ],
        "numbers": {quantity: effect_content(effect) for quantity, effect in finding.numbers.items()},
        "networks": len(finding.seen),
        "left_out": finding.left_out,
        "environment": environment(),
    }


@styled
def figure(finding: Finding, panel: Panel) -> Figure:
    """Draw the networks on the left; on the right each condition's interval with its threshold."""
    count = max(len(finding.conditions), 1)
    made = Figure(figsize=(WIDTH, max(2.6, 0.8 * count + 0.4)), layout="constrained")
    grid = made.add_gridspec(count, 2, width_ratios=(1.5, 1))
    data = made.add_subplot(grid[:, 0])
    panel(data, finding)
    data.spines[["top", "right"]].set_visible(False)
    for axis in (data.xaxis, data.yaxis):
        if axis.get_scale() == "log":
            plain_numbers(axis)
    for k, one in enumerate(finding.conditions):
        axes = made.add_subplot(grid[k, 1])
        e = one.effect
        known = [v for v in (e.value, e.low, e.high, one.threshold) if np.isfinite(v)]
        room = 0.15 * (max(known) - min(known)) or 1.0
        left, right = min(known) - room, max(known) + room
        claimed = (one.threshold, right) if one.side == "above" else (left, one.threshold)
        axes.axvspan(*claimed, color=BLUE, alpha=0.12, lw=0)
        axes.axvline(one.threshold, color=GRAY, lw=0.9, ls="--")
        if np.isfinite(e.high - e.low):
            axes.plot([e.low, e.high], [0, 0], color=VERMILION, lw=2.2, solid_capstyle="butt")
        axes.plot(e.value, 0, "o", color=VERMILION, ms=4)
        axes.set(xlim=(left, right), ylim=(-1, 1), yticks=[])
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.set_title(f"{fill(one.quantity, 46)}\n{one.verdict}", loc="left", fontsize=6.5)
        axes.spines[["top", "right", "left"]].set_visible(False)
    return made


def judge(name: str, text: str, study: StudyResults, decide: Decide, panel: Panel, out: Path) -> dict[str, Any]:
    """Decide a claim from a study, write NAME.json and its figure into a folder, and return what was written."""
    finding = decide(study)
    found = content(name, text, study, finding)
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / f"{name}.json", found)
    plots.save(figure(finding, panel), out, name, ["png"])
    return found


def main(script: str, text: str | None, decide: Decide, panel: Panel) -> None:
    """Run the command line of a script: a study's directory, and where to write."""
    name = Path(script).stem
    parser = argparse.ArgumentParser(description=(text or "").partition("\n")[0])
    parser.add_argument("study", type=Path, metavar="STUDY")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="FOLDER")
    arguments = parser.parse_args()
    try:
        found = judge(name, text or "", load_study(arguments.study), decide, panel, arguments.out)
    except SltGrokError as error:
        sys.exit(str(error))
    print(f"{name}: {found['verdict']}")
    for sentence in found["reasons"] + ([f"left out: {len(found['left_out'])}"] if found["left_out"] else []):
        print(f"  {sentence}")
    if found["verdict"] == UNDECIDED:
        print("  undecided is no evidence for either side")

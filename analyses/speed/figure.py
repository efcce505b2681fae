"""The benchmark as one figure: ratios to the peers, share of the floor, cost as the work grows."""

from typing import Any

import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from slt_grok.plots.palette import BLUE, GRAY, GREEN, ORANGE, PURPLE, SKY, VERMILION
from slt_grok.plots.style import WIDTH, styled

COLORS = {
    "devinterp-1.3.2": VERMILION,
    "devinterp-2.0.1": ORANGE,
    "canonical-interp": PURPLE,
    "torch-loop": BLUE,
    "jax": GREEN,
}
SCALING = "W6"


@styled
def draw(records: dict[str, dict[str, Any]]) -> Figure:
    """Ratios with their 95% intervals and targets on the left, shares of the floor, cost as the work grows."""
    figure = Figure(figsize=(WIDTH, 3.1), layout="constrained")
    ratios, floor, scaling = figure.subplots(1, 3, width_ratios=[3, 1.5, 1.8])
    names = [name for name in sorted(records) if name != SCALING]
    _ratios(ratios, {name: records[name] for name in names})
    figure.legend(*ratios.get_legend_handles_labels(), loc="outside upper center", ncols=6)
    with_floor = [name for name in names if records[name].get("floor_fraction")]
    floor.barh(with_floor, [records[name]["floor_fraction"] for name in with_floor], color=SKY, height=0.5)
    for place, name in enumerate(with_floor):
        if target := records[name]["target"].get("floor"):
            floor.plot([target, target], [place - 0.3, place + 0.3], color="0.2", lw=1)
    floor.set(xlim=(0, 1), xlabel="Share of the floor")
    floor.invert_yaxis()
    _scaling(scaling, records.get(SCALING, {}).get("points", []))
    sns.despine(figure)
    return figure


def _ratios(axes: Any, records: dict[str, dict[str, Any]]) -> None:
    labels: set[str] = set()
    for row, record in enumerate(records.values()):
        peers = sorted(record["ratio"])
        for place, peer in enumerate(peers):
            y = row + (place - (len(peers) - 1) / 2) * 0.18
            low, high = record["ratio_interval"][peer]
            label = peer if peer in COLORS else "itself, see table"
            axes.plot([low, high], [y, y], color=COLORS.get(peer, GRAY), lw=1.4)
            axes.plot(
                record["ratio"][peer], y, "o", ms=3.5, color=COLORS.get(peer, GRAY),
                label=None if label in labels else label,
            )  # fmt: skip
            labels.add(label)
            if target := record["target"].get(peer):
                axes.plot(target, y, "|", ms=7, color="0.2")
    axes.axvline(1, color="0.8", lw=0.7, zorder=0)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_yticks(range(len(records)), list(records))
    axes.invert_yaxis()
    axes.set_xlabel("Time of a peer over slt_grok's (| target)")


def _scaling(axes: Any, points: list[dict[str, Any]]) -> None:
    for axis, color, marker in (("checkpoints", BLUE, "o"), ("chains", ORANGE, "s"), ("p", GREEN, "^")):
        rows = [point for point in points if point["axis"] == axis]
        if not rows:
            continue
        cost = [row["seconds_per_chain"] / (row["gflop_per_chain"] if axis == "p" else 1) for row in rows]
        middle = cost[len(rows) // 2]
        axes.plot([row["value"] for row in rows], [c / middle for c in cost], color=color, marker=marker, ms=3.5,
                  label=axis)  # fmt: skip
    axes.axhline(1.15, color="0.2", lw=0.7, ls=":")
    axes.set(xscale="log", ylim=(0, None), xlabel="Number", ylabel="Cost of a chain over the middle's")
    if points:
        axes.legend(loc="upper right", borderaxespad=0.5)

"""Quadratic networks on modular addition: the Jacobian's rank against formulas, and the LLC against the rank.

On all one-hot pairs the rank is K (3p - 2) up to the cap p^3 for p = 5, 7, 11; on train subsets it is the numerical
rank at the point, under min(K (3p - 2), N p); the default LLC estimate follows half the rank as K crosses the cap.
The value that 2603.01192 publishes, K (3p - 1) / 2, is given too. Writes analyses/results/modular_rank.json and the
figure; some five minutes on one core.

Usage: python analyses/modular_rank.py
"""

import time
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console
from runs_below import RESULTS, picture

from slt_grok.llc import exact
from slt_grok.operators.jacobian import NumericalRank, jacobian_rank
from slt_grok.plots.palette import BLUE, GREEN, ORANGE, VERMILION
from slt_grok.plots.style import WIDTH, panel_letters, styled
from slt_grok.store.files import write_json
from slt_grok.studies.provenance import environment
from slt_grok.zoo.cases import parse
from slt_grok.zoo.measure import measure

WIDTHS = {5: (2, 4, 6, 8, 9, 10, 11, 13), 7: (4, 8, 12, 15, 17, 18, 19, 20, 24), 11: (10, 20, 30, 38, 42, 43, 44, 50)}
SUBSETS = {5: ((3, 6, 9), (4, 7, 10, 14, 18, 22)), 7: ((4, 9, 14), (8, 14, 20, 28, 36, 44))}  # p: (widths K, pairs N)
SAMPLED, SAMPLED_WIDTHS = 5, (3, 6, 8, 9, 10, 11, 13)
SEEDS = (0, 1, 2)


def rank(text: str, seed: int) -> NumericalRank:
    """Return the numerical rank of a case's Jacobian."""
    problem = parse(text).problem(torch.Generator().manual_seed(seed))
    return jacobian_rank(problem.module, problem.inputs)


def all_pairs() -> list[dict[str, Any]]:
    """Ranks on all pairs, as K crosses the cap."""
    rows = []
    for p, widths in WIDTHS.items():
        for width in widths:
            found = rank(f"modadd p {p} width {width} pairs all", seed=0)
            rows.append(
                {
                    "p": p,
                    "width": width,
                    "rank": found.rank,
                    "gap": found.gap if np.isfinite(found.gap) else "full rank",
                    "formula": exact.modular_rank(p, width),
                    "uncapped": width * (3 * p - 2),
                    "cap": p**3,
                    "published": 2 * exact.modular_published(p, width),
                }
            )
    return rows


def subsets() -> list[dict[str, Any]]:
    """Ranks on random train sets of N pairs."""
    return [
        {
            "p": p,
            "width": width,
            "pairs": pairs,
            "seed": seed,
            "rank": rank(f"modadd p {p} width {width} pairs {pairs}", seed).rank,
            "bound": exact.modular_rank(p, width, pairs),
        }
        for p, (widths, sizes) in SUBSETS.items()
        for width in widths
        for pairs in sizes
        for seed in SEEDS
    ]


def sampled() -> list[dict[str, Any]]:
    """Return the default LLC estimate as K crosses the cap of p = 5."""
    rows = []
    for width in SAMPLED_WIDTHS:
        row = measure(f"modadd p {SAMPLED} width {width} pairs all", seed=0)
        rows.append({"p": SAMPLED, "width": width, "published": exact.modular_published(SAMPLED, width), **row})
    return rows


@styled
def draw(found: dict[str, list[dict[str, Any]]]) -> Figure:
    """Three panels: rank over K, rank against its bound on train sets, LLC with 95% intervals over K."""
    figure = Figure(figsize=(WIDTH, 2.7), layout="constrained")
    panels = figure.subplots(1, 3)
    _draw_ranks(panels[0], found["all_pairs"])
    _draw_subsets(panels[1], found["train_subsets"])
    _draw_llc(panels[2], found["estimates"])
    panel_letters(panels, (-34, 9))
    return figure


def _draw_ranks(axes: Axes, rows: list[dict[str, Any]]) -> None:
    for (p, color), marker in zip(zip(WIDTHS, (BLUE, ORANGE, GREEN), strict=True), "osD", strict=True):
        mine = [row for row in rows if row["p"] == p]
        crossing = p**3 / (3 * p - 2)
        x = [row["width"] / crossing for row in mine]
        axes.plot(x, [row["rank"] / p**3 for row in mine], marker, color=color, ms=4, label=f"p = {p}", zorder=3)
        axes.plot([0, 1.4], [0, 1.4 * (3 * p - 1) / (3 * p - 2)], ":", color=color, lw=1)
    axes.plot([0, 1, 1.4], [0, 1, 1], color="0.3", lw=1, label="min(K(3p-2), p³)")
    axes.plot([], [], ":", color="0.3", lw=1, label="K(3p-1), published")
    axes.set(xlabel="K(3p-2) / p³", ylabel="Rank / p³", title="All pairs", ylim=(0, 2.1))
    axes.legend(loc="upper left")


def _draw_subsets(axes: Axes, rows: list[dict[str, Any]]) -> None:
    for p, color, marker in zip(SUBSETS, (BLUE, ORANGE), "os", strict=True):
        mine = [row for row in rows if row["p"] == p]
        x = [row["pairs"] * p / (row["width"] * (3 * p - 2)) for row in mine]
        y = [row["rank"] / row["bound"] for row in mine]
        axes.plot(x, y, marker, color=color, ms=3.5, alpha=0.6, mew=0, label=f"p = {p}")
    axes.axhline(1, color="0.3", lw=1, zorder=0)
    axes.set(xscale="log", xlabel="Np / K(3p-2)", ylabel="Rank at the point / bound", title="Train sets of N pairs")
    axes.xaxis.set_ticks([0.25, 0.5, 1, 2, 4], ["0.25", "0.5", "1", "2", "4"])
    axes.xaxis.set_ticks([], minor=True)
    axes.set_ylim(0.7, 1.05)
    axes.legend(loc="lower left")


def _draw_llc(axes: Axes, rows: list[dict[str, Any]]) -> None:
    widths = [row["width"] for row in rows]
    done = [row for row in rows if not row["failed"]]
    axes.plot(widths, [row["truth"] for row in rows], color="0.3", lw=1, label="rank / 2")
    axes.plot(widths, [row["published"] for row in rows], ":", color="0.3", lw=1, label="K(3p-1)/2, published")
    for flagged, face in ((False, VERMILION), (True, "none")):
        mine = [row for row in done if row["flagged"] == flagged]
        if not mine:
            continue
        values = np.array([[row["low"], row["estimate"], row["high"]] for row in mine]).T
        axes.errorbar(
            [row["width"] for row in mine],
            values[1],
            [values[1] - values[0], values[2] - values[1]],
            fmt="o",
            ms=4,
            color=VERMILION,
            mfc=face,
            label="estimate, flagged" if flagged else "default estimate",
        )
    axes.set(xlabel="Width K", ylabel="LLC", title=f"All pairs, p = {SAMPLED}", ylim=(0, 125))
    axes.legend(loc="upper left")


def main() -> None:
    """Measure, print, write."""
    torch.set_num_threads(1)
    start, console = time.monotonic(), Console(highlight=False, soft_wrap=True)
    found = {"all_pairs": all_pairs(), "train_subsets": subsets()}
    equal = [row["rank"] == row["formula"] for row in found["all_pairs"]]
    below = [row["rank"] < row["bound"] for row in found["train_subsets"]]
    console.print(f"all pairs: rank = min(K(3p-2), p^3) in {sum(equal)} of {len(equal)}")
    console.print(f"train sets: rank under its bound in {sum(below)} of {len(below)}, above it in none")
    assert all(row["rank"] <= row["bound"] for row in found["train_subsets"])
    found["estimates"] = sampled()
    for row in found["estimates"]:
        console.print(
            f"p {SAMPLED}, K {row['width']}: rank / 2 = {row['truth']}, published {row['published']}, "
            f"estimate {row['estimate']:.4g} ({row['low']:.4g} to {row['high']:.4g}), {row['status']}"
        )
    summary = {
        "command": "python analyses/modular_rank.py",
        "rank_equals_formula_on_all_pairs": f"{sum(equal)} of {len(equal)}",
        "rank_under_bound_on_train_sets": f"{sum(below)} of {len(below)}",
        "largest_relative_error_of_estimates": max(abs(row["relative_error"]) for row in found["estimates"]),
        "wall_seconds": round(time.monotonic() - start, 1),
        "environment": environment(),
    }
    write_json(RESULTS / "modular_rank.json", {"summary": summary, **found})
    picture(draw(found), RESULTS, "modular_rank")


if __name__ == "__main__":
    main()

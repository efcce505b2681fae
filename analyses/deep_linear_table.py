"""The table and the figure of the benchmark on deep linear networks: runs in, errors of each method out.

The settings that devinterp's samplers are given stand here, since the best of them is chosen here: with knowledge of
the truth, once for all networks and once for each.
"""

from itertools import combinations
from typing import Any

import matplotlib
import numpy as np
import seaborn as sns
from matplotlib.figure import Figure

from slt_grok.plots.palette import BLUE, GRAY, GREEN, ORANGE
from slt_grok.plots.style import STYLE

README = (30.0, 0.0)  # n_beta of its README, and the default of its `localization`
LAU = (1e6 / np.log(1e6), 1.0)  # n_beta = n / log n and gamma of the networks in Lau et al. 2308.12108, n = 1e6
DEFAULT = (1e-3, *README)  # lr of its README
SWEEPS: dict[str, dict[str, list[tuple[float, float, float]]]] = {  # (lr, n_beta, localization)
    "sgld": {
        "readme": [DEFAULT, *((lr, *README) for lr in (3e-5, 1e-4, 3e-4))],
        "lau": [(lr, *LAU) for lr in (3e-7, 1e-6)],
    },
    "rmsprop_sgld": {
        "readme": [DEFAULT, *((lr, *README) for lr in (1e-5, 3e-5, 1e-4))],
        "lau": [(lr, *LAU) for lr in (3e-8, 1e-7)],
    },
}
LABELS = {"slt_grok": "slt_grok, default"}
for _sampler, _name in (("sgld", "devinterp SGLD"), ("rmsprop_sgld", "devinterp RMSprop-SGLD")):
    LABELS |= {
        f"{_sampler} default": f"{_name}, default",
        f"{_sampler} readme": f"{_name}, best lr for all networks",
        f"{_sampler} readme each": f"{_name}, best lr for each network",
        f"{_sampler} lau": f"{_name}, n/log n, best lr for all networks",
        f"{_sampler} lau each": f"{_name}, n/log n, best lr for each network",
    }


def run_name(sampler: str, setting: tuple[float, float, float]) -> str:
    """Return a run as it is called in the file."""
    lr, n_beta, localization = setting
    return f"{sampler} lr {lr:.0e} n_beta {n_beta:.0f} gamma {localization:.0f}"


def error_of(value: float | None, truth: float) -> float:
    """|relative error|; infinite where there is no value."""
    return abs(value / truth - 1) if value is not None and np.isfinite(value) else np.inf


def table(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row a network: facts, and the value of each method by the keys of `LABELS`."""
    networks = sorted({run["network"] for run in runs})
    by = {(run["network"], run["run"]): run for run in runs}
    facts = ("network", "widths", "rank", "parameters", "truth", "multiplicity", "gradients", "low", "high", "status")
    rows = [{key: by[i, "slt_grok"][key] for key in facts} for i in networks]
    for row in rows:
        row["slt_grok"] = by[row["network"], "slt_grok"]["estimate"]
        for sampler in SWEEPS:
            row[f"{sampler} default"] = by[row["network"], run_name(sampler, DEFAULT)]["estimate"]
    for sampler, sweeps in SWEEPS.items():
        for sweep, settings in sweeps.items():
            options = [(run_name(sampler, s), kind) for s in settings for kind in ("estimate", "estimate_half")]
            errors = {  # of each network
                (name, kind): [error_of(by[row["network"], name][kind], row["truth"]) for row in rows]
                for name, kind in options
            }
            best = min(options, key=lambda option: float(np.median(errors[option])))
            for place, row in enumerate(rows):
                each = min(options, key=lambda option: errors[option][place])
                for key, (name, kind) in ((f"{sampler} {sweep}", best), (f"{sampler} {sweep} each", each)):
                    row[key], row[f"{key} setting"] = by[row["network"], name][kind], f"{name} {kind}"
    return rows


def summarize(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Of each method: median, 90th percentile and worst |relative error|, pairs of networks in the right order."""
    found: dict[str, dict[str, Any]] = {}
    pairs = [(a, b) for a, b in combinations(rows, 2) if abs(np.log(a["truth"] / b["truth"])) > np.log(1.04999)]
    for method in LABELS:
        errors = np.array([error_of(row[method], row["truth"]) for row in rows])
        right = [
            a[method] is not None and b[method] is not None and (a[method] < b[method]) == (a["truth"] < b["truth"])
            for a, b in pairs
        ]
        found[method] = {
            "median_abs_relative_error": float(np.median(errors)),
            "p90_abs_relative_error": float(np.quantile(errors, 0.9, method="higher")),
            "worst_abs_relative_error": float(errors.max()),
            "failed": int(np.isinf(errors).sum()),
            "pairs_in_order": float(np.mean(right)) if right else None,
        }
    own = found["slt_grok"]["median_abs_relative_error"]
    for facts in found.values():
        facts["median_error_over_ours"] = facts["median_abs_relative_error"] / own
        for name, value in facts.items():  # JSON has no infinity
            facts[name] = None if value == np.inf else value
    return found


def show(summary: dict[str, dict[str, Any]]) -> None:
    """Print the summary as text."""
    print(f"{'':58}{'median':>9}{'p90':>9}{'worst':>10}{'failed':>8}{'pairs':>8}{'over ours':>11}")
    for method, facts in summary.items():
        numbers = [facts[f"{name}_abs_relative_error"] for name in ("median", "p90", "worst")]
        median, p90, worst = ("diverged" if number is None else f"{100 * number:.2f}%" for number in numbers)
        pairs = "" if facts["pairs_in_order"] is None else f"{100 * facts['pairs_in_order']:.1f}%"
        ratio = "" if facts["median_error_over_ours"] is None else f"{facts['median_error_over_ours']:.1f}"
        print(f"{LABELS[method]:58}{median:>9}{p90:>9}{worst:>10}{facts['failed']:8}{pairs:>8}{ratio:>11}")


def figure(rows: list[dict[str, Any]], summary: dict[str, dict[str, Any]]) -> Figure:
    """Estimate against truth, one panel a method; a diverged run is a cross at the bottom."""
    methods = ["slt_grok", "sgld default", "rmsprop_sgld default", "sgld readme", "rmsprop_sgld readme"]
    with matplotlib.rc_context(STYLE):
        panels = Figure(figsize=(7.2, 4.9), layout="constrained")
        axes = panels.subplots(2, 3, sharex=True, sharey=True).T.flatten()[[0, 2, 4, 3, 5, 1]]
        truth = np.array([row["truth"] for row in rows])
        low, high = truth.min() / 3, truth.max() * 2
        top = max(high, *(1.5 * row[method] for method in methods for row in rows if row[method] is not None))
        for ax, method in zip(axes, methods, strict=False):
            ax.plot([low, high], [low, high], color=GRAY, lw=0.8, zorder=0)
            for layers, color, marker in ((2, BLUE, "o"), (3, ORANGE, "s"), (4, GREEN, "^")):
                chosen = [row for row in rows if len(row["widths"]) == layers + 1]
                x = [row["truth"] for row in chosen if row[method] is not None]
                y = [row[method] for row in chosen if row[method] is not None]
                ax.plot(x, y, marker, color=color, ms=4, mfc="none", label=f"{layers} layers")
                lost = [row["truth"] for row in chosen if row[method] is None]
                ax.plot(lost, [low * 1.3] * len(lost), "x", color=color, ms=4)
            ax.set_xscale("log")
            ax.set_yscale("log")
            ax.set_xlim(low, high)
            ax.set_ylim(low, top)
            name, what = LABELS[method].split(", ")
            facts = summary[method]
            error = facts["median_abs_relative_error"]
            median = "" if error is None else f"median error {100 * error:.1f}%"
            lost = f"{facts['failed']} diverged (×)" if facts["failed"] else ""
            ax.set_title(f"{name}\n{what}\n{', '.join(filter(None, (median, lost)))}")
        for ax in (axes[0], axes[3], axes[4]):
            ax.set_xlabel("True learning coefficient λ")
            ax.tick_params(labelbottom=True)
        axes[0].set_ylabel("Estimated LLC")
        axes[3].set_ylabel("Estimated LLC")
        axes[3].tick_params(labelleft=True)
        legend = axes[5]
        legend.set_axis_off()
        legend.legend(
            *axes[0].get_legend_handles_labels(), loc="center left", title="Deep linear networks", title_fontsize=7
        )
        sns.despine(panels)
    return panels

"""Do the intervals and tests that link the LLC to the circuit hold what they say? Curves with planted answers.

Usage: python analyses/linking_calibration.py [--share 1.0] [--out analyses/results]

Decided before the run: intervals of 95% should cover the planted onset, middle and end, and the planted mean lag, in 90
to 98% of at least 1,000 draws; the lag test should reject a lag of 0 in 4 to 6.5% of 2,000 draws. What lies between
sparse checkpoints, where no data can tell it, may be covered more often. Synthetic curves: `linking_synthetic`. Writes
linking_calibration.json and a figure of the power; --share makes every number of draws smaller.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from linking_synthetic import accuracy_curves, checkpoints, coupled_increments, llc_curves
from matplotlib.figure import Figure
from runs_below import picture

from slt_grok.change import find_change, start_of_change
from slt_grok.plots.palette import BLUE, GRAY, GREEN, ORANGE
from slt_grok.plots.style import WIDTH, panel_letters, styled
from slt_grok.rules import ACCURACY, SHRINKING
from slt_grok.store.files import write_json
from slt_grok.studies.provenance import environment
from slt_grok.transitions import sigmoid
from slt_grok.transitions.association import block, pairing, remainders
from slt_grok.transitions.estimators import cut, is_change
from slt_grok.transitions.lag_test import lag_of
from slt_grok.transitions.prediction import compare, held_out

NAME = "linking_calibration"
EVENTS = ("onset", "middle", "end")
# name -> (checkpoints, spacing, least and largest width, share of the draws)
CURVES: dict[str, tuple[int, str, float, float]] = {
    "25 checkpoints, logarithmic": (25, "log", 0.1, 0.4),
    "30 checkpoints, half linear": (30, "linear", 0.1, 0.4),
    "60 checkpoints, half linear": (60, "linear", 0.06, 0.4),
    "25 checkpoints, jump between two of them": (25, "log", 0.02, 0.04),
}
SEEDS = (5, 10, 20)
# name -> (checkpoints of the LLC, scatter of the event over seeds, least and largest width, lags, pool for 2,000 draws)
LAG_CASES: dict[str, tuple[int, float, tuple[float, float], tuple[float, ...], int]] = {
    "30 checkpoints": (30, 0.25, (0.1, 0.4), (0.0, 0.05, 0.1, 0.15, 0.2, 0.3), 10_000),
    "14 checkpoints, jump between two of them": (14, 0.1, (0.02, 0.04), (0.0, 0.5, 1.0, 1.5, 2.0), 2_000),
}
LAG_SCATTER = 0.15
COUPLINGS = (0.0, 0.05, 0.1, 0.2, 0.4)


def draw_llc(
    x: np.ndarray, middle: np.ndarray, widths: tuple[float, float], size: float, generator: np.random.Generator
) -> Any:
    """LLC curves with random widths, asymmetries of 1/2 to 2 and noise of 1 to 5%."""
    n = len(middle)
    width = np.exp(generator.uniform(np.log(widths[0]), np.log(widths[1]), n))
    asymmetry = 2 ** generator.uniform(-1, 1, n)
    return llc_curves(x, middle, width, asymmetry, generator.uniform(0.01, 0.05, n), size, generator)


def fit_llc(x: np.ndarray, values: np.ndarray, se: np.ndarray, draws: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws of the events of LLC curves (C, 3, K), and which have a change (C,), as `by_estimator` finds them."""
    firsts = np.array([start_of_change(-v, e, SHRINKING) for v, e in zip(values, se, strict=True)])
    used = np.arange(len(x)) >= firsts[:, None]
    enough = used.sum(1) >= 5
    used[~enough] = True
    found = sigmoid.fit(x, -values, se, used, draws, seed)
    return found.events, is_change(found, SHRINKING) & enough


def coverage(count: int, generator: np.random.Generator) -> dict[str, Any]:
    """Coverage of the 95% intervals and median error of each estimator; how often one finds a drop where none is."""
    table: dict[str, Any] = {}
    for name, (number, spacing, narrow, wide) in CURVES.items():
        steps = checkpoints(number, spacing)
        x = np.log1p(steps)
        curves = draw_llc(x, generator.uniform(6.5, 8.8, count), (narrow, wide), 110, generator)
        rows: dict[str, Any] = {}
        draws, found = fit_llc(x, curves.values, curves.se, 200, 1)
        intervals = {
            "sigmoid": np.where(
                found[:, None, None], np.percentile(draws, (2.5, 50, 97.5), axis=2).transpose(1, 2, 0), np.nan
            )
        }
        others = np.full((2, count, 3, 3), np.nan)
        for i, (values, se) in enumerate(zip(curves.values, curves.se, strict=True)):
            crossing = find_change(steps, values, SHRINKING, se, 100, i)
            others[0, i] = np.log1p([[c.low, c.step, c.high] for c in crossing.values()])
            y, noise = -values, se
            first = start_of_change(y, noise, SHRINKING)
            cuts = (
                cut(x[first:], y[first:], noise[first:], SHRINKING, 50, np.random.SeedSequence(i))
                if len(y) - first >= 5
                else None
            )
            if cuts is not None:
                others[1, i] = np.percentile(cuts, (2.5, 50, 97.5), axis=1).T
        intervals |= {"crossing": others[0], "change_point": others[1]}
        for estimator, one in intervals.items():
            there = np.isfinite(one).all((1, 2))
            low, middle, high = one[there].transpose(2, 0, 1)
            truth = curves.events[there]
            rows[estimator] = {
                "found": float(there.mean()),
                "coverage": dict(zip(EVENTS, ((low <= truth) & (truth <= high)).mean(0).tolist(), strict=True)),
                "median_length": dict(zip(EVENTS, np.median(high - low, axis=0).tolist(), strict=True)),
                "median_absolute_error": dict(
                    zip(EVENTS, np.median(abs(middle - truth), axis=0).tolist(), strict=True)
                ),
            }
        flat = draw_llc(x, generator.uniform(6.5, 8.8, count), (narrow, wide), 0, generator)
        of_flat = [start_of_change(-v, e, SHRINKING) for v, e in zip(flat.values, flat.se, strict=True)]
        false = {
            "sigmoid": fit_llc(x, flat.values, flat.se, 10, 2)[1],
            "crossing": [
                np.isfinite(find_change(steps, v, SHRINKING, e, 1)["middle"].step)
                for v, e in zip(flat.values, flat.se, strict=True)
            ],
            "change_point": [
                len(x) - first >= 5
                and cut(x[first:], -v[first:], e[first:], SHRINKING, 1, np.random.SeedSequence(0)) is not None
                for v, e, first in zip(flat.values, flat.se, of_flat, strict=True)
            ],
        }
        table[name] = {
            "draws": count,
            "estimators": rows,
            "found_without_a_drop": {k: float(np.mean(v)) for k, v in false.items()},
        }
    return table


def pool(
    seeds: int, number: int, scatter: float, widths: tuple[float, float], generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, int]:
    """Draws of the middles of test accuracy and LLC of many seeds whose lag is 0 on average, (S, K) each.

    And how many more seeds there were, in which one of them was not found.
    """
    often, seldom = (np.log1p(checkpoints(n, "linear")) for n in (60, number))
    middle = 7.8 + scatter * generator.standard_normal(seeds)
    lag = LAG_SCATTER * generator.standard_normal(seeds)
    accuracy = accuracy_curves(often, middle, np.exp(generator.uniform(np.log(0.05), np.log(0.2), seeds)), generator)
    llc = draw_llc(seldom, middle + lag - lag.mean(), widths, 110, generator)
    first = sigmoid.fit(often, accuracy, None, np.ones(accuracy.shape, bool), 100, 3)
    second, found = fit_llc(seldom, llc.values, llc.se, 100, 4)
    kept = found & is_change(first, ACCURACY)
    return first.events[kept, 1], second[kept, 1], int((~kept).sum())


def lag_test(count: int, generator: np.random.Generator) -> dict[str, Any]:
    """False-positive rate, coverage and power of the lag test over experiments of some seeds each."""
    table: dict[str, Any] = {}
    for name, (number, scatter, widths, lags, seeds_drawn) in LAG_CASES.items():
        first, second, missing = pool(max(seeds_drawn * count // 2000, 100), number, scatter, widths, generator)
        table[name] = {"pool": len(first), "not_found": missing, "seeds": {}}
        for seeds in SEEDS:
            experiments = [generator.choice(len(first), seeds, replace=False) for _ in range(count)]
            found = [lag_of(second[e], first[e]) for e in experiments]
            low, high = np.array([(f.low, f.high) for f in found]).T
            row = {
                "draws": count,
                "false_positive_rate": float(np.mean([f.p_value <= 0.05 for f in found])),
                "coverage": float(((low <= 0) & (high >= 0)).mean()),
                "shared_error": float(np.mean([f.shared for f in found])),
                "median_length": float(np.median(high - low)),
            }
            tried = experiments[: count // 2]
            row["power"] = {
                str(lag): float(np.mean([lag_of(second[e] + lag, first[e]).p_value <= 0.05 for e in tried]))
                for lag in lags
            }
            table[name]["seeds"][str(seeds)] = row
    return table


def association(count: int, generator: np.random.Generator) -> dict[str, Any]:
    """How often each null is rejected, by coupling, number of seeds and shared trend."""
    table: dict[str, Any] = {}
    for trend in ("shared", "own", "none"):
        table[trend] = {}
        for seeds in SEEDS:
            rates: dict[str, Any] = {"pairing": {}, "block": {}, "draws": {}}
            for coupling in COUPLINGS if trend == "shared" else COUPLINGS[:1]:
                number = count if coupling == 0 else count // 4
                data = coupled_increments(number, seeds, 40, coupling, trend, generator)
                by_pairs = [
                    pairing(*one, 400, i)[1]
                    for i, one in enumerate(zip(data.llc, data.circuit, data.covariates, strict=True))
                ]
                pairs = zip(
                    remainders(data.llc, data.covariates), remainders(data.circuit, data.covariates), strict=True
                )
                in_blocks = [block(a, b, 200, i) for i, (a, b) in zip(range(number // 4), pairs, strict=False)]
                rates["pairing"][str(coupling)] = float(np.mean(np.array(by_pairs) <= 0.05))
                rates["block"][str(coupling)] = float(np.mean(np.array(in_blocks) <= 0.05))
                rates["draws"][str(coupling)] = [number, number // 4]
            table[trend][str(seeds)] = rates
    return table


def prediction(count: int, generator: np.random.Generator) -> dict[str, Any]:
    """Coverage of the interval of the difference in error, whose truth is its mean over all draws."""
    table = {}
    for seeds in (5,):
        found = []
        for _ in range(count):
            data = coupled_increments(1, seeds, 30, 0.3, "own", generator)
            llc, circuit, norm = (one[0].cumsum(-1) for one in (data.llc, data.circuit, data.covariates[:, :, 1]))
            errors = [((held_out(llc, one[..., None]) - llc) ** 2).mean(1) ** 0.5 for one in (circuit, norm)]
            found.append(compare(*errors))
        mean, low, high = np.array(found).T
        table[str(seeds)] = {"draws": count, "coverage": float(((low <= mean.mean()) & (mean.mean() <= high)).mean())}
    return table


@styled
def figure(lags: dict[str, Any], associations: dict[str, Any]) -> Figure:
    """Power of the lag test by lag, and of the association's nulls by coupling."""
    fig = Figure(figsize=(WIDTH, 2.6), layout="constrained")
    panels = fig.subplots(1, 3)
    looks = {5: (BLUE, "o", "-"), 10: (ORANGE, "s", "--"), 20: (GREEN, "^", ":")}
    for axes, (name, table) in zip(panels[:2], lags.items(), strict=True):
        for seeds, (color, marker, line) in looks.items():
            row = table["seeds"][str(seeds)]
            rates = np.array(list(row["power"].values()))
            draw_rates(
                axes,
                [float(lag) for lag in row["power"]],
                rates,
                row["draws"] // 2,
                color,
                marker,
                line,
                f"{seeds} seeds",
            )
        axes.set(
            xlabel="Planted lag (log step)",
            ylabel="Share of draws with p ≤ 0.05",
            title=f"LLC at {name}".replace(", ", ",\n"),
        )
    axes = panels[2]
    for seeds, (color, marker, line) in looks.items():
        row = associations["shared"][str(seeds)]
        rates = np.array(list(row["pairing"].values()))
        number = np.array([draws for draws, _ in row["draws"].values()])
        draw_rates(axes, COUPLINGS, rates, number, color, marker, line, f"{seeds} seeds")
    axes.set(xlabel="Planted coupling (share)", title="Association,\nnull by pairing")
    for axes in panels:
        axes.axhline(0.05, color=GRAY, lw=0.8, ls=(0, (1, 2)))
        axes.set_ylim(0, 1.02)
        axes.spines[["top", "right"]].set_visible(False)
    panels[2].legend(loc="lower right")
    panel_letters(list(panels), (-30, 8))
    return fig


def draw_rates(
    axes: Any, x: Any, rates: np.ndarray, number: Any, color: str, marker: str, line: str, label: str
) -> None:
    """Rates with their 95% band."""
    error = 1.96 * np.sqrt(rates * (1 - rates) / number)
    axes.plot(x, rates, color=color, marker=marker, ls=line, ms=3.5, label=label)
    axes.fill_between(x, rates - error, rates + error, color=color, alpha=0.2, lw=0)


def main() -> None:
    """Run the parts, print them, write them."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    results: dict[str, Any] = {}
    for index, (part, count) in enumerate(
        {coverage: 1000, lag_test: 2000, association: 1000, prediction: 1000}.items()
    ):
        start = time.process_time()
        results[part.__name__] = part(max(int(count * arguments.share), 20), np.random.default_rng([7, index]))
        results[part.__name__ + "_cpu_seconds"] = round(time.process_time() - start, 1)
        print(part.__name__, results[part.__name__ + "_cpu_seconds"], "s", flush=True)
    share = [] if arguments.share == 1 else ["--share", str(arguments.share)]
    command = " ".join(["python", f"analyses/{NAME}.py", *share])
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_json(arguments.out / f"{NAME}.json", {"command": command, "environment": environment(), **results})
    picture(figure(results["lag_test"], results["association"]), arguments.out, NAME)


if __name__ == "__main__":
    sys.exit(main())

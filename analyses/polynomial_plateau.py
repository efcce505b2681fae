"""The plateau of polynomial regression in 2512.00686: 3.9 at degree 100, where the learning coefficient is 50.5.

Least squares with the monomials 1, x, ..., x^degree on 500 points uniform on [-1, 1], mean squared error, n_beta =
n / log n = 80.5 and gamma = 1. The plateau is what the localized posterior gives at that n_beta, whatever samples it:
1/2 sum n_beta h / (n_beta h + gamma), since the eigenvalues h of the Hessian fall off geometrically. Plain SGLD returns
it, with its step's bias. n = 500 and the error without a half are inferred from the published n_beta and value; over
draws of the points the closed form at degree 100 varies by some 0.1, so that a third equal digit is chance.

The default estimate chooses a larger n_beta, and says what it cannot see: in float64 the spectrum runs down to
rounding. Rational arithmetic shows that the rank is degree + 1. Writes analyses/results/polynomial_plateau.json and its
figure; some minutes on one core.

Usage: python analyses/polynomial_plateau.py
"""

import math
import time
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from rich.console import Console
from runs_below import RESULTS, picture
from sympy import QQ
from sympy.polys.matrices import DomainMatrix
from torch import Tensor

from slt_grok.llc import SGLD, estimate, exact
from slt_grok.plots.palette import BLUE, ORANGE, VERMILION
from slt_grok.plots.style import WIDTH, styled
from slt_grok.store.files import write_json
from slt_grok.studies.provenance import environment
from slt_grok.zoo.least_squares import LinearModel

SAMPLES, GAMMA, SEED = 500, 1.0, 0
N_BETA = SAMPLES / math.log(SAMPLES)
PUBLISHED = 3.90  # at degree 100
STEP, BURN_IN, DRAWS, CHAINS = 5e-4, 5000, 5000, 64
DEGREES = range(1, 101)
SGLD_DEGREES = (1, 2, 5, 9, 20, 50, 100)
DEFAULT_DEGREES = (1, 2, 5, 9, 20, 100)


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """|f(x) - y|^2 of each sample, without the half."""
    return (outputs - targets).square().sum(1)


def problem(degree: int) -> tuple[LinearModel, tuple[Tensor, Tensor]]:
    """Return the regression at its minimum, with its data."""
    x = np.random.default_rng(SEED).uniform(-1, 1, SAMPLES)
    features = torch.from_numpy(np.vander(x, degree + 1, increasing=True))
    w = torch.randn(degree + 1, generator=torch.Generator().manual_seed(SEED), dtype=torch.float64)
    module = LinearModel(w)
    return module, (features, module(features).detach())


def hessian_eigenvalues(degree: int) -> np.ndarray:
    """Of the mean squared error, in float64, rounding below 0 taken as 0."""
    features = problem(degree)[1][0].numpy()
    return np.linalg.eigvalsh(2 * features.T @ features / SAMPLES).clip(0)


def gram(degree: int) -> list[list[Fraction]]:
    """E[x^i x^j] of the monomials, x uniform on [-1, 1]: 1 / (i + j + 1), or 0 if i + j is odd."""
    powers = range(degree + 1)
    return [[Fraction((i + j + 1) % 2, i + j + 1) for j in powers] for i in powers]


def exact_rank(degree: int) -> int:
    """Rank of the Gram matrix in rational arithmetic."""
    rows = [[QQ(entry.numerator, entry.denominator) for entry in row] for row in gram(degree)]
    return DomainMatrix(rows, (degree + 1, degree + 1), QQ).rank()


def at_degree(degree: int) -> dict[str, Any]:
    """Truth and closed forms."""
    h = hessian_eigenvalues(degree)
    return {
        "degree": degree,
        "truth": exact.polynomial(degree).value,
        "closed_form": exact.quadratic(h, N_BETA, GAMMA),
        "float64_rank": int(np.linalg.matrix_rank(np.array(gram(degree), dtype=float))),
    }


def sampled(degree: int) -> dict[str, Any]:
    """Plain SGLD at the conventional n_beta and gamma, next to its closed form."""
    module, data = problem(degree)
    settings = {"n_beta": N_BETA, "gamma": GAMMA, "burn_in": BURN_IN, "draws": DRAWS, "chains": CHAINS}
    found = estimate(module, data, loss=squared_error, sampler=SGLD(STEP), **settings)
    return {
        "degree": degree,
        "truth": exact.polynomial(degree).value,
        "closed_form_of_this_step": exact.quadratic_sgld(hessian_eigenvalues(degree), N_BETA, GAMMA, STEP),
        "llc": found.llc.item(),
        "llc_se": found.llc_se.item(),
        "status": found.llc_status.item(),
    }


def default(degree: int) -> dict[str, Any]:
    """Return the estimate without settings."""
    module, data = problem(degree)
    found = estimate(module, data, loss=squared_error, max_seconds=None)
    return {
        "degree": degree,
        "truth": exact.polynomial(degree).value,
        **{name: found[name].item() for name in ("llc", "llc_se", "llc_low", "llc_high")},
        "status": found.llc_status.item(),
        "reason": found.llc_status_reason.item(),
        "n_beta": found.attrs["n_beta"],
        "gamma": found.attrs["gamma"],
    }


@styled
def draw(found: dict[str, Any]) -> Figure:
    """LLC over the degree: truth, closed form, SGLD, default estimate."""
    figure = Figure(figsize=(0.62 * WIDTH, 2.9), layout="constrained")
    axes = figure.subplots()
    by_degree = found["by_degree"]
    degrees = [row["degree"] for row in by_degree]
    axes.plot(degrees, [row["truth"] for row in by_degree], color="0.3", label="learning coefficient (degree + 1) / 2")
    axes.plot(
        degrees, [row["closed_form"] for row in by_degree], color=BLUE, label="closed form at n_beta 80.5, gamma 1"
    )
    axes.plot(100, PUBLISHED, "x", color="0.3", ms=6, mew=1.4, zorder=5, label="2512.00686")
    plain = found["sgld"]
    errors = [1.96 * row["llc_se"] for row in plain]
    sgld = {"fmt": "s", "ms": 4, "color": ORANGE, "label": "SGLD at this setting, 95% interval"}
    axes.errorbar([row["degree"] for row in plain], [row["llc"] for row in plain], errors, **sgld)
    for converged, face in ((True, VERMILION), (False, "none")):
        mine = [row for row in found["default"] if (row["status"] == "converged") == converged]
        values = np.array([[row["llc_low"], row["llc"], row["llc_high"]] for row in mine]).reshape(-1, 3).T
        axes.errorbar(
            [row["degree"] for row in mine],
            values[1],
            [values[1] - values[0], values[2] - values[1]],
            fmt="o",
            ms=4,
            color=VERMILION,
            mfc=face,
            label="default estimate, " + ("converged" if converged else "not converged (likely low)"),
        )
    axes.set(xscale="log", yscale="log", xlabel="Degree of the polynomial", ylabel="LLC")
    for axis, ticks in ((axes.xaxis, [1, 2, 5, 10, 20, 50, 100]), (axes.yaxis, [1, 2, 5, 10, 20, 50])):
        axis.set_ticks(ticks, [str(tick) for tick in ticks])
        axis.set_ticks([], minor=True)
    axes.legend(loc="upper left")
    return figure


def main() -> None:
    """Measure, print, write."""
    torch.set_num_threads(1)
    start, console = time.monotonic(), Console(highlight=False, soft_wrap=True)
    rank = exact_rank(100)
    found: dict[str, Any] = {"by_degree": [at_degree(degree) for degree in DEGREES]}
    last = found["by_degree"][-1]
    console.print(
        f"degree 100: closed form {last['closed_form']:.3f} at n_beta {N_BETA:.1f}, gamma {GAMMA:.0f}; "
        f"exact rank {rank}, so that the learning coefficient is {rank / 2}; float64 sees rank {last['float64_rank']}"
    )
    found["sgld"] = [sampled(degree) for degree in SGLD_DEGREES]
    for row in found["sgld"]:
        console.print(
            f"SGLD, degree {row['degree']}: {row['llc']:.3f} +- {row['llc_se']:.3f}, closed form of its step "
            f"{row['closed_form_of_this_step']:.3f}, truth {row['truth']}"
        )
    found["default"] = [default(degree) for degree in DEFAULT_DEGREES]
    for row in found["default"]:
        console.print(
            f"default, degree {row['degree']}: {row['llc']:.3f} ({row['llc_low']:.3f} to {row['llc_high']:.3f}), truth "
            f"{row['truth']}: {row['status']}: {row['reason']}"
        )
    summary = {
        "command": "python analyses/polynomial_plateau.py",
        "exact_rank_at_degree_100": rank,
        "truth_at_degree_100": rank / 2,
        "closed_form_at_degree_100": last["closed_form"],
        "sgld_at_degree_100": found["sgld"][-1]["llc"],
        "default_at_degree_100": found["default"][-1]["llc"],
        "default_status_at_degree_100": found["default"][-1]["status"],
        "float64_rank_at_degree_100": last["float64_rank"],
        "wall_seconds": round(time.monotonic() - start, 1),
        "environment": environment(),
    }
    write_json(RESULTS / "polynomial_plateau.json", {"summary": summary, **found})
    picture(draw(found), RESULTS, "polynomial_plateau")


if __name__ == "__main__":
    main()

"""Which phase has the larger marginal likelihood, and whether n L + lambda log n says so.

Usage: python analyses/marginal_likelihood.py RUN... [--out FOLDER]
Of every seed with both phases (`slt_grok.transitions.free_energy`) the log marginal likelihood of both is integrated
over tempered chains (`slt_grok.llc.marginal_likelihood`), in the window N(w*, 1/gamma) of the run's own gamma. Writes
marginal_likelihood.json and the tempering of each run's first seed into results/.

What is compared is the difference of the two phases, generalizing minus memorizing, in nats: above 0 the posterior
prefers the generalizing phase, though training was in the other one first. The interval is 95% over seeds, or of a
single seed over its chains. The formula agrees with the integral where its difference lies in that interval, which
errors of quadrature do not widen. It disagrees, and a phase is preferred, where that holds even with the errors of
quadrature of both phases added at each end; otherwise it is undecided.
"""

import time
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from figures.energies import tempering
from free_energy import of_run
from rich.console import Console
from runs_below import below_runs, command_line, llc_settings, picture, plain
from scipy.stats import t as student

import slt_grok
from slt_grok.errors import SltGrokError
from slt_grok.llc.marginal_likelihood import marginal_likelihood
from slt_grok.progress import progress
from slt_grok.store import RunDirectory
from slt_grok.store.files import write_json
from slt_grok.studies.provenance import environment
from slt_grok.trajectories import Trajectory
from slt_grok.transitions.free_energy import PHASES

TEMPERATURES, CHAINS, UPDATES = 20, 4, 400
MOST_GRADIENTS = len(PHASES) * (
    (TEMPERATURES + 1) * CHAINS * UPDATES + 12_000
)  # of the chains, and of the pilots that find their steps
NUMBERS = (
    "log_marginal_likelihood",
    "log_marginal_likelihood_se",
    "log_marginal_likelihood_quadrature",
    "log_marginal_likelihood_bar",
    "marginal_likelihood_status",
)


def with_both(path: Path) -> tuple[xr.Dataset, float]:
    """Return the phases of those of a run's seeds that have both, and the run's gamma."""
    run = RunDirectory(path)
    both = of_run(run).dropna("seed", subset=["llc"])
    if not both.sizes["seed"]:
        raise SltGrokError(f"{path}: expected a seed that memorizes and then generalizes, none does")
    return both, float(run.read_measurement("llc").attrs["gamma"])


def of_seed(networks: Trajectory, both: xr.Dataset, gamma: float) -> tuple[xr.Dataset, dict[str, Any]]:
    """Return the marginal likelihood of both phases of a seed, and its numbers next to those of the formula."""
    seed, steps = int(both.seed), both.phase_step.values.astype(int).tolist()
    all_steps, all_seeds = (networks.coords[dim].tolist() for dim in ("step", "seed"))
    place = {"step": [all_steps.index(step) for step in steps], "seed": all_seeds.index(seed)}
    start = time.process_time()
    with progress(f"marginal likelihood, seed {seed}", MOST_GRADIENTS, "gradients at most") as on_progress:
        measured = marginal_likelihood(
            networks.isel(**place),
            gamma=gamma,
            temperatures=TEMPERATURES,
            chains=CHAINS,
            updates=UPDATES,
            on_progress=on_progress,
        )
    n = both.attrs["n"]
    formula = -(n * both.phase_loss + both.llc * np.log(n))
    rows = {
        phase: {"step": step}
        | {name: measured[name].values.ravel()[i].item() for name in NUMBERS}
        | {"minus_n_L_plus_lambda_log_n": float(formula.sel(phase=phase))}
        for i, (phase, step) in enumerate(zip(PHASES, steps, strict=True))
    }
    return measured, {"seed": seed, "core_seconds": round(time.process_time() - start, 1), "phases": rows}


def differences(seeds: list[dict[str, Any]]) -> dict[str, Any]:
    """Generalizing minus memorizing, in nats, with the interval of this file's docstring."""

    def over(name: str) -> np.ndarray:
        memorizing, generalizing = (np.array([one["phases"][phase][name] for one in seeds]) for phase in PHASES)
        return generalizing - memorizing

    integrated, formula = over("log_marginal_likelihood"), over("minus_n_L_plus_lambda_log_n")
    if len(seeds) > 1:
        error = student.ppf(0.975, len(seeds) - 1) * integrated.std(ddof=1) / len(seeds) ** 0.5
    else:
        error = 1.96 * np.hypot(*(seeds[0]["phases"][phase]["log_marginal_likelihood_se"] for phase in PHASES))
    quadrature = float(
        np.mean([sum(one["phases"][phase]["log_marginal_likelihood_quadrature"] for phase in PHASES) for one in seeds])
    )
    value, distance = float(integrated.mean()), abs(formula.mean() - integrated.mean())
    low, high = value - error, value + error
    return {
        "seeds": len(seeds),
        "integrated": [value, float(low), float(high)],
        "quadrature": quadrature,
        "formula": float(formula.mean()),
        "preferred": "generalizing" if low > quadrature else "memorizing" if high < -quadrature else "undecided",
        "formula_agrees": True if distance <= error else False if distance > error + quadrature else None,
    }


def main(paths: list[Path], out: Path) -> None:
    """Read, integrate, draw, write."""
    console, runs = Console(width=150, highlight=False, soft_wrap=True), {}
    for number, path in enumerate(paths):
        (both, gamma), networks, rows = with_both(path), slt_grok.trajectory(path), []
        for place in range(both.sizes["seed"]):
            measured, row = of_seed(networks, both.isel(seed=place), gamma)
            rows.append(row)
            told = (
                f"{phase} {one['log_marginal_likelihood']:.1f} ({one['marginal_likelihood_status']})"
                for phase, one in row["phases"].items()
            )
            console.print(
                f"{path}, seed {row['seed']}: log marginal likelihood {', '.join(told)}, "
                f"{row['core_seconds']:.0f} core-seconds"
            )
            if not place:
                names = [f"{phase}, step {one['step']:,}" for phase, one in row["phases"].items()]
                suffix = f"_{number + 1}" if number else ""
                picture(tempering(measured, names), out, f"marginal_likelihood{suffix}")
        found = differences(rows)
        runs[below_runs(path)] = {"gamma": gamma, "difference": found, "seeds": rows}
        value, low, high = found["integrated"]
        console.print(
            f"{path}: generalizing minus memorizing {value:.1f} nats ({low:.1f} to {high:.1f}), by the formula "
            f"{found['formula']:.1f}: the posterior's phase is {found['preferred']}"
        )
    command = " ".join(["python analyses/marginal_likelihood.py", *map(below_runs, paths)])
    content = {"command": command, "llc_settings": llc_settings(paths), "runs": runs, "environment": environment()}
    write_json(out / "marginal_likelihood.json", plain(content))


if __name__ == "__main__":
    command_line(main, __doc__)

"""Whether free energy says when a network generalizes, and whether training chooses its lower phase.

Usage: python analyses/free_energy.py [--out FOLDER] PATH ...
A PATH is a study's directory or a run directory. Writes free_energy.json and figures into results/.

Decision rules: those of `slt_grok.transitions.fraction_crossing`.
"""

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from figures.energies import free_energies
from rich.console import Console
from runs_below import below_runs, command_line, config_of, grouped, llc_settings, picture, plain, runs_below

from slt_grok.errors import SltGrokError
from slt_grok.store import RunDirectory
from slt_grok.store.files import write_json
from slt_grok.studies.provenance import environment
from slt_grok.transitions.fraction_crossing import (
    against_training,
    compare,
    observed_crossing,
    predicted_fitted,
    predicted_measured,
)
from slt_grok.transitions.free_energy import PHASES, at_fractions, free_energy, phases

NUMBERS = ("mean_free_energy", "mean_free_energy_low", "mean_free_energy_high", "seeds_with")
DIFFERENCES = ("mean_difference", "mean_difference_low", "mean_difference_high", "seeds_with_both")


def of_run(run: RunDirectory) -> xr.Dataset:
    """Return the phases of a run's seeds, by the run's own thresholds."""
    return phases(run.read_measurement("llc"), run.read_measurement("training"), **config_of(run)["transitions"])


def of_group(runs: list[RunDirectory]) -> xr.Dataset:
    """Free energies over train fractions, seeds of several runs at a fraction together."""
    by_fraction: dict[float, list[xr.Dataset]] = {}
    for run in runs:
        by_fraction.setdefault(config_of(run)["task"]["train_fraction"], []).append(of_run(run))
    joined = {}
    for fraction, pieces in by_fraction.items():
        seeds = [seed for piece in pieces for seed in piece.seed.values.tolist()]
        if len(set(seeds)) < len(seeds):
            raise SltGrokError(f"train fraction {fraction:g}: expected every seed once, got {sorted(seeds)}")
        joined[fraction] = xr.concat(pieces, "seed", combine_attrs="override")
    return free_energy(at_fractions(joined))


def content_of(energies: xr.Dataset) -> dict[str, Any]:
    """Return the results of a group of runs as plain data."""
    outcomes = energies.generalized.transpose("train_fraction", "seed").values
    at = np.broadcast_to(energies.train_fraction.values[:, None], outcomes.shape)
    known = np.isfinite(outcomes)
    observed = observed_crossing(at[known], outcomes[known])
    predictions = {"measured": predicted_measured(energies), "fitted": predicted_fitted(energies)}
    rows = []
    for one in (energies.isel(train_fraction=i) for i in range(energies.sizes["train_fraction"])):
        row: dict[str, Any] = {"train_fraction": float(one.train_fraction), "n": int(one.n)}
        row |= {phase: {name: float(one[name].sel(phase=phase)) for name in NUMBERS} for phase in PHASES}
        rows.append(row | {name: float(one[name]) for name in DIFFERENCES})
    return {
        "fractions": rows,
        "crossing_seen": observed._asdict(),
        "crossing_predicted": {name: crossing._asdict() for name, crossing in predictions.items()},
        "verdict": {
            name: dict(zip(("word", "reason"), compare(crossing, observed), strict=True))
            for name, crossing in predictions.items()
        },
        "training_against_posterior": against_training(energies).agreement_reason.values.tolist(),
        "notes": energies.attrs["notes"],
    }


def main(paths: list[Path], out: Path) -> None:
    """Read, compare, draw, write."""
    runs, notes = runs_below(paths)
    console = Console(width=150, highlight=False, soft_wrap=True)
    out.mkdir(parents=True, exist_ok=True)
    groups: dict[str, Any] = {}
    for number, (name, members) in enumerate(grouped(runs, ["train_fraction"]).items()):
        energies = of_group(members)
        groups[name] = content_of(energies)
        console.print(
            f"{name}: {groups[name]['verdict']['fitted']['word']}: {groups[name]['verdict']['fitted']['reason']}"
        )
        for sentence in (*groups[name]["training_against_posterior"], *groups[name]["notes"]):
            console.print(f"  {sentence}")
        if energies.sizes["train_fraction"] > 1:
            observed = tuple(groups[name]["crossing_seen"].values())[:3]
            predicted = tuple(groups[name]["crossing_predicted"]["fitted"].values())[:3]
            figure = free_energies(energies, against_training(energies), predicted, observed)
            picture(figure, out, "free_energy" if number == 0 else f"free_energy_{number + 1}")
    command = " ".join(["python analyses/free_energy.py", *map(below_runs, paths)])
    content = {"command": command, "llc_settings": llc_settings(paths), "groups": groups, "not_used": notes}
    write_json(out / "free_energy.json", plain(content | {"environment": environment()}))
    for sentence in notes:
        console.print(f"not used: {sentence}")


if __name__ == "__main__":
    command_line(main, __doc__, "PATH")

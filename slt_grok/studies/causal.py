"""The causal tests of a run's circuit at some of its checkpoints, each seed against its own memorising checkpoint."""

from typing import Any

import numpy as np
import xarray as xr

from slt_grok.progress import Report
from slt_grok.store import RunDirectory
from slt_grok.studies.milestones import milestones, spread
from slt_grok.studies.shards import measure_in_shards, of_some
from slt_grok.trajectories import Trajectory

MEMORISING_STEP = {
    "long_name": "step of the memorising network",
    "definition": "first checkpoint from memorisation on and before generalisation, by the thresholds of transitions",
    "source": "this package",
}


def measure_causal(
    run: RunDirectory, label: str, s: Any, trajectory: Trajectory, content: Any, report: Report
) -> xr.Dataset:
    """Effects and controls, see `slt_grok.circuits.causal`; `memorising_step` is the step of the memorising network."""
    from slt_grok import circuits
    from slt_grok.circuits import causal

    steps, seeds = trajectory.coords["step"], trajectory.coords["seed"].tolist()
    chosen = trajectory.isel(step=np.flatnonzero(np.isin(steps, spread(steps, s.checkpoints))).tolist())
    keys = circuits.key_frequencies(trajectory)
    memorised = [_memorising(run, steps, seed) for seed in seeds]

    def measure(shard: Trajectory, done: Any) -> xr.Dataset:
        networks: list[xr.Dataset] = []
        for i, place in enumerate(memorised):
            found = causal.measure(
                shard.isel(seed=[i]),
                keys.isel(seed=[i]),
                None if place is None else trajectory.isel(step=[place], seed=[i]),
                draws=s.draws,
                others=s.others,
                seed=s.seed,
                on_progress=lambda n, total, i=i: done((i + n / total) / len(memorised)),
            )
            at = [np.nan if place is None else float(steps[place])]
            networks.append(found.assign(memorising_step=("seed", at, MEMORISING_STEP)))
        return xr.concat(networks, "seed")

    return measure_in_shards(run, label, chosen, measure, content, size=2, on_progress=of_some(report, len(trajectory)))


def _memorising(run: RunDirectory, steps: np.ndarray, seed: int) -> int | None:
    """Place of the first checkpoint that has memorised and not yet generalised; None where there is none."""
    memorised, generalised = milestones(run, seed)
    between = np.flatnonzero((steps >= memorised) & ~(steps >= generalised))  # NaN: never
    return int(between[0]) if len(between) else None

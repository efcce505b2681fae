"""The causal tests of a run's circuit at some of its checkpoints, each seed against its own memorizing checkpoint."""

from typing import Any

import numpy as np
import xarray as xr

from slt_grok.progress import ProgressCallback
from slt_grok.store import RunDirectory
from slt_grok.studies.milestones import evenly_spaced, milestones
from slt_grok.studies.shards import measure_in_shards, of_some
from slt_grok.trajectories import Trajectory

MEMORIZING_STEP = {
    "long_name": "step of the memorizing network",
    "definition": "first checkpoint from memorization on and before generalization, by the thresholds of transitions",
    "source": "this package",
}


def measure_causal(
    run: RunDirectory, label: str, s: Any, trajectory: Trajectory, content: Any, report: ProgressCallback
) -> xr.Dataset:
    """Effects and controls, see `slt_grok.circuits.causal`; `memorizing_step` is the step of the memorizing network."""
    from slt_grok import circuits
    from slt_grok.circuits import causal

    steps, seeds = trajectory.coords["step"], trajectory.coords["seed"].tolist()
    chosen = trajectory.isel(step=np.flatnonzero(np.isin(steps, evenly_spaced(steps, s.checkpoints))).tolist())
    keys = circuits.key_frequencies(trajectory)
    memorized = [_memorizing(run, steps, seed) for seed in seeds]

    def measure(shard: Trajectory, done: Any) -> xr.Dataset:
        networks: list[xr.Dataset] = []
        for i, place in enumerate(memorized):
            found = causal.measure(
                shard.isel(seed=[i]),
                keys.isel(seed=[i]),
                None if place is None else trajectory.isel(step=[place], seed=[i]),
                draws=s.draws,
                others=s.others,
                seed=s.seed,
                on_progress=lambda n, total, i=i: done((i + n / total) / len(memorized)),
            )
            at = [np.nan if place is None else float(steps[place])]
            networks.append(found.assign(memorizing_step=("seed", at, MEMORIZING_STEP)))
        return xr.concat(networks, "seed")

    return measure_in_shards(run, label, chosen, measure, content, size=2, on_progress=of_some(report, len(trajectory)))


def _memorizing(run: RunDirectory, steps: np.ndarray, seed: int) -> int | None:
    """Place of the first checkpoint that has memorized and not yet generalized; None where there is none."""
    memorized, generalized = milestones(run, seed)
    between = np.flatnonzero((steps >= memorized) & ~(steps >= generalized))  # NaN: never
    return int(between[0]) if len(between) else None

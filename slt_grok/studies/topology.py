"""The topology of a run's clusters of neurons at some of its checkpoints, one by one."""

from typing import Any

import numpy as np
import xarray as xr

from slt_grok.progress import ProgressCallback
from slt_grok.store import RunDirectory
from slt_grok.studies.milestones import evenly_spaced
from slt_grok.studies.shards import measure_in_shards, of_some
from slt_grok.trajectories import Trajectory


def measure_topology(
    run: RunDirectory, label: str, s: Any, trajectory: Trajectory, content: Any, report: ProgressCallback
) -> xr.Dataset:
    """Betti numbers and persistence diagrams, see `slt_grok.circuits.topology`."""
    from slt_grok.circuits import topology

    steps = trajectory.coords["step"]
    chosen = trajectory.isel(step=np.flatnonzero(np.isin(steps, evenly_spaced(steps, s.checkpoints))).tolist())

    def measure(shard: Trajectory, done: Any) -> xr.Dataset:
        return topology.measure(shard, s.landmarks, s.threshold, lambda n, total: done(n / total))

    return measure_in_shards(run, label, chosen, measure, content, size=1, on_progress=of_some(report, len(trajectory)))

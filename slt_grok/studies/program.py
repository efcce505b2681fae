"""The programs of a run's networks and their lengths, at all checkpoints or at some of them."""

from typing import Any

import numpy as np
import xarray as xr

from slt_grok.progress import ProgressCallback
from slt_grok.store import RunDirectory
from slt_grok.studies.milestones import evenly_spaced
from slt_grok.studies.shards import measure_in_shards, of_some
from slt_grok.trajectories import Trajectory


def measure_program(
    run: RunDirectory, label: str, s: Any, trajectory: Trajectory, content: Any, report: ProgressCallback
) -> xr.Dataset:
    """See `slt_grok.program.measure`."""
    from slt_grok import program

    steps = trajectory.coords["step"]
    wanted = steps if s.checkpoints is None else evenly_spaced(steps, s.checkpoints)
    chosen = trajectory.isel(step=np.flatnonzero(np.isin(steps, wanted)).tolist())

    def measure(shard: Trajectory, done: Any) -> xr.Dataset:
        return program.measure(shard, lambda n, total: done(n / total))

    return measure_in_shards(run, label, chosen, measure, content, size=4, on_progress=of_some(report, len(trajectory)))

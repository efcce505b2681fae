"""A run's landscape: the default probes in two passes of shards, and the probes of some checkpoints by themselves."""

from typing import Any

import numpy as np
import xarray as xr

from slt_grok.progress import ProgressCallback, announce
from slt_grok.store import RunDirectory
from slt_grok.studies.milestones import evenly_spaced
from slt_grok.studies.shards import measure_in_shards
from slt_grok.trajectories import Trajectory

LINES = 0.1  # share of the bar that what lies between checkpoints takes


def measure_landscape(
    run: RunDirectory, label: str, s: Any, trajectory: Trajectory, content: Any, report: ProgressCallback
) -> xr.Dataset:
    """See `slt_grok.landscape.measure`; probes at checkpoints come in shards of their own, which need no neighbor."""
    from slt_grok import landscape
    from slt_grok.landscape.measurement import joined, probe_costs

    steps = trajectory.coords["step"]
    asked = len(steps) if s.probe_checkpoints is None else s.probe_checkpoints
    places = np.flatnonzero(np.isin(steps, evenly_spaced(steps, asked))).tolist()
    networks = len(trajectory)

    def between(shard: Trajectory, done: Any) -> xr.Dataset:
        return landscape.between_checkpoints(shard, seed=s.seed)

    lines = measure_in_shards(
        run, f"{label}/between", trajectory, between, content, size=8, overlap=1,
        on_progress=lambda done, among, facts: report(int(LINES * networks * done / among)),
    )  # fmt: skip
    if not places:
        return lines
    chosen = trajectory.isel(step=places)
    announce(label, "; ".join(str(cost) for cost in probe_costs(chosen, s.eigenvalues, s.radii)))

    def at(shard: Trajectory, done: Any) -> xr.Dataset:
        return landscape.at_checkpoints(
            shard, eigenvalues=s.eigenvalues, radii=s.radii, seed=s.seed, on_progress=lambda n, total: done(n / total)
        )

    around = measure_in_shards(
        run, f"{label}/at", chosen, at, content, size=4,
        on_progress=lambda done, among, facts: report(int(networks * (LINES + (1 - LINES) * done / among))),
    )  # fmt: skip
    return joined(lines, around)

"""Measurements in shards of a fixed number of checkpoints, so that a killed run loses at most one shard.

What a shard gives depends on its own checkpoints alone (and the one before them where a measurement asks for it), never
on which shards were measured before, so that a resumed run ends in the same values as one never killed.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

import xarray as xr

from slt_grok.errors import SltGrokError
from slt_grok.store import RunDirectory
from slt_grok.store.run_directory import read_dataset, write_dataset
from slt_grok.trajectories import Trajectory

Measure = Callable[[Trajectory, Callable[[float], None]], xr.Dataset]


def measure_in_shards(
    run: RunDirectory,
    label: str,
    trajectory: Trajectory,
    measure: Measure,
    settings: Mapping[str, Any],
    *,
    size: int,
    overlap: int = 0,
    on_progress: Callable[[float, int], None],
) -> xr.Dataset:
    """Measure a trajectory shard by shard, keeping each finished shard on disk until all are there.

    Parameters
    ----------
    run, label : where the shards are kept, in `state/LABEL/`.
    trajectory : over (step, seed).
    measure : (shard, fraction-done callback) -> dataset over the shard's coordinates.
    settings : shards made with others, left from an earlier attempt, are measured again.
    size, overlap : checkpoints a shard, and how many before it the measurement needs to see.
    on_progress : called with the checkpoints done, a fraction allowed, and their number.
    """
    total = trajectory.shape[0]
    fingerprint = json.dumps(settings, sort_keys=True, default=str)
    results = []
    for index, shard in enumerate(trajectory.shards(size, overlap)):
        path = run.state(label) / f"shard_{index:04d}.nc"
        before = min(overlap, index * size)
        done = index * size
        result = _finished(path, fingerprint)
        if result is None:
            count = shard.shape[0] - before
            result = measure(shard, lambda share, done=done, n=count: on_progress(done + share * n, total))
            result = result.isel(step=slice(before, None))
            write_dataset(path, result.assign_attrs(fingerprint=fingerprint))
        result.attrs.pop("fingerprint", None)
        results.append(result)
        on_progress(min(done + size, total), total)
    merged = xr.concat(results, dim="step", data_vars="minimal", coords="minimal", compat="override", join="exact")
    return merged.assign_attrs(results[0].attrs)


def _finished(path: Any, fingerprint: str) -> xr.Dataset | None:
    if not path.is_file():
        return None
    try:
        result = read_dataset(path)
    except SltGrokError:
        return None
    return result if result.attrs.get("fingerprint") == fingerprint else None

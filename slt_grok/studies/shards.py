"""Measurements in shards of a fixed number of checkpoints, so that a killed run loses at most one shard.

What a shard gives depends on its own checkpoints alone (and the one before them where a measurement asks for it), never
on which shards were measured before, so that a resumed run ends in the same values as one never killed.
"""

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import xarray as xr

from slt_grok.errors import SltGrokError
from slt_grok.processes import Report, run_parallel
from slt_grok.progress import ProgressCallback
from slt_grok.store import RunDirectory
from slt_grok.store.run_directory import read_dataset, write_dataset
from slt_grok.trajectories import Trajectory


class Done(Protocol):
    """Says how far a shard is."""

    def __call__(self, share: float, facts: str = "") -> None:
        """Report that this share of it is done, and these are the current facts."""


Measure = Callable[[Trajectory, Done], xr.Dataset]
OnProgress = Callable[[float, int, str], None]


def measure_in_shards(
    run: RunDirectory,
    label: str,
    trajectory: Trajectory,
    measure: Measure,
    settings: Mapping[str, Any],
    *,
    size: int,
    overlap: int = 0,
    here: bool = False,
    on_progress: OnProgress,
) -> xr.Dataset:
    """Measure a trajectory shard by shard, side by side, keeping each finished shard on disk until all are there.

    Parameters
    ----------
    run, label : RunDirectory, str
        Where the shards are kept, in `state/LABEL/`.
    trajectory : Trajectory
        Over (step, seed).
    measure : Measure
        (shard, progress callback) -> dataset over the shard's coordinates; it may run in a process of its own, so that
        nothing but what it returns and says comes back.
    settings : Mapping[str, Any]
        Shards made with others, left from an earlier attempt, are measured again.
    size, overlap : int
        Checkpoints a shard, and how many before it the measurement needs to see.
    here : bool, optional
        Measure in this process, one shard after the other.
    on_progress : OnProgress
        Called with the checkpoints done, a fraction allowed, their number, and facts.
    """
    total = trajectory.shape[0]
    fingerprint = json.dumps(settings, sort_keys=True, default=str)
    shards = list(trajectory.shards(size, overlap))
    paths = [run.state(label) / f"shard_{index:04d}.nc" for index in range(len(shards))]
    results = [_finished(path, fingerprint) for path in paths]
    missing = [index for index, result in enumerate(results) if result is None]
    before = [min(overlap, index * size) for index in range(len(shards))]
    done = [0.0 if result is None else shards[i].shape[0] - before[i] for i, result in enumerate(results)]

    def job(index: int, report: Report) -> xr.Dataset:
        result = measure(shards[index], lambda share, facts="": report((share, facts))).isel(
            step=slice(before[index], None)
        )
        write_dataset(paths[index], result.assign_attrs(fingerprint=fingerprint))
        return result

    latest = ""

    def on_job_progress(place: int, said: tuple[float, str]) -> None:
        nonlocal latest
        index, (share, latest) = missing[place], said
        done[index] = share * (shards[index].shape[0] - before[index])
        on_progress(sum(done), total, latest)

    on_progress(sum(done), total, latest)
    for place, result in run_parallel([partial(job, index) for index in missing], on_job_progress, 1 if here else None):
        results[missing[place]] = result
        on_job_progress(place, (1.0, latest))
    finished = [result for result in results if result is not None]
    for result in finished:
        result.attrs.pop("fingerprint", None)
    merged = xr.concat(finished, dim="step", data_vars="minimal", coords="minimal", compat="override", join="exact")
    return merged.assign_attrs(finished[0].attrs)


def of_some(report: ProgressCallback, networks: int) -> OnProgress:
    """Progress of a measurement at some checkpoints, told as a share of all networks of the run."""

    def on_progress(checkpoints: float, among: int, facts: str) -> None:
        report(int(checkpoints / among * networks), f"checkpoint {checkpoints:.1f} of {among}")

    return on_progress


def _finished(path: Path, fingerprint: str) -> xr.Dataset | None:
    if not path.is_file():
        return None
    try:
        result = read_dataset(path)
    except SltGrokError:
        return None
    return result if result.attrs.get("fingerprint") == fingerprint else None

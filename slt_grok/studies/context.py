"""The context that a run passes to its measurements, and shards that survive a kill.

The values of a shard depend only on its own checkpoints (and the preceding one, if a measurement asks for it), never
on which shards were measured earlier, so that a resumed run yields the same values as an uninterrupted one.
"""

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from slt_grok.errors import SltGrokError
from slt_grok.processes import run_parallel
from slt_grok.progress import ProgressCallback, announce
from slt_grok.store.datasets import read_dataset, write_dataset
from slt_grok.trajectories import Trajectory
from slt_grok.transitions.events import first_step_at
from slt_grok.transitions.measures import Curve

ShardMeasure = Callable[[Trajectory, ProgressCallback], xr.Dataset]


class RunContext:
    """The context of one measurement of a run; see `slt_grok.measurement.Context`.

    Parameters
    ----------
    run : Run
        The run.
    label : str
        Label of the measurement; finished shards are stored in `state/LABEL/`.
    config : RunConfig
        The configuration that the measurement's settings come from.
    settings : mapping
        The settings as plain data; shards stored with other settings by an earlier attempt are measured again.
    on_progress : callable
        Called with the completed fraction and a short status text.
    """

    def __init__(
        self, run: Any, label: str, config: Any, settings: Mapping[str, Any], on_progress: ProgressCallback
    ) -> None:
        self.run, self.label, self.config = run, label, config
        self.fingerprint = json.dumps(settings, sort_keys=True, default=str)
        self.on_progress = on_progress

    def data(self, label: str) -> xr.Dataset | None:
        """Get another dataset of the run, or None if there is none with that label."""
        return self.run.data.get(label)

    def milestones(self, seed: int) -> tuple[float, float]:
        """Get the steps at which a seed memorized and generalized; NaN if it did not."""
        return milestones(self.data("training"), self.run.config.transitions, seed)

    def announce(self, text: str) -> None:
        """Print a permanent line, such as the predicted cost of the work."""
        announce(self.label, text)

    def in_shards(
        self,
        trajectory: Trajectory,
        measure: ShardMeasure,
        size: int,
        *,
        overlap: int = 0,
        part: str = "",
        span: tuple[float, float] = (0.0, 1.0),
        local: bool = False,
    ) -> xr.Dataset:
        """Measure a few checkpoints at a time, in parallel; see `slt_grok.measurement.Context`."""
        total, shards = trajectory.shape[0], list(trajectory.shards(size, overlap))
        folder = self.run.directory.state(f"{self.label}/{part}" if part else self.label)
        paths = [folder / f"shard_{index:04d}.nc" for index in range(len(shards))]
        results = [_finished(path, self.fingerprint) for path in paths]
        missing = [index for index, result in enumerate(results) if result is None]
        before = [min(overlap, index * size) for index in range(len(shards))]
        sizes = [shard.shape[0] - cut for shard, cut in zip(shards, before, strict=True)]
        done = [0.0 if result is None else length for result, length in zip(results, sizes, strict=True)]
        latest = ""

        def job(index: int, report: Callable[[Any], None]) -> xr.Dataset:
            result = measure(shards[index], lambda fraction, note="": report((fraction, note)))
            result = result.isel(step=slice(before[index], None))
            write_dataset(paths[index], result.assign_attrs(fingerprint=self.fingerprint))
            return result

        def on_report(place: int, report: tuple[float, str]) -> None:
            nonlocal latest
            fraction, latest = report
            done[missing[place]] = fraction * sizes[missing[place]]
            start, end = span
            self.on_progress(start + (end - start) * sum(done) / total, latest)

        for place, result in run_parallel([partial(job, i) for i in missing], on_report, 1 if local else None):
            results[missing[place]] = result
            on_report(place, (1.0, latest))
        finished = [result for result in results if result is not None]
        for result in finished:
            result.attrs.pop("fingerprint", None)
        merged = xr.concat(finished, dim="step", data_vars="minimal", coords="minimal", compat="override", join="exact")
        return merged.assign_attrs(finished[0].attrs)


def milestones(training: xr.Dataset | None, thresholds: Any, seed: int) -> tuple[float, float]:
    """Find the first recorded steps at which a seed's train and test accuracy reach their thresholds, NaN if never."""
    if training is None:
        return np.nan, np.nan
    curves = training.sel(seed=seed).sortby("step")
    train, test = (Curve(curves.step.values, curves[f"{split}_accuracy"].values) for split in ("train", "test"))
    return first_step_at(train, thresholds.train_threshold), first_step_at(test, thresholds.test_threshold)


def _finished(path: Path, fingerprint: str) -> xr.Dataset | None:
    if not path.is_file():
        return None
    try:
        result = read_dataset(path)
    except SltGrokError:
        return None
    return result if result.attrs.get("fingerprint") == fingerprint else None

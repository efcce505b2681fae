"""What a measurement asks of its run: milestones, and shards that a resumed run reuses."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import xarray as xr

from slt_grok.config import TransitionsSettings
from slt_grok.models import build
from slt_grok.models.network import Network
from slt_grok.progress import ProgressCallback
from slt_grok.store import RunDirectory
from slt_grok.studies.context import RunContext, milestones
from slt_grok.tasks import ModularTask
from slt_grok.trajectories import Trajectory


def networks(steps: int) -> Trajectory:
    """`steps` checkpoints of two seeds; every weight is the number of the checkpoint."""
    network = Network(build("mlp", tokens=5, d_embed=2, d_mlp=3), ModularTask(5))
    values = torch.arange(steps, dtype=torch.float32)[:, None].expand(steps, 2)
    parameters = {k: values[(..., *[None] * len(s))].expand(steps, 2, *s).clone() for k, s in network.shapes.items()}
    return Trajectory(network, parameters, ("step", "seed"), {"step": 10 * np.arange(steps), "seed": np.arange(2)})


def context(path: Path, settings: dict[str, int], progress: list[float] | None = None) -> RunContext:
    run = SimpleNamespace(directory=RunDirectory(path), data={}, config=None)
    told = progress if progress is not None else []
    return RunContext(run, "weights", None, settings, lambda fraction, note="": told.append(fraction))


def first_weight(calls: list[list[int]]):
    def measure(shard: Trajectory, on_progress: ProgressCallback) -> xr.Dataset:
        calls.append(shard.coords["step"].tolist())
        on_progress(0.5, "half")
        return shard.dataset({"weight": ((), shard.stacked()["W_E"][:, 0, 0], {"units": "1"})})

    return measure


def test_shards_join_to_the_whole_and_are_measured_once(tmp_path: Path) -> None:
    trajectory, calls, progress = networks(5), list[list[int]](), list[float]()
    found = context(tmp_path, {"a": 1}, progress).in_shards(trajectory, first_weight(calls), 2, overlap=1, local=True)
    assert calls == [[0, 10], [10, 20, 30], [30, 40]]
    np.testing.assert_array_equal(found.weight, np.repeat(np.arange(5.0)[:, None], 2, 1))
    assert found.step.values.tolist() == [0, 10, 20, 30, 40]
    assert found.weight.attrs == {"units": "1"}
    assert "fingerprint" not in found.attrs
    assert progress == sorted(progress)
    assert progress[-1] == 1

    (tmp_path / "state" / "weights" / "shard_0001.nc").unlink()
    calls.clear()
    again = context(tmp_path, {"a": 1}).in_shards(trajectory, first_weight(calls), 2, overlap=1, local=True)
    assert calls == [[10, 20, 30]]
    xr.testing.assert_identical(found, again)


def test_shards_of_other_settings_are_measured_again(tmp_path: Path) -> None:
    trajectory, calls = networks(3), list[list[int]]()
    context(tmp_path, {"a": 1}).in_shards(trajectory, first_weight(calls), 2, local=True)
    context(tmp_path, {"a": 2}).in_shards(trajectory, first_weight(calls), 2, local=True)
    assert calls == [[0, 10], [20]] * 2


def test_parts_of_a_measurement_have_shards_and_a_stretch_of_the_progress_each(tmp_path: Path) -> None:
    trajectory, calls, progress = networks(2), list[list[int]](), list[float]()
    told = context(tmp_path, {}, progress)
    told.in_shards(trajectory, first_weight(calls), 2, part="first", span=(0.0, 0.25), local=True)
    assert max(progress) == 0.25
    told.in_shards(trajectory, first_weight(calls), 2, part="second", span=(0.25, 1.0), local=True)
    assert progress[-1] == 1
    assert {path.name for path in (tmp_path / "state" / "weights").iterdir()} == {"first", "second"}


@pytest.mark.parametrize(("memorized", "generalized"), [(100, 1000), (150, np.nan), (np.nan, np.nan)])
def test_milestones_are_the_first_steps_above_the_thresholds(memorized: float, generalized: float) -> None:
    step = np.arange(0, 5001, 10)
    curves = {
        "train_accuracy": (("step", "seed"), np.where(step[:, None] >= memorized, 1.0, 0.1)),
        "test_accuracy": (("step", "seed"), np.where(step[:, None] >= generalized, 1.0, 0.1)),
    }
    training = xr.Dataset(curves, {"step": step, "seed": [3]})
    np.testing.assert_array_equal(milestones(training, TransitionsSettings(), 3), [memorized, generalized])
    assert np.isnan(milestones(None, TransitionsSettings(), 3)).all()

"""Files are whole or absent, and a measurement keeps its settings."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from slt_grok.errors import SltGrokError
from slt_grok.store import RunDirectory, atomic, read_tensors
from slt_grok.store.datasets import read_dataset, write_dataset
from slt_grok.store.files import read_torch
from slt_grok.store.importers.splits import read_rows
from slt_grok.store.new_run import new_run
from slt_grok.store.run_directory import changed_keys


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def half() -> None:
        with atomic(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_two_writers_of_one_file_do_not_share_a_temporary_name(tmp_path: Path) -> None:
    with atomic(tmp_path / "file") as slower:
        slower.write_text("slower")
        with atomic(tmp_path / "file") as quicker:
            quicker.write_text("quicker")
    assert (tmp_path / "file").read_text() == "slower"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("read", [read_tensors, read_torch, read_rows])
def test_a_fifo_is_refused_rather_than_waited_for(tmp_path: Path, read: Callable[[Path], object]) -> None:
    os.mkfifo(tmp_path / "pipe.pt")
    with pytest.raises(SltGrokError, match=r"pipe\.pt: expected a regular file"):
        read(tmp_path / "pipe.pt")


def test_of_two_new_runs_at_once_one_is_refused(tmp_path: Path) -> None:
    def both() -> None:
        with new_run(tmp_path / "run") as slower, new_run(tmp_path / "run") as quicker:
            slower.write_checkpoint(1, {"w": torch.ones(1)})
            quicker.write_checkpoint(2, {"w": torch.ones(1)})

    with pytest.raises(SltGrokError, match="expected a new folder"):
        both()
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert RunDirectory(tmp_path / "run").steps == [2]


def test_checkpoints_come_back_bit_for_bit(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    tensors = {"a": torch.randn(2, 3, 4), "b": torch.randn(2, 5)}
    run.write_checkpoint(2250, tensors)
    assert run.checkpoint_path(2250).name == "step_00002250.safetensors"
    assert run.steps == [2250]
    back = run.read_checkpoint(2250, {"a": torch.Size([3, 4]), "b": torch.Size([5])})
    assert all(torch.equal(back[name], tensors[name]) for name in tensors)


def test_strings_longer_than_those_first_written_are_kept(tmp_path: Path) -> None:
    for name, words in (("a", ["x", "xy"]), ("b", ["a longer word", "z"])):
        write_dataset(tmp_path / f"{name}.nc", xr.Dataset({"word": ("step", words)}, {"step": [0, 1]}))
    both = xr.concat([read_dataset(tmp_path / f"{name}.nc") for name in "ab"], "step")
    write_dataset(tmp_path / "c.nc", both)
    assert read_dataset(tmp_path / "c.nc").word.values.tolist() == ["x", "xy", "a longer word", "z"]


def test_a_measurement_knows_its_settings(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    settings = {"gamma": 100.0, "nested": {"steps": [1, 2]}}
    run.write_measurement("llc", xr.Dataset({"llc": ("step", np.ones(3))}), settings)
    stored = run.read_measurement("llc")
    run.check_settings("llc", stored, settings)
    with pytest.raises(SltGrokError, match=r"llc\.nc.*nested\.steps: \[1, 2\] -> \[1\].*new: null -> 3"):
        run.check_settings("llc", stored, {"gamma": 100.0, "nested": {"steps": [1]}, "new": 3})


KEYS = st.sampled_from("abc")
NESTED = st.recursive(st.integers(0, 2), lambda child: st.dictionaries(KEYS, child, max_size=3), max_leaves=6)


@given(NESTED, NESTED)
def test_changed_keys_are_none_exactly_for_equal_settings(old: object, new: object) -> None:
    old, new = {"root": old}, {"root": new}
    assert changed_keys(old, old) == []
    assert (changed_keys(old, new) == []) == (old == new)


@pytest.mark.parametrize("content", ["[]", "{}", '{"format": 2}', "{"])
def test_a_manifest_of_something_else_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(SltGrokError, match=r"manifest\.json"):
        _ = RunDirectory(tmp_path).manifest


@pytest.mark.parametrize(("source", "command"), [(None, "slt-grok run"), ({"format": "x"}, "slt-grok import")])
def test_a_run_of_an_older_version_says_what_to_do(tmp_path: Path, source: object, command: str) -> None:
    config = {"name": "x", "seeds": [0], "task": {"modulus": 53}, "model": {"kind": "mlp"}, "beside": None}
    (tmp_path / "manifest.json").write_text(json.dumps({"config": {**config, "source": source}, "stages": {}}))
    with pytest.raises(SltGrokError, match=rf"manifest\.json.*format 1, expected 2.*new directory with {command}"):
        _ = RunDirectory(tmp_path).manifest

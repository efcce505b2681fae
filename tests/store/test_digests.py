"""A file of a run that was damaged, exchanged, added or made with another configuration is refused by its name."""

import json
import random
import shutil
import subprocess
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from slt_grok.errors import SltGrokError
from slt_grok.store import RunDirectory
from slt_grok.studies.run import Run
from tests.conftest import Command, without_digests, write_config

STEPS = ("00000000", "00000010", "00000020")


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of a finished run to damage."""
    subprocess.run(["cp", "-r", finished, tmp_path / "run"], check=True)
    return tmp_path / "run"


def checkpoint(run: Path, place: int) -> Path:
    return sorted((run / "checkpoints").iterdir())[place]


def read_all(run: Path) -> None:
    opened = Run(run)
    _ = opened.data, opened.trajectory


def flip(path: Path, generator: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
    path.write_bytes(content)


def test_every_flipped_bit_is_noticed(run: Path) -> None:
    generator, directory, network = random.Random(0), RunDirectory(run), Run(run).config.network

    def read(path: Path) -> None:
        if path.suffix == ".nc":
            directory.read_measurement(path.stem)
        else:
            directory.read_checkpoint(int(path.stem.removeprefix("step_")), network.shapes)

    for path in [*(run / "checkpoints").iterdir(), *(run / "measurements").iterdir()]:
        content = path.read_bytes()
        for _ in range(20):
            flip(path, generator)
            with pytest.raises(SltGrokError, match=f"{path.name}: has changed since it was written"):
                read(path)
            path.write_bytes(content)
        read(path)


def test_swapped_and_renamed_checkpoints(run: Path, tmp_path: Path) -> None:
    first, second = checkpoint(run, 0), checkpoint(run, 1)
    shutil.copy(first, tmp_path / "first")
    shutil.copy(second, first)
    with pytest.raises(SltGrokError, match=f"{first.name}: has changed"):
        read_all(run)
    without_digests(run)
    with pytest.raises(SltGrokError, match=f"{first.name}: expected the checkpoint of step 0, but it holds that of "):
        read_all(run)


@pytest.mark.parametrize("command", ["measure", "report", "calibrate", "extract"])
def test_a_command_checks_files_that_it_does_not_read(run: Path, slt_grok_command: Command, command: str) -> None:
    flip(checkpoint(run, 1), random.Random(0))
    code, error = slt_grok_command(command, run)
    assert code == 2
    assert f"{checkpoint(run, 1).name}: has changed" in error
    checkpoint(run, 1).unlink()
    code, error = slt_grok_command(command, run)
    assert code == 2
    assert "checkpoint is missing" in error


def test_a_finished_run_is_checked_when_it_is_run_again(run: Path, tmp_path: Path, slt_grok_command: Command) -> None:
    flip(checkpoint(run, 1), random.Random(0))
    code, error = slt_grok_command("run", write_config(tmp_path / "same.yaml"), "--out", run)
    assert code == 2
    assert f"{checkpoint(run, 1).name}: has changed" in error


@pytest.mark.parametrize("place", [-40, -200, -1000])
def test_damage_that_nothing_records_is_a_sentence(run: Path, slt_grok_command: Command, place: int) -> None:
    path = run / "measurements" / "llc.nc"
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    code, error = slt_grok_command("measure", without_digests(run))
    assert code == 2
    assert "llc.nc: expected a complete netCDF file" in error


def test_a_missing_measurement_is_named(run: Path, slt_grok_command: Command) -> None:
    (run / "measurements" / "landscape.nc").unlink()
    code, error = slt_grok_command("report", run)
    assert code == 0
    assert "measurements/landscape.nc is missing; restore it, or make it again by slt-grok measure" in error


def test_a_checkpoint_too_many(run: Path) -> None:
    shutil.copy(checkpoint(run, 1), run / "checkpoints" / "step_00000015.safetensors")
    with pytest.raises(SltGrokError, match=r"step_00000015\.safetensors: not a checkpoint of this run"):
        read_all(run)


@pytest.mark.parametrize(
    "change", [("task.split_seed", 1), ("task.train_fraction", 0.6), ("model.activation", "gelu"), ("seeds", [1])]
)
def test_an_edited_manifest_does_not_fit_its_files(run: Path, change: tuple[str, object]) -> None:
    path = run / "manifest.json"
    manifest = json.loads(path.read_text())
    *parents, key = change[0].split(".")
    place = manifest["config"]
    for parent in parents:
        place = place[parent]
    place[key] = change[1]
    path.write_text(json.dumps(manifest))
    with pytest.raises(SltGrokError, match=r"manifest\.json: has changed since it was written"):
        Run(run)
    del manifest["digest"]  # as in runs of earlier versions
    path.write_text(json.dumps(manifest))
    for part in ("data", "trajectory"):
        with pytest.raises(SltGrokError, match=r"manifest\.json: config: seeds, task, .* differ "):
            getattr(Run(run), part)


def test_a_measurement_of_another_run(run: Path, tmp_path: Path, slt_grok_command: Command) -> None:
    config = write_config(tmp_path / "other.yaml", ("task.modulus", 7), ("landscape", None))
    assert slt_grok_command("run", config, "--out", tmp_path / "other")[0] == 0
    own, content = run / "measurements" / "training.nc", (run / "measurements" / "training.nc").read_bytes()
    shutil.copy(tmp_path / "other" / "measurements" / "training.nc", own)
    code, error = slt_grok_command("measure", run)
    assert code == 2
    assert "training.nc: has changed since it was written; restore it" in error
    shutil.copy(own, run / "measurements" / "llc@new.nc")
    own.write_bytes(content)
    code, error = slt_grok_command("measure", run)
    assert code == 2
    assert "llc@new.nc: was not written by this run" in error
    assert f"remove it and make it again by slt-grok measure {run} --only llc --label new" in error


def test_a_damaged_measurement_is_made_anew_as_the_message_says(run: Path, slt_grok_command: Command) -> None:
    path, before = run / "measurements" / "llc.nc", RunDirectory(run).read_measurement("llc")
    flip(path, random.Random(1))
    code, error = slt_grok_command("show", run)
    assert code == 2
    assert "llc.nc" in error
    path.unlink()
    assert slt_grok_command("measure", run)[0] == 0
    assert RunDirectory(run).read_measurement("llc").identical(before)
    assert "measurements/llc.nc" in RunDirectory(run).digests.known


def test_a_run_without_digests_is_read_with_a_note_and_gets_them(run: Path, slt_grok_command: Command) -> None:
    without_digests(run)
    for path in (run / "checkpoints").iterdir():
        save_file(load_file(path), path, {"step": str(int(path.stem[5:]))})  # without the configuration's digest
    code, error = slt_grok_command("report", run)
    assert code == 0
    assert "no stored digests" in error
    assert slt_grok_command("measure", run)[0] == 0
    files = [path for folder in ("checkpoints", "measurements") for path in (run / folder).iterdir()]
    assert {str(path.relative_to(run)) for path in files} | {"summary.json"} == {*RunDirectory(run).digests.known}
    assert "no stored digests" not in slt_grok_command("report", run)[1]


def test_a_measurement_under_another_label(run: Path) -> None:
    shutil.copy(RunDirectory(run).measurement_path("llc"), RunDirectory(run).measurement_path("llc@more"))
    with pytest.raises(SltGrokError, match=r"llc@more\.nc: was not written by this run"):
        read_all(run)


def test_a_configuration_in_other_words_still_fits(run: Path, tmp_path: Path, slt_grok_command: Command) -> None:
    changes = ("task.kind", "modular"), ("task.split_seed", 0), ("curvature", {"seed": 1})
    config = write_config(tmp_path / "same.yaml", *changes)
    code, error = slt_grok_command("run", config, "--out", run)
    assert code == 0, error
    read_all(run)


def test_killed_between_a_file_and_its_digest(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Run(run)
    monkeypatch.setattr(RunDirectory, "finish_stage", lambda *_, **__: None)
    opened.store("llc", opened.data["llc"].assign_attrs(more=1), {}, 0.0)
    monkeypatch.undo()
    assert Run(run).data["llc"].attrs["more"] == 1
    Run(run).directory.finish_stage("llc")
    flip(RunDirectory(run).measurement_path("llc"), random.Random(0))
    with pytest.raises(SltGrokError, match=r"llc\.nc: has changed"):
        read_all(run)

"""A user's error becomes one sentence that names it, exit code 2, and nothing is lost."""

import errno
import hashlib
import os
import pickle
import subprocess
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from slt_grok.config import load_config, parse_config, read_yaml
from slt_grok.errors import SltGrokError
from slt_grok.report.page import write
from slt_grok.store import RunDirectory, files
from slt_grok.store.datasets import read_dataset, write_dataset
from slt_grok.studies.run import Run, settings_for
from tests.conftest import CONFIG, Command, edit_manifest, without_digests, write_config


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of a finished run to damage."""
    subprocess.run(["cp", "-r", finished, tmp_path / "run"], check=True)
    return tmp_path / "run"


def fingerprint(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def refused(result: tuple[int, str], *named: str) -> None:
    code, error = result
    assert code == 2, error
    assert "Traceback" not in error
    assert len([line for line in error.splitlines() if line.startswith("slt-grok: ")]) == 1, error
    for name in named:
        assert name in error, error


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("trainig", {}, "trainig: unknown key; expected one of name, plugins, seeds, "),
        ("llc.epsilon", 0.1, "llc.epsilon: unknown key; expected one of preset, sampler, "),
        ("llc.gama", 0.1, "llc.gama: unknown key; expected one of "),
        ("llc.gama", 0.1, "; did you mean gamma?"),
        ("model.d_modle", 8, "model.d_modle: unknown key; expected one of d_embed, d_mlp, "),
        ("training.checkpoints.logaritmic", 8, "; did you mean logarithmic?"),
        ("llc.sampler.stepsize", 0.1, "; did you mean step_size?"),
        ("model.kind", "resnet", "model.kind: expected one of"),
        ("training.steps", -5, "training.steps: expected greater than 0, got -5"),
        ("training.steps", "many", "training.steps"),
        ("training.optimizer", "adagrad", "training.optimizer"),
        ("training.checkpoints.steps", [30], "got 30"),
        ("task.train_fraction", 1.5, "task.train_fraction"),
        ("task.operation", "division", "task.operation"),
        ("llc.n_beta", float("nan"), "llc.n_beta"),
        ("llc.gamma", 0, "llc.gamma"),
        ("llc.gamma", -3, "llc.gamma: expected greater than or equal to 0, got -3"),
        ("llc.burn_in", 9, "burn_in (9) must not exceed draws x thinning (8)"),
        ("llc.sampler.name", "nuts", "llc.sampler.name: expected one of"),
        ("llc.sampler.step_size", -1, "llc.sampler.step_size: expected greater than 0, got -1"),
        ("llc.sampler.length", 3, "llc.sampler.length: unknown key"),
        ("llc.preset", "default", "llc.preset"),
        ("seeds", [1, 1], "seeds"),
        ("seeds", [2**70], "seeds.0: expected an integer between"),
        ("llc.seed", 2**70, "llc.seed: expected an integer between"),
        ("task.kind", ["modular"], "task.kind: expected one of"),
        ("model.kind", {}, "model.kind: expected one of"),
        ("llc.sampler.name", ["sgld"], "llc.sampler.name: expected one of"),
        ("llc.preset", [], "llc.preset"),
        ("llc.weights", ["nope"], "llc.weights: expected a pattern that matches one of W_E"),
        ("curvature", {"eigenvalues": 1000}, "curvature.eigenvalues (1000) must not exceed"),
        ("landscape.eigenvalues", 1000, "landscape.eigenvalues (1000) must not exceed the"),
        ("name", "../elsewhere", "name"),
    ],
)
def test_a_wrong_key_or_value(slt_grok_command: Command, tmp_path: Path, key: str, value: Any, named: str) -> None:
    config = write_config(tmp_path / "wrong.yaml", (key, value))
    refused(slt_grok_command("run", config, "--out", tmp_path / "run"), "wrong.yaml", named)
    assert not (tmp_path / "run").exists()


def test_p_need_not_be_prime(slt_grok_command: Command, tmp_path: Path) -> None:
    config = write_config(tmp_path / "c.yaml", ("task.modulus", 6), ("landscape", None), ("llc", None))
    code, error = slt_grok_command("run", config, "--out", tmp_path / "run")
    assert code == 0, error
    assert "Fourier" in write(Run(tmp_path / "run")).read_text()


@pytest.mark.parametrize(
    "content", [None, "a: [1", "- just a list", "\x00\x01", "[" * 1000, "a: 2020-13-45", "a: !!int ''"]
)
def test_a_file_that_is_not_a_configuration(slt_grok_command: Command, tmp_path: Path, content: str | None) -> None:
    config = tmp_path / "config.yaml"
    if content is not None:
        config.write_text(content)
    refused(slt_grok_command("run", config), "config.yaml")


def test_a_duplicate_key_is_named_with_its_line(tmp_path: Path) -> None:
    config = write_config(tmp_path / "config.yaml")
    config.write_text(config.read_text().replace("llc:\n", "llc:\n  gamma: 3\n"))
    with pytest.raises(SltGrokError, match=r"config.yaml: .*duplicate key 'gamma'.* line \d+"):
        load_config(config)


def test_merged_keys_may_be_overridden(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("b: {c: &c {<<: &d {x: 1}, x: 2}}\ne: {<<: *c, x: 3}\n")
    assert read_yaml(tmp_path / "a.yaml") == {"b": {"c": {"x": 2}}, "e": {"x": 3}}


@pytest.mark.parametrize("key", ["training.device", "llc.device"])
def test_a_device_that_is_not_here_is_named_before_training(
    slt_grok_command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    config = write_config(tmp_path / "c.yaml", (key, "cuda"))
    refused(slt_grok_command("run", config, "--out", tmp_path / "run"), f"{key}: expected null, since torch finds no")
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_missing_key_is_named(slt_grok_command: Command, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({k: v for k, v in CONFIG.items() if k != "task"}))
    refused(slt_grok_command("run", config), "task: this key is missing")


@pytest.mark.parametrize(
    ("section", "misspelled", "right"), [("llc", "gama", "gamma"), ("training", "step", "steps"), ("", "tsk", "task")]
)
def test_a_misspelled_key_is_named_rather_than_the_missing_one(section: str, misspelled: str, right: str) -> None:
    """In the section it is in, although others inherit from it."""
    content = deepcopy(CONFIG) | {"gauge": {"checkpoints": 2}}
    part = content[section] if section else content
    part[misspelled] = part.pop(right)
    place = f"{section}." if section else ""
    with pytest.raises(SltGrokError, match=rf"^a test: {place}{misspelled}: unknown key; .* did you mean {right}\?$"):
        parse_config(content, "a test")


def test_only_the_sections_that_are_used_must_be_right(run: Path, tmp_path: Path) -> None:
    """Those of the named measurement, and of the one it inherits from."""
    content = {"gauge": {"checkpoints": 2}, "temperature": {"rung": 3}}
    config = tmp_path / "sections.yaml"
    config.write_text(yaml.safe_dump(content))
    assert settings_for(Run(run), config, ["gauge"]).gauge.gamma == CONFIG["llc"]["gamma"]
    for only in (None, ["temperature"]):
        with pytest.raises(SltGrokError, match=r"sections.yaml: temperature.rung: unknown key"):
            settings_for(Run(run), config, only)
    config.write_text(yaml.safe_dump(CONFIG | content | {"transitions": {"test_threshold": 0.5}}))
    whole = settings_for(Run(run), config, ["gauge"])
    assert (whole.gauge.gamma, whole.transitions.test_threshold) == (CONFIG["llc"]["gamma"], 0.5)
    config.write_text(yaml.safe_dump(content | {"llc": {"gama": 3}}))
    with pytest.raises(SltGrokError, match=r"sections.yaml: llc.gama: unknown key"):
        settings_for(Run(run), config, ["gauge"])


def test_sections_override_the_own_settings_key_by_key(run: Path, tmp_path: Path) -> None:
    config, stored = tmp_path / "few.yaml", CONFIG["llc"]
    config.write_text("llc: {most_checkpoints: 5}")
    few = settings_for(Run(run), config).llc
    assert (few.most_checkpoints, few.gamma, few.draws) == (5, stored["gamma"], stored["draws"])
    config.write_text("llc: {preset: lau}")
    assert settings_for(Run(run), config).llc.gamma == 100
    config.write_text(yaml.safe_dump(CONFIG | {"llc": {"gamma": 3}}))
    assert settings_for(Run(run), config).llc.draws == 480


def test_a_changed_configuration_for_an_existing_run(slt_grok_command: Command, run: Path, tmp_path: Path) -> None:
    before = fingerprint(run)
    config = write_config(tmp_path / "changed.yaml", ("training.learning_rate", 0.02), ("llc.gamma", 20))
    result = slt_grok_command("run", config, "--out", run)
    refused(result, "training.learning_rate: 0.01 -> 0.02", "llc.gamma: 10.0 -> 20.0")
    assert fingerprint(run) == before


def test_other_settings_for_a_measurement_that_is_there(slt_grok_command: Command, run: Path, tmp_path: Path) -> None:
    before = fingerprint(run)
    config = write_config(tmp_path / "changed.yaml", ("llc.gamma", 20))
    refused(slt_grok_command("measure", run, "--only", "llc", "--config", config), "gamma: 10.0 -> 20.0", "llc.nc")
    assert fingerprint(run) == before
    code, error = slt_grok_command("measure", run, "--only", "llc", "--config", config, "--label", "gamma20")
    assert code == 0, error
    assert (run / "measurements" / "llc@gamma20.nc").is_file()
    assert fingerprint(run)["measurements/llc.nc"] == before["measurements/llc.nc"]


def test_weights_that_match_nothing_are_named_with_those_there_are(
    slt_grok_command: Command, run: Path, tmp_path: Path
) -> None:
    config = write_config(tmp_path / "weights.yaml", ("llc.weights", ["W_E", "blocks.*"]))
    result = slt_grok_command("measure", run, "--only", "llc", "--config", config, "--label", "some")
    refused(result, "weights: expected a pattern that matches one of W_E", "'blocks.*'")


def test_a_split_without_pairs(slt_grok_command: Command, tmp_path: Path) -> None:
    config = write_config(tmp_path / "all.yaml", ("task.train_fraction", 1.0), ("llc.data", "test"))
    refused(slt_grok_command("run", config, "--out", tmp_path / "run"), "data: expected samples in the test split")


def test_a_calibration_of_nothing_and_bad_questions(slt_grok_command: Command, run: Path, tmp_path: Path) -> None:
    refused(slt_grok_command("calibrate", tmp_path / "nothing"), "nothing", "manifest.json")
    refused(slt_grok_command("calibrate", run, "--n-beta", 0), "--n-beta (0) must be above 0")
    assert not (run / "calibration.json").exists()


def remeasure(command: Command, run: Path) -> tuple[int, str]:
    without_digests(run)
    (run / "measurements" / "llc.nc").unlink()
    return command("measure", run, "--only", "llc")


def test_a_truncated_checkpoint(slt_grok_command: Command, run: Path) -> None:
    checkpoint = sorted((run / "checkpoints").iterdir())[-1]
    checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    refused(remeasure(slt_grok_command, run), checkpoint.name, "complete safetensors file")


def test_no_checkpoints(slt_grok_command: Command, run: Path) -> None:
    for checkpoint in (run / "checkpoints").iterdir():
        checkpoint.unlink()
    refused(remeasure(slt_grok_command, run), "checkpoints", "at least one")


@pytest.mark.parametrize(
    ("harm", "named"),
    [
        (lambda t: {**t, "W_E": torch.full_like(t["W_E"], float("nan"))}, "NaN"),
        (lambda t: {**t, "W_E": t["W_E"][..., :2]}, "W_E of shape"),
        (lambda t: {k: v for k, v in t.items() if k != "W_U"}, "W_U"),
        (lambda t: {**t, "extra": torch.zeros(1, 2)}, "extra"),
    ],
)
def test_a_foreign_checkpoint_or_nan_weights(slt_grok_command: Command, run: Path, harm: Any, named: str) -> None:
    checkpoint = sorted((run / "checkpoints").iterdir())[0]
    save_file({k: v.contiguous() for k, v in harm(load_file(checkpoint)).items()}, checkpoint)
    refused(remeasure(slt_grok_command, run), checkpoint.name, named)


def test_a_damaged_measurement(slt_grok_command: Command, run: Path) -> None:
    path = run / "measurements" / "training.nc"
    path.write_bytes(path.read_bytes()[:200])
    refused(slt_grok_command("measure", run), "training.nc")


def test_no_run_directory(slt_grok_command: Command, tmp_path: Path) -> None:
    refused(slt_grok_command("measure", tmp_path / "nothing"), "nothing", "manifest.json")
    refused(slt_grok_command("show", tmp_path / "nothing"), "nothing", "manifest.json")
    refused(slt_grok_command("report", tmp_path / "nothing"), "nothing", "manifest.json")


def test_a_run_of_an_older_version(slt_grok_command: Command, run: Path) -> None:
    edit_manifest(run, lambda manifest: manifest.pop("format"))
    for command in ("measure", "report", "show"):
        refused(slt_grok_command(command, run), "manifest.json", "another version of slt-grok", "slt-grok run")


def test_an_unknown_measurement(slt_grok_command: Command, run: Path) -> None:
    refused(slt_grok_command("measure", run, "--only", "lcl"), "--only", "lcl")


def test_an_output_path_that_cannot_be_written(slt_grok_command: Command, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    config = write_config(tmp_path / "tiny.yaml")
    refused(slt_grok_command("run", config, "--out", tmp_path / "file" / "run"), "file/run", "cannot be written")
    assert (tmp_path / "file").read_text() == "kept"


def test_importing_a_file_never_executes_it(slt_grok_command: Command, tmp_path: Path) -> None:
    witness = tmp_path / "executed"

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, (f"touch {witness}",)

    torch.save({"model": Evil()}, tmp_path / "evil.pth")
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps(Evil()))
    for name in ("evil.pth", "evil.pkl"):
        refused(slt_grok_command("import", tmp_path / name, "--out", tmp_path / "run"), name)
    assert not witness.exists()


# -- full disk ---------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB, where this user may mount one."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("this user may not mount a file system of limited size")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk(slt_grok_command: Command, small_disk: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path / "tiny.yaml", ("model.d_embed", 64), ("model.d_mlp", 64))
    refused(slt_grok_command("run", config, "--out", small_disk / "run"), str(small_disk), "No space left")
    assert not list(small_disk.rglob("*.part"))
    for path in (small_disk / "run" / "checkpoints").glob("*.safetensors"):
        load_file(path)  # what is there is whole


def test_a_disk_that_fills_up_keeps_what_was_there(
    slt_grok_command: Command, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = fingerprint(run)

    def full(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    refused(slt_grok_command("measure", run), "No space left", "unchanged")
    monkeypatch.undo()
    assert fingerprint(run) == before


def test_a_measurement_without_settings_is_not_passed_over_in_silence(
    slt_grok_command: Command, tmp_path: Path
) -> None:
    config = write_config(tmp_path / "c.yaml", ("llc", None), ("landscape", None))
    code, error = slt_grok_command("run", config, "--out", tmp_path / "run")
    assert code == 0, error
    refused(slt_grok_command("measure", tmp_path / "run", "--only", "llc"), "settings for llc", "--config")


def test_a_batch_larger_than_the_train_set_is_refused_before_training(tmp_path: Path) -> None:
    content = {**CONFIG, "llc": {**CONFIG["llc"], "batch_size": 1000}}
    with pytest.raises(SltGrokError, match=r"tiny.yaml: llc.batch_size \(1000\) must not exceed the \d+ train samples"):
        parse_config(content, "tiny.yaml")


@pytest.mark.parametrize("dtype", [torch.float64, torch.int64])
def test_a_checkpoint_of_another_type(slt_grok_command: Command, run: Path, dtype: torch.dtype) -> None:
    checkpoint = sorted((run / "checkpoints").iterdir())[0]
    save_file({name: tensor.to(dtype) for name, tensor in load_file(checkpoint).items()}, checkpoint)
    refused(remeasure(slt_grok_command, run), checkpoint.name, f"torch.float32, got {dtype}")


def test_a_checkpoint_of_more_seeds(slt_grok_command: Command, run: Path) -> None:
    checkpoint = sorted((run / "checkpoints").iterdir())[-1]
    save_file({name: torch.cat([tensor] * 2) for name, tensor in load_file(checkpoint).items()}, checkpoint)
    refused(remeasure(slt_grok_command, run), checkpoint.name, "of shape (1, ", "got (2, ")


@pytest.mark.parametrize("index", [0, 1, -1])
def test_a_checkpoint_deleted_after_training(slt_grok_command: Command, run: Path, index: int) -> None:
    checkpoint = sorted((run / "checkpoints").iterdir())[index]
    checkpoint.unlink()
    refused(remeasure(slt_grok_command, run), checkpoint.name, "checkpoint is missing; restore it")


@pytest.mark.parametrize(
    ("label", "harm", "named"),
    [
        ("llc", lambda d: d.drop_attrs(), "its attribute settings"),
        ("llc", lambda d: d.assign_attrs(settings="{"), "its attribute settings"),
        ("llc", lambda d: d.assign_attrs(settings="[1]"), "its attribute settings"),
        ("training", lambda d: d.isel(step=slice(0)), "at least one step"),
    ],
)
def test_a_measurement_that_lost_a_part(
    slt_grok_command: Command, run: Path, label: str, harm: Any, named: str
) -> None:
    path = RunDirectory(run).measurement_path(label)
    write_dataset(path, harm(read_dataset(path)))
    refused(slt_grok_command("measure", without_digests(run)), path.name, named)


@pytest.mark.parametrize("change", [{"stages": []}, {"stages": None}, {"stages": {"llc": 3}}, {"config": {}}])
def test_a_manifest_that_lost_a_part(slt_grok_command: Command, run: Path, change: dict[str, Any]) -> None:
    edit_manifest(run, lambda manifest: manifest.update(change))
    for command in ("measure", "report", "show"):
        refused(slt_grok_command(command, run), "manifest.json", next(iter(change)))


def test_a_summary_of_something_else(slt_grok_command: Command, run: Path) -> None:
    (run / "summary.json").write_text("[1]")
    refused(slt_grok_command("show", without_digests(run)), "summary.json", "got a list")


def test_a_name_that_is_too_long_for_a_file(slt_grok_command: Command, run: Path) -> None:
    refused(slt_grok_command("measure", run, "--label", "x" * 300), "cannot be written", "too long")

"""One process at a time writes in a directory, however the one before it ended."""

import json
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import yaml

from slt_grok.errors import SltGrokError
from slt_grok.studies.lock import LOCK, locked
from tests.conftest import Command, write_config

fork = multiprocessing.get_context("fork")


@pytest.fixture
def forked() -> Iterator[Callable[[Callable[[], object]], BaseProcess]]:
    """Run a function in a forked process."""
    processes: list[BaseProcess] = []

    def start(work: Callable[[], object]) -> BaseProcess:
        processes.append(fork.Process(target=work))
        processes[-1].start()
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.join()


def is_free(folder: Path) -> bool:
    try:
        with locked(folder):
            return True
    except SltGrokError:
        return False


@pytest.mark.parametrize("command", ["run", "study", "measure", "calibrate", "report"])
def test_a_second_command_says_who_works_here(
    finished: Path, slt_grok_command: Command, tmp_path: Path, command: str
) -> None:
    run = shutil.copytree(finished, tmp_path / "run")
    config, study = write_config(tmp_path / "tiny.yaml"), tmp_path / "study.yaml"
    study.write_text(yaml.safe_dump({"name": "study", "base": config.name, "arms": {"main": {}}}))
    arguments = {"run": (config, "--out", run), "study": (study, "--out", run)}.get(command, (run,))
    with locked(run):
        before = sorted(run.rglob("*"))
        code, said = slt_grok_command(command, *arguments)
        assert sorted(run.rglob("*")) == before
    assert code == 2
    assert f"{run}: process {os.getpid()} on " in said
    assert said.count("\n") == 1
    assert not (run / LOCK).exists()


def test_reading_takes_no_lock(finished: Path, slt_grok_command: Command, tmp_path: Path) -> None:
    run = shutil.copytree(finished, tmp_path / "run")
    with locked(run):
        assert slt_grok_command("show", run)[0] == 0


def test_nothing_is_written_where_there_is_no_run(slt_grok_command: Command, tmp_path: Path) -> None:
    assert slt_grok_command("measure", tmp_path)[0] == 2
    assert not list(tmp_path.iterdir())


def test_the_lock_of_a_killed_process_is_taken_over_while_its_children_live(tmp_path: Path, forked: Callable) -> None:
    run, children = tmp_path / "run", tmp_path / "children"

    def dies() -> None:
        with locked(run):
            (run / "measurements").mkdir()
            for name in (".manifest.json.12ab.part", "measurements/.llc.nc.34cd.part", "measurements/llc.nc"):
                (run / name).touch()
            child = fork.Process(target=time.sleep, args=[60])
            child.start()
            children.write_text(str(child.pid))
            os.kill(os.getpid(), signal.SIGKILL)

    process = forked(dies)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    try:
        assert json.loads((run / LOCK).read_text())["process"] == process.pid
        assert is_free(run)
    finally:
        os.kill(int(children.read_text()), signal.SIGKILL)
    assert [path.name for path in run.rglob("*") if path.is_file()] == ["llc.nc"]


def test_who_waited_holds_the_lock(tmp_path: Path, forked: Callable) -> None:
    """Not the file that its predecessor has removed."""
    entered = fork.Event()

    def waits() -> None:
        with locked(tmp_path, wait=True):
            entered.set()
            time.sleep(60)

    with locked(tmp_path):
        forked(waits)
        assert not entered.wait(0.3)
    assert entered.wait(20)
    assert not is_free(tmp_path)


def test_files_of_other_runs_and_imports_stay(tmp_path: Path) -> None:
    kept = [tmp_path / name / ".x.1.part" for name in (".new.12ab34cd.part", "inner", "working")]
    for path in kept:
        path.parent.mkdir()
        path.touch()
    (tmp_path / "inner" / "manifest.json").touch()
    with locked(tmp_path / "working"):
        kept[-1].touch()
        assert is_free(tmp_path)
        assert all(path.exists() for path in kept)


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(28, "No space left on device")])
def test_a_directory_that_cannot_be_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr("slt_grok.studies.lock.os.open", fails)
    with pytest.raises(SltGrokError, match=f"cannot be written and locked .{error.strerror}"), locked(tmp_path):
        pytest.fail("it is not locked")

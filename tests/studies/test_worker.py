"""One run of a study: what fails is written down with its reason, and the rest is made."""

import multiprocessing
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from slt_grok.config import RunConfig, load_config
from slt_grok.errors import SltGrokError
from slt_grok.llc.measurement import LLC
from slt_grok.processes import run_parallel
from slt_grok.store import RunDirectory
from slt_grok.studies import run as stages
from slt_grok.studies import scheduler
from slt_grok.studies.grid import load_study_file
from slt_grok.studies.lock import locked
from slt_grok.studies.worker import complete, end_with_the_study, failures
from tests.conftest import write_config
from tests.studies.small import write_study
from tests.test_processes import alive


def config(folder: Path, *changes: tuple[str, object]) -> RunConfig:
    return load_config(write_config(folder / "c.yaml", ("landscape", None), *changes))


def test_a_loss_that_is_not_finite_is_final(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hot = config(tmp_path, ("training.optimizer", "sgd"), ("training.learning_rate", 1e30))
    found = complete(hot, tmp_path / "run", ["circuits", "llc"], page=False)
    assert "the loss is not finite at step" in found["training"]["reason"]
    assert found["training"]["final"]
    assert failures(tmp_path / "run") == found
    monkeypatch.setattr(stages, "train_run", lambda *_: pytest.fail("it was trained again"))
    assert complete(hot, tmp_path / "run", ["circuits", "llc"], page=False) == found


def test_a_measurement_that_fails_holds_up_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise SltGrokError("llc: a reason")

    monkeypatch.setattr(LLC, "measure", fails)
    found = complete(config(tmp_path), tmp_path / "run", ["llc", "circuits"], page=False)
    assert found == {"llc": {"reason": "llc: a reason", "final": True}}
    done = RunDirectory(tmp_path / "run").manifest["stages"]
    assert {"training", "circuits", "transitions"} <= set(done)
    assert "llc" not in done


def test_a_run_whose_file_was_restored_is_completed(tmp_path: Path) -> None:
    run, plain = tmp_path / "run", config(tmp_path)
    assert complete(plain, run, ["circuits"], page=False) == {}
    checkpoint = min((run / "checkpoints").iterdir())
    content = checkpoint.read_bytes()
    checkpoint.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    found = complete(plain, run, ["circuits", "llc"], page=False)
    assert "has changed" in found["training"]["reason"]
    checkpoint.write_bytes(content)
    assert complete(plain, run, ["circuits", "llc"], page=False) == {}


@pytest.mark.parametrize("kind", ["disk", "bug"])
def test_what_may_pass_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    def fails(*_: object) -> None:
        if kind == "bug":
            raise RuntimeError("not enough memory")
        raise SltGrokError("circuits.nc: cannot be written") from OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(stages, "run_measurements", fails)
        found = complete(config(tmp_path), tmp_path / "run", ["circuits"], page=False)
    assert list(found) == ["circuits"]
    assert not found["circuits"]["final"]
    assert complete(config(tmp_path), tmp_path / "run", ["circuits"], page=False) == {}
    assert failures(tmp_path / "run") == {}
    assert "circuits" in RunDirectory(tmp_path / "run").manifest["stages"]
    assert not (tmp_path / "run" / "report.html").exists()


def test_processes_of_a_worker_start_while_it_watches_its_study() -> None:
    program = (
        "import sys, time, torch\n"
        "from slt_grok.processes import run_parallel\n"
        "from slt_grok.studies.worker import end_with_the_study\n"
        "sys.stdin.readline()\n"
        "end_with_the_study()\n"
        "time.sleep(0.2)\n"
        "torch.set_num_threads(2)\n"
        "sys.exit(sum(result for _, result in run_parallel([lambda _: 3, lambda _: 4])))"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        process.stdin.write("order\n")
        process.stdin.flush()  # and left open, as a study leaves it
        try:
            assert process.wait(timeout=60) == 7
        finally:
            process.kill()


def test_a_worker_ends_with_its_study_and_leaves_neither_processes_nor_a_lock(tmp_path: Path) -> None:
    reader, writer = os.pipe()

    def silent(_: object) -> None:
        (tmp_path / f"{os.getpid()}.started").touch()
        time.sleep(600)

    def work() -> None:
        os.close(writer)
        os.dup2(reader, 0)
        end_with_the_study()
        torch.set_num_threads(2)
        with locked(tmp_path):
            list(run_parallel([silent, silent]))

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("*.started"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    children = [int(path.stem) for path in tmp_path.glob("*.started")]
    assert len(children) == 2
    os.close(writer)  # as the end of the study's process does
    process.join()
    with locked(tmp_path):
        pass
    while any(map(alive, children)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(map(alive, children))


@pytest.mark.parametrize("workers", [1, 2, 3, 4])
def test_a_study_ends_with_any_number_of_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    monkeypatch.setattr(scheduler, "WORKER", [sys.executable, "-S", "-c", "input(); print('done')"])
    study = load_study_file(write_study(tmp_path, {"main": {"seeds": 4, "batch": 1}}))
    done: list[float] = []
    scheduler.execute_runs(study, tmp_path, workers, lambda _: 1.0, lambda fraction, note="": done.append(fraction))
    assert done[-1] == 1


def test_an_interrupted_study_ends_also_where_a_process_just_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "WORKER", [sys.executable, "-S", "-c", "import time; time.sleep(600)"])
    interrupted, popen = threading.Event(), subprocess.Popen

    def late(*arguments: Any, **options: Any) -> subprocess.Popen[str]:
        interrupted.wait(60)
        return popen(*arguments, **options)

    def interrupt(fraction: float, note: str = "") -> None:
        threading.Timer(0.1, interrupted.set).start()
        raise KeyboardInterrupt

    monkeypatch.setattr(scheduler.subprocess, "Popen", late)
    study = load_study_file(write_study(tmp_path, {"main": {"seeds": 2, "batch": 1}}))
    with pytest.raises(KeyboardInterrupt):
        scheduler.execute_runs(study, tmp_path, 2, lambda _: 1.0, interrupt)

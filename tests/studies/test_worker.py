"""One run of a study: what fails is written down with its reason, and the rest is made."""

import subprocess
import sys
from pathlib import Path

import pytest

from slt_grok.config import RunConfig, load_config
from slt_grok.errors import SltGrokError
from slt_grok.llc.measurement import LLC
from slt_grok.store import RunDirectory
from slt_grok.studies import run as stages
from slt_grok.studies.worker import complete, failures
from tests.conftest import write_config


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

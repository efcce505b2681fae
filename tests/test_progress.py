"""What is shown of long work, with a terminal and without."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from slt_grok import progress
from slt_grok.config import parse_config
from slt_grok.errors import SltGrokError
from slt_grok.studies import run
from slt_grok.studies.run import train_run
from tests.conftest import CONFIG


def test_without_a_terminal_there_are_plain_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "LINE_SECONDS", -1)
    with progress.progress("training", 100, "steps") as report:
        report(0.05)
        report(0.25, "train loss 0.5")
        report(0.34)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("training: 25/100 steps, ")
    assert " per second, " in lines[0]
    assert " s left" in lines[0]
    assert lines[0].endswith("train loss 0.5")
    assert lines[1].startswith("training: done in ")
    assert len(lines) == 2  # none before 10%, and none for 9% more


def test_plain_lines_are_at_least_thirty_seconds_apart(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seconds = iter([0.0, 29.0, 31.0, 60.0, 62.0, 80.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(seconds))
    with progress.progress("training", 100, "steps") as report:
        for fraction in (0.2, 0.4, 0.6, 0.8):
            report(fraction)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[1] for line in lines] == ["40/100", "80/100", "done"]


def test_percents_have_no_rate(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress, "LINE_SECONDS", -1)
    with progress.progress("calibration", 100, "%") as report:
        report(0.25)
    assert capsys.readouterr().err.startswith("calibration: 25%, ")


def test_with_a_terminal_there_is_a_bar_with_rate_time_left_and_facts(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(progress, "console", Console(file=screen, force_terminal=True, width=160))
    with progress.progress("training", 100, "steps") as report:
        report(1.0, "train loss 0.5")
    shown = screen.getvalue()
    for part in ("training", "100/100", "steps", "/s", "left", "train loss 0.5"):
        assert part in shown


def test_what_a_piece_of_work_costs_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(progress, "console", Console(file=screen))
    progress.announce("shape", "about 20 s")
    assert screen.getvalue() == "shape: about 20 s\n"


@pytest.mark.parametrize(("measurement", "total"), [("llc", 4), ("landscape", 6), ("confound", 6), ("temperature", 2)])
def test_the_total_is_the_number_of_networks_that_are_measured(
    measurement: str, total: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of three checkpoints of two seeds: two, all, all since ten are allowed, and one."""
    sections = {"llc": CONFIG["llc"] | {"most_checkpoints": 2}, "temperature": {"checkpoints": 1}}
    made = train_run(parse_config(CONFIG | {"seeds": [0, 1]} | sections, "a test"), tmp_path / "run")

    def stop(*arguments: object) -> None:
        raise SltGrokError(" ".join(map(str, arguments)))

    monkeypatch.setattr(run, "progress", stop)
    with pytest.raises(SltGrokError, match=f"^{measurement} {total} networks$"):
        run.run_measurements(made, [measurement])

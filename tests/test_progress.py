"""What is shown of long work, with a terminal and without."""

import io

import pytest
from rich.console import Console

from slt_grok import progress


def test_without_a_terminal_there_are_plain_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "LINE_SECONDS", -1)
    with progress.progress("training", 100, "steps") as report:
        report(0.25, "train loss 0.5")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("training: 25/100 steps, ")
    assert " per second, " in lines[0]
    assert " s left" in lines[0]
    assert lines[0].endswith("train loss 0.5")
    assert lines[1].startswith("training: done in ")


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

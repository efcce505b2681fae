"""The command that writes a program for another modulus."""

from pathlib import Path
from typing import Any

import pytest
import torch

import slt_grok
from tests.conftest import Command, write_config

PROGRAM = '''"""Addition modulo 53, as read from a trained network: clock."""

import numpy as np

MODULUS = 53

CLOCKS = {  # k: weight
    2: 8.9,
    14: 20.6,
    19: 14.5,
}
raise SystemExit("a program is read, not run")
'''
MODEL = {"kind": "transformer", "d_model": 32, "n_heads": 2, "d_mlp": 96}


def files(folder: Path, *changes: tuple[str, Any]) -> tuple[Path, Path]:
    program = folder / "program.py"
    program.write_text(PROGRAM)
    return program, write_config(folder / "like.yaml", ("model", MODEL), *changes)


def test_the_written_run_is_right_on_every_pair(tmp_path: Path, slt_grok_command: Command) -> None:
    program, config = files(tmp_path)
    code, told = slt_grok_command("rewrite", program, config, "--modulus", 31, "--out", tmp_path / "run")
    assert code == 0
    assert "100.00% of all 961 pairs correctly" in told
    written = slt_grok.trajectory(tmp_path / "run")
    assert written.coords["step"].tolist() == [0]
    outputs = written.network.stacked_outputs(written.stacked(), written.task.inputs)[0]
    a, b = written.task.inputs.unbind(-1)
    assert torch.equal(outputs.argmax(-1), (a + b) % 31)
    code, told = slt_grok_command("rewrite", program, config, "--modulus", 31, "--out", tmp_path / "run")
    assert code == 2
    assert "expected a new folder" in told


@pytest.mark.parametrize(
    ("modulus", "changes", "named"),
    [
        (33, (), "modulus: expected an odd prime, got 33"),
        (31, (("model", {**MODEL, "activation": "gelu"}),), "for a clock"),
        (31, (("model", {**MODEL, "d_mlp": 12}),), "room for a pizza of 3 frequencies"),
        (31, (("task.split_rule", "listed"), ("task.train_rows", [1, 2])), "got listed"),
    ],
)
def test_what_cannot_be_written_ends_with_one_sentence(
    tmp_path: Path, slt_grok_command: Command, modulus: int, changes: Any, named: str
) -> None:
    program, config = files(tmp_path, *changes)
    code, told = slt_grok_command("rewrite", program, config, "--modulus", modulus, "--out", tmp_path / "run")
    assert code == 2
    assert named in " ".join(told.split())
    assert not (tmp_path / "run").exists()

"""Constants of a program's file are read as text and never run."""

from pathlib import Path

import pytest

from slt_grok.errors import SltGrokError
from slt_grok.program import constants

TEXT = '''"""A program."""
import numpy as np

MODULUS = 53
OPERATION: str = "addition"
FREQUENCIES = [14, 19]  # k
AMPLITUDES = (20.5, -1)
DERIVED = np.array(FREQUENCIES) / MODULUS
open({mark!r}, "w")


def answer(a, b):
    return (a + b) % MODULUS
'''


def test_literals_are_read_and_nothing_runs(tmp_path: Path) -> None:
    mark, file = tmp_path / "it ran", tmp_path / "program.py"
    file.write_text(TEXT.format(mark=str(mark)))
    found = constants.read(file)
    assert found == constants.Constants(53, "addition", {14: 20.5, 19: -1.0})
    assert not mark.exists()
    assert set(constants.literals(file.read_text())) == {"MODULUS", "OPERATION", "FREQUENCIES", "AMPLITUDES"}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (("MODULUS = 53", "MODULUS = int('53')"), "constant MODULUS"),
        (("FREQUENCIES = [14, 19]", "FREQUENCIES = [14, 14]"), "different FREQUENCIES"),
        (("FREQUENCIES = [14, 19]", "FREQUENCIES = [14, 27]"), r"frequencies among 1\.\.26"),
        (("(20.5, -1)", "(20.5,)"), "each with a number in AMPLITUDES"),
        (("(20.5, -1)", "(20.5, 1e999)"), "finite amplitudes"),
        (("def answer", "def def"), "cannot be parsed"),
    ],
)
def test_a_damaged_program_is_one_sentence(tmp_path: Path, change: tuple[str, str], named: str) -> None:
    file = tmp_path / "program.py"
    file.write_text(TEXT.format(mark="").replace(*change))
    with pytest.raises(SltGrokError, match=named):
        constants.read(file)


def test_no_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(SltGrokError, match=r"none\.py: expected a program's file"):
        constants.read(tmp_path / "none.py")

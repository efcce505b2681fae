"""Constants of a program's file are read as text and never run."""

from pathlib import Path

import numpy as np
import pytest

from slt_grok.errors import SltGrokError
from slt_grok.program import constants

TEXT = '''"""Addition modulo 53, as read from a trained network: clock.

More words.
"""

import numpy as np

MODULUS = 53

CLOCKS: dict = {{  # k: weight
    14: 20.5,
    19: -1,
}}
DERIVED = np.array(CLOCKS) / MODULUS
open({mark!r}, "w")


def answer(a, b):
    return (a + b) % MODULUS
'''


def test_literals_are_read_and_nothing_runs(tmp_path: Path) -> None:
    mark, file = tmp_path / "it ran", tmp_path / "program.py"
    file.write_text(TEXT.format(mark=str(mark)))
    assert constants.read(file) == constants.Constants(53, "addition", {14: 20.5, 19: -1.0})
    assert not mark.exists()


def test_a_pizza_counts_with_the_clock_that_fits_it(tmp_path: Path) -> None:
    file = tmp_path / "program.py"
    file.write_text(TEXT.format(mark="").replace("14: 20.5", "14: (2.0, 3.0, -1.0)").replace("Addition", "Subtraction"))
    found = constants.read(file)
    d = np.arange(53)
    ring, other = np.abs(np.cos(np.pi * 14 * d / 53)), np.abs(np.cos(2 * np.pi * 14 * d / 53))
    assert found.operation == "subtraction"
    assert found.amplitudes[14] == pytest.approx(np.mean(2 + 3 * ring - other), abs=1e-12)
    assert constants.ring_mean(1009) == pytest.approx(2 / np.pi, rel=1e-6)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (("MODULUS = 53", "MODULUS = int('53')"), "odd prime as constant MODULUS, got None"),
        (("MODULUS = 53", "MODULUS = 51"), "odd prime as constant MODULUS, got 51"),
        (("19: -1", "'19': -1"), "a program by rotation"),
        (("19: -1", "19: (1, 2)"), "a program by rotation"),
        (("CLOCKS: dict", "TABLE: dict"), "a program by rotation"),
        (("19: -1", "27: -1"), r"frequencies among 1\.\.26"),
        (("19: -1", "19: 1e999"), "finite amplitudes"),
        (("Addition modulo", "What"), "begins with an operation"),
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

"""Which program is chosen, when there is none, and the written file."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from slt_grok import program
from slt_grok.errors import SltGrokError
from slt_grok.program.extraction import fewest_digits
from slt_grok.program.length import log2_choose, step
from slt_grok.program.writing import source
from tests.conftest import Command
from tests.program import networks
from tests.program.running import answers_of_file


def test_bits_of_a_table_by_hand() -> None:
    assert program.table_bits(5, 0) == pytest.approx(math.log2(26))
    assert program.table_bits(5, 25) == pytest.approx(math.log2(26) + 25 * math.log2(5))
    assert program.table_bits(5, 2) == pytest.approx(math.log2(26) + math.log2(25 * 24 / 2) + 2 * math.log2(5))
    assert log2_choose(10, 3) == pytest.approx(math.log2(120))


def test_bits_of_a_clock_by_hand() -> None:
    found = program.clock(program.read(networks.clock()))
    # 11 frequencies: how many, which 3; the unit 10^0 in one bit, the largest multiple 5 as 6 in gamma code, 110 after
    # two zeros, and three numbers of -5..5
    expected = math.log2(12) + math.log2(11 * 10 * 9 / 6) + 1 + 5 + 3 * math.log2(11)
    assert program.program_bits(found, 1) == pytest.approx(expected)
    assert step(np.array([0.5, -31.0]), 3) == pytest.approx(0.1)


def test_a_clock_is_the_shortest_program_of_a_clock() -> None:
    reading = program.read(networks.clock())
    found = program.extract(reading)
    assert found.explained
    assert found.program.level == "clock"
    assert found.digits == 1  # the amplitudes are whole
    assert set(found.bits) == {"clock", "pizza", "neurons", "table"}


def test_rounding_keeps_what_it_says() -> None:
    reading = program.read(networks.gromov(width=1000))
    whole = program.neurons(reading)
    coarse, digits = fewest_digits(reading, whole)
    for name, numbers in coarse.numbers.items():
        unit = step(numbers, digits)
        np.testing.assert_allclose(numbers / unit, np.round(numbers / unit), atol=1e-9)
        assert np.abs(numbers - whole.numbers[name]).max() <= unit / 2 * (1 + 1e-9)
    assert program.match(reading, coarse).unexplained <= 1.01 * program.match(reading, whole).unexplained + 1e-9


def test_a_largest_number_that_rounds_to_a_power_of_ten_leaves_one_unit() -> None:
    found = program.clock(program.read(networks.clock()))
    found = replace(found, amplitude=np.array([[9.96], [3.34], [4.0]]))
    np.testing.assert_allclose(program.rounded(found, 2).amplitude[:, 0], [10, 3, 4])
    assert step(program.rounded(found, 2).amplitude, 2) == 1


def test_errors_of_a_clock_are_its_table() -> None:
    trajectory, rows = networks.with_errors()
    found = program.extract(program.read(trajectory))
    assert not found.explained
    assert isinstance(found.program, program.Table)
    assert found.program.level == "clock and table"
    assert found.program.rows.tolist() == rows.tolist()


def test_a_memorizer_is_a_table() -> None:
    found = program.extract(program.read(networks.memorizer()))
    assert found.program.level == "table"
    assert not found.explained
    assert found.bits == {"table": pytest.approx(program.table_bits(11, 121))}


@pytest.mark.parametrize("level", ["shortest", "clock", "neurons"])
def test_an_untrained_network_is_not_explained(level: str) -> None:
    with pytest.raises(SltGrokError, match=r"not explained|no frequency"):
        program.extract(program.read(networks.untrained()), level)


def test_a_memorizer_has_no_program_without_a_table() -> None:
    with pytest.raises(SltGrokError, match="not the sum of angles"):
        program.extract(program.read(networks.memorizer()), "clock")


NETWORKS = {
    "clock": (networks.clock, "shortest"),
    "subtraction": (lambda: networks.clock(sign=-1), "shortest"),
    "pizza": (networks.clock, "pizza"),
    "neurons": (lambda: networks.gromov(width=1000), "neurons"),
    "subtracting neurons": (lambda: networks.clock(sign=-1), "neurons"),
    "multiplication": (networks.logarithmic, "shortest"),
    "errors": (lambda: networks.with_errors()[0], "shortest"),
    "memorizer": (networks.memorizer, "shortest"),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_file_alone_gives_the_networks_answers(name: str, tmp_path: Path) -> None:
    make, level = NETWORKS[name]
    reading = program.read(make())
    found = program.extract(reading, level)
    np.testing.assert_array_equal(answers_of_file(found, tmp_path), reading.answers)
    assert source(found) == source(program.extract(program.read(make()), level))


def test_command(finished: Path, tmp_path: Path, slt_grok_command: Command) -> None:
    out = tmp_path / "program.py"
    code, said = slt_grok_command("extract", finished, "-o", out)
    assert code == 2
    assert "not explained" in said
    assert not out.exists()
    code, said = slt_grok_command("extract", finished, "--step", 7, "-o", out)
    assert code == 2
    assert "--step: expected one of 0" in said
    code, said = slt_grok_command("extract", tmp_path, "-o", out)
    assert code == 2
    assert "manifest.json" in said

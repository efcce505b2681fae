"""YAML is read by the core schema of YAML 1.2, and what it cannot say is refused in one sentence."""

from pathlib import Path
from typing import Any

import pytest

from slt_grok.config import load_config, parse_config
from slt_grok.errors import LONGEST, SltGrokError
from slt_grok.yaml_files import read_yaml
from tests.conftest import CONFIG, write_config


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("050", "050"),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("0b1", "0b1"),
        ("yes", "yes"),
        ("on", "on"),
        ("2024-12-05", "2024-12-05"),
        ("2024-13-45", "2024-13-45"),
        ("0o17", 15),
        ("0xff", 255),
        ("-12", -12),
        ("1e-4", 1e-4),
        ("-.5E3", -500.0),
        ("2.", 2.0),
        (".inf", float("inf")),
        ("-.INF", -float("inf")),
        ("True", True),
        ("false", False),
        ("~", None),
        ("", None),
        ("'1'", "1"),
    ],
)
def test_scalars(tmp_path: Path, text: str, value: Any) -> None:
    (tmp_path / "a.yaml").write_text(f"a: {text}\n")
    read = read_yaml(tmp_path / "a.yaml")["a"]
    assert (read, type(read)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('!!int "abc"', "no integer: 'abc', line 1"),
        ("9" * 5000, "no integer: "),
        ("!!float x", "no number: 'x'"),
        ("!!bool 3", "no boolean: '3'"),
        ("!!int [1]", "no integer: a collection"),
        ("!!timestamp 2020-99-01", "unknown tag"),
        ("!!binary aGVsbG8=", "unknown tag"),
        ("!!set {1, 2}", "unknown tag"),
        ("[" * 1000 + "]" * 1000, "too many nested levels"),
    ],
    ids=range(9),
)
def test_what_is_no_yaml(tmp_path: Path, text: str, named: str) -> None:
    (tmp_path / "a.yaml").write_text(f"a: {text}\n")
    with pytest.raises(SltGrokError) as error:
        read_yaml(tmp_path / "a.yaml")
    assert named in str(error.value)
    assert str(error.value).startswith(str(tmp_path / "a.yaml"))


def test_a_folder_as_configuration(tmp_path: Path) -> None:
    with pytest.raises(SltGrokError, match="expected a file"):
        read_yaml(tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("training.steps", True),
        ("training.learning_rate", True),
        ("training.betas", [False, 0.5]),
        ("seeds", [True]),
        ("task.modulus", "7"),
        ("task.split_seed", "050"),
        ("llc.seed", True),
        ("llc.sampler.step_size", True),
        ("model.output_bias", 1),
        ("model.output_bias", "yes"),
    ],
)
def test_booleans_numbers_and_text_are_not_converted(tmp_path: Path, key: str, value: Any) -> None:
    with pytest.raises(SltGrokError, match=rf"{key}(\.0)?: expected (a number|true or false), got"):
        load_config(write_config(tmp_path / "c.yaml", (key, value)))


def test_a_float_with_an_integer_value_is_an_integer() -> None:
    config = parse_config({**CONFIG, "training": {**CONFIG["training"], "steps": 1e3}}, "a test")
    assert config.training is not None
    assert config.training.steps == 1000


def test_an_old_manifest_may_hold_an_exponent_as_text() -> None:
    config = parse_config({**CONFIG, "training": {**CONFIG["training"], "learning_rate": "1e-4"}}, "a test")
    assert config.training is not None
    assert config.training.learning_rate == 1e-4


def nested(levels: int) -> Any:
    return [nested(levels - 1)] if levels else 1


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({"source": {"a": nested(40)}}, "source: expected at most 32 levels"),
        ({"source": {1: 2}}, "source.keys: expected text, got 1"),
        ({"llc": {**CONFIG["llc"], "preset": [1, 1]}}, "llc.preset: expected "),
        ({"training": {**CONFIG["training"], "steps": 16**5000}}, "training.steps: expected an integer between"),
        ({"name": "x" * 5000}, "name: expected "),
        ({"x" * 5000: 3}, "unknown key"),
        ({"a\nb": 3}, r"a\nb: unknown key"),
        ({"": 3}, "'': unknown key"),
        ({"seeds": []}, "seeds: expected 1 or more entries, got []"),
    ],
    ids=range(9),
)
def test_one_short_line(content: dict[str, Any], named: str) -> None:
    with pytest.raises(SltGrokError) as error:
        parse_config({**CONFIG, **content}, "c.yaml")
    message = str(error.value)
    assert message.startswith("c.yaml: ")
    assert named in message or len(message) == LONGEST
    assert len(message) <= LONGEST
    assert message.isprintable()


def test_aliases_that_grow_exponentially_end_soon() -> None:
    value: Any = [0] * 9
    for _ in range(12):
        value = [value] * 9
    with pytest.raises(SltGrokError, match="source: expected at most"):
        parse_config({**CONFIG, "source": {"a": value}}, "c.yaml")

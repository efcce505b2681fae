"""A few damaged runs of the harness; the whole is `python -m tests.fuzz`."""

from pathlib import Path

from tests.conftest import Command, write_config
from tests.fuzz.damage import damage_runs
from tests.fuzz.outcomes import GOOD


def test_damage_is_noticed_or_changes_nothing(finished: Path, tmp_path: Path, slt_grok_command: Command) -> None:
    other = write_config(tmp_path / "other.yaml", ("task.modulus", 7))
    assert slt_grok_command("run", other, "--out", tmp_path / "other")[0] == 0
    part = damage_runs(range(12), finished, tmp_path / "other", tmp_path)
    assert not part.examples
    assert all(part.counts[kind] for kind in GOOD)

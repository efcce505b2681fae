"""Which runs a script takes as one group."""

from pathlib import Path
from typing import Any

from runs_below import grouped

from slt_grok.store import RunDirectory


def run(path: Path, modulus: int, steps: int, weight_decay: float = 1.0) -> RunDirectory:
    found = RunDirectory(path)
    config: dict[str, Any] = {
        "name": path.name,
        "seeds": [0],
        "task": {"modulus": modulus, "split_seed": steps},
        "model": {"kind": "mlp"},
        "training": {"steps": steps, "weight_decay": weight_decay},
    }
    found.write_manifest({"config": config, "stages": {}})
    return found


def test_sizes_that_are_trained_for_another_number_of_steps_are_one_group(tmp_path: Path) -> None:
    small, large = run(tmp_path / "small", 23, 8000), run(tmp_path / "large", 53, 3000)
    other = run(tmp_path / "other", 53, 3000, weight_decay=0.0)
    groups = grouped([small, large, other], ["modulus"])
    assert {name: [one.path.name for one in members] for name, members in groups.items()} == {
        "small": ["small", "large"],
        "other": ["other"],
    }
    assert len(grouped([small, large], [])) == 2

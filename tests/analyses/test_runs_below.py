"""Which runs a script takes as one group, and the settings of their LLCs."""

from pathlib import Path
from typing import Any

import xarray as xr
from runs_below import grouped, llc_settings

from slt_grok.store import RunDirectory


def run(path: Path, modulus: int, steps: int, weight_decay: float = 1.0, **sections: Any) -> RunDirectory:
    found = RunDirectory(path)
    config: dict[str, Any] = {
        "name": path.name,
        "seeds": [0],
        "task": {"modulus": modulus, "split_seed": steps},
        "model": {"kind": "mlp"},
        "training": {"steps": steps, "weight_decay": weight_decay},
        **sections,
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


def test_each_setting_of_the_llc_is_listed_once_and_unmeasured_ones_are_not(tmp_path: Path) -> None:
    for name, llc in {"a": {"gamma": 3}, "b": {"gamma": 3}, "c": {"n_beta": 20, "gamma": 4}}.items():
        run(tmp_path / "study" / name, 23, 10, llc=llc).write_measurement("llc", xr.Dataset(), {})
    run(tmp_path / "study" / "unmeasured", 23, 10, llc={"gamma": 5})
    assert llc_settings([tmp_path / "study"]) == [{"n_beta": "n", "gamma": 3.0}, {"n_beta": 20.0, "gamma": 4.0}]
    assert llc_settings([tmp_path / "study" / "unmeasured"]) == []

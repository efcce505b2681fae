"""The causal tests as a stage of a run: checkpoints, seeds with circuits of their own, a resume."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

import slt_grok
from slt_grok.circuits import causal
from slt_grok.models import planted
from slt_grok.store import RunDirectory
from slt_grok.studies.run import Run, measure_run
from tests.conftest import Command, write_config

P, KEYS, STEPS = 13, ([2, 5], [3, 6]), (0, 10, 20, 30, 40)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Two seeds whose clocks grow: they have memorized at step 10 and generalized at step 30, say the curves."""
    directory = RunDirectory(tmp_path / "run")
    names = [dict(planted.quadratic_clock(P, dict.fromkeys(keys, 1.0)).named_parameters()) for keys in KEYS]
    for step in STEPS:
        scale = {"W": 0.1 * (step + 1)}
        tensors = {
            name: torch.stack([seed[name].detach() * scale.get(name, 1.0) for seed in names]) for name in names[0]
        }
        directory.write_checkpoint(step, {name: tensor.float() for name, tensor in tensors.items()})
    fit = np.stack([np.array(STEPS) >= 10] * 2, 1).astype(float)
    known = np.stack([np.array(STEPS) >= 30] * 2, 1).astype(float)
    curves = {"train_accuracy": fit, "test_accuracy": known, "train_loss": 2 - fit, "test_loss": 2 - known}
    training = xr.Dataset(
        {name: (("step", "seed"), values) for name, values in curves.items()},
        coords={"step": list(STEPS), "seed": [0, 1]},
    )
    directory.write_measurement("training", training, {})
    config = {
        "name": "clocks",
        "seeds": [0, 1],
        "task": {"modulus": P},
        "model": {"kind": "quadratic", "width": 32},
        "training": None,
        "causal": {"checkpoints": 4, "draws": 2, "others": 2},
    }
    directory.write_manifest({"config": config, "stages": {}})
    return directory.path


def test_each_seed_against_its_own_circuit_and_its_own_memorizing_checkpoint(run: Path) -> None:
    measure_run(Run(run), ["causal"])
    found = RunDirectory(run).read_measurement("causal")
    assert found.step.values.tolist() == [0, 10, 30, 40]
    for seed, keys in enumerate(KEYS):
        assert found.frequency.values[found.circuit_frequency.sel(seed=seed)].tolist() == keys
    assert ((found.memorizing_step >= 10) & (found.memorizing_step < 30)).all()
    networks = slt_grok.trajectory(run)
    for seed in (0, 1):
        place = STEPS.index(int(found.memorizing_step.sel(seed=seed)))
        one = networks.isel(step=[0, 1, 3, 4], seed=[seed])
        memorizing, settings = networks.isel(step=[place], seed=[seed]), causal.CausalSettings(draws=2, others=2)
        alone = causal.measure(one, found.circuit_frequency.values[seed], memorizing, settings)
        for name in ("effect", "control_effect", "plane_norm", "loss_ratio_by_frequency"):
            np.testing.assert_array_equal(found[name].isel(seed=[seed]), alone[name], err_msg=name)
    captions = [table.caption for table in causal.Causal().tables({"causal": found})]
    assert any("Causal tests at step 40, seed 1" in caption for caption in captions)


def test_a_stopped_measurement_goes_on_where_it_was(
    run: Path, monkeypatch: pytest.MonkeyPatch, in_this_process: None
) -> None:
    measure, calls = causal.measure, []

    def stops(*arguments: Any, **options: Any) -> xr.Dataset:
        calls.append(1)
        if len(calls) == 3:  # in the second of two shards
            raise KeyboardInterrupt
        return measure(*arguments, **options)

    monkeypatch.setattr(causal, "measure", stops)
    with pytest.raises(KeyboardInterrupt):
        measure_run(Run(run), ["causal"])
    assert "causal" not in RunDirectory(run).labels
    measure_run(Run(run), ["causal"])
    assert len(calls) == 5  # the second shard of both seeds alone
    resumed = RunDirectory(run).read_measurement("causal")
    RunDirectory(run).measurement_path("causal").unlink()
    measure_run(Run(run), ["causal"])
    xr.testing.assert_identical(RunDirectory(run).read_measurement("causal"), resumed)
    measure_run(Run(run), ["causal"])
    assert len(calls) == 9  # what is there is not measured again


def test_it_is_measured_only_when_asked_for() -> None:
    assert not causal.Causal.default


def test_other_settings_are_named(run: Path, tmp_path: Path, slt_grok_command: Command) -> None:
    assert slt_grok_command("measure", run, "--only", "causal")[0] == 0
    config = write_config(tmp_path / "other.yaml", ("causal", {"draws": 5}))
    code, error = slt_grok_command("measure", run, "--only", "causal", "--config", config)
    assert code == 2
    assert "draws: 2 -> 5" in error
    config = write_config(tmp_path / "bad.yaml", ("causal", {"draws": 1}))
    code, error = slt_grok_command("measure", run, "--only", "causal", "--config", config)
    assert code == 2
    assert "causal.draws: expected" in error

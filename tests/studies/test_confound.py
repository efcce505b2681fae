"""The three treatments of the weights' scale on a tiny run."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import slt_grok
from slt_grok.studies.run import Run, measure_run
from tests.conftest import Command, write_config


@pytest.fixture(scope="module")
def treated(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("confound") / "run"
    shutil.copytree(finished, run)
    measure_run(Run(run), ["confound"])
    return run


def test_gamma_and_norm_of_each_treatment(treated: Path) -> None:
    found = slt_grok.load(treated)["confound"].to_dataset().isel(seed=0)
    networks = slt_grok.trajectory(treated)
    stack = networks.stacked(torch.float64)
    d = sum(tensor[0].numel() for tensor in stack.values())
    norm = np.array([sum(float(t[i].square().sum()) for t in stack.values()) ** 0.5 for i in range(len(networks))])
    kept = np.isin(networks.coords["step"], found.step)
    np.testing.assert_allclose(found.gamma.sel(treatment="fixed_gamma"), 10)
    np.testing.assert_allclose(found.gamma.sel(treatment="relative_gamma"), d / (0.7 * norm[kept] ** 2))
    np.testing.assert_allclose(found.gamma.sel(treatment="rescaled_weights"), 10)
    np.testing.assert_allclose(found.weight_norm.sel(treatment="fixed_gamma"), norm[kept])
    np.testing.assert_allclose(found.weight_norm.sel(treatment="rescaled_weights"), norm[-1])


def test_fixed_gamma_is_the_llc_of_the_run_and_rescaling_leaves_the_last_checkpoint(treated: Path) -> None:
    tree = slt_grok.load(treated)
    found, llc = tree["confound"].to_dataset(), tree["llc"].to_dataset()
    fixed = found.sel(treatment="fixed_gamma")
    np.testing.assert_allclose(fixed.llc, llc.llc.sel(step=found.step), rtol=1e-4)  # other shards, other rounding
    last = found.isel(step=-1)
    np.testing.assert_array_equal(last.llc.sel(treatment="rescaled_weights"), last.llc.sel(treatment="fixed_gamma"))
    np.testing.assert_allclose(fixed.baseline_loss, llc.baseline_loss.sel(step=found.step), rtol=1e-10)
    first = found.baseline_loss.isel(step=0, seed=0)
    assert first.sel(treatment="rescaled_weights") != first.sel(treatment="fixed_gamma")


def test_it_is_measured_only_when_asked_for(finished: Path, treated: Path) -> None:
    assert "confound" not in slt_grok.load(finished)
    assert "confound" in slt_grok.load(treated)


def test_a_run_without_settings_for_the_llc_says_so(slt_grok_command: Command, treated: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path / "none.yaml", ("llc", None))
    code, error = slt_grok_command("measure", treated, "--only", "confound", "--config", config, "--label", "x")
    assert code == 2
    assert "expected settings for confound, it has none" in error

"""Refined LLCs of seeds with circuits of their own, side by side."""

from typing import Any

import numpy as np
import pytest
import torch

from slt_grok.config import parse_config
from slt_grok.errors import SltGrokError
from slt_grok.llc import UnderdampedLangevin, refined
from slt_grok.llc.refined import over_seeds
from slt_grok.llc.sampling import Schedule
from slt_grok.models import EmbeddingMLP
from slt_grok.store import RunDirectory
from slt_grok.store.datasets import read_dataset, write_dataset
from slt_grok.studies import execute_run
from slt_grok.tasks import ModularTask
from slt_grok.trajectories import Trajectory
from tests.conftest import CONFIG

PAGES = True


def test_each_seed_keeps_its_own_frequencies(tmp_path) -> None:
    module = EmbeddingMLP(13, d_embed=4, d_mlp=6)
    module.initialize(torch.Generator().manual_seed(0))
    own = Trajectory.of(module, ModularTask(13))
    parameters = {name: tensor.expand(1, 2, *tensor.shape).clone() for name, tensor in own.parameters.items()}
    both = Trajectory(own.network, parameters, ("step", "seed"), {"step": np.array([5]), "seed": np.array([0, 1])})
    keys = [[2, 5], []]  # the second seed has found no circuit
    one_by_one = [
        refined.measure(
            both.isel(seed=[i]), refined.components(own.network, k), sampler=UnderdampedLangevin(0.02, 20.0),
            schedule=Schedule(2, 8), n_betas=[10.0], gamma=20.0, chains=2,
        )
        for i, k in enumerate(keys)
    ]  # fmt: skip
    joined = over_seeds(one_by_one)
    assert joined.llc.dims == ("step", "seed", "component")
    assert joined.component.values.tolist() == one_by_one[0].component.values.tolist()
    for i, one in enumerate(one_by_one):
        mine = joined.sel(seed=i, component=one.component.values)
        np.testing.assert_array_equal(mine.llc, one.llc.sel(seed=i))
        np.testing.assert_array_equal(mine.llc_status, one.llc_status.sel(seed=i))
        np.testing.assert_array_equal(mine.dimension, one.dimension)
        np.testing.assert_array_equal(mine.group, one.group)
    missing = joined.sel(seed=1, component=["frequency 2", "key frequencies", "null frequencies"])
    assert np.isnan(missing.llc).all()
    assert (missing.llc_status == "").all()
    assert np.isnan(joined.llc_interaction_frequency.sel(seed=1)).all()
    assert np.isfinite(joined.llc_interaction).all()
    write_dataset(tmp_path / "refined.nc", joined)
    again = read_dataset(tmp_path / "refined.nc")
    np.testing.assert_array_equal(again.llc_status, joined.llc_status)
    np.testing.assert_array_equal(again.group, joined.group)


def content(**refined: Any) -> dict[str, Any]:
    return {**CONFIG, "refined": {"checkpoints": 2, **refined}}


def test_what_is_left_out_is_as_in_llc() -> None:
    config = parse_config(content(draws=6), "here")
    assert config.llc is not None
    assert config.refined is not None
    assert (config.refined.n_beta, config.refined.gamma, config.refined.chains) == (5, 10, 2)
    assert (config.refined.draws, config.llc.draws) == (6, 8)
    assert parse_config(config.content, "manifest").refined == config.refined
    plain = parse_config(CONFIG, "here")
    assert plain.refined.draws == 8
    assert not plain.asks_for(refined.Refined)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"weights": ["W_E"]}, r"refined\.weights and data must be omitted"),
        ({"data": "test"}, r"refined\.weights and data must be omitted"),
        ({"sampler": {"name": "nuts"}}, r"refined\.sampler\.name: expected one of"),
        ({"checkpoints": 0}, r"refined\.checkpoints: expected"),
        ({"gamma": -1}, r"refined\.gamma: expected"),
    ],
)
def test_a_bad_setting_is_named(change: dict[str, Any], named: str) -> None:
    with pytest.raises(SltGrokError, match=named):
        parse_config(content(**change), "here")


def test_a_stage_of_a_run(tmp_path) -> None:
    """From a configuration to the page: two of the checkpoints, all components."""
    folder = tmp_path / "run"
    changes = {"llc": {**CONFIG["llc"], "weights": ["W_*"]}, "landscape": None}
    config = parse_config({**content(draws=6, burn_in=2), **changes}, "here")
    page = execute_run(config, folder)
    run = RunDirectory(folder)
    found = run.read_measurement("refined")
    assert found.sizes["step"] == 2
    assert found.step.values[-1] == 20
    assert {"all weights", "W_E", "b_in", "test pairs", "all pairs"} <= set(found.component.values)
    assert np.isfinite(found.llc_interaction).all()
    assert found.attrs["n_beta"] == 5
    assert "Refined LLCs" in page.read_text()


@pytest.mark.slow
def test_a_single_checkpoint_has_no_drop_and_a_page(tmp_path) -> None:
    changes = {"llc": {**CONFIG["llc"], "weights": ["W_*"]}, "landscape": None}
    config = parse_config({**content(draws=6, burn_in=2, checkpoints=1), **changes}, "here")
    page = execute_run(config, tmp_path / "run")
    run = RunDirectory(tmp_path / "run")
    assert run.read_measurement("refined").step.values.tolist() == [20]
    assert "attribution" not in run.labels
    assert "Refined LLCs" in page.read_text()

import numpy as np
import pytest
import torch
from torch import nn

from slt_grok import circuits
from slt_grok.errors import SltGrokError
from slt_grok.interventions import planes
from slt_grok.models import QuadraticNetwork
from slt_grok.tasks import ModularTask
from slt_grok.trajectories import Trajectory

from .planted import planted_trajectory

ENTRIES = [circuits.measure, circuits.key_frequencies, circuits.null]


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_network_of_another_package(entry):
    with pytest.raises(SltGrokError, match="Linear"):
        entry(Trajectory.of(nn.Linear(2, 5), ModularTask(5)))


@pytest.mark.parametrize("entry", ENTRIES)
def test_no_task(entry):
    with pytest.raises(SltGrokError, match="task"):
        entry(Trajectory.of(QuadraticNetwork(5, 4)))


@pytest.mark.parametrize("mask", [np.ones(4, bool), np.ones((2, 6), bool), np.ones(6), np.arange(6)])
def test_a_mask_of_another_shape_or_kind(mask):
    with pytest.raises(SltGrokError, match=r"circuit_frequency: expected a bool mask of shape \(6,\)"):
        circuits.measure(planted_trajectory(13, [2]), mask)


@pytest.mark.parametrize("number", [1, 0, -5])
def test_too_few_triples(number):
    with pytest.raises(SltGrokError, match=f"gradient_triples: expected 2 to 125 triples, got {number}"):
        circuits.measure(planted_trajectory(5, [1]), gradient_triples=number)


def test_more_triples_than_there_are_are_all_of_them():
    few = planted_trajectory(5, [1])
    found = [circuits.measure(few, gradient_triples=n) for n in (10**9, None)]
    assert [float(data.gradient_symmetricity_se) for data in found] == [0, 0]
    assert [data.attrs["gradient_triples"] for data in found] == [125, 125]


@pytest.mark.parametrize("site", ["neurons_post", "embedding_first"])
def test_an_intervention_inside_the_network_leaves_no_gradients_to_tokens(site):
    changed = planes.remove(planted_trajectory(5, [1, 2]), np.array([True, False]), site)
    data = circuits.measure(changed)
    assert np.isnan(data.gradient_symmetricity)
    assert np.isfinite(data.loss.sel(split="all"))


def test_a_network_that_is_zero_measures_without_a_complaint():
    data = circuits.measure(Trajectory.of(QuadraticNetwork(5, 4), ModularTask(5, train_fraction=1.0)))
    np.testing.assert_allclose(data.loss.sel(split=["train", "all"]), np.log(5))
    assert np.isnan(data.loss.sel(split="test"))
    assert not data.key_frequency.any()
    assert np.isnan(data.embedding_spectrum).all()
    assert np.isnan(data.key_frequency_agreement)


def test_every_variable_says_what_it_is(tmp_path):
    data = circuits.measure(planted_trajectory(13, [2]))
    for name, variable in data.items():
        assert {"long_name", "definition", "source"} <= set(variable.attrs), name
        assert "loss" not in str(name) or variable.attrs["units"] == "nats"
    path = tmp_path / "circuits.nc"
    data.to_netcdf(path, engine="h5netcdf")
    assert torch.tensor(data.key_frequency.values).dtype == torch.bool

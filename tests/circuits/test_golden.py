"""Published networks against the reference values, to the digits that are given."""

import json
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from slt_grok import circuits
from slt_grok.store import importers
from slt_grok.trajectories import Trajectory

REFERENCE = Path(__file__).parents[2] / ".." / "shared" / "reference"
NETWORKS = {
    "clock_pizza/p99zdpze5l": "clock_pizza/model_p99zdpze5l.pt",
    "clock_pizza/l8k1hzciux": "clock_pizza/model_l8k1hzciux.pt",
    "progress_measures/wd_10-1_mod_addition_loss_curve": "progress_measures/wd_10-1_mod_addition_loss_curve.pth",
}
# golden name -> (variable, split)
VALUES = {
    "accuracy": ("accuracy", "all"),
    "cross_entropy_all": ("loss", "all"),
    "train_loss": ("loss", "train"),
    "test_loss": ("loss", "test"),
    "restricted_loss_sum": ("restricted_loss_sum", "all"),
    "restricted_loss_sum_all": ("restricted_loss_sum", "all"),
    "restricted_loss_sum_train": ("restricted_loss_sum", "train"),
    "restricted_loss_sum_test": ("restricted_loss_sum", "test"),
    "restricted_loss_3x3": ("restricted_loss_3x3", "all"),
    "excluded_loss_all": ("excluded_loss", "all"),
    "excluded_loss_train": ("excluded_loss", "train"),
    "neuron_share": ("neuron_share", None),
    "gini_embedding": ("gini_embedding", None),
    "gini_neuron_logit_map": ("gini_neuron_logit_map", None),
    "sum_of_squared_weights": ("sum_of_squared_weights", None),
    "clock_fve_full_ols": ("clock_fve", None),
}


@pytest.fixture(scope="module", params=list(NETWORKS))
def case(request):
    path = REFERENCE / "checkpoints" / NETWORKS[request.param]
    if not path.is_file():
        pytest.skip(f"{path} is absent: the reference checkpoints are not part of the project")
    network = importers.read(path)
    module = network.module
    module.load_state_dict(network.parameters)
    golden = json.loads((REFERENCE / "golden.json").read_text(), parse_float=Decimal)[request.param]
    trajectory = Trajectory.of(module, network.task)
    return golden, circuits.measure(trajectory), trajectory


def same(found, given):
    """Equal to the digits given: within half a unit of the last one."""
    half = Decimal(5).scaleb(Decimal(given).as_tuple().exponent - 1)
    return abs(Decimal(float(found)) - Decimal(given)) <= half


def test_values(case):
    golden, data, _ = case
    compared = 0
    for name, (variable, split) in VALUES.items():
        if name in golden:
            found = data[variable] if split is None else data[variable].sel(split=split)
            assert same(found, golden[name]), f"{name}: {float(found)} against {golden[name]}"
            compared += 1
    assert compared >= 8
    assert data.accuracy.sel(split="all") == 1


def test_weight_norm(case):
    golden, data, _ = case
    if "weight_norm" in golden:
        assert same(np.sqrt(data.sum_of_squared_weights), golden["weight_norm"])


def test_frequencies(case):
    golden, data, _ = case
    assert data.frequency.values[data.key_frequency].tolist() == golden["key_frequencies_neurons"]
    if "key_frequencies_embedding" in golden:
        found = data.frequency.values[data.key_frequency_embedding].tolist()
        assert found == golden["key_frequencies_embedding"]
    for k, count in golden.get("neuron_clusters", {}).items():
        assert data.neuron_cluster_size.sel(frequency=int(k)) == count
    for k, share in golden.get("embedding_power_share", {}).items():
        assert same(data.embedding_spectrum.sel(frequency=int(k)), share)


def test_null(case):
    _, data, trajectory = case
    null = circuits.null(trajectory)
    np.testing.assert_allclose(null.loss, data.loss, rtol=1e-6)
    assert null.neuron_share == 0
    assert null.restricted_loss_sum.sel(split="all") > 3  # log p is over 4
    assert null.gini_embedding < 0.3 * data.gini_embedding

"""Published networks against the reference values, to the digits that are given."""

import json
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
import torch

import slt_grok
from slt_grok import circuits
from slt_grok.circuits import clock_pizza, gradient_symmetricity, neurons, phases, spectrum
from slt_grok.groups import cyclic
from slt_grok.store import importers
from slt_grok.trajectories import Trajectory

REFERENCE = Path(__file__).parents[2] / ".." / "shared" / "reference"
NETWORKS = {
    "clock_pizza/p99zdpze5l": "clock_pizza/model_p99zdpze5l.pt",
    "clock_pizza/l8k1hzciux": "clock_pizza/model_l8k1hzciux.pt",
    "clock_pizza/p71frej8t7": "clock_pizza/model_p71frej8t7.pt",
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
    "distance_irrelevance": ("distance_irrelevance", None),
    "distance_irrelevance_top_wrong": ("distance_irrelevance_top_wrong", None),
    "gradient_symmetricity_6000": ("gradient_symmetricity", None),  # the default number of triples
    "circularity": ("circularity", None),
    "accuracy_principal_components_1_6": ("accuracy_principal_components_1_6", None),
    "accuracy_principal_components_7_12": ("accuracy_principal_components_7_12", None),
    "torus_distance_mean": ("torus_distance", None),
}
ELSEWHERE = {  # golden names that other tests read
    "what",
    "gradient_symmetricity_100",
    "isolated_circles",
    "weight_norm",
    "key_frequencies_neurons",
    "key_frequencies_embedding",
    "neuron_clusters",
    "embedding_power_share",
}


def reference(name):
    path = REFERENCE / "checkpoints" / NETWORKS[name]
    if not path.is_file():
        pytest.skip(f"{path} is absent: the reference checkpoints are not part of the project")
    golden = json.loads((REFERENCE / "golden.json").read_text(), parse_float=Decimal)
    return path, golden[name]


@pytest.fixture(scope="module", params=list(NETWORKS))
def case(request):
    path, golden = reference(request.param)
    network = importers.read(path)
    module = network.module
    module.load_state_dict(network.parameters)
    trajectory = Trajectory.of(module, network.task)
    return golden, circuits.measure(trajectory), trajectory


def same(found, given):
    """Equal to the digits given: within half a unit of the last one."""
    half = Decimal(5).scaleb(Decimal(given).as_tuple().exponent - 1)
    return abs(Decimal(float(found)) - Decimal(given)) <= half


def test_values(case):
    golden, data, _ = case
    for name in set(golden) - ELSEWHERE:
        variable, split = VALUES[name]
        found = data[variable] if split is None else data[variable].sel(split=split)
        assert same(found, golden[name]), f"{name}: {float(found)} against {golden[name]}"


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


def test_gradient_symmetricity_of_the_first_hundred_triples(case):
    golden, data, trajectory = case
    if "gradient_symmetricity_100" not in golden:
        return
    parameters = {name: w[0] for name, w in trajectory.stacked(torch.float64).items()}
    mean, error = gradient_symmetricity.symmetricity(trajectory.network.module, parameters, 100)
    assert same(mean, golden["gradient_symmetricity_100"])
    assert abs(data.gradient_symmetricity - mean) < 4 * error + 1e-9  # 100 of the 6000; missed once in 16,000


def test_isolated_circles(case):
    golden, data, _ = case
    if "isolated_circles" not in golden:
        return
    by_frequency = data.swap_dims(circle="circle_frequency")
    assert {str(k) for k in data.circle_frequency.values} == set(golden["isolated_circles"])
    for k, expected in golden["isolated_circles"].items():
        one = by_frequency.sel(circle_frequency=int(k))
        assert same(one.circle_clock_fve, expected["clock_fve"])
        assert same(one.circle_pizza_fve, expected["pizza_fve"])
        assert same(one.circle_accuracy, expected["accuracy"])


def test_other_measures_are_where_the_papers_say(case):
    """Ranges from the papers' texts: there are no golden values of these."""
    _, data, _ = case
    keys = data.key_frequency.values
    # 2301.05217: two directions of W_L for each key frequency; most of each is one cosine
    assert data.neuron_logit_map_rank == 2 * keys.sum()
    assert (data.neuron_logit_direction_fve.values[keys] > 0.85).all()
    assert (data.polynomial_neurons_accuracy.sel(split="all")) == 1
    # the key frequencies make up the margin
    margin = data.margin.sel(split="all")
    assert data.margin_by_frequency.values[keys].sum() > 0.9 * margin
    assert np.abs(data.margin_by_frequency.values[~keys]).max() < 0.01 * margin
    # 2301.02679, 2505.18266: output phases are the sums of the input phases
    assert data.phase_alignment_residual > 0.99


def test_null(case):
    golden, data, trajectory = case
    if golden["neuron_share"] not in (1, Decimal("0.3613")):
        return  # one network of each p says it
    null = circuits.null(trajectory)
    np.testing.assert_allclose(null.loss, data.loss, rtol=1e-6)
    assert null.neuron_share == 0
    assert null.restricted_loss_sum.sel(split="all") > 3  # log p is over 4
    assert null.gini_embedding < 0.3 * data.gini_embedding


def test_the_command_measures_an_imported_file(tmp_path, slt_grok_command):
    path, golden = reference("clock_pizza/p99zdpze5l")
    run = tmp_path / "run"
    assert slt_grok_command("import", path, "--out", run)[0] == 0
    assert slt_grok_command("measure", run, "--only", "circuits")[0] == 0
    data = slt_grok.load(run)["circuits"].isel(step=0, seed=0)
    for name in ("gradient_symmetricity_6000", "distance_irrelevance", "circularity", "restricted_loss_sum"):
        variable, split = VALUES[name]
        found = data[variable] if split is None else data[variable].sel(split=split)
        assert same(found, golden[name]), name


# -- what random arrays give


def test_nulls():
    """The golden ones are one draw each: within 4 deviations of the mean over draws, which one in 5000 would miss."""
    path = REFERENCE / "golden.json"
    if not path.is_file():
        pytest.skip(f"{path} is absent: the reference values are not part of the project")
    golden = json.loads(path.read_text())["nulls_p59"]
    generator, p = torch.Generator().manual_seed(0), 59
    tables = torch.randn(200, p, 128, dtype=torch.float64, generator=generator)
    noise = torch.randn(1, p * p, 400, dtype=torch.float64, generator=generator)
    found = {
        "gini_random_embedding_59x128": spectrum.gini_of_components(tables, cyclic(p)),
        "circularity_random": clock_pizza.circularity(clock_pizza.PrincipalComponents.of(tables)),
        "max_neuron_fve_white_noise": neurons.fraction_of_variance_explained(noise, cyclic(p))[0].amax(-1),
    }
    for name, values in found.items():
        assert abs(values.mean() - golden[name]) < 4 * values.std() + 0.0005, name
    pairs = torch.cartesian_prod(torch.arange(p), torch.arange(p))
    waves = torch.eye(p, dtype=torch.float64)  # a neuron that is largest at each pair
    pre = (waves[pairs[:, 1]][:, None] * waves[pairs[:, 0]][..., None]).flatten(1).T[None]
    aligned = phases.phase_alignment(pre, torch.full((1, p * p), 7))
    assert torch.equal(aligned[0][0], 7 * pairs[:, 0] % p)
    distance = phases.torus_distance(aligned, p)
    assert distance.double().mean().item() == pytest.approx((p * p - 1) / (4 * p), rel=1e-12)
    assert same((p * p - 1) / (4 * p), Decimal(str(golden["torus_distance_uniform"])))

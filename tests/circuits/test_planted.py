"""Every measure on networks whose circuit is known."""

import math

import numpy as np
import pytest
import torch

from slt_grok import circuits
from slt_grok.models import OneLayerTransformer
from slt_grok.tasks import ModularTask
from slt_grok.trajectories import Trajectory

from .planted import clock_loss, planted, planted_trajectory

P, KEYS = 31, [3, 7, 11]
LOSSES = ("loss", "restricted_loss_sum", "restricted_loss_2x2", "restricted_loss_3x3", "trig_loss", "excluded_loss")


@pytest.mark.parametrize("operation", ["addition", "subtraction"])
def test_the_planted_circuit_is_found_and_is_everything(operation):
    data = circuits.measure(planted_trajectory(P, KEYS, 0.3, operation=operation))
    assert data.frequency.values[data.key_frequency].tolist() == KEYS
    assert data.frequency.values[data.key_frequency_embedding].tolist() == KEYS
    assert data.frequency.values[data.key_frequency_neuron_logit_map].tolist() == KEYS
    assert data.frequency.values[data.circuit_frequency].tolist() == KEYS
    assert data.key_frequency_agreement == 1
    assert data.neuron_share == 1
    assert data.neuron_cluster_size.sel(frequency=KEYS).values.tolist() == [16, 16, 16]
    assert data.neuron_cluster_size.sum() == 48
    loss = clock_loss(P, dict.fromkeys(KEYS, 8 * 0.3))
    for name in LOSSES[:-1]:
        np.testing.assert_allclose(data[name], loss, rtol=1e-12, err_msg=name)
    np.testing.assert_allclose(data.excluded_loss, math.log(P), rtol=1e-12)
    np.testing.assert_allclose(data.accuracy, 1)
    np.testing.assert_allclose(data.clock_fve, 1, rtol=1e-12)
    for k in data.frequency.values:
        kept = dict.fromkeys([key for key in KEYS if key != k], 2.4)
        found = data.excluded_loss_by_frequency.sel(frequency=k)
        np.testing.assert_allclose(found, clock_loss(P, kept), rtol=1e-12)


@pytest.mark.parametrize("operation", ["addition", "subtraction"])
def test_neurons_of_the_planted_circuit(operation):
    data = circuits.measure(planted_trajectory(P, KEYS, 0.3, operation=operation))
    loss = clock_loss(P, dict.fromkeys(KEYS, 8 * 0.3))
    for name in ("polynomial_neurons_loss", "simple_neurons_loss"):  # what the polynomials lose at 2k cancels
        np.testing.assert_allclose(data[name], loss, rtol=1e-12, err_msg=name)
    np.testing.assert_allclose(data.polynomial_neurons_accuracy, 1)
    np.testing.assert_allclose(data.simple_neurons_accuracy, 1)
    np.testing.assert_allclose(data.simple_neuron_r2, 1, rtol=1e-12)
    np.testing.assert_allclose(data.neuron_fve, 0.8, rtol=1e-12)
    np.testing.assert_allclose(data.phase_alignment_residual, 1, rtol=1e-12)
    found = data.phase_alignment_residual_by_frequency
    assert data.frequency.values[found.notnull()].tolist() == KEYS
    np.testing.assert_allclose(data.inverse_participation_ratio_rfft, 1, rtol=1e-12)
    np.testing.assert_allclose(data.inverse_participation_ratio_dft, 1 / 2, rtol=1e-12)
    np.testing.assert_allclose(data.neuron_logit_direction_fve.sel(frequency=KEYS), 1, rtol=1e-12)
    assert data.neuron_logit_map_rank == 2 * len(KEYS)
    # phases a quarter turn apart: distances 0, p/4, p/2, p/4, each rounded to where the waves peak on the tokens
    np.testing.assert_allclose(data.torus_distance, P / 4, atol=0.5)
    assert data.neuron_frequency.values.tolist() == np.repeat(KEYS, 16).tolist()
    others = [k for k in data.frequency.values if k not in KEYS]
    np.testing.assert_allclose(data.margin_by_frequency.sel(frequency=others), 0, atol=1e-12)
    without_one = [clock_loss(P, {k: 2.4 for k in KEYS if k != gone}) for gone in KEYS]
    np.testing.assert_allclose(data.excluded_loss_largest, max(without_one), rtol=1e-12)


def test_numbers_that_the_weights_alone_fix():
    data = circuits.measure(planted_trajectory(P, KEYS))
    np.testing.assert_allclose(data.embedding_spectrum.sel(frequency=KEYS), 1 / 3, rtol=1e-12)
    np.testing.assert_allclose(data.neuron_logit_map_spectrum.sel(frequency=KEYS), 1 / 3, rtol=1e-12)
    # six of the p-1 components are equal, the others zero
    for name in ("gini_embedding", "gini_neuron_logit_map"):
        np.testing.assert_allclose(data[name], 1 - 6 / (P - 1), rtol=1e-9)
    # 48 columns of U, of V and rows of W, each a cosine of squared norm p/2
    np.testing.assert_allclose(data.sum_of_squared_weights, 3 * 48 * P / 2, rtol=1e-12)


def test_frequencies_that_are_given_are_the_ones_used():
    trajectory = planted_trajectory(P, KEYS, 0.3)
    mask = np.isin(np.arange(1, 16), [3])
    data = circuits.measure(trajectory, mask)
    np.testing.assert_allclose(data.restricted_loss_sum, clock_loss(P, {3: 2.4}), rtol=1e-12)
    np.testing.assert_allclose(data.excluded_loss, clock_loss(P, {7: 2.4, 11: 2.4}), rtol=1e-12)
    np.testing.assert_allclose(data.trig_loss, clock_loss(P, {3: 2.4}), rtol=1e-12)
    np.testing.assert_allclose(data.clock_fve, 1 / 3, rtol=1e-12)
    assert data.frequency.values[data.circuit_frequency].tolist() == [3]


def test_null_keeps_the_losses_and_destroys_the_circuit():
    trajectory = planted_trajectory(P, KEYS, 0.3)
    data, null = circuits.measure(trajectory), circuits.null(trajectory)
    for name in ("loss", "accuracy", "sum_of_squared_weights"):
        np.testing.assert_allclose(null[name], data[name], rtol=1e-12)
    assert null.neuron_share == 0
    assert not null.key_frequency.any()
    np.testing.assert_allclose(null.restricted_loss_sum, math.log(P), rtol=1e-12)
    assert null.embedding_spectrum.max() < 0.25
    assert null.gini_embedding < 0.35
    other = circuits.null(trajectory, seed=1)
    assert not np.allclose(other.embedding_spectrum, null.embedding_spectrum)


def test_an_untrained_network_has_no_circuit():
    p = 23
    module = OneLayerTransformer(p, d_model=32, d_mlp=64)
    module.initialize(torch.Generator().manual_seed(0))
    task = ModularTask(p)
    data = circuits.measure(Trajectory.of(module, task))
    assert not data.circuit_frequency.any()
    logits = module.double()(task.inputs).detach()
    log_p = logits.mean(0).log_softmax(0)
    for split in ("train", "test", "all"):
        expected = -log_p[task.data(split)[1]].mean().item()
        for name in ("restricted_loss_sum", "restricted_loss_2x2", "restricted_loss_3x3", "trig_loss"):
            np.testing.assert_allclose(data[name].sel(split=split), expected, rtol=1e-10, err_msg=name)
    np.testing.assert_allclose(data.excluded_loss, data.loss, rtol=1e-12)
    assert data.clock_fve == 0


@pytest.mark.parametrize("chunk_bytes", [1, 2**29])  # networks one by one, and all at once
def test_several_checkpoints_and_seeds(chunk_bytes, monkeypatch):
    """Seeds end with keys of their own; the frequencies used at every step are those of the last one."""
    monkeypatch.setattr(circuits.measurement, "CHUNK_BYTES", chunk_bytes)
    p = 13
    keys = {0: (3, 3), 5: (2, 5), 9: (2, 5)}  # step -> key of each seed
    scales = {0: 0.1, 5: 0.2, 9: 0.4}
    base = planted_trajectory(p, [1], train_fraction=0.5)
    parameters = {
        name: torch.stack(
            [
                torch.stack(
                    [dict(planted(p, [key], scales[step]).named_parameters())[name].detach() for key in keys[step]]
                )
                for step in keys
            ]
        )
        for name in base.parameters
    }
    coords = {"step": np.array(list(keys)), "seed": np.array([0, 1])}
    trajectory = Trajectory(base.network, parameters, ("step", "seed"), coords)
    calls = []
    data = circuits.measure(trajectory, on_progress=lambda fraction, note="": calls.append(fraction))
    assert data.loss.dims == ("step", "seed", "split")
    assert data.circuit_frequency.dims == ("seed", "frequency")
    assert data.circuit_frequency.values.tolist() == [[k == 2 for k in range(1, 7)], [k == 5 for k in range(1, 7)]]
    assert data.key_frequency.sel(step=0).values.tolist() == [[k == 3 for k in range(1, 7)]] * 2
    for step, scale in scales.items():
        for seed, key in enumerate(keys[step]):
            here = data.sel(step=step, seed=seed, split="test")
            np.testing.assert_allclose(here.loss, clock_loss(p, {key: 8 * scale}), rtol=1e-12)
            # at step 0 the circuit of the last step is not there yet
            kept, removed = (math.log(p), here.loss) if step == 0 else (here.loss, math.log(p))
            for name in LOSSES[1:-1]:
                np.testing.assert_allclose(here[name], kept, rtol=1e-12, err_msg=name)
            np.testing.assert_allclose(here.excluded_loss, removed, rtol=1e-12)
    assert calls[-1] == 1


def test_one_frequency_excluded_is_the_train_loss_without_it():
    p = 11
    module = OneLayerTransformer(p, d_model=16, n_heads=2, d_mlp=24)
    module.initialize(torch.Generator().manual_seed(0))
    trajectory = Trajectory.of(module, ModularTask(p))
    for k in (1, 4):
        data = circuits.measure(trajectory, np.arange(1, 6) == k)
        expected = data.excluded_loss.sel(split="train")
        np.testing.assert_allclose(data.excluded_loss_by_frequency.sel(frequency=k), expected, rtol=1e-12)
        assert abs(expected - data.excluded_loss.sel(split="all")) > 1e-4


def test_chunks_and_shards_change_nothing(monkeypatch):
    p = 11
    task = ModularTask(p)
    states = {}
    for step in range(5):
        module = OneLayerTransformer(p, d_model=16, n_heads=2, d_mlp=24, layout="a_b")
        module.initialize(torch.Generator().manual_seed(step))
        states[step] = {name: w.detach() for name, w in module.named_parameters()}
    trajectory = Trajectory.stack(module, states, task)
    mask = np.isin(np.arange(1, 6), [2, 4])
    whole = circuits.measure(trajectory, mask)
    calls = []
    monkeypatch.setattr(circuits.measurement, "CHUNK_BYTES", 2 * 8 * p**2 * (8 * 24 + 10 * p))
    chunked = circuits.measure(trajectory, mask, on_progress=lambda fraction, note="": calls.append(fraction))
    assert calls == [2 / 5, 4 / 5, 1]
    for name in whole:
        single = str(name).startswith("circle_")  # computed in single precision
        np.testing.assert_allclose(chunked[name], whole[name], rtol=1e-6 if single else 1e-9, err_msg=str(name))
    for step, shard in enumerate(trajectory.shards(1)):
        part = circuits.measure(shard, mask)
        for name in whole:
            expected = whole[name].isel(step=[step]) if "step" in whole[name].dims else whole[name]
            single = str(name).startswith("circle_")
            np.testing.assert_allclose(part[name], expected, rtol=1e-6 if single else 1e-9, err_msg=str(name))

"""Every kind of model through a configuration, training, the circuit measures and the LLC."""

import numpy as np
import pytest
import torch

import slt_grok
from slt_grok import circuits, llc, models
from slt_grok.config import parse_config
from slt_grok.store import RunDirectory
from slt_grok.training import train

SETTINGS = [
    {"kind": "transformer", "d_model": 9, "n_heads": 2, "d_head": 4, "d_mlp": 12, "layout": "a_b"},
    {"kind": "transformer", "d_model": 8, "n_heads": 2, "d_mlp": 12, "layout": "a_b", "separate_embeddings": True},
    {"kind": "deep_transformer", "n_layers": 2, "d_model": 8, "n_heads": 2, "d_mlp": 12},
    {"kind": "deep_transformer", "n_layers": 3, "d_model": 8, "n_heads": 2, "d_mlp": 12, "layout": "a_b_equals"},
    {"kind": "mlp", "d_embed": 6, "d_mlp": 10, "combine": "sum", "separate_embeddings": True},
    {"kind": "mlp", "d_embed": 6, "d_mlp": 10, "bias_per_token": True},
    {"kind": "deep_mlp", "d_embed": 6, "d_mlp": 10, "d_second": 8},
    {"kind": "deep_mlp", "d_embed": 6, "d_mlp": 10, "bias_per_token": True},
    {"kind": "quadratic", "width": 12},
]


def test_every_kind_is_here():
    kinds = {kind.name for kind in models.Model.all()} - {"custom"}  # a user-supplied module, which is not trained here
    assert {settings["kind"] for settings in SETTINGS} == kinds


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda s: "-".join(map(str, s.values())))
def test_a_configuration_of_it_trains_and_is_measured(tmp_path, settings):
    content = {
        "name": "tiny",
        "task": {"modulus": 5, "train_fraction": 0.8},
        "model": settings,
        "training": {"steps": 6, "learning_rate": 0.01, "checkpoints": {"linear": 2}, "evaluate_every": 3},
    }
    config = parse_config(content, "tiny.yaml")
    network, task = config.network, config.task
    run = RunDirectory(tmp_path / "run")
    run.write_manifest({"config": content, "stages": {}})
    curves = train(run, network, config.training, config.seeds)
    assert curves.train_loss[-1, 0] < curves.train_loss[0, 0]
    trajectory = slt_grok.trajectory(tmp_path / "run")
    measured = circuits.measure(trajectory)
    for name in ("loss", "gradient_symmetricity", "circularity", "gini_neuron_logit_map", "polynomial_neurons_loss"):
        assert np.isfinite(measured[name]).all(), name
    # the loss by the measures is that of the module
    module = network.module.double()
    module.load_state_dict({name: w[-1, 0] for name, w in trajectory.parameters.items()})
    loss = torch.nn.functional.cross_entropy(module(task.inputs), task.labels).item()
    assert float(measured.loss.sel(split="all")[-1, 0]) == pytest.approx(loss, rel=1e-6)
    result = llc.estimate(trajectory, sampler=llc.SGLD(1e-4), n_beta=5, gamma=10, draws=8, burn_in=2, chains=2)
    assert np.isfinite(result.llc).all()

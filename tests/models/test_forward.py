"""The fast forward passes against formulas written out in full."""

import math

import pytest
import torch

from slt_grok import models
from slt_grok.errors import SltGrokError
from slt_grok.models import EmbeddingMLP, OneLayerTransformer, QuadraticNetwork, record
from slt_grok.tasks import ModularTask
from slt_grok.trajectories import Network

P = 11
PAIRS = ModularTask(P).inputs
ACTIVATIONS = {
    "relu": lambda x: x.clamp(min=0),
    "gelu": lambda x: x * (1 + (x / 2**0.5).erf()) / 2,
    "quadratic": lambda x: x * x,
}


def drawn(module, seed=0):
    """The module in float64 with all weights, biases too, drawn."""
    generator = torch.Generator().manual_seed(seed)
    module = module.double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0, 0.5, generator=generator)
    return module


def full_transformer(module, pairs, causal, rate, activation):
    """Logits of every position, attention with a mask, as in the textbook; the last position is the answer."""
    w = dict(module.named_parameters())
    tokens = torch.cat([pairs, torch.full_like(pairs[:, :1], P)], 1) if causal else pairs
    residual = w["W_E"][tokens] + w["W_pos"]
    query, key, value = (torch.einsum("npd,hde->nhpe", residual, w[name]) for name in ("W_Q", "W_K", "W_V"))
    scores = torch.einsum("nhqe,nhke->nhqk", query, key) / math.sqrt(query.shape[-1])
    if causal:
        scores = scores.masked_fill(torch.ones(3, 3).triu(1).bool(), -torch.inf)
    pattern = rate * scores.softmax(-1) + (1 - rate) * torch.ones_like(scores)
    residual = residual + torch.einsum("nhqk,nhke,hed->nqd", pattern, value, w["W_O"])
    neurons = ACTIVATIONS[activation](torch.einsum("npd,dm->npm", residual, w["W_in"]) + w["b_in"])
    residual = residual + torch.einsum("npm,md->npd", neurons, w["W_out"]) + w["b_out"]
    return (residual @ w["W_U"])[:, -1], pattern[:, :, -1], neurons[:, -1]


@pytest.mark.parametrize("activation", list(ACTIVATIONS))
@pytest.mark.parametrize(("layout", "rate"), [("a_b_equals", 1.0), ("a_b", 1.0), ("a_b", 0.0), ("a_b", 0.37)])
def test_transformer(layout, rate, activation):
    module = drawn(OneLayerTransformer(P, 12, 3, 20, activation=activation, layout=layout, attention_rate=rate))
    found = {}
    logits = module(PAIRS, record(found, "attention_pattern", "neurons_post", "logits"))
    expected, pattern, neurons = full_transformer(module, PAIRS, layout == "a_b_equals", rate, activation)
    torch.testing.assert_close(logits, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found["attention_pattern"], pattern, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found["neurons_post"], neurons, rtol=1e-12, atol=1e-12)
    assert torch.equal(found["logits"], logits)
    # the map from neurons to logits is what the logits owe to the neurons
    neuron_map = module.neuron_logit_map(dict(module.named_parameters()))
    without = module(PAIRS, lambda name, v: torch.zeros_like(v) if name == "neurons_post" else v)
    torch.testing.assert_close(logits - without, neurons @ neuron_map, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("activation", list(ACTIVATIONS))
@pytest.mark.parametrize("combine", ["sum", "concatenation"])
@pytest.mark.parametrize("bias", [False, True])
def test_mlp(combine, activation, bias):
    module = drawn(EmbeddingMLP(P, 5, 7, combine, activation, bias))
    w = dict(module.named_parameters())
    left, right = torch.eye(P, dtype=torch.float64)[PAIRS].unbind(1)
    if combine == "sum":
        pre = (left + right) @ w["W_E"] @ w["W_in"] + w["b_in"]
    else:
        both = torch.cat([left @ w["W_E"], right @ w["W_E"]], -1)
        pre = both @ torch.cat([w["W_left"], w["W_right"]]) + w["b_in"]
    expected = ACTIVATIONS[activation](pre) @ w["W_U"] + (w["b_U"] if bias else 0)
    torch.testing.assert_close(module(PAIRS), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("activation", list(ACTIVATIONS))
def test_quadratic_network(activation):
    module = drawn(QuadraticNetwork(P, 6, activation))
    left, right = torch.eye(P, dtype=torch.float64)[PAIRS].unbind(1)
    expected = ACTIVATIONS[activation](left @ module.U + right @ module.V) @ module.W
    torch.testing.assert_close(module(PAIRS), expected, rtol=1e-12, atol=1e-12)


SETTINGS = [
    {"kind": "transformer", "d_model": 12, "n_heads": 3, "d_mlp": 20},
    {"kind": "transformer", "d_model": 12, "n_heads": 3, "d_mlp": 20, "layout": "a_b", "attention_rate": 0.2},
    {"kind": "mlp", "d_embed": 5, "d_mlp": 7},
    {"kind": "mlp", "d_embed": 5, "d_mlp": 7, "combine": "sum", "output_bias": True},
    {"kind": "quadratic", "width": 6},
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_stacked_equals_one_at_a_time(settings):
    task = ModularTask(P)
    nets = [drawn(models.build(modulus=P, **settings), seed) for seed in range(3)]
    network = Network(nets[0], task)
    stack = {
        name: torch.stack([dict(net.named_parameters())[name].detach() for net in nets]) for name in network.shapes
    }
    outputs = network.stacked_outputs(stack, task.inputs)
    losses = network.stacked_mean_loss(stack, *task.data("train"), own_data=False)
    neurons = network.stacked_sites(stack, task.inputs, "neurons_post")["neurons_post"]
    for i, net in enumerate(nets):
        found = {}
        logits = net(task.inputs, record(found, "neurons_post")).detach()
        torch.testing.assert_close(outputs[i], logits, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(neurons[i], found["neurons_post"].detach(), rtol=1e-12, atol=1e-12)
        rows, labels = task.indices("train"), task.data("train")[1]
        expected = -logits.log_softmax(-1)[rows, labels].mean()
        torch.testing.assert_close(losses[i], expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("settings", SETTINGS)
def test_initialisation_is_the_generators(settings):
    def weights(seed):
        module = models.build(modulus=P, **settings)
        module.initialise(torch.Generator().manual_seed(seed))
        return torch.cat([w.detach().flatten() for w in module.parameters()])

    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"kind": "rnn"}, "model.kind"),
        ({"kind": "mlp", "depth": 3}, "settings that a mlp does not take"),
        ({"kind": "mlp", "combine": "product"}, "model.combine"),
        ({"kind": "quadratic", "activation": "tanh"}, "model.activation"),
        ({"kind": "transformer", "layout": "b_a"}, "model.layout"),
        ({"kind": "transformer", "d_model": 10, "n_heads": 4}, "multiple of n_heads"),
    ],
)
def test_bad_settings(settings, words):
    with pytest.raises(SltGrokError, match=words):
        models.build(modulus=P, **settings)

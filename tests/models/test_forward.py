"""The fast forward passes against formulas written out in full."""

import math
from copy import deepcopy

import pytest
import torch

from slt_grok import models
from slt_grok.errors import SltGrokError
from slt_grok.models import DeepMLP, DeepTransformer, EmbeddingMLP, OneLayerTransformer, QuadraticNetwork, record
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


def test_width_of_a_head_need_not_divide_the_model():
    module = drawn(OneLayerTransformer(P, 13, 3, 20, layout="a_b", attention_rate=0.3, d_head=4))
    expected, _, _ = full_transformer(module, PAIRS, False, 0.3, "relu")
    torch.testing.assert_close(module(PAIRS), expected, rtol=1e-12, atol=1e-12)


def test_transformer_with_separate_embeddings():
    """As a network on 2P tokens, of which b has the second half; only its gradients in the tables differ in form."""
    module = drawn(OneLayerTransformer(P, 12, 3, 20, layout="a_b", attention_rate=0.3, separate_embeddings=True))
    joint = OneLayerTransformer(2 * P, 12, 3, 20, layout="a_b", attention_rate=0.3, classes=P).double()
    parameters = dict(module.named_parameters())
    tables = [parameters.pop("W_E_left"), parameters.pop("W_E_right")]
    joint.load_state_dict({**parameters, "W_E": torch.cat(tables)})
    torch.testing.assert_close(module(PAIRS), joint(PAIRS + torch.tensor([0, P])), rtol=1e-12, atol=1e-12)
    assert not any(map(module.declares, ("stacked_gradients", "stacked_grid", "head_maps")))
    assert all(map(joint.declares, ("stacked_gradients", "stacked_grid", "head_maps")))
    with pytest.raises(SltGrokError, match="separate_embeddings: expected layout a_b"):
        OneLayerTransformer(P, separate_embeddings=True)


def full_deep_transformer(module, pairs, causal, rate, activation):
    """Every layer at every position with a mask, one head at a time."""
    w = dict(module.named_parameters())
    tokens = torch.cat([pairs, torch.full_like(pairs[:, :1], P)], 1) if causal else pairs
    residual = w["W_E"][tokens] + w["W_pos"]
    n = residual.shape[1]
    mask = torch.ones(n, n, dtype=torch.float64)
    mask = mask.tril() if causal else mask
    patterns, layers = [], []
    for i in range(len(module.blocks)):
        b = {name: w[f"blocks.{i}.{name}"] for name in ("W_Q", "W_K", "W_V", "W_O", "W_in", "b_in", "W_out", "b_out")}
        out, rows = torch.zeros_like(residual), []
        for h in range(len(b["W_Q"])):
            query, key, value = residual @ b["W_Q"][h], residual @ b["W_K"][h], residual @ b["W_V"][h]
            weights = (torch.einsum("nqe,nke->nqk", query, key) / math.sqrt(query.shape[-1])).exp() * mask
            rows.append(rate * weights / weights.sum(-1, keepdim=True) + (1 - rate) * mask)
            out = out + rows[-1] @ value @ b["W_O"][h]
        residual = residual + out
        pre = residual @ b["W_in"] + b["b_in"]
        patterns.append(torch.stack(rows, 1))
        layers.append((pre, ACTIVATIONS[activation](pre)))
        residual = residual + layers[-1][1] @ b["W_out"] + b["b_out"]
    return (residual @ w["W_U"])[:, -1], patterns, layers


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@pytest.mark.parametrize(
    ("layout", "rate", "activation"),
    [("a_b", 0.0, "relu"), ("a_b", 0.37, "gelu"), ("a_b", 1.0, "quadratic"), ("a_b_equals", 1.0, "relu")],
)
def test_deep_transformer(depth, layout, rate, activation):
    module = drawn(DeepTransformer(P, depth, 12, 3, 20, activation, layout, rate, d_head=5))
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(0.3)  # squares of squares of squares stay within digits
    sites = ("attention_pattern", "neurons_pre", "neurons_post")
    names = {f"{site}{suffix}" for site in sites for suffix in ("", *(f".{i}" for i in range(depth)))}
    found, seen = {}, []

    def at(name, value):
        seen.append(name)
        return record(found, "embedding", "logits", *names)(name, value)

    logits = module(PAIRS, at)
    expected, patterns, layers = full_deep_transformer(module, PAIRS, layout == "a_b_equals", rate, activation)

    def same(left, right):
        torch.testing.assert_close(left, right, rtol=1e-10, atol=1e-12)

    same(logits, expected)
    assert torch.equal(found["logits"], logits)
    assert sorted(seen) == sorted(names | {"embedding", "logits"})
    same(found["attention_pattern"], patterns[0][:, :, -1])
    same(found["neurons_pre"], layers[0][0][:, -1])
    same(found["neurons_post"], layers[0][1][:, -1])
    for i in range(depth):
        kept = slice(-1, None) if i == depth - 1 else slice(None)
        same(found[f"attention_pattern.{i}"], patterns[i][:, :, kept])
        same(found[f"neurons_pre.{i}"], layers[i][0][:, kept])
        same(found[f"neurons_post.{i}"], layers[i][1][:, kept])
    # what is put in place of a site's value goes on through the network
    same(module(PAIRS, lambda name, v: v * 2 if name == "embedding" else v), scaled(module, 2)(PAIRS))
    silent = deepcopy(module)
    with torch.no_grad():
        silent.blocks[0].W_out.zero_()
    off = {"neurons_post.0"}
    same(module(PAIRS, lambda name, v: torch.zeros_like(v) if name in off else v), silent(PAIRS))
    # the direct path: with the later layers silent it is what the logits owe to the neurons
    with torch.no_grad():
        for block in list(module.blocks)[1:]:
            block.W_O.zero_()
            block.W_out.zero_()
    direct = found["neurons_post"] @ module.neuron_logit_map(dict(module.named_parameters()))
    without = module(PAIRS, lambda name, v: torch.zeros_like(v) if name == "neurons_post" else v)
    torch.testing.assert_close(module(PAIRS) - without, direct, rtol=1e-8, atol=1e-10)


def scaled(module, factor):
    copy = deepcopy(module)
    with torch.no_grad():
        copy.W_E.mul_(factor)
    return copy


@pytest.mark.parametrize("layout", ["a_b", "a_b_equals"])
def test_one_layer_of_the_deep_transformer_is_the_one_layer_transformer(layout):
    deep = drawn(DeepTransformer(P, 1, 12, 3, 20, layout=layout, attention_rate=1.0))
    shallow = OneLayerTransformer(P, 12, 3, 20, layout=layout, attention_rate=1.0).double()
    shallow.load_state_dict({name.removeprefix("blocks.0."): w for name, w in deep.state_dict().items()})
    torch.testing.assert_close(deep(PAIRS), shallow(PAIRS), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("activation", list(ACTIVATIONS))
@pytest.mark.parametrize("bias_per_token", [False, True])
def test_deep_mlp(activation, bias_per_token):
    module = drawn(DeepMLP(P, 5, 7, 6, activation, bias_per_token))
    w = dict(module.named_parameters())
    left, right = torch.eye(P, dtype=torch.float64)[PAIRS].unbind(1)
    if bias_per_token:
        pre = (left @ w["W_E"] @ w["W_1"] + w["b_1"]) + (right @ w["W_E"] @ w["W_1"] + w["b_1"])
    else:
        pre = (left @ w["W_E"] + right @ w["W_E"]) @ w["W_1"] + w["b_1"]
    post = ACTIVATIONS[activation](pre)
    second = post @ w["W_2"] + w["b_2"]
    expected = ACTIVATIONS[activation](second) @ w["W_U"]
    found = {}
    names = ("neurons_pre", "neurons_post", "neurons_pre.1", "neurons_post.1", "logits")
    torch.testing.assert_close(module(PAIRS, record(found, *names)), expected, rtol=1e-12, atol=1e-12)
    for name, value in zip(names, (pre, post, second, ACTIVATIONS[activation](second), expected), strict=True):
        torch.testing.assert_close(found[name], value, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("activation", list(ACTIVATIONS))
@pytest.mark.parametrize("combine", ["sum", "concatenation"])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("separate", [False, True])
def test_mlp(combine, activation, bias, separate):
    each = bias and combine == "concatenation"
    module = drawn(EmbeddingMLP(P, 5, 7, combine, activation, bias, separate, each))
    w = dict(module.named_parameters())
    left, right = torch.eye(P, dtype=torch.float64)[PAIRS].unbind(1)
    left = left @ w["W_E_left" if separate else "W_E"]
    right = right @ w["W_E_right" if separate else "W_E"]
    if combine == "sum":
        pre = (left + right) @ w["W_in"] + w["b_in"]
    elif each:
        pre = (left @ w["W_left"] + w["b_left"]) + (right @ w["W_right"] + w["b_right"])
    else:
        pre = torch.cat([left, right], -1) @ torch.cat([w["W_left"], w["W_right"]]) + w["b_in"]
    assert not {name for name, _ in module.token_roles().values()} - set(w) - {"b_U"}
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
    {"kind": "transformer", "d_model": 12, "n_heads": 3, "d_mlp": 20, "layout": "a_b", "separate_embeddings": True},
    {"kind": "mlp", "d_embed": 5, "d_mlp": 7},
    {"kind": "mlp", "d_embed": 5, "d_mlp": 7, "combine": "sum", "output_bias": True},
    {"kind": "mlp", "d_embed": 5, "d_mlp": 7, "separate_embeddings": True, "bias_per_token": True},
    {"kind": "deep_mlp", "d_embed": 5, "d_mlp": 7, "bias_per_token": True},
    {"kind": "deep_transformer", "n_layers": 2, "d_model": 12, "n_heads": 3, "d_mlp": 20, "attention_rate": 0.2},
    {"kind": "deep_transformer", "n_layers": 3, "d_model": 8, "n_heads": 2, "d_mlp": 9, "layout": "a_b_equals"},
    {"kind": "quadratic", "width": 6},
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_stacked_equals_one_at_a_time(settings):
    task = ModularTask(P)
    nets = [drawn(models.build(tokens=P, **settings), seed) for seed in range(3)]
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
def test_initialization_is_the_generators(settings):
    def weights(seed):
        module = models.build(tokens=P, **settings)
        module.initialize(torch.Generator().manual_seed(seed))
        return torch.cat([w.detach().flatten() for w in module.parameters()])

    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"kind": "rnn"}, "model.kind"),
        ({"kind": "mlp", "depth": 3}, "model.depth: unknown key"),
        ({"kind": "mlp", "combine": "product"}, "model.combine"),
        ({"kind": "quadratic", "activation": "tanh"}, "model.activation"),
        ({"kind": "transformer", "layout": "b_a"}, "model.layout"),
        ({"kind": "transformer", "d_model": 10, "n_heads": 4}, "multiple of n_heads"),
        ({"kind": "deep_transformer", "d_model": 10, "n_heads": 4}, "multiple of n_heads"),
        ({"kind": "deep_transformer", "layout": "b_a"}, "model.layout"),
        ({"kind": "deep_transformer", "n_layers": 0}, "model.n_layers"),
        ({"kind": "deep_mlp", "activation": "tanh"}, "model.activation"),
        ({"kind": "mlp", "combine": "sum", "bias_per_token": True}, "model.bias_per_token"),
    ],
)
def test_bad_settings(settings, words):
    with pytest.raises(SltGrokError, match=words):
        models.build(tokens=P, **settings)

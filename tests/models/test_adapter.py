"""Modules of one's own through the adapter, against the same weights in this package's models."""

import pytest
import torch
from torch import nn

from slt_grok import circuits, llc, models
from slt_grok.circuits import gradient_symmetricity
from slt_grok.errors import SltGrokError
from slt_grok.models import record
from slt_grok.tasks import ModularTask
from slt_grok.trajectories import Network, Trajectory

P = 7
TASK = ModularTask(P, train_fraction=0.5)
PAIRS = TASK.inputs


class TwoMaps(nn.Module):
    """Two maps of two arguments, an activation of its own, weights that act from the left."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(P, 5)
        self.left, self.right = nn.Linear(5, 6), nn.Linear(5, 6)
        self.act = nn.GELU()
        self.last = nn.Linear(6, P, bias=False)

    def forward(self, a, b):
        return self.last(self.act(self.left(self.embedding(a)) + self.right(self.embedding(b))))


class Function(torch.autograd.Function):
    """GELU as many people write their own operation, which `torch.func` refuses."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return nn.functional.gelu(x)

    @staticmethod
    def backward(ctx, *grad_outputs):
        (x,) = ctx.saved_tensors
        normal = torch.distributions.Normal(0, 1)
        return grad_outputs[0] * (normal.cdf(x) + x * normal.log_prob(x).exp())


class WithoutBatching(nn.Module):
    """An activation that neither `vmap` nor another transform of `torch.func` takes."""

    def forward(self, x):
        return Function.apply(x)


class Bare(nn.Module):
    """All positions at once, an activation that is a bare function, one token and one class more than p."""

    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.randn(4, P + 1))  # columns are tokens
        self.first, self.second = nn.Linear(8, 6), nn.Linear(6, 4)
        self.out = nn.Parameter(torch.randn(4, P + 1))

    def forward(self, tokens):
        x = self.table.T[tokens]  # (n, position, 4)
        before = torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], 1)
        hidden = torch.relu(self.first(torch.cat([before, x], -1)))
        return (x + self.second(hidden)) @ self.out


def seeded(kind, seed=0):
    torch.manual_seed(seed)
    return kind()


def two_maps(module):
    return models.Adapter(
        module,
        P,
        sites={"neurons_pre": "act:input", "neurons_post": "act:output"},
        roles={"input": ("embedding.weight", -2), "output": ("last.weight", -2)},
        inputs=lambda pairs: (pairs[:, 0], pairs[:, 1]),
    )


def bare(module):
    return models.Adapter(
        module,
        P,
        sites={"neurons_pre": "first:output", "neurons_post": "second:input"},
        roles={"input": ("table", -1), "output": ("out", -1)},
        inputs=lambda pairs: torch.cat([torch.full_like(pairs[:, :1], P), pairs], 1),
        neuron_logit_map=lambda w: w["second.weight"].mT @ w["out"],
        position=-1,
    )


def ours(module):
    """The weights of TwoMaps as this package's model has them."""
    found = models.EmbeddingMLP(P, 5, 6, "concatenation", "gelu", bias_per_token=True)
    found.load_state_dict(
        {
            "W_E": module.embedding.weight,
            "W_left": module.left.weight.T,
            "W_right": module.right.weight.T,
            "b_left": module.left.bias,
            "b_right": module.right.bias,
            "W_U": module.last.weight.T,
        }
    )
    return found


def trajectory(activation=nn.GELU):
    modules = {step: seeded(TwoMaps, step) for step in (10, 20)}
    for module in modules.values():
        module.act = activation()
    network = two_maps(modules[10])
    states = {step: network.named(module.state_dict()) for step, module in modules.items()}
    model = ours(modules[10])
    same = Trajectory.stack(model, {step: ours(module).state_dict() for step, module in modules.items()}, TASK)
    return Trajectory.stack(network, states, TASK), same


@pytest.mark.parametrize("activation", [nn.GELU, WithoutBatching])
def test_every_circuit_measure_is_that_of_the_same_weights_in_our_model(activation):
    theirs, same = trajectory(activation)
    found, expected = circuits.measure(theirs), circuits.measure(same)
    assert set(found) == set(expected)
    for name in expected:
        left, right = found[name].values, expected[name].values
        assert left.shape == right.shape, name
        if left.dtype == bool:
            assert (left == right).all(), name
        else:
            torch.testing.assert_close(
                torch.as_tensor(left).double(),
                torch.as_tensor(right).double(),
                rtol=1e-6,
                atol=1e-8,
                equal_nan=True,
                msg=name,
            )


def test_the_llc_takes_it():
    theirs, _ = trajectory()
    settings = {"n_beta": 5, "gamma": 10, "draws": 8, "burn_in": 2, "chains": 2, "dtype": torch.float64}
    settings["sampler"] = llc.SGLD(1e-14)  # it hardly moves: the losses are those of the checkpoints
    result = llc.estimate(theirs, **settings)
    for i, module in enumerate(seeded(TwoMaps, step) for step in (10, 20)):
        inputs, labels = TASK.data("train")
        expected = nn.functional.cross_entropy(module(*inputs.T).double(), labels).item()
        assert result.baseline_loss.values[i] == pytest.approx(expected, rel=1e-5)
        assert result.loss_trace.values[i] == pytest.approx(expected, rel=1e-4)


def test_sites_are_read_and_replaced():
    module = seeded(TwoMaps)
    network, model = two_maps(module), ours(module)
    names = ("embedding", "neurons_pre", "neurons_post", "logits")
    left, right = {}, {}
    network(PAIRS, record(left, *names))
    model(PAIRS, record(right, *names))
    for name in names:
        torch.testing.assert_close(left[name], right[name], rtol=1e-5, atol=1e-6)
    for name in names:

        def halved(site, value, name=name):
            return value / 2 if site == name else value

        torch.testing.assert_close(network(PAIRS, halved), model(PAIRS, halved), rtol=1e-5, atol=1e-6)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in module.modules())


def test_a_module_with_positions_and_bare_functions():
    module = seeded(Bare).double()
    network = bare(module)
    table, out = module.table.detach().T, module.out.detach()
    a, b = table[PAIRS[:, 0]], table[PAIRS[:, 1]]
    pre = torch.cat([a, b], -1) @ module.first.weight.T + module.first.bias
    post = pre.clamp(min=0)
    expected = ((b + post @ module.second.weight.T + module.second.bias) @ out)[:, :P]
    found = {}
    logits = network(PAIRS, record(found, "embedding", "neurons_pre", "neurons_post"))
    torch.testing.assert_close(logits, expected)
    torch.testing.assert_close(found["neurons_pre"], pre)
    torch.testing.assert_close(found["neurons_post"], post)
    torch.testing.assert_close(found["embedding"], table)
    without = network(PAIRS, lambda name, v: torch.zeros_like(v) if name == "neurons_post" else v)
    weights = dict(network.named_parameters())
    torch.testing.assert_close(logits - without, post @ network.neuron_logit_map(weights))
    torch.testing.assert_close(network.token_embedding(weights), table[:P])
    # a stack of such networks, as every measurement takes it
    stack = {name: torch.stack([w, 2 * w]).detach() for name, w in weights.items()}
    sites = Network(network, TASK).stacked_sites(stack, PAIRS, "neurons_post", "logits")
    torch.testing.assert_close(sites["logits"][0], expected)
    torch.testing.assert_close(sites["neurons_post"][0], post)


def test_tokens_of_their_own_for_every_pair():
    """Gradients at the embedding for a module that appends '=' itself, against the gradient of its own table."""
    module = seeded(Bare).double()
    network = bare(module)
    weights = {name: w.detach() for name, w in network.named_parameters()}
    at = torch.tensor([(a, b, c) for a in (0, 2, 6) for b in (1, 3, 5) for c in (0, 6)])  # no a = b
    for number in (1, 2, len(at)):  # fewer pairs than p and more
        expected = []
        for a, b, c in at[:number].tolist():
            logits = module(torch.tensor([[P, a, b]]))[0, -1]
            (gradient,) = torch.autograd.grad(logits[c], module.table)
            expected.append(torch.cosine_similarity(gradient[:, a], gradient[:, b], dim=0))
        found = gradient_symmetricity.cosines(network, weights, at[:number])
        torch.testing.assert_close(found, torch.stack(expected))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sites": {"neurons_pre": "act:input"}}, "neurons_post, got none"),
        ({"sites": {"neurons_pre": "act:input", "neurons_post": "act"}}, "SUBMODULE:input"),
        ({"sites": {"neurons_pre": "act:input", "neurons_post": "relu:output"}}, "'relu:output'"),
        ({"roles": {"input": ("embedding.weight", -2)}}, "and output, got input"),
        ({"roles": {"input": ("embed.weight", -2), "output": ("last.weight", -2)}}, "'embed.weight'"),
        ({"roles": {"input": ("embedding.weight", -1), "output": ("last.weight", -2)}}, r"p = 7 .* got shape \(7, 5\)"),
        ({"tokens": 11}, "p = 11 entries"),
    ],
)
def test_what_does_not_fit_the_module(changes, words):
    settings = {
        "tokens": P,
        "sites": {"neurons_pre": "act:input", "neurons_post": "act:output"},
        "roles": {"input": ("embedding.weight", -2), "output": ("last.weight", -2)},
    }
    with pytest.raises(SltGrokError, match=words):
        models.Adapter(seeded(TwoMaps), **(settings | changes))


def test_it_has_no_initialization():
    with pytest.raises(SltGrokError, match="cannot initialize"):
        two_maps(seeded(TwoMaps)).initialize(torch.Generator())

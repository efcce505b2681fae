"""Tables over tokens are the network, on every pair that has angles."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.func import functional_call

from slt_grok.errors import SltGrokError
from slt_grok.models import DeepMLP, EmbeddingMLP, Model, OneLayerTransformer, QuadraticNetwork
from slt_grok.models.model import ACTIVATIONS as OF_MODELS
from slt_grok.program.activations import ACTIVATIONS
from slt_grok.program.token_tables import TokenTables
from slt_grok.tasks import ModularTask
from slt_grok.trajectories import Trajectory

P = 11


def random(module: Model, seed: int = 0) -> Model:
    """Every parameter normal, biases too."""
    generator = torch.Generator().manual_seed(seed)
    for weights in module.double().parameters():
        weights.data.normal_(0, 0.5, generator=generator)
    return module


NETWORKS = {
    "sum": lambda: EmbeddingMLP(P, 6, 20, "sum", "relu"),
    "concatenation": lambda: EmbeddingMLP(P, 6, 20, "concatenation", "gelu"),
    "quadratic": lambda: QuadraticNetwork(P, 20),
    "equals": lambda: OneLayerTransformer(P, 12, 3, 20),
    "two tokens": lambda: OneLayerTransformer(P, 12, 3, 20, layout="a_b"),
    "half attention": lambda: OneLayerTransformer(P, 12, 3, 20, layout="a_b", attention_rate=0.5),
    "two tables": lambda: OneLayerTransformer(P, 12, 3, 20, layout="a_b", attention_rate=0.5, separate_embeddings=True),
    "half with equals": lambda: OneLayerTransformer(P, 12, 3, 20, activation="gelu", attention_rate=0.5),
    "no attention": lambda: OneLayerTransformer(P, 12, 3, 20, layout="a_b", attention_rate=0.0),
}


@pytest.mark.parametrize("operation", ["addition", "multiplication"])
@pytest.mark.parametrize("name", NETWORKS)
def test_they_are_the_network(name: str, operation: str) -> None:
    module = random(NETWORKS[name]())
    found = TokenTables(Trajectory.of(module, ModularTask(P, operation)))
    n, tokens = found.tokens.order, found.tokens
    a, b = np.divmod(np.arange(n * n), n)
    pre, past = found.sum(found.values, a, b), found.sum(found.past, a, b)
    logits = ACTIVATIONS[found.activation].function(pre) @ found.output + past
    classes = [*tokens.token, 0][:P]  # the 0 of multiplication is last
    pairs = torch.from_numpy(np.stack([tokens.token[a], tokens.token[b]], -1))
    expected = module(pairs).detach().numpy()
    np.testing.assert_allclose(logits, expected[:, classes], atol=1e-12 * np.abs(expected).max())


@pytest.mark.parametrize("name", ["concatenation", "half attention", "equals"])
def test_ranges_hold_all_pairs(name: str) -> None:
    found = TokenTables(Trajectory.of(random(NETWORKS[name]()), ModularTask(P)))
    a, b = np.divmod(np.arange(P * P), P)
    pre = found.sum(found.values, a, b)
    low, high = found.range(found.values)
    assert (low <= pre.min(0) + 1e-12).all()
    assert (high >= pre.max(0) - 1e-12).all()
    if name == "concatenation":  # u(a) + v(b) has both ends
        np.testing.assert_allclose([low, high], [pre.min(0), pre.max(0)], atol=1e-12)


def test_refusals() -> None:
    task = ModularTask(P)
    network = Trajectory.of(random(NETWORKS["sum"]()), task)

    def doubled(*arguments: object) -> torch.Tensor:
        return 2 * functional_call(*arguments)  # pyright: ignore[reportCallIssue, reportArgumentType]

    with pytest.raises(SltGrokError, match="under an intervention"):
        TokenTables(replace(network, network=replace(network.network, call=doubled)))
    with pytest.raises(SltGrokError, match="got DeepMLP"):
        TokenTables(Trajectory.of(DeepMLP(P, 6, 20), task))
    state = network.network.copy_state(network.network.module)
    states = {step: {name: tensor.clone() for name, tensor in state.items()} for step in (0, 1)}
    with pytest.raises(SltGrokError, match="one network"):
        TokenTables(Trajectory.stack(network.network.module, states, task))


def test_a_derived_class_is_refused() -> None:
    class Other(OneLayerTransformer):
        """Its forward could be anything."""

    class Denying(OneLayerTransformer):
        token_sums = False

    for kind in (Other, Denying):
        with pytest.raises(SltGrokError, match=f"`token_sums`.* got {kind.__name__}"):
            TokenTables(Trajectory.of(kind(P, 12, 3, 20), ModularTask(P)))


@pytest.mark.parametrize("named", [False, True])
def test_an_activation_without_slopes_is_refused_as_such(named: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if named:
        monkeypatch.setitem(OF_MODELS, "tanh", torch.tanh)
    module = EmbeddingMLP(P)
    module.activation = torch.tanh
    with pytest.raises(SltGrokError, match=r"EmbeddingMLP\.activation"):
        TokenTables(Trajectory.of(module, ModularTask(P)))

"""Gradient symmetricity against gradients taken one by one."""

import itertools
import math
import random

import pytest
import torch
from torch.func import functional_call

from slt_grok.circuits import gradient_symmetricity as gs
from slt_grok.errors import SltGrokError
from slt_grok.models import build

P = 7
TRANSFORMER = {"kind": "transformer", "d_model": 8, "n_heads": 2, "d_mlp": 12}
DEEP = {"kind": "deep_transformer", "d_model": 8, "n_heads": 2, "d_mlp": 12}


def network(p=P, seed=0, **settings):
    module = build(tokens=p, **settings)
    module.initialize(torch.Generator().manual_seed(seed))
    module = module.double()
    return module, {name: w.detach() for name, w in module.named_parameters()}


def cosine(x, y):
    return ((x @ y) / (x.norm() * y.norm())).item()


@pytest.mark.parametrize(
    "settings",
    [
        TRANSFORMER,
        TRANSFORMER | {"layout": "a_b", "attention_rate": 0.5},
        DEEP,
        DEEP | {"layout": "a_b_equals"},
        {"kind": "deep_mlp", "d_embed": 6, "d_mlp": 10},
        {"kind": "mlp", "combine": "concatenation"},
    ],
    ids=str,
)
def test_two_tokens_have_the_gradients_of_their_rows(settings, monkeypatch):
    monkeypatch.setattr(gs, "PAIRS_WITH_ONE_CLASS", 4)  # several chunks, the last one short
    monkeypatch.setattr(gs, "PAIRS_WITH_ALL_CLASSES", 5)
    module, parameters = network(**settings)
    whole = gs.all_cosines(module, parameters)
    at = torch.tensor([(a, b, c) for a, b, c in [(0, 1, 2), (5, 3, 3), (2, 6, 0), (6, 2, 0), (1, 0, 4), (3, 4, 6)]])
    found = gs.cosines(module, parameters, at)
    for (a, b, c), value in zip(at.tolist(), found, strict=True):
        leaf = parameters["W_E"].clone().requires_grad_()
        logits = functional_call(module, parameters | {"W_E": leaf}, (torch.tensor([[a, b]]),))
        (gradient,) = torch.autograd.grad(logits[0, c], leaf)
        assert value.item() == pytest.approx(cosine(gradient[a], gradient[b]), abs=1e-12)
        assert whole[a * P + b, c].item() == pytest.approx(value.item(), abs=1e-12)


def test_equal_tokens_have_two_gradients():
    """Concatenation in closed form: dQ_c/dE_a = W_left (act'(h) * W_U[:, c]), the same with W_right for E_b."""
    module, parameters = network(kind="mlp", combine="concatenation", activation="quadratic")
    found = gs.all_cosines(module, parameters)
    w = parameters
    for a, b, c in itertools.product((0, 3, 6), (0, 3, 6), range(P)):
        h = w["W_E"][a] @ w["W_left"] + w["W_E"][b] @ w["W_right"] + w["b_in"]
        back = 2 * h * w["W_U"][:, c]
        assert found[a * P + b, c].item() == pytest.approx(cosine(w["W_left"] @ back, w["W_right"] @ back), abs=1e-12)


@pytest.mark.parametrize(
    "settings",
    [
        {"kind": "mlp", "combine": "sum"},
        {"kind": "mlp", "combine": "sum", "separate_embeddings": True},
        {"kind": "deep_mlp", "bias_per_token": True},
        {"kind": "quadratic", "width": 9},
    ],
    ids=str,
)
def test_tokens_that_are_only_added_have_the_same_gradient(settings):
    mean, error = gs.symmetricity(*network(**settings), P**3)
    assert mean == pytest.approx(1, abs=1e-12)
    assert error == 0


def test_separate_embeddings_are_compared_each_in_its_own_table():
    settings = {"kind": "mlp", "combine": "concatenation", "separate_embeddings": True}
    module, w = network(**settings)
    h = w["W_E_left"][2] @ w["W_left"] + w["W_E_right"][2] @ w["W_right"] + w["b_in"]
    leaf = h.clone().requires_grad_()
    (back,) = torch.autograd.grad((module.activation(leaf) @ w["W_U"])[4], leaf)
    found = gs.cosines(module, w, torch.tensor([[2, 2, 4]]))
    assert found.item() == pytest.approx(cosine(w["W_left"] @ back, w["W_right"] @ back), abs=1e-12)


def test_triples_are_the_published_order():
    expected = list(itertools.product(range(P), repeat=3))
    random.Random(42).shuffle(expected)
    assert gs.triples(P, P, 50).tolist() == [list(triple) for triple in expected[:50]]


def test_a_sample_is_of_the_whole_and_says_its_error():
    module, parameters = network(**TRANSFORMER, seed=3)
    module_scale = {name: w * 3 for name, w in parameters.items()}  # far from the start, where all cosines are 1
    whole = gs.all_cosines(module, module_scale).flatten()
    mean, error = gs.symmetricity(module, module_scale, 100)
    chosen = gs.triples(P, P, 100)
    values = whole[(chosen * torch.tensor([P * P, P, 1])).sum(-1)]
    assert mean == pytest.approx(values.mean().item(), abs=1e-12)
    assert error == pytest.approx(values.std().item() * math.sqrt((1 - 100 / P**3) / 100), abs=1e-12)
    assert gs.symmetricity(module, module_scale, P**3) == (pytest.approx(whole.mean().item(), abs=1e-12), 0)
    assert abs(mean - whole.mean()) < 4 * error


def test_zero_gradients_are_no_angle():
    module, parameters = network(kind="quadratic", width=4)
    nothing = {name: torch.zeros_like(w) for name, w in parameters.items()}
    assert all(math.isnan(x) for x in gs.symmetricity(module, nothing, 20))


@pytest.mark.parametrize("number", [0, 1])
def test_a_number_of_triples_that_there_is_not(number):
    with pytest.raises(SltGrokError, match=f"gradient_triples: expected 2 to {P**3}"):
        gs.symmetricity(*network(kind="quadratic", width=4), number)

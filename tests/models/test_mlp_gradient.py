"""The gradient written by hand against automatic differentiation of the forward pass."""

from dataclasses import replace
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call

from slt_grok.models import EmbeddingMLP
from slt_grok.models.backward import mean_cross_entropy
from slt_grok.models.network import Network

ZERO = torch.zeros((), dtype=torch.float64)
VARIANTS = [
    (combine, bias, separate, each)
    for combine, bias, separate, each in product(("sum", "concatenation"), *[(False, True)] * 3)
    if not (each and combine == "sum")
]


def reference(network):
    """The same network, by automatic differentiation: a call that is not the plain one."""
    return replace(network, call=lambda *args: functional_call(*args))


def drawn(network, networks, dtype, scale=0.5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {
        name: scale * torch.randn(networks, *shape, generator=generator, dtype=torch.float64).to(dtype)
        for name, shape in network.shapes.items()
    }


def data(p, networks, n, own_data, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = (networks, n) if own_data else (n,)
    return torch.randint(p, (*shape, 2), generator=generator), torch.randint(p, shape, generator=generator), own_data


def compare(network, stack, given_data, tolerance, wanted=None):
    wanted = list(stack) if wanted is None else wanted
    losses, gradients = network.stacked_loss_and_gradient(stack, *given_data, wanted)
    right_losses, right = reference(network).stacked_loss_and_gradient(stack, *given_data, wanted)
    assert losses.dtype == torch.float64
    assert losses.shape == right_losses.shape
    torch.testing.assert_close(losses, right_losses, rtol=tolerance, atol=0)
    assert list(gradients) == list(wanted)
    for name, gradient in gradients.items():
        assert gradient.dtype == stack[name].dtype
        assert gradient.shape == stack[name].shape
        error = (gradient - right[name]).flatten(1).double().norm(dim=1)
        assert (error <= tolerance * right[name].flatten(1).double().norm(dim=1)).all(), name


@pytest.mark.parametrize("own_data", [False, True])
@pytest.mark.parametrize("activation", ["relu", "gelu", "quadratic"])
@pytest.mark.parametrize(("combine", "bias", "separate", "each"), VARIANTS)
def test_every_variant(combine, bias, separate, each, activation, own_data):
    network = Network(EmbeddingMLP(11, 5, 7, combine, activation, bias, separate, each))
    given_data = data(11, 3, 29, own_data)
    compare(network, drawn(network, 3, torch.float32), given_data, 1e-5)
    compare(network, drawn(network, 3, torch.float64), given_data, 1e-12)


@given(
    p=st.integers(2, 13), d_embed=st.integers(1, 6), d_mlp=st.integers(1, 9), networks=st.integers(1, 5),
    n=st.integers(1, 40), own_data=st.booleans(), variant=st.sampled_from(VARIANTS), seed=st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=60, deadline=None, derandomize=True)
def test_any_shape(p, d_embed, d_mlp, networks, n, own_data, variant, seed):
    combine, bias, separate, each = variant
    network = Network(EmbeddingMLP(p, d_embed, d_mlp, combine, "gelu", bias, separate, each))
    compare(network, drawn(network, networks, torch.float64, seed=seed), data(p, networks, n, own_data, seed), 1e-11)


@pytest.mark.parametrize("wanted", [["W_U"], ["b_left", "W_E"], ["W_right", "b_U"], []])
def test_only_what_is_wanted(wanted):
    network = Network(EmbeddingMLP(5, 3, 4, output_bias=True, bias_per_token=True))
    stack, given_data = drawn(network, 2, torch.float64), data(5, 2, 9, True)
    if wanted:
        compare(network, stack, given_data, 1e-12, wanted)
    losses, gradients = network.stacked_loss_and_gradient(stack, *given_data, wanted)
    assert list(gradients) == wanted
    torch.testing.assert_close(losses, network.stacked_mean_loss(stack, *given_data), rtol=1e-12, atol=0)


@pytest.mark.parametrize("strength", [2.0, 8.0, 14.0, 18.0, 21.5])
def test_near_a_loss_of_zero(strength):
    """A network that is right by a margin of about 2 strength^2/p, down to losses of 1e-8: all in float32."""
    p = 7
    network = Network(EmbeddingMLP(p, 2 * p, p * p, "concatenation", "relu"))
    pairs = torch.cartesian_prod(torch.arange(p), torch.arange(p))
    labels = pairs.sum(1) % p
    # one neuron a pair: E = [1, 1], a neuron is on where both of its tokens are there, and says their sum
    eye = torch.eye(p)
    stack = {
        "W_E": torch.cat([eye, eye], 1),
        "W_left": torch.cat([eye.repeat_interleave(p, 1), torch.zeros(p, p * p)]),
        "W_right": torch.cat([torch.zeros(p, p * p), eye.repeat(1, p)]),
        "b_in": -torch.ones(p * p),
        "W_U": strength * eye[labels],
    }
    generator = torch.Generator().manual_seed(0)
    stack = {name: (t + 0.01 * torch.randn(t.shape, generator=generator))[None] for name, t in stack.items()}
    compare(network, stack, (pairs, labels, False), 1e-5)
    loss = network.stacked_mean_loss(stack, pairs, labels, False).item()
    assert loss < 10 * (p - 1) * torch.tensor(-strength).exp()  # what the network was built for
    if strength == 21.5:
        assert 1e-9 < loss < 1e-8


def test_cross_entropy_of_samples_that_are_won_or_lost_by_far():
    """With two classes and the right one ahead by m the loss is log(1 + e^-m), its derivative by m -1/(1 + e^m)."""
    margins = torch.tensor([-3000.0, -200.0, -90.0, -1.0, 0.0, 1.0, 16.0, 40.0, 60.0])
    logits = torch.stack([margins, torch.zeros(9)])[None] + 5
    for i, margin in enumerate(margins.double()):
        loss, gradient = mean_cross_entropy(logits[..., i : i + 1].clone(), torch.zeros(1, 1, dtype=torch.int64))
        torch.testing.assert_close(loss[0], torch.logaddexp(-margin, ZERO), rtol=1e-5, atol=0)
        by_hand = torch.stack([-(-margin).sigmoid(), (-margin).sigmoid()])
        torch.testing.assert_close(gradient[0, :, 0].double(), by_hand, rtol=1e-5, atol=0)
    loss, gradient = mean_cross_entropy(logits, torch.zeros(1, 9, dtype=torch.int64))
    right = torch.logaddexp(-margins.double(), ZERO).mean()
    torch.testing.assert_close(loss[0], right, rtol=1e-6, atol=0)


def test_probabilities_too_small_for_products_with_them_count_as_zero():
    """Else most of these would be subnormal numbers, or give some, over each of which a processor takes long."""
    logits = 60 * torch.randn(1, 53, 2000, generator=torch.Generator().manual_seed(0))
    labels = logits.argmax(1)
    loss, gradient = mean_cross_entropy(logits.clone(), labels)
    q = logits.double().softmax(1).scatter(1, labels[:, None], 0)
    by_hand = q.scatter(1, labels[:, None], -q.sum(1, keepdim=True)) / 2000
    torch.testing.assert_close(gradient.double(), by_hand, rtol=1e-4, atol=53 * 4e-29 / 2000)
    torch.testing.assert_close(loss[0], -(-q.sum(1)).log1p().mean(), rtol=1e-5, atol=0)
    tiny = torch.finfo(torch.float32).tiny
    assert ((by_hand != 0) & (by_hand.abs() < tiny)).double().mean() > 0.2
    weights = torch.rand(53, 64, generator=torch.Generator().manual_seed(1)) * 1e-3
    for numbers in (gradient, gradient[0].mT @ weights):
        assert not ((numbers != 0) & (numbers.abs() < tiny)).any()


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_network_that_has_run_away_says_so(value):
    network = Network(EmbeddingMLP(5, 3, 4))
    stack = drawn(network, 3, torch.float32)
    stack["W_U"][1, 2, 3] = value
    losses, _ = network.stacked_loss_and_gradient(stack, *data(5, 3, 9, True), list(stack))
    assert torch.isfinite(losses).tolist() == [True, False, True]


class Doubled(EmbeddingMLP):
    """Another forward, with the parent's gradient method at hand."""

    def forward(self, pairs, at=lambda name, value: value):
        """Twice the logits."""
        return 2 * super().forward(pairs, at)


def test_another_forward_or_another_loss_keeps_automatic_differentiation():
    stack = drawn(Network(EmbeddingMLP(5, 3, 4)), 2, torch.float64)
    given_data = data(5, 2, 9, True)
    compare(Network(Doubled(5, 3, 4)), stack, given_data, 1e-12)
    mean = Network(EmbeddingMLP(5, 3, 4), loss=nn.functional.cross_entropy)
    compare(mean, stack, given_data, 1e-12)

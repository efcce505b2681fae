"""The transformer's gradient against automatic differentiation of the forward pass."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from slt_grok.models import OneLayerTransformer, transformer_gradient
from slt_grok.models.network import Network
from slt_grok.tasks import ModularTask
from tests.models.test_mlp_gradient import compare, data, drawn, reference

LAYOUTS = [("a_b_equals", 1.0), ("a_b_equals", 0.3), ("a_b", 1.0), ("a_b", 0.37), ("a_b", 0.0)]
ACTIVATIONS = ["relu", "gelu", "quadratic"]


@pytest.mark.parametrize("own_data", [False, True])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("layout", "rate"), LAYOUTS)
def test_every_variant(layout, rate, activation, own_data, monkeypatch):
    network = Network(OneLayerTransformer(11, 12, 3, 20, activation, layout, rate))
    given_data = data(11, 3, 50, own_data)
    for piece in (1, 500, 4000, 10**6):  # pairs in several pieces, several networks in one
        monkeypatch.setattr(transformer_gradient, "PIECE", piece)
        compare(network, drawn(network, 3, torch.float64, 0.4), given_data, 1e-12)
    compare(network, drawn(network, 3, torch.float32, 0.4), given_data, 1e-5)


@given(
    p=st.integers(2, 13), d_model=st.integers(1, 9), n_heads=st.integers(1, 4), d_head=st.integers(1, 5),
    d_mlp=st.integers(1, 20), networks=st.integers(1, 5), n=st.integers(1, 40), own_data=st.booleans(),
    variant=st.sampled_from(LAYOUTS), activation=st.sampled_from(ACTIVATIONS), seed=st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=60, deadline=None, derandomize=True)
def test_any_shape(p, d_model, n_heads, d_head, d_mlp, networks, n, own_data, variant, activation, seed):
    network = Network(OneLayerTransformer(p, d_model, n_heads, d_mlp, activation, variant[0], variant[1], d_head))
    compare(
        network, drawn(network, networks, torch.float64, 0.3, seed=seed), data(p, networks, n, own_data, seed), 1e-10
    )


@pytest.mark.parametrize("layout", ["a_b_equals", "a_b"])
@pytest.mark.parametrize("wanted", [["W_U"], ["b_in", "W_E"], ["W_Q", "W_pos"], ["W_in", "W_out", "b_out"]])
def test_only_what_is_wanted(wanted, layout):
    network = Network(OneLayerTransformer(7, 6, 2, 5, layout=layout))
    stack, given_data = drawn(network, 2, torch.float64), data(7, 2, 9, True)
    compare(network, stack, given_data, 1e-12, wanted)
    losses, gradients = network.stacked_loss_and_gradient(stack, *given_data, [])
    torch.testing.assert_close(losses, network.stacked_mean_loss(stack, *given_data), rtol=1e-12, atol=0)
    assert gradients == {}


@pytest.mark.parametrize("layout", ["a_b_equals", "a_b"])
def test_a_network_depends_on_no_other(layout):
    network = Network(OneLayerTransformer(7, 6, 2, 5, layout=layout))
    stack, (pairs, labels, _) = drawn(network, 3, torch.float64), data(7, 3, 20, True)
    losses, gradients = network.stacked_loss_and_gradient(stack, pairs, labels, True, stack)
    for i in range(3):
        own = {name: tensor[i : i + 1] for name, tensor in stack.items()}
        loss, gradient = network.stacked_loss_and_gradient(own, pairs[i], labels[i], False, own)
        torch.testing.assert_close(loss[0], losses[i], rtol=1e-13, atol=0)
        for name, value in gradient.items():
            torch.testing.assert_close(value[0], gradients[name][i], rtol=1e-11, atol=1e-14)


def trained(steps, stack, network, given_data, weight_decay=1.0):
    """After some steps of AdamW."""
    stack = {name: tensor.clone().requires_grad_() for name, tensor in stack.items()}
    optimizer = torch.optim.AdamW(stack.values(), 1e-2, weight_decay=weight_decay)
    losses = torch.empty(0)
    for _ in range(steps):
        losses, gradients = network.stacked_loss_and_gradient(stack, *given_data, stack)
        for name, parameter in stack.items():
            parameter.grad = gradients[name]
        optimizer.step()
    return stack, losses


def test_training_goes_to_the_same_weights():
    """In float64, where AdamW's sign-like steps do not blow up the rounding."""
    task = ModularTask(11, train_fraction=0.5)
    network = Network(OneLayerTransformer(11, 12, 3, 20), task)
    stack, given_data = drawn(network, 2, torch.float64, 0.3), (*task.data("train"), False)
    found, losses = trained(20, stack, network, given_data)
    expected, right_losses = trained(20, stack, reference(network), given_data)
    torch.testing.assert_close(losses, right_losses, rtol=1e-9, atol=0)
    for name, weights in found.items():
        torch.testing.assert_close(weights, expected[name], rtol=1e-7, atol=1e-9)


def test_near_a_loss_of_zero():
    """Down to losses of 1e-8, in float32: as close to the gradient in float64 as the reference, or as logits round.

    A wrong answer's probability is as uncertain, relative to itself, as the logits are absolutely: n u |logit| with the
    unit roundoff u and the n = d_mlp + d_model terms of a logit; how they are summed differs between processors.
    """
    task = ModularTask(5, train_fraction=1.0)
    network, given_data = Network(OneLayerTransformer(5, 16, 2, 32), task), (*task.data("all"), False)
    fitted, losses = trained(60, drawn(network, 1, torch.float32, 0.3), network, given_data, weight_decay=0.0)
    assert losses.item() < 0.1
    scale, right_loss = 1.0, losses
    while right_loss.item() > 1e-8:
        stack = {name: tensor.detach() * (scale if name == "W_U" else 1) for name, tensor in fitted.items()}
        exact = {name: tensor.double() for name, tensor in stack.items()}
        right_loss, right = reference(network).stacked_loss_and_gradient(exact, *given_data, exact)
        found = network.stacked_loss_and_gradient(stack, *given_data, stack)
        plain = reference(network).stacked_loss_and_gradient(stack, *given_data, stack)

        def errors(result, loss=right_loss, gradients=right):
            yield (result[0] / loss - 1).abs().item()
            for name, gradient in gradients.items():
                yield ((result[1][name] - gradient).norm() / gradient.norm()).item()

        size = network.stacked_outputs(stack, given_data[0]).abs().max().item()
        rounding = 48 * torch.finfo(torch.float32).eps / 2 * size
        assert max(errors(found)) < max(rounding, 5 * max(errors(plain)))
        scale *= 1.2
    assert 1e-10 < right_loss.item() < 1e-8

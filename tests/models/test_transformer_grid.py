"""The transformer's sites on the grid against its forward pass."""

import pytest
import torch

from slt_grok.models import OneLayerTransformer, transformer_grid
from slt_grok.models.network import Network
from slt_grok.tasks import ModularTask
from tests.models.test_mlp_gradient import drawn
from tests.models.test_transformer_gradient import ACTIVATIONS, LAYOUTS

P = 11


@pytest.mark.parametrize(("dtype", "close"), [(torch.float64, 1e-12), (torch.float32, 1e-4)])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("layout", "rate"), LAYOUTS)
def test_sites_are_those_of_the_forward_pass(layout, rate, activation, dtype, close, monkeypatch):
    network = Network(OneLayerTransformer(P, 12, 3, 20, activation, layout, rate))
    module, stack = network.module, drawn(network, 3, dtype, 0.4)
    assert isinstance(module, OneLayerTransformer)
    pairs = ModularTask(P).inputs
    expected = network.stacked_sites(stack, pairs, *transformer_grid.GRID_SITES)
    expected["attention_pattern"] = expected["attention_pattern"][..., :2]
    expected["neurons_read"] = expected["neurons_post"] @ module.neuron_logit_map(stack)
    for numbers in (1, 1000, 10**6):  # the grid line by line, in a few pieces, and whole
        monkeypatch.setattr(transformer_grid, "NUMBERS", numbers)
        found = transformer_grid.stacked_grid(stack, transformer_grid.GRID_SITES, module.activation, rate)
        assert found.keys() == expected.keys()
        for name, values in expected.items():
            assert found[name].dtype == dtype
            torch.testing.assert_close(found[name], values, rtol=close, atol=close * values.abs().max().item())


def test_only_what_is_wanted():
    network = Network(OneLayerTransformer(P, 12, 3, 20))
    found = transformer_grid.stacked_grid(drawn(network, 2, torch.float64, 0.4), ["logits"], torch.relu, 1.0)
    assert {name: values.shape for name, values in found.items()} == {"logits": (2, P * P, P)}

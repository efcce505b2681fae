"""Heads whose attention and whose OV circuit have a frequency."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from slt_grok import circuits
from slt_grok.circuits import attention, neurons
from slt_grok.groups import cyclic
from slt_grok.models import DeepTransformer, OneLayerTransformer
from slt_grok.models.deep_transformer import Block
from slt_grok.tasks import ModularTask
from slt_grok.trajectories import Trajectory

P = 13
T = 2 * math.pi * torch.arange(P, dtype=torch.float64) / P


def test_pattern_of_one_frequency_and_of_none():
    wave = 0.5 + 0.1 * (3 * T[:, None]).cos() - 0.2 * (3 * T + 1).cos()
    mixed = wave + 0.1 * (5 * T + 1).cos()
    first = torch.stack([wave, torch.full_like(wave, 0.5), mixed], -1).flatten(0, 1)
    pattern = torch.stack([first, 1 - first], -1)[None]
    frequency, fve = attention.largest(neurons.fraction_of_variance_explained(pattern[..., 0], cyclic(P)))
    assert frequency.tolist() == [[3, 0, 3]]
    expected = torch.tensor([[1, 0, (0.01 + 0.04) / (0.01 + 0.04 + 0.01)]], dtype=torch.float64)
    torch.testing.assert_close(fve, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("layers", [None, 1, 2])
def test_heads_of_a_network(layers):
    """Two circles in the embedding; head 0 writes the circle of 2, head 1 that of 5 and a tenth of 2, head 2 nothing.

    Keys see the circle of 4 alone and the scores are small, so that attention is linear in it. In a network of two
    layers the second, whose weights are random, changes nothing.
    """
    circles = torch.stack([f(k * T) for k in (2, 5, 4) for f in (torch.cos, torch.sin)], -1)
    widths: dict[str, Any] = {"d_model": 6, "n_heads": 3, "d_mlp": 6, "activation": "relu", "layout": "a_b_equals"}
    module = OneLayerTransformer(P, **widths) if layers is None else DeepTransformer(P, n_layers=layers, **widths)
    module = module.double()
    module.initialize(torch.Generator().manual_seed(0))
    first = module if isinstance(module, OneLayerTransformer) else module.blocks[0]
    assert isinstance(first, OneLayerTransformer | Block)
    with torch.no_grad():
        for weights in (*first.parameters(), module.W_pos):
            weights.zero_()
        module.W_E[:P] = circles
        module.W_E[P:] = 1
        first.W_in.copy_(torch.eye(6))
        first.W_O.copy_(torch.eye(6)[:2].expand(3, 2, 6))
        first.W_V[0, [0, 1], [0, 1]] = 1.0
        first.W_V[1, [2, 3], [0, 1]] = 1.0
        first.W_V[1, 0, 0] = 0.1
        first.W_Q[:, 0, 0] = 1e-4
        first.W_K[:, 4, 0] = 1.0
    data = circuits.measure(Trajectory.of(module, ModularTask(P)))
    assert data.ov_frequency.values.tolist() == [2, 5, 0]
    np.testing.assert_allclose(data.ov_fve, [1, 2 / 2.01, 0], rtol=1e-12)
    assert data.attention_frequency.values.tolist() == [4, 4, 4]
    np.testing.assert_allclose(data.attention_fve, 1, atol=1e-6)


def test_networks_without_attention_have_no_heads():
    from .planted import planted_trajectory

    data = circuits.measure(planted_trajectory(5, [1]))
    assert "head" not in data.dims
    assert not {"attention_fve", "ov_fve"} & set(data)


def test_attention_rate_zero_has_no_frequency():
    module = OneLayerTransformer(7, d_model=8, n_heads=2, d_mlp=8, layout="a_b", attention_rate=0.0)
    module.initialize(torch.Generator().manual_seed(0))
    data = circuits.measure(Trajectory.of(module, ModularTask(7)))
    assert data.attention_frequency.values.tolist() == [0, 0]
    assert not data.attention_fve.any()

"""Margins, and a network whose normalized margin is the largest there is."""

import math

import numpy as np
import pytest
import torch

from slt_grok import circuits
from slt_grok.circuits import margins
from slt_grok.groups import cyclic
from slt_grok.models import EmbeddingMLP, OneLayerTransformer, QuadraticNetwork
from slt_grok.tasks import ModularTask
from slt_grok.trajectories import Trajectory

from .planted import planted_trajectory

P = 11


def random_logits(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, P * P, P, dtype=torch.float64, generator=generator)


def test_the_rival_is_the_largest_wrong_class():
    logits = torch.tensor([[[5.0, 1, 2], [0, 7, 3], [1, 1.5, 1]]])
    right, wrong, rival = margins.margins(logits, torch.tensor([0, 2, 1]))
    assert right.tolist() == [[5, 3, 1.5]]
    assert wrong.tolist() == [[2, 7, 1]]
    assert rival[0, :2].tolist() == [2, 1]


@pytest.mark.parametrize("sign", [1, -1])
def test_margin_by_frequency_is_the_margin_of_each_projection(sign):
    logits, sums = random_logits(), cyclic(P).products(sign)
    labels = (3 * sums + 2) % P
    _, _, rival = margins.margins(logits, labels)
    found = margins.by_frequency(cyclic(P).means_by_product(logits, sign), rival, sums, labels, cyclic(P))
    for k in range(1, (P + 1) // 2):
        directions = cyclic(P).pairs[k - 1][:, sums] / P**0.5
        part = directions.T @ (directions @ logits)
        gain = part.gather(2, labels.expand(2, -1)[..., None]) - part.gather(2, rival[..., None])
        torch.testing.assert_close(found[:, k - 1], gain.mean((1, 2)), rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("operation", ["addition", "subtraction"])
def test_margins_of_a_clock(operation):
    """Logits 8 sum_k cos w_k(s - c): the rival is the same number of steps away everywhere."""
    keys, p = [2, 3, 7], 17
    data = circuits.measure(planted_trajectory(p, keys, operation=operation))
    w = {k: 2 * math.pi * k / p for k in keys}
    gap = {d: sum(8 * (1 - math.cos(w[k] * d)) for k in keys) for d in range(1, p)}
    nearest = min(gap, key=lambda d: gap[d])
    np.testing.assert_allclose(data.margin, gap[nearest], rtol=1e-12)
    np.testing.assert_allclose(data.margin_smallest, gap[nearest], rtol=1e-12)
    expected = [8 * (1 - math.cos(w[k] * nearest)) if k in keys else 0 for k in data.frequency.values]
    np.testing.assert_allclose(data.margin_by_frequency, expected, rtol=1e-12, atol=1e-12)
    # the frequencies interfere: together their smallest gap is more than the sum of their own
    assert data.margin_smallest > sum(min(8 * (1 - math.cos(w[k] * d)) for d in range(1, p)) for k in keys)


@pytest.mark.parametrize("p", [5, 13])
def test_all_frequencies_with_even_phases_have_the_largest_normalized_margin(p):
    """sqrt(2/27) / (sqrt(p) (p - 1)), theorem 7 of 2311.07568; unchanged by the scale of the weights."""
    trajectory = planted_trajectory(p, list(range(1, (p + 1) // 2)))
    largest = math.sqrt(2 / 27) / (math.sqrt(p) * (p - 1))
    np.testing.assert_allclose(circuits.measure(trajectory).normalized_margin, largest, rtol=1e-12)
    module = trajectory.network.module
    assert isinstance(module, QuadraticNetwork)
    scaled = {name: 3 * w for name, w in trajectory.parameters.items()}
    larger = Trajectory(trajectory.network, scaled)
    np.testing.assert_allclose(circuits.measure(larger).normalized_margin, largest, rtol=1e-12)
    module.initialize(torch.Generator().manual_seed(0))
    assert circuits.measure(Trajectory.of(module, ModularTask(p))).normalized_margin < largest
    fewer = circuits.measure(planted_trajectory(p, [1]))
    assert fewer.normalized_margin < 0.9 * largest


def test_norms_of_two_neurons():
    """Norms 3 and 4: 27 + 64 and 5^3 at degree 3, 9 + 16 = 5^2 twice at degree 2."""
    left = torch.zeros(1, 3, 2, dtype=torch.float64)
    right, output = left.clone(), torch.zeros(1, 2, 3, dtype=torch.float64)
    left[0, 0] = torch.tensor([1.0, 0])
    right[0, 2] = torch.tensor([2.0, 4])
    output[0, 0, 1] = 2
    found = {degree: margins.normalized(torch.tensor([2.0]), left, right, output, degree) for degree in (2, 3)}
    assert [value.item() for value in found[3]] == pytest.approx([2 / 91, 2 / 125])
    assert [value.item() for value in found[2]] == pytest.approx([2 / 25, 2 / 25])


@pytest.mark.parametrize(("activation", "degree"), [("relu", 2), ("quadratic", 3)])
def test_normalized_margins_do_not_see_the_scale_of_a_homogeneous_network(activation, degree):
    module = QuadraticNetwork(7, width=20, activation=activation)
    module.initialize(torch.Generator().manual_seed(0))
    one = Trajectory.of(module, ModularTask(7))
    data, scaled = (
        circuits.measure(Trajectory(one.network, {name: scale * w for name, w in one.parameters.items()}))
        for scale in (1, 3)
    )
    np.testing.assert_allclose(scaled.margin_smallest, 3**degree * data.margin_smallest, rtol=1e-5)
    norm = float(data.sum_of_squared_weights) ** 0.5
    np.testing.assert_allclose(data.normalized_margin_l2, data.margin_smallest / norm**degree, rtol=1e-12)
    for name in ("normalized_margin", "normalized_margin_l2"):
        np.testing.assert_allclose(scaled[name], data[name], rtol=1e-5)
    assert (abs(data.normalized_margin - data.normalized_margin_l2) < 1e-12) == (degree == 2)


@pytest.mark.parametrize(
    "module",
    [
        QuadraticNetwork(5, 8, activation="gelu"),
        EmbeddingMLP(5, 4, 8, activation="relu"),
        OneLayerTransformer(5, 8, 2, 8),
    ],
    ids=["gelu", "biases", "attention"],
)
def test_networks_that_are_not_homogeneous_have_none(module):
    module.initialize(torch.Generator().manual_seed(0))
    data = circuits.measure(Trajectory.of(module, ModularTask(5)))
    assert not {"normalized_margin", "normalized_margin_l2"} & set(data)

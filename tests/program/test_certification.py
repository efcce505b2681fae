"""The certificate is never above the true accuracy, and reaches it where the program is the network."""

import numpy as np
import pytest
import torch

from slt_grok import program
from slt_grok.errors import SltGrokError
from slt_grok.models import EmbeddingMLP, OneLayerTransformer, planted
from slt_grok.program.certification import Additive, certificate
from slt_grok.program.program import ACTIVATIONS
from slt_grok.tasks import ModularTask
from slt_grok.trajectories import Trajectory
from tests.program.networks import AMPLITUDES

P, KEYS = 23, np.array(list(AMPLITUDES))
PLANTED = {
    "clock": lambda: planted.quadratic_clock(P, AMPLITUDES),
    "clock of an embedding": lambda: planted.clock(P, AMPLITUDES),
    "pizza": lambda: planted.pizza(P, AMPLITUDES),
    "gromov": lambda: planted.gromov(P, KEYS.tolist(), planted.sufficient_width(P, KEYS.tolist())),
}


def accuracy(trajectory: Trajectory) -> float:
    reading = program.read(trajectory)
    return (reading.answers == reading.labels).mean()


@pytest.mark.parametrize("name", PLANTED)
def test_planted_networks_are_certified(name: str) -> None:
    found = certificate(Trajectory.of(PLANTED[name](), ModularTask(P)), KEYS)
    assert found.accuracy_bound >= 0.99
    assert found.tightness < 1e-6


def test_subtraction_is_certified() -> None:
    network = Trajectory.of(planted.quadratic_clock(P, AMPLITUDES, -1), ModularTask(P, "subtraction"))
    assert certificate(network, KEYS).accuracy_bound == 1


BROKEN = {
    "clock": PLANTED["clock of an embedding"],
    "pizza": PLANTED["pizza"],
    "gromov": lambda: planted.gromov(P, KEYS.tolist(), 400),
    "too few neurons": lambda: planted.gromov(P, KEYS.tolist(), 30),  # wrong on many pairs before any noise
}


@pytest.mark.parametrize("name", BROKEN)
def test_never_above_the_accuracy_of_broken_networks(name: str) -> None:
    """Noise on all weights, from almost none to one that leaves nothing."""
    bounds, truths = [], []
    for i, noise in enumerate([1e-4, 1e-3, 0.01, 0.025, 0.035, 0.1, 0.3, 2.0]):
        module = BROKEN[name]()
        generator = torch.Generator().manual_seed(i)
        with torch.no_grad():
            for weights in module.parameters():
                spread = noise * weights.square().mean().sqrt()
                weights += spread * torch.randn(weights.shape, generator=generator, dtype=weights.dtype)
        network = Trajectory.of(module, ModularTask(P))
        bounds.append(certificate(network, KEYS).accuracy_bound.item())
        truths.append(accuracy(network))
    assert (np.array(bounds) <= np.array(truths)).all()
    assert min(truths) < 0.5  # some are broken
    assert bounds[0] > 0.95 * truths[0]
    assert any(0.01 < bound < 0.99 * bounds[0] for bound in bounds)  # and the bound is neither all nor nothing


def test_a_table_that_contradicts_its_frequencies_is_not_certified() -> None:
    """Too few neurons of random phases: many errors, which the program has as well."""
    network = Trajectory.of(planted.gromov(P, KEYS.tolist(), 30), ModularTask(P))
    found = certificate(network, KEYS)
    assert found.certified == 1  # the program is the network
    assert found.accuracy_bound.item() == pytest.approx(accuracy(network))
    assert found.accuracy_bound < 1


@pytest.mark.parametrize("activation", ["relu", "gelu", "quadratic"])
def test_intervals_and_slopes_hold(activation: str) -> None:
    module = EmbeddingMLP(P, 8, 32, activation=activation)
    module.initialise(torch.Generator().manual_seed(0))
    network = Additive.of(Trajectory.of(module, ModularTask(P)))
    other = network.only(KEYS)
    act, slopes = ACTIVATIONS[activation], network.slopes(other)
    for j in range(P):
        middle, radius = network.interval(j)
        own, theirs = network.left[j] + network.right, other.left[j] + other.right
        assert (np.abs(act(own) - middle) <= radius * (1 + 1e-12) + 1e-12).all()
        assert (np.abs(act(own) - act(theirs)) <= slopes * np.abs(own - theirs) + 1e-12).all()


def test_the_tables_are_the_network() -> None:
    module = OneLayerTransformer(11, 16, 2, 24, layout="a_b", attention_rate=0.0).double()
    module.initialise(torch.Generator().manual_seed(1))
    task = ModularTask(11)
    found = Additive.of(Trajectory.of(module, task))
    a, b = program.pairs(11)
    logits = ACTIVATIONS["relu"](found.left[a] + found.right[b]) @ found.output
    logits += found.past_left[a] + found.past_right[b]
    np.testing.assert_allclose(logits, module(task.inputs).detach().numpy(), atol=1e-12)


def test_attention_is_refused() -> None:
    module = OneLayerTransformer(11, 16, 2, 24)
    with pytest.raises(SltGrokError, match="add up"):
        certificate(Trajectory.of(module, ModularTask(11)), np.array([1]))

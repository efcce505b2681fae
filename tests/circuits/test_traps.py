"""Five measures that the literature has under one name with two meanings, or that mislead where they look plain."""

import inspect
import math

import numpy as np
import torch

from slt_grok import circuits
from slt_grok.models import build
from slt_grok.models.planted import lookup_table
from slt_grok.store import importers
from slt_grok.tasks import ModularTask
from slt_grok.trajectories import Trajectory

from .planted import planted_trajectory
from .test_golden import reference, same

P = 11


def of_logits(logits):
    return circuits.measure(Trajectory.of(lookup_table(logits), ModularTask(P)))


def test_distance_irrelevance_has_two_versions():
    """The right answer's logit depends on a - b, the largest wrong one on a + b: 0 and 1."""
    a, b, c = torch.meshgrid(*[torch.arange(P)] * 3, indexing="ij")
    right = 100 + ((a - b) % P).double() ** 2
    wrong = 50 + ((a + b) % P).double() ** 2 / 10 * (c == (a + b + 1) % P)
    data = of_logits(torch.where(c == (a + b) % P, right, wrong))
    np.testing.assert_allclose(data.distance_irrelevance, 0, atol=1e-12)
    np.testing.assert_allclose(data.distance_irrelevance_top_wrong, 1, rtol=1e-12)


def test_fits_of_a_pizza_discriminate_only_on_a_circle_alone():
    """The canonical pizza: 0.995 clock against 0.832 pizza on all logits, 0.754 against 0.992 on one circle."""
    path, _ = reference("clock_pizza/p99zdpze5l")
    found = importers.read(path)
    module = found.module
    module.load_state_dict(found.parameters)
    data = circuits.measure(Trajectory.of(module, found.task), gradient_triples=2)
    assert same(data.clock_fve, "0.995")
    assert same(data.pizza_fve, "0.832")
    assert same(data.circle_clock_fve.sel(circle=1), "0.754")
    assert same(data.circle_pizza_fve.sel(circle=1), "0.992")


def test_gradient_symmetricity_starts_at_one_and_is_one_where_tokens_are_added():
    added, untrained = build("mlp", P, combine="sum"), build("transformer", 29)
    second = build("transformer", 29, layout="a_b")  # the answer stands where b does: b has the residual stream too
    for module, bounds in ((added, (1 - 1e-9, 1 + 1e-9)), (untrained, (0.95, 1)), (second, (0.3, 0.8))):
        module.initialize(torch.Generator().manual_seed(0))
        data = circuits.measure(Trajectory.of(module, ModularTask(module.tokens)))
        assert bounds[0] < data.gradient_symmetricity < bounds[1]
    # published as a mean over 100 triples, which has an error of 0.04 for a clock
    assert inspect.signature(circuits.measure).parameters["gradient_triples"].default >= 5000
    assert 0 < data.gradient_symmetricity_se < 0.01


def test_restricted_loss_has_three_masks_and_none_across_frequencies():
    """Each mask alone answers by its own part of the logits; what lies across two frequencies answers in none."""
    a, b, c = (2 * math.pi * x.double() / P for x in torch.meshgrid(*[torch.arange(P)] * 3, indexing="ij"))
    parts = {
        "restricted_loss_sum": 30 * (2 * (a + b - c)).cos(),
        "restricted_loss_2x2": 30 * (2 * (a - b - c)).cos(),
        "restricted_loss_3x3": 30 * (2 * (a - c)).cos(),
        "": 30 * (2 * a - c).cos() * (3 * b).cos(),
    }
    keys = np.isin(np.arange(1, 6), [2, 3])
    kept = []
    for logits in parts.values():
        network = Trajectory.of(lookup_table(logits), ModularTask(P))
        data = circuits.measure(network, keys, gradient_triples=2)
        kept.append([name for name in parts if name and not np.isclose(data[name].sel(split="all"), math.log(P))])
    assert kept == [list(parts)[:3], list(parts)[1:3], list(parts)[2:3], []]


def test_inverse_participation_ratio_has_two_conventions():
    data = circuits.measure(planted_trajectory(P, [2]))
    np.testing.assert_allclose(data.inverse_participation_ratio_rfft, 1, rtol=1e-12)
    np.testing.assert_allclose(data.inverse_participation_ratio_dft, 1 / 2, rtol=1e-12)

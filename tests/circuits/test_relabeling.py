"""Relabeling t -> m t of tokens, answers and split: the same function under other names.

A component at frequency k goes to m^-1 k, or to p - m^-1 k where that is larger than (p-1)/2; there sines change
sign, and with them phases and positions on the grid of a frequency. Nothing else that is computed on the whole grid
may change.
"""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from slt_grok import circuits
from slt_grok.circuits import neurons
from slt_grok.interventions import relabel
from slt_grok.models import build
from slt_grok.tasks import ModularTask
from slt_grok.trajectories import Trajectory

KINDS = [
    {"kind": "transformer", "d_model": 16, "n_heads": 2, "d_mlp": 20},
    {"kind": "transformer", "d_model": 16, "n_heads": 2, "d_mlp": 20, "layout": "a_b", "attention_rate": 0.5},
    {"kind": "transformer", "d_model": 16, "n_heads": 2, "d_mlp": 20, "layout": "a_b", "attention_rate": 0.0},
    {"kind": "deep_transformer", "d_model": 16, "n_heads": 2, "d_mlp": 20},
    {"kind": "mlp", "combine": "sum", "activation": "relu"},
    {"kind": "mlp", "combine": "concatenation", "output_bias": True},
    {"kind": "mlp", "combine": "sum", "separate_embeddings": True, "activation": "quadratic"},
    {"kind": "deep_mlp", "d_embed": 16, "d_mlp": 20},
    {"kind": "quadratic", "width": 12},
    {"kind": "transformer", "d_model": 16, "n_heads": 2, "d_mlp": 20, "layout": "a_b", "separate_embeddings": True},
]
FREQUENCIES = {"neuron_frequency", "circle_frequency", "attention_frequency", "ov_frequency"}
PHASES = {"neuron_phase_left", "neuron_phase_right", "neuron_phase_output"}
ALIGNMENTS = {"neuron_alignment_left", "neuron_alignment_right"}
SINGLE_PRECISION = {"circle_clock_fve", "circle_pizza_fve"}


def random_network(p, kind, seed, **task):
    module = build(tokens=p, **kind)
    generator = torch.Generator().manual_seed(seed)
    module.initialize(generator)
    with torch.no_grad():
        for parameter in module.parameters():  # biases too, and attention far from uniform
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.3)
    return Trajectory.of(module.double(), ModularTask(p, **task))


def no_ties(trajectory):
    """Whether each neuron has one best frequency; a ReLU that is active on a single pair has all of them alike."""
    sites = trajectory.network.stacked_sites(trajectory.stacked(), trajectory.task.inputs, "neurons_post")
    best = (
        neurons.fraction_of_variance_explained(sites["neurons_post"], trajectory.task.group).sort(-1).values[..., -2:]
    )
    return ((best[..., 1] == 0) | (best[..., 1] - best[..., 0] > 1e-9)).all()


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), p=st.sampled_from([5, 7, 11, 13]), kind=st.sampled_from(KINDS), seed=st.integers(0, 99))
def test_nothing_changes_but_the_names_of_frequencies(data, p, kind, seed):
    m = data.draw(st.integers(2, p - 1), label="m")
    operation = data.draw(st.sampled_from(["addition", "subtraction"]), label="operation")
    k = np.arange(1, (p + 1) // 2)
    image = pow(m, -1, p) * k % p
    image = np.minimum(image, p - image)  # image[k - 1] is the frequency that k becomes
    kept = np.isin(k, list(data.draw(st.sets(st.sampled_from(k.tolist())), label="kept")))
    moved = np.zeros_like(kept)
    moved[image - 1] = kept

    before = random_network(p, kind, seed, operation=operation)
    after = relabel(before, np.arange(p) * m % p)
    assume(no_ties(before))
    old = circuits.measure(before, kept, gradient_triples=None)
    new = circuits.measure(after, moved, gradient_triples=None)
    assert set(old) == set(new)
    alive = old.neuron_fve.values > 0  # a neuron that is never active has no frequency
    for name in old:
        x, y = old[name], new[name]
        if "frequency" in x.dims:
            y = y.sel(frequency=image)
        x, y = (z.values[..., alive] if "neuron" in z.dims else z.values for z in (x, y))
        if name in FREQUENCIES:
            x = np.where(x > 0, image[x - 1], 0)
        elif name in PHASES:
            x, y = np.cos(x), np.cos(y)
        elif name in ALIGNMENTS:
            x, y = np.minimum(x, p - x), np.minimum(y, p - y)
        tolerance = 1e-4 if name in SINGLE_PRECISION else 1e-8
        np.testing.assert_allclose(y, x, rtol=tolerance, atol=tolerance, err_msg=str(name))
    np.testing.assert_array_equal(new.circuit_frequency, moved)


@pytest.mark.parametrize("kind", [KINDS[0], KINDS[1], KINDS[5]], ids=lambda kind: kind["kind"])
def test_a_sample_of_triples_changes_within_its_error(kind):
    """The two samples are of different triples; 5 standard errors are passed once in two million."""
    p = 13
    before = random_network(p, kind, 1)
    found = [circuits.measure(x, gradient_triples=400) for x in (before, relabel(before, np.arange(p) * 5 % p))]
    values, errors = zip(
        *[(float(d.gradient_symmetricity), float(d.gradient_symmetricity_se)) for d in found], strict=True
    )
    assert values[0] != values[1]
    assert abs(values[0] - values[1]) < 5 * np.hypot(*errors)

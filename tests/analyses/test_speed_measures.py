"""The plain Fourier measures against the package's on small networks, and how the two are compared."""

import numpy as np
import pytest
import torch
from speed import measures
from speed.plain_measures import measure

from slt_grok import circuits
from slt_grok.models import OneLayerTransformer
from slt_grok.tasks import ModularTask
from slt_grok.trajectories import Trajectory

EXCESS = {"gradient_symmetricity", "gradient_symmetricity_se", "cka", "cka_by_frequency", "rank_share"}
EXCESS |= {"rank_share_by_frequency", "read_rank", "circuit_frequency"}
P = 13


def network(planted: bool) -> OneLayerTransformer:
    """Random weights; planted: tokens on the circles of frequencies 2 and 5, each neuron reads one of the two.

    Heads pass on what they see, so that a neuron has cos(w_k a + phi) + cos(w_k b + phi) before its ReLU, nearly.
    """
    module = OneLayerTransformer(P, d_model=16, n_heads=2, d_mlp=24)
    random = torch.Generator().manual_seed(3)
    module.initialize(random)
    if planted:
        angle = 2 * np.pi / P * torch.outer(torch.arange(P), torch.tensor([2, 5])).float()
        circles = torch.cat([angle.cos(), angle.sin()], 1)  # columns cos 2, cos 5, sin 2, sin 5
        planes = torch.linalg.qr(torch.randn(16, 4, generator=random)).Q
        phase = 2 * np.pi * torch.rand(24, generator=random)
        first = torch.arange(24) % 2
        with torch.no_grad():
            module.W_E[:P] = 0.1 * module.W_E[:P] + 6 * circles @ planes.T
            module.W_V[:] = torch.eye(16).unflatten(1, (2, 8)).movedim(1, 0)
            module.W_O[:] = module.W_V.mT
            module.W_Q.mul_(0.1)
            module.W_in[:] = 0.1 * module.W_in + planes[:, first] * phase.cos() + planes[:, first + 2] * phase.sin()
    return module


@pytest.mark.parametrize("planted", [False, True])
def test_plain_measures_are_the_packages(planted):
    task = ModularTask(P, train_fraction=0.4)
    trajectory = Trajectory.of(network(planted), task)
    used = [k in (2, 5) for k in range(1, 7)]
    found = circuits.measure(trajectory, np.array(used), gradient_triples=2)
    weights = {name: tensor.double() for name, tensor in trajectory.parameters.items()}
    plain = measure(weights, task.indices("train"), used)
    assert set(found.data_vars) - set(plain) == EXCESS
    clear, counted = found.neuron_fve.values > 0.2, found.neuron_fve.values > 0.85
    assert clear.any()
    assert counted.any() == planted
    for name, values in plain.items():
        theirs, ours = np.asarray(values, float), found[name].values.astype(float)
        if "neuron" in measures.VARIABLES[name].dims:
            rows = counted if name.startswith("neuron_alignment") else clear  # NaN for neurons that are not counted
            theirs, ours = theirs[..., rows], ours[..., rows]
        if name.startswith("polynomial") and not planted:
            continue  # one neuron is active at one pair alone: a tie of all frequencies
        assert measures.difference(name, theirs, ours) < measures.tolerance(name), name


def test_difference_is_relative_to_the_largest_value():
    y = np.array([1e-9, 2.0])
    assert measures.difference("loss", np.array([0.0, 2.0]), y) == pytest.approx(5e-10)
    assert measures.difference("loss", np.array([1e-9, 2.2]), y) == pytest.approx(0.1)
    assert measures.difference("loss", np.array([np.nan, 2.0]), np.array([np.nan, 2.0])) == 0
    assert measures.difference("loss", np.array([np.nan, 2.0]), y) == np.inf
    assert measures.difference("loss", np.zeros(2), np.zeros(2)) == 0
    phase = measures.difference("neuron_phase_left", np.array([np.pi]), np.array([-np.pi + 1e-9]))
    assert phase == pytest.approx(1e-9 / np.pi, rel=1e-3)


def test_a_measure_that_differs_is_named():
    ours = {"neuron_fve": np.array([[0.9, 0.1]]), "neuron_frequency": np.array([[3, 4]]), "clock_fve": np.array([0.5])}
    ours["polynomial_neurons_loss"] = np.array([1.0])
    same = {
        "neuron_frequency": np.array([[3, 9]]),  # 9: a neuron that is not counted, so that polynomials may differ
        "clock_fve": np.array([0.5 + 1e-9]),
        "polynomial_neurons_loss": np.array([2.0]),
    }
    assert measures.agreement([(same, ours, [0])])["agree"]
    found = measures.agreement([(same | {"clock_fve": np.array([0.6])}, ours, [0])])
    assert not found["agree"]
    assert set(found["apart"]) == {"clock_fve"}

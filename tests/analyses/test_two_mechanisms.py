"""The table and the circuit have the same logits, and what is known of each holds."""

import math

import numpy as np
import pytest
import torch
from two_mechanisms import balanced, circuit, padded, table

from slt_grok.errors import SltGrokError
from slt_grok.interventions.weights import evaluate
from slt_grok.models import planted
from slt_grok.operators.jacobian import jacobian_rank
from slt_grok.tasks import ModularTask
from slt_grok.trajectories import Trajectory

P, AMPLITUDES = 7, {1: 12.0, 3: 9.0}


def logits(one: Trajectory) -> torch.Tensor:
    return one.network.outputs(one.parameters, one.task.inputs).reshape(P, P, P)


def pair() -> tuple[Trajectory, Trajectory]:
    fourier = circuit(P, AMPLITUDES, 5)
    return table(logits(fourier)), fourier


def norm(one: Trajectory) -> float:
    return math.sqrt(sum(float(t.square().sum()) for t in one.parameters.values()))


def pre(one: Trajectory) -> torch.Tensor:
    seen = one.network.stacked_sites({k: t[None] for k, t in one.parameters.items()}, one.task.inputs, "neurons_pre")
    return seen["neurons_pre"][0]


def test_both_have_the_logits_of_the_planted_pizza() -> None:
    wanted = planted.pizza(P, AMPLITUDES, 5)(ModularTask(P).inputs).detach().reshape(P, P, P)
    for one in pair():
        np.testing.assert_allclose(logits(one), wanted, atol=1e-12)
        assert evaluate(one)["accuracy"][2] == 1


@pytest.mark.parametrize("dead", ["off", "zero"])
def test_padding_and_copies_change_no_logit(dead) -> None:
    lookup, fourier = pair()
    for one in (lookup, fourier, circuit(P, AMPLITUDES, 5, copies=2)):
        wide = padded(one, 60, dead, d_embed=9)
        assert wide.parameters["W_U"].shape == (60, P)
        assert wide.parameters["W_E"].shape == (P, 9)
        np.testing.assert_allclose(logits(wide), logits(fourier), atol=1e-12)


def test_no_neuron_is_on_its_kink() -> None:
    lookup, fourier = pair()
    assert pre(fourier).abs().min() > 1e-3
    # 1, -1, -3 times a scale of the neuron's own
    units = pre(lookup) / pre(lookup).max(0).values
    np.testing.assert_allclose(np.unique(units.numpy().round(12)), [-3, -1, 1])
    assert ((pre(lookup) > 0).sum(0) == 1).all()


def test_balancing_keeps_the_function_and_finds_the_least_norm() -> None:
    for one in pair():
        generator = torch.Generator().manual_seed(0)
        width, embed = one.parameters["W_U"].shape[0], one.parameters["W_E"].shape[1]
        s = torch.rand(width, generator=generator, dtype=torch.float64) + 0.5
        r = torch.rand(embed, generator=generator, dtype=torch.float64) + 0.5
        weights = one.parameters
        scaled = Trajectory(one.network, {
            "W_E": weights["W_E"] * r, "b_in": weights["b_in"] * s, "W_U": weights["W_U"] / s[:, None],
            "W_left": weights["W_left"] / r[:, None] * s, "W_right": weights["W_right"] / r[:, None] * s,
        })  # fmt: skip
        np.testing.assert_allclose(logits(scaled), logits(one), atol=1e-12)
        assert norm(scaled) > norm(one)
        back = balanced(scaled)
        assert norm(back) == pytest.approx(norm(one), rel=1e-12)
        np.testing.assert_allclose(logits(back), logits(one), atol=1e-12)
        into = weights["W_left"].square().sum(0) + weights["W_right"].square().sum(0) + weights["b_in"].square()
        torch.testing.assert_close(into, weights["W_U"].square().sum(1), rtol=1e-9, atol=1e-9)


def ranks(one: Trajectory) -> int:
    module = one.network.module
    module.load_state_dict(one.parameters)
    return jacobian_rank(module, one.task.inputs).rank


def test_the_table_has_full_rank_and_the_circuit_has_not() -> None:
    lookup, fourier = pair()
    assert ranks(lookup) == P**3
    assert ranks(fourier) < P**3
    # a neuron that is off has no derivative; equal copies add none
    assert ranks(padded(fourier, 60, "off")) == ranks(padded(fourier, 60, "zero")) == ranks(fourier)


def test_bad_input_is_said() -> None:
    fourier = circuit(P, AMPLITUDES, 5)
    with pytest.raises(SltGrokError, match="an odd number that is no multiple of 7, got 4"):
        circuit(P, AMPLITUDES, 4)
    with pytest.raises(SltGrokError, match="an odd number that is no multiple of 7, got 7"):
        circuit(P, AMPLITUDES, 7)
    with pytest.raises(SltGrokError, match="copies: expected at least 1"):
        circuit(P, AMPLITUDES, 5, copies=0)
    with pytest.raises(SltGrokError, match="widths of at least 4 and 20, got 4 and 19"):
        padded(fourier, 19)
    quadratic = Trajectory.of(planted.clock(P, AMPLITUDES), ModularTask(P))
    with pytest.raises(SltGrokError, match="balanced: expected a single embedding MLP with ReLU"):
        balanced(quadratic)
